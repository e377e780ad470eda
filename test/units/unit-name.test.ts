import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import test from "node:test";
import fc from "fast-check";
import type { RelPath, UnitName } from "../../src/paths.ts";
import { splitFields, splitWords } from "../../src/units/quoted-words.ts";
import { expandSpecifiers } from "../../src/units/specifiers.ts";
import { escapeName, escapePath, unescapeName, unescapePath } from "../../src/units/unit-escape.ts";
import {
  dropInFolders,
  dropInScope,
  isUnitName,
  templateOf,
  unitPattern,
} from "../../src/units/unit-name.ts";
import { classifyPath } from "../../src/units/unit-path.ts";

const unit = (name: string): UnitName => name as UnitName;

test("what has no known type, no prefix or a foreign character is no unit name", () => {
  for (const name of [
    "",
    "x",
    ".service",
    "@.service",
    "x.conf",
    "x.service.d",
    "a b.service",
    "é.service",
    "a/b.service",
  ]) {
    assert.equal(isUnitName(name), false, name);
  }
  assert.equal(isUnitName(`${"a".repeat(250)}.service`), false);
  for (const name of [
    "x.service",
    "a@.timer",
    "a@b.c.service",
    "dev-disk-by\\x2dlabel-x.device",
    "-.mount",
    "a@b@c.service",
  ]) {
    assert.equal(isUnitName(name), true, name);
  }
});

test("drop-in folders go from the most specific to the type's own", () => {
  assert.deepEqual(dropInFolders(unit("foo.service")), ["foo.service.d", "service.d"]);
  assert.deepEqual(dropInFolders(unit("foo-bar-baz.service")), [
    "foo-bar-baz.service.d",
    "foo-bar-.service.d",
    "foo-.service.d",
    "service.d",
  ]);
  assert.deepEqual(dropInFolders(unit("foo-bar@x.service")), [
    "foo-bar@x.service.d",
    "foo-bar@.service.d",
    "foo-@x.service.d",
    "foo-@.service.d",
    "service.d",
  ]);
  assert.deepEqual(dropInFolders(unit("-.mount")), ["-.mount.d", "mount.d"]);
});

test("a template has no template, an instance has", () => {
  assert.equal(templateOf(unit("a@.service")), undefined);
  assert.equal(templateOf(unit("a.service")), undefined);
  assert.equal(templateOf(unit("a@b.c.service")), "a@.service");
});

test("a drop-in folder's name says whom it applies to", () => {
  const pattern = (folder: string): string | undefined => {
    const scope = dropInScope(folder);
    return scope && `${scope.kind} ${unitPattern(scope)}`;
  };
  assert.equal(pattern("sysctl.d"), undefined);
  assert.equal(pattern("nginx.service"), undefined);
  assert.equal(pattern("nginx.service.d"), "unit nginx.service");
  assert.equal(pattern("a@.service.d"), "template a@*.service");
  assert.equal(pattern("a-.service.d"), "prefix a-*.service");
  assert.equal(pattern("service.d"), "type *.service");
  assert.equal(pattern("a\\x2db@.service.d"), "template a\\\\x2db@*.service");
});

const PATHS: readonly [path: string, want: string][] = [
  ["etc/systemd/system/x.service", "nothing"],
  ["lib/systemd/system/README.md", "nothing"],
  ["lib/systemd/system/x.service.d/10.txt", "nothing"],
  ["lib/systemd/system/x.service.d/a/10.conf", "nothing"],
  ["lib/systemd/system/x.wants/y.service", "nothing"],
  ["lib/systemd/network/x.network", "nothing"],
  ["lib/systemd/system/x.service", "system unit x.service"],
  ["lib/systemd/user/x.service", "user unit x.service"],
  ["share/systemd/user/x.service", "user unit x.service"],
  ["lib/systemd/system/x.service.d/10.conf", "system drop-in 10.conf"],
  ["lib/systemd/system/service.d/10.conf", "system drop-in 10.conf"],
  ["lib/systemd/system/a.target.wants/y@1.service", "system link a.target wants y@1.service"],
  ["lib/systemd/system/a.service.requires/y.socket", "system link a.service requires y.socket"],
  ["lib/systemd/system/a.target.upholds/y.socket", "system link a.target upholds y.socket"],
];
for (const [path, want] of PATHS) {
  test(`${path} is ${want}`, () => {
    const found = classifyPath(path as RelPath);
    const text =
      found === undefined
        ? "nothing"
        : found.kind === "unit"
          ? `${found.scope} unit ${found.unit}`
          : found.kind === "link"
            ? `${found.scope} link ${found.by} ${found.how} ${found.unit}`
            : `${found.scope} drop-in ${found.file}`;
    assert.equal(text, want);
  });
}

test("what no escaping can have given is not unescaped", () => {
  for (const text of ["a\\x2", "\\y", "a\\", "\\x00", "\\xff"])
    assert.equal(unescapeName(text), undefined, text);
  for (const text of ["", "a--b", "-a", "a-", "..", "a-.-b"])
    assert.equal(unescapePath(text), undefined, text);
  assert.equal(escapePath("/a/../b"), undefined);
});

test("escaping gives the documented forms", () => {
  assert.equal(escapeName("Hallöchen, Meister"), "Hall\\xc3\\xb6chen\\x2c\\x20Meister");
  assert.equal(escapeName(".a.b"), "\\x2ea.b");
  assert.equal(escapePath("/tmp//waldi/./foobar/"), "tmp-waldi-foobar");
  assert.equal(escapePath("/"), "-");
  assert.equal(unescapePath("-"), "/");
  assert.equal(unescapePath("a\\x2db-c"), "/a-b/c");
});

const hasProgram = spawnSync("systemd-escape", ["--version"]).status === 0;
const skip = hasProgram ? false : "systemd-escape is not installed here";
const printed = fc
  .string({ unit: "grapheme", minLength: 1, maxLength: 30 })
  .filter((text) => !/[\0\n]|^-/.test(text));

test("escaping equals the systemd-escape program byte for byte", { skip }, () => {
  const samples = [
    ...fc.sample(printed, { seed: 7, numRuns: 300 }),
    ".x",
    "a/b",
    "\\",
    "\u007f",
    "%i",
    "a.b:c_d",
    "💾",
  ];
  const run = (...args: string[]): string[] =>
    // One string per line would do, but the program joins them with spaces, which no escaped string holds.
    execFileSync("systemd-escape", [...args, "--", ...samples], { encoding: "utf8" })
      .trimEnd()
      .split(" ");
  assert.deepEqual(samples.map(escapeName), run());
  for (const text of samples) assert.equal(unescapeName(escapeName(text)), text);
  const paths = samples.map((text) => `/${text}`).filter((path) => escapePath(path) !== undefined);
  const escaped = execFileSync("systemd-escape", ["--path", "--", ...paths], { encoding: "utf8" })
    .trimEnd()
    .split(" ");
  assert.deepEqual(paths.map(escapePath), escaped);
});

test("unescaping equals the systemd-escape program, refusals included", { skip }, () => {
  for (const text of ["a-b", "a\\x2db-c", "\\y", "a\\", "a--b", "-", "a-", "\\x2e\\x2e", "a\\X2d", "x"]) {
    for (const path of [false, true]) {
      const ran = spawnSync("systemd-escape", ["--unescape", ...(path ? ["--path"] : []), "--", text], {
        encoding: "utf8",
      });
      const want = ran.status === 0 ? ran.stdout.replace(/\n$/, "") : undefined;
      assert.equal(
        path ? unescapePath(text) : unescapeName(text),
        want,
        `${text} ${path ? "as a path" : ""}`,
      );
    }
  }
});

test("an unknown specifier ends what can be said", () => {
  assert.deepEqual(expandSpecifiers("/x/%H/y", unit("a.service")), { text: "/x/", partial: true });
  assert.deepEqual(expandSpecifiers("/x/%i/y", unit("a@.service")), { text: "/x/", partial: true });
  assert.deepEqual(expandSpecifiers("/x/%i-%p-%n-%N-%%/%t", unit("a@b.service")), {
    text: "/x/b-a-a@b.service-a@b-%//run",
    partial: false,
  });
  assert.equal(expandSpecifiers("%I %j %f", unit("a-c@x-y\\x2dz.service")).text, "x/y-z c /x/y-z");
});

test("words split as systemd splits them", () => {
  assert.deepEqual(splitWords(`a  "b c" 'd "e' f"g" \\"h "" i`), ["a", "b c", 'd "e', 'f"g"', '"h', "", "i"]);
  assert.deepEqual(splitWords("a\\x20b c\\td \\d", "decode"), ["a b", "c\td", "\\d"]);
  assert.deepEqual(splitWords("a\\x2db c", "keep"), ["a\\x2db", "c"]);
  assert.deepEqual(splitFields("/a:/b:norbind /c\\:d:/e '/f g:h' i::j"), [
    ["/a", "/b", "norbind"],
    ["/c:d", "/e"],
    ["/f g:h"],
    ["i", "", "j"],
  ]);
});
