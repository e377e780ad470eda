/** The definition of a guest: what is refused, and that what is written is read back. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { formatDiagnostic } from "../../src/diagnostics.ts";
import { cpuPercent, type Guest, sizeBytes } from "../../src/guests/guest.ts";
import { guestStartText, guestText, parseGuest } from "../../src/guests/parse-guest.ts";
import { seededRandom } from "../seeded-random.ts";

const KEY = `ssh-ed25519 ${"A".repeat(68)} me@here`;

const refusals = (text: string): string[] => {
  const read = parseGuest(text);
  assert.equal(read.ok, false, "it was accepted");
  return read.ok ? [] : read.problems.map(formatDiagnostic);
};

const refusal = (part: Record<string, unknown>): string =>
  refusals(JSON.stringify({ name: "web", kind: "container", image: "debian", ...part })).join("\n");

test("all problems of a definition are told at once, each with its line", () => {
  const text = `{
  "name": "a-name-that-is-long",
  "kind": "contaner",
  "netwrk": "lab",
  "autostart": "yes",
  "resources": {"memory": "lots", "cpus": 2},
  "image": "debian"
}`;
  assert.deepEqual(
    refusals(text).map((t) => t.split("\n")[0]),
    [
      "error[guest-unknown] guest.json:4:3: a guest has no `netwrk`",
      "error[guest-name] guest.json:2:3: `a-name-that-is-long` can't be the name of a guest",
      "error[guest-value] guest.json:3:3: `kind` is `contaner`",
      "error[guest-value] guest.json:5:3: `autostart` is `yes`",
      "error[guest-unknown] guest.json:6:3: a guest has no `resources.cpus`",
      "error[guest-value] guest.json:6:3: `resources.memory` is `lots`",
    ],
  );
  assert.match(refusals(text).join("\n"), /did you mean `network`\?/);
  assert.match(refusals(text).join("\n"), /did you mean `cpu`\?/);
  assert.match(refusals(text).join("\n"), /at most 11 characters; this one has 19/);
});

test("what is no JSON, no object, or says a thing twice is refused with its place", () => {
  assert.match(refusals('{"name": "web",}').join("\n"), /\[guest-syntax\] guest\.json:1:16: no valid JSON/);
  assert.match(refusals("[]").join("\n"), /one JSON object/);
  assert.match(
    refusals("{}").join("\n"),
    /`name` is missing[\s\S]*`kind` is missing[\s\S]*`image` is missing/,
  );
  const twice = '{"name":"web","kind":"container","image":"a","image":"b"}';
  assert.match(refusals(twice).join("\n"), /\[guest-twice\] guest\.json:1:46: `image` stands twice/);
});

test("values that could reach outside, or could not work, are refused", () => {
  const cases: readonly (readonly [Record<string, unknown>, RegExp])[] = [
    [{ name: "Web" }, /lower-case/],
    [{ name: "web-" }, /lower-case/],
    [{ name: "twelve-chars" }, /this one has 12/],
    [{ name: "../x" }, /can't be the name/],
    [{ image: "../../etc/shadow" }, /`image` is/],
    [{ image: "a b" }, /`image` is/],
    [{ network: "a-very-long-network" }, /`network` is/],
    [{ readySeconds: 0 }, /seconds from 1 to 3600/],
    [{ readySeconds: 1.5 }, /seconds from 1 to 3600/],
    [{ stopSeconds: "20" }, /seconds from 1 to 3600/],
    [{ pinned: true, ephemeral: true }, /pinned guest can't be removed/],
    [{ resources: [] }, /an object/],
    [{ resources: { cpu: "0%" } }, /share of one processor/],
    [{ resources: { cpu: "2" } }, /share of one processor/],
    [{ resources: { memory: "1M" } }, /at least 16M/],
    [{ resources: { memory: 512 } }, /at least 16M/],
    [{ resources: { memory: "999999999999T" } }, /at most 1024T/],
    [{ resources: { memory: "infinity" } }, /at least 16M/],
    [{ resources: { tasks: 0 } }, /a number from 1/],
    [{ resources: { io: 20_000 } }, /from 1 to 10000/],
    [{ mounts: {} }, /a list/],
    [{ mounts: ["/srv"] }, /an object with/],
    [{ mounts: [{ source: "/srv", target: "srv" }] }, /an absolute path/],
    [{ mounts: [{ source: "/srv/../etc", target: "/srv" }] }, /`mounts\[0\]\.source` is `\/srv\/\.\.\/etc`/],
    [{ mounts: [{ source: "/srv", target: "/srv/../etc" }] }, /an absolute path/],
    [{ mounts: [{ source: "/srv\nx", target: "/srv" }] }, /an absolute path/],
    [{ mounts: [{ source: "/srv", target: "/" }] }, /does not live in/],
    [{ mounts: [{ source: "/srv", target: "/proc/1" }] }, /does not live in/],
    [
      {
        mounts: [
          { source: "/a", target: "/srv" },
          { source: "/b", target: "/srv" },
        ],
      },
      /two mounts at \/srv/,
    ],
    [{ tree: "/usr/local/x", mounts: [{ source: "/a", target: "/usr/local/share" }] }, /tree lies at/],
    [{ mounts: [{ kind: "nfs", source: "/srv", target: "/srv" }] }, /SERVER:\/PATH/],
    [{ mounts: [{ kind: "nfs", source: "-o:/srv", target: "/srv" }] }, /SERVER:\/PATH/],
    [{ mounts: [{ kind: "iscsi", source: "nas:/x", target: "/srv" }] }, /IQN/],
    [{ mounts: [{ kind: "smb", source: "nas:/x", target: "/srv" }] }, /one of bind, nfs, iscsi/],
    [{ sshKeys: ["ssh-ed25519"] }, /a public key/],
    [
      { sshKeys: ["-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0"] },
      /`sshKeys\[0\]` is `-----BEGIN OPENSSH PRIVATE KEY…`/,
    ],
    [{ sshKeys: [`command="x" ${KEY}`] }, /a public key/],
    [{ sshKeys: [`${KEY}\n${KEY}`] }, /a public key/],
    [{ tree: "usr/local" }, /an absolute path/],
    [{ vm: {} }, /only guests of kind `vm`/],
    [{ kind: "vm", vm: { machine: "pc" } }, /one of microvm, q35/],
    [{ kind: "vm", vm: { firmware: "uefi" } }, /UEFI needs `q35`/],
    [{ kind: "vm", vm: { cpus: 0 } }, /a number from 1 to 256/],
    [{ kind: "vm", vm: { iso: "x.iso" } }, /an absolute path/],
    [{ kind: "vm", vm: { accelerator: "auto" } }, /one of kvm, tcg/],
  ];
  for (const [part, expected] of cases) assert.match(refusal(part), expected, JSON.stringify(part));
});

test("a definition without more than its name, kind and image has every default", () => {
  const read = parseGuest('{"name":"web","kind":"container","image":"debian"}');
  assert.deepEqual(read.ok && read.value, {
    name: "web",
    kind: "container",
    image: "debian",
    autostart: false,
    pinned: false,
    ephemeral: false,
    readySeconds: 30,
    stopSeconds: 20,
    resources: {},
    mounts: [],
    sshKeys: [],
  });
  const vm = parseGuest('{"name":"web","kind":"vm","image":"debian"}');
  assert.deepEqual(vm.ok && vm.value.vm, {
    machine: "microvm",
    cpus: 1,
    firmware: "none",
    display: false,
    accelerator: "kvm",
  });
  assert.equal(vm.ok && vm.value.readySeconds, 120);
});

test("any guest that is written is read back as it was", () => {
  const random = seededRandom(6);
  const maybe = <T>(make: () => T): T | undefined => (random.below(2) === 0 ? undefined : make());
  const part = <T extends object>(object: T): T =>
    Object.fromEntries(Object.entries(object).filter(([, v]) => v !== undefined)) as T;
  for (let n = 0; n < 500; n++) {
    const kind = random.below(2) === 0 ? "container" : "vm";
    const guest: Guest = part({
      name: `g${n}`,
      kind,
      image: `image-${n}.x`,
      network: maybe(() => "lab"),
      autostart: random.below(2) === 0,
      pinned: random.below(2) === 0,
      ephemeral: false,
      readySeconds: 1 + random.below(3600),
      stopSeconds: 1 + random.below(3600),
      resources: part({
        cpu: maybe(() => `${1 + random.below(400)}%`),
        memory: maybe(() => `${16 + random.below(4000)}M`),
        tasks: maybe(() => 1 + random.below(9)),
        io: maybe(() => 1 + random.below(9)),
        disk: maybe(() => "1.5T"),
      }),
      mounts: [
        { kind: "bind", source: `/srv/a b:${n}`, target: "/srv/\u00e9", readOnly: random.below(2) === 0 },
        { kind: "nfs", source: "[fd00::1]:/export", target: "/mnt/nfs", readOnly: true },
        { kind: "iscsi", source: "nas:3260/iqn.2026-11.lan.nas:a/1", target: "/mnt/lun", readOnly: false },
      ] as const,
      sshKeys: [KEY],
      tree: maybe(() => "/usr/local/lib/labctl/guests/x"),
      vm:
        kind === "vm"
          ? part({
              machine: "q35" as const,
              cpus: 2,
              firmware: "uefi" as const,
              iso: maybe(() => "/srv/x.iso"),
              display: true,
              accelerator: "tcg" as const,
            })
          : undefined,
    }) as Guest;
    const read = parseGuest(guestText(guest));
    assert.ok(read.ok, read.ok ? "" : read.problems.map(formatDiagnostic).join("\n"));
    assert.deepEqual(read.value, guest);
    assert.equal(guestText(read.value), guestText(guest));
  }
});

test("sizes are read in factors of 1024, shares in hundredths of a processor", () => {
  assert.equal(sizeBytes("512M"), 512 * 1024 ** 2);
  assert.equal(sizeBytes("1.5G"), 1.5 * 1024 ** 3);
  assert.equal(sizeBytes("4096"), 4096);
  for (const text of ["", "M", "1.5", "-1G", "1 G", "1GB", "1g"])
    assert.equal(sizeBytes(text), undefined, text);
  assert.equal(cpuPercent("250%"), 250);
  for (const text of ["", "0%", "2", "1.5%"]) assert.equal(cpuPercent(text), undefined, text);
});

test("what a guest was started with is all but its limits, its times and what is asked for later", () => {
  const base = { name: "web", kind: "container", image: "debian", network: "lab" } as const;
  const started = (part: Record<string, unknown>): string => {
    const read = parseGuest(JSON.stringify({ ...base, ...part }));
    assert.ok(read.ok, read.ok ? "" : read.problems.map(formatDiagnostic).join("\n"));
    return guestStartText(read.value);
  };
  const without: readonly Record<string, unknown>[] = [
    { autostart: true },
    { pinned: true },
    { ephemeral: true },
    { readySeconds: 7 },
    { stopSeconds: 7 },
    { image: "other" },
    { resources: { cpu: "50%", memory: "1G", tasks: 9, io: 9, disk: "1G" } },
  ];
  for (const part of without) assert.equal(started(part), started({}), JSON.stringify(part));
  const anew: readonly Record<string, unknown>[] = [
    { network: "dmz" },
    { mounts: [{ kind: "bind", source: "/a", target: "/b", readOnly: true }] },
    { sshKeys: [KEY] },
    { tree: "/usr/local/lib/labctl/guests/web" },
    { kind: "vm" },
  ];
  for (const part of anew) assert.notEqual(started(part), started({}), JSON.stringify(part));
  const vm = { kind: "vm", resources: { memory: "1G" } };
  assert.equal(started({ ...vm, resources: { memory: "1G", cpu: "50%", tasks: 9 } }), started(vm));
  for (const part of [
    { resources: { memory: "2G" } },
    { resources: { memory: "1G", disk: "9G" } },
    { vm: { cpus: 2 } },
  ])
    assert.notEqual(started({ ...vm, ...part }), started(vm), JSON.stringify(part));
});
