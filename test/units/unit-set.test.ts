import assert from "node:assert/strict";
import test from "node:test";
import type { UnitName } from "../../src/paths.ts";
import { matchReference, readReferences, triggeredUnits } from "../../src/units/references.ts";
import { type Files, memorySet, SYSTEM } from "./memory-tree.ts";

const unit = (name: string): UnitName => name as UnitName;

function values(files: Files, name: string, key: string): string[] {
  const setting = memorySet(files).unit(unit(name)).settings.get(key);
  return setting?.values.map((entry) => entry.value) ?? [];
}

test("a unit the tree does not mention has neither file nor settings", () => {
  const found = memorySet({}).unit(unit("x.service"));
  assert.equal(found.fragment, undefined);
  assert.deepEqual([found.dropIns, found.wantedBy, [...found.settings]], [[], [], []]);
});

test("a link to /dev/null and an empty file mask a unit; a file with text does not", () => {
  const set = memorySet({
    [`${SYSTEM}/a.service`]: "-> /dev/null",
    [`${SYSTEM}/b.service`]: "",
    [`${SYSTEM}/c.service`]: "[Unit]\n",
  });
  assert.deepEqual(
    ["a.service", "b.service", "c.service"].map((name) => set.unit(unit(name)).fragment?.kind),
    ["masked", "masked", "file"],
  );
});

test("a link to another unit is an alias, and the unit merges the alias's drop-ins", () => {
  const set = memorySet({
    [`${SYSTEM}/web.service`]: "-> nginx.service",
    [`${SYSTEM}/web.service.d/10-a.conf`]: "[Service]\nNice=3\n",
    [`${SYSTEM}/nginx.service.d/20-b.conf`]: "[Service]\nUser=x\n",
  });
  assert.equal(set.canonical(unit("web.service")), "nginx.service");
  assert.deepEqual(set.unit(unit("nginx.service")).aliases, ["web.service"]);
  assert.deepEqual(set.unit(unit("nginx.service")).dropIns, [
    `${SYSTEM}/web.service.d/10-a.conf`,
    `${SYSTEM}/nginx.service.d/20-b.conf`,
  ]);
});

test("an alias of a template makes aliases of its instances", () => {
  const set = memorySet({ [`${SYSTEM}/a@.service`]: "-> b@.service", [`${SYSTEM}/b@.service`]: "[Unit]\n" });
  assert.equal(set.canonical(unit("a@x.service")), "b@x.service");
  assert.deepEqual(set.unit(unit("a@x.service")).fragment, {
    kind: "alias",
    path: `${SYSTEM}/a@.service`,
    of: "b@x.service",
  });
});

test("a link to a file of the same name elsewhere in the tree is read; one that leaves the tree is outside", () => {
  const files = {
    [`${SYSTEM}/a.service`]: "-> ../../../opt/a.service",
    "opt/a.service": "[Service]\nNice=1\n",
    [`${SYSTEM}/b.service`]: "-> /usr/lib/systemd/system/b.service",
  };
  assert.deepEqual(values(files, "a.service", "Service.Nice"), ["1"]);
  assert.equal(memorySet(files).unit(unit("b.service")).fragment?.kind, "outside");
});

test("drop-ins merge by file name over all folders, and the more specific folder's file hides its namesake", () => {
  const files = {
    [`${SYSTEM}/a-b.service`]: "[Service]\nNice=0\nUser=f\n",
    [`${SYSTEM}/service.d/90-all.conf`]: "[Service]\nNice=9\n",
    [`${SYSTEM}/service.d/10-x.conf`]: "[Service]\nGroup=all\n",
    [`${SYSTEM}/a-.service.d/10-x.conf`]: "[Service]\nGroup=prefix\n",
    [`${SYSTEM}/a-b.service.d/50-own.conf`]: "[Service]\nNice=5\n",
  };
  assert.deepEqual(memorySet(files).unit(unit("a-b.service")).dropIns, [
    `${SYSTEM}/a-.service.d/10-x.conf`,
    `${SYSTEM}/a-b.service.d/50-own.conf`,
    `${SYSTEM}/service.d/90-all.conf`,
  ]);
  assert.deepEqual(values(files, "a-b.service", "Service.Nice"), ["9"]);
  assert.deepEqual(values(files, "a-b.service", "Service.Group"), ["prefix"]);
  assert.deepEqual(values(files, "other.service", "Service.Group"), ["all"]);
});

test("lists accumulate, an empty assignment resets them, dependencies can't be reset", () => {
  const files = {
    [`${SYSTEM}/a.service`]: "[Unit]\nAfter=a\n[Service]\nExecStart=/x\nEnvironmentFile=/e\n",
    [`${SYSTEM}/a.service.d/1.conf`]:
      "[Unit]\nAfter=\nAfter=b\n[Service]\nExecStart=\nExecStart=/y\nEnvironmentFile=/f\n",
  };
  assert.deepEqual(values(files, "a.service", "Service.ExecStart"), ["/y"]);
  assert.deepEqual(values(files, "a.service", "Service.EnvironmentFile"), ["/e", "/f"]);
  assert.deepEqual(values(files, "a.service", "Unit.After"), ["a", "b"]);
});

test("an empty condition, listen or timer line resets its whole family", () => {
  const files = {
    [`${SYSTEM}/a.timer`]: "[Unit]\nConditionHost=x\nAssertHost=y\n[Timer]\nOnBootSec=1\n",
    [`${SYSTEM}/a.timer.d/1.conf`]: "[Unit]\nConditionUser=\n[Timer]\nOnCalendar=\nOnCalendar=daily\n",
  };
  assert.deepEqual(values(files, "a.timer", "Unit.ConditionHost"), []);
  assert.deepEqual(values(files, "a.timer", "Unit.AssertHost"), ["y"]);
  assert.deepEqual(values(files, "a.timer", "Timer.OnBootSec"), []);
  assert.deepEqual(values(files, "a.timer", "Timer.OnCalendar"), ["daily"]);
});

test("an instance takes its template's file and both drop-in folders, and knows who pulls it in", () => {
  const set = memorySet({
    [`${SYSTEM}/a@.service`]: "[Service]\nNice=1\n",
    [`${SYSTEM}/a@.service.d/5.conf`]: "[Service]\nUser=t\n",
    [`${SYSTEM}/a@x.service.d/6.conf`]: "[Service]\nUser=i\n",
    [`${SYSTEM}/multi-user.target.wants/a@x.service`]: "-> ../a@.service",
  });
  const found = set.unit(unit("a@x.service"));
  assert.equal(found.fragment?.path, `${SYSTEM}/a@.service`);
  assert.equal(found.settings.get("Service.User")?.values[0]?.value, "i");
  assert.deepEqual(found.settings.get("Service.User")?.values[0]?.place, {
    file: `${SYSTEM}/a@x.service.d/6.conf`,
    line: 2,
  });
  assert.deepEqual(
    found.wantedBy.map((link) => `${link.how} ${link.by}`),
    ["wants multi-user.target"],
  );
  assert.ok(set.names.includes(unit("a@x.service")));
});

test("units of the user manager are a set of their own", () => {
  const files = { "lib/systemd/user/a.service": "[Unit]\n", [`${SYSTEM}/b.service`]: "[Unit]\n" };
  assert.deepEqual(memorySet(files).names, ["b.service"]);
});

function references(name: string, text: string): string[] {
  const found = readReferences(memorySet({ [`${SYSTEM}/${name}`]: text }).unit(unit(name)));
  return found.references.map((each) => `${each.how} ${each.match} ${each.path}`);
}

const REFERENCES: readonly [what: string, name: string, text: string, want: string[]][] = [
  [
    "paths outside the tree",
    "a.service",
    "ExecStart=/usr/bin/x /etc/y /opt/usr/local/z\nEnvironmentFile=/etc/e",
    [],
  ],
  ["the root of the tree alone", "a.service", "ExecStart=/usr/bin/x /usr/local/ --root=/usr/local", []],
  ["a program", "a.service", "ExecStart=-@/usr/local/bin/x argv0", ["exec exact bin/x"]],
  [
    "a script behind an interpreter",
    "a.service",
    "ExecStart=/usr/bin/node --max-old-space-size=64 /usr/local/lib/x/main.mjs /usr/local/etc/x",
    ["exec exact lib/x/main.mjs", "config exact etc/x"],
  ],
  [
    "a shell script without a suffix",
    "a.service",
    "ExecStart=/bin/sh /usr/local/libexec/x",
    ["exec exact libexec/x"],
  ],
  [
    "arguments with a path in them",
    "a.service",
    'ExecStart=/usr/sbin/nginx -c /usr/local/etc/n.conf --d=/usr/local/etc/d/ -p/usr/local/p "-g /usr/local/q"',
    ["config exact etc/n.conf", "config exact etc/d", "config exact p", "config exact q"],
  ],
  [
    "what ExecStop= runs",
    "a.service",
    "ExecStop=/usr/local/bin/s /usr/local/etc/x",
    ["exec-later exact bin/s"],
  ],
  [
    "two commands in one line",
    "a.service",
    "ExecStart=/usr/local/bin/a ; /usr/local/bin/b",
    ["exec exact bin/a", "exec exact bin/b"],
  ],
  [
    "an optional environment file",
    "a.service",
    "EnvironmentFile=-/usr/local/etc/e",
    ["environment-file exact etc/e"],
  ],
  [
    "binds with options, prefixes, quotes and escapes",
    "a.service",
    'BindReadOnlyPaths=/usr/local/a:/etc/a:norbind -/usr/local/b "/usr/local/c d":/e /usr/local/f\\:g:/h\nBindPaths=/var/lib/x:/usr/local/y',
    ["bind exact a", "bind exact b", "bind exact c d", "bind exact f:g"],
  ],
  [
    "credentials by path and by name",
    "a.service",
    "LoadCredential=k:/usr/local/etc/k\nLoadCredentialEncrypted=t",
    [
      "credential exact etc/k",
      "credential exact lib/credstore/t",
      "credential exact lib/credstore.encrypted/t",
    ],
  ],
  [
    "roots and images",
    "a.service",
    "RootDirectory=/usr/local/root\nExtensionImages=-/usr/local/x.raw",
    ["root exact root", "root exact x.raw"],
  ],
  [
    "an instance's specifiers",
    "a@b\\x2dc.service",
    "EnvironmentFile=/usr/local/etc/%p/%I.env",
    ["environment-file exact etc/a/b-c.env"],
  ],
  [
    "a template's unknown instance",
    "a@.service",
    "EnvironmentFile=/usr/local/etc/%p-%i.env",
    ["environment-file prefix etc/a-"],
  ],
];
for (const [what, name, text, want] of REFERENCES) {
  test(`references: ${what}`, () => {
    assert.deepEqual(references(name, `[Service]\n${text}\n`), want);
  });
}

test("ReloadOn= and RestartOn= take files, folders and patterns; what lies outside the tree is stray", () => {
  const text =
    "[X-Labctl]\nReloadOn=/usr/local/etc/n /usr/local/etc/*.conf /etc/x\nRestartOn=/usr/local/bin/y rel\n";
  assert.deepEqual(references("a.service", text), [
    "reload-on exact etc/n",
    "reload-on glob etc/*.conf",
    "restart-on exact bin/y",
  ]);
  const found = readReferences(memorySet({ [`${SYSTEM}/a.service`]: text }).unit(unit("a.service")));
  assert.deepEqual(
    found.stray.map((each) => `${each.place.line} ${each.text}`),
    ["2 /etc/x", "3 rel"],
  );
});

test("a changed path meets a reference at, below or above it, and not beside it", () => {
  const base = { how: "bind", key: "BindPaths", place: { file: "x" } } as const;
  const exact = { ...base, path: "etc/n", match: "exact" } as const;
  assert.deepEqual(
    ["etc/nn", "etc/n", "etc/n/a/b", "etc"].map((path) => matchReference(exact, path)),
    [undefined, "at", "below", "above"],
  );
  const glob = { ...base, path: "etc/*.conf", match: "glob" } as const;
  assert.deepEqual(
    ["etc/a.txt", "etc/d/a.conf", "etc/a.conf", "etc/a.conf/b"].map((path) => matchReference(glob, path)),
    [undefined, undefined, "at", "below"],
  );
  const prefix = { ...base, path: "etc/a-", match: "prefix" } as const;
  assert.deepEqual(
    ["etc/b", "etc/a-x.env"].map((path) => matchReference(prefix, path)),
    [undefined, "at"],
  );
});

test("sockets, timers and path units name what they start; a service names nothing", () => {
  const of = (name: string, text: string): string[] =>
    triggeredUnits(memorySet({ [`${SYSTEM}/${name}`]: text }).unit(unit(name)));
  assert.deepEqual(of("a.service", "[Service]\n"), []);
  assert.deepEqual(of("a.socket", "[Socket]\n"), ["a.service"]);
  assert.deepEqual(of("a.socket", "[Socket]\nService=b.service\n"), ["b.service"]);
  assert.deepEqual(of("a.socket", "[Socket]\nAccept=yes\n"), ["a@.service"]);
  assert.deepEqual(of("a.timer", "[Timer]\nUnit=b.target\n"), ["b.target"]);
  assert.deepEqual(of("a.path", "[Path]\n"), ["a.service"]);
});
