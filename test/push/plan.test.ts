/** From two manifests to changes with causes, triggers, operations and printed lines: tables, no disk, no machine. */
import assert from "node:assert/strict";
import test from "node:test";
import type { Manifest, ManifestEntry } from "../../src/build/manifest.ts";
import { treeView } from "../../src/build/tree-view.ts";
import { planLines } from "../../src/cli/show-plan.ts";
import type { GenerationId, UnitName } from "../../src/paths.ts";
import { operationLines, stagedPaths } from "../../src/push/operations.ts";
import { isEmpty, type PushPlan, planJson, planPush } from "../../src/push/plan.ts";
import { planNotes } from "../../src/push/plan-notes.ts";
import type { Probe } from "../../src/push/probe.ts";
import { diffTrees } from "../../src/push/tree-diff.ts";
import { daemonsFor, triggersFor } from "../../src/push/triggers/index.ts";
import { readUnitSet } from "../../src/units/unit-set.ts";
import { liveUnit } from "../units/memory-tree.ts";
import { dir, file, link, manifestOf } from "./manifest-of.ts";

const OLD = "a".repeat(64) as GenerationId;
const NEW = "b".repeat(64) as GenerationId;

function lines(
  before: readonly ManifestEntry[] | undefined,
  after: readonly ManifestEntry[],
  drifted: string[] = [],
) {
  const changes = diffTrees(before && manifestOf(before), manifestOf(after), new Set(drifted));
  return changes.map((c) => `${c.change} ${c.path}: ${c.cause}`);
}

test("each kind of difference has its word and its cause", () => {
  const fact = (value: string | null) => ({ origin: { facts: { PORT: value, SAME: "1" }, template: true } });
  const rows: [
    readonly ManifestEntry[] | undefined,
    readonly ManifestEntry[],
    readonly string[],
    string[]?,
  ][] = [
    [undefined, [file("x", "1")], ["added x: layer web has layers/web/x"]],
    [undefined, [dir("d")], ["added d: folder of layer web"]],
    [
      [],
      [file("x", "1", { origin: { layer: "machine", source: "machines/gw/x" } })],
      ["added x: the machine itself has machines/gw/x"],
    ],
    [[file("x", "1")], [file("x", "1")], []],
    [[file("x", "1")], [file("x", "2")], ["changed x: layers/web/x was edited"]],
    [[file("x", "1")], [], ["removed x: layer web no longer has layers/web/x"]],
    [[file("x", "1")], [file("x", "1", { mode: 0o600 })], ["attributes x: layers/web/x was edited"]],
    [[file("x", "1")], [file("x", "1", { group: "adm" })], ["attributes x: layers/web/x was edited"]],
    [[link("x", "a")], [link("x", "b")], ["changed x: layers/web/x was edited"]],
    [[link("x", "a")], [file("x", "1")], ["changed x: layers/web/x was edited"]],
    [[file("x", "1", fact("1"))], [file("x", "2", fact("2"))], ["changed x: fact PORT in layers/web/x"]],
    [[file("x", "1", fact(null))], [file("x", "2", fact("2"))], ["changed x: fact PORT in layers/web/x"]],
    [[file("x", "1")], [file("x", "1", { origin: { source: "layers/y/x" } })], []],
    [
      [file("x", "1")],
      [file("x", "2", { origin: { source: "layers/y/x" } })],
      ["changed x: layers/y/x takes the place of layers/web/x"],
    ],
    [[file("x", "1")], [file("x", "1")], ["changed x: changed on the machine by someone else"], ["x"]],
    [[file("x", "1")], [file("x", "2")], ["changed x: layers/web/x was edited"], ["x"]],
    [[file("x", "1")], [], ["removed x: layer web no longer has layers/web/x"], ["x"]],
    [[file("x", "1")], [file("x", "1")], [], ["somebody/elses"]],
  ];
  for (const [before, after, expected, drifted] of rows)
    assert.deepEqual(lines(before, after, drifted), expected);
});

test("changes are sorted by the paths' bytes, whatever they are", () => {
  const paths = lines([file("b", "1"), file("é", "1")], [file("a/z", "1"), file("a", "1"), file("Z", "1")]);
  assert.deepEqual(
    paths.map((l) => l.split(":")[0]),
    ["added Z", "added a", "added a/z", "removed b", "removed é"],
  );
});

test("triggers: who is told, and with which files", () => {
  const rows: [string, "added" | "removed", string[]][] = [
    ["lib/sysusers.d/x.conf", "added", ["sysusers /usr/local/lib/sysusers.d/x.conf"]],
    ["lib/sysusers.d/x.conf", "removed", []],
    ["lib/tmpfiles.d/x.conf", "added", ["tmpfiles /usr/local/lib/tmpfiles.d/x.conf"]],
    ["lib/tmpfiles.d/x.conf", "removed", []],
    ["lib/modules-load.d/x.conf", "added", ["modules-load /usr/local/lib/modules-load.d/x.conf"]],
    ["lib/sysctl.d/x.conf", "added", ["sysctl"]],
    ["lib/sysctl.d/x.conf", "removed", ["sysctl"]],
    ["lib/udev/rules.d/x.rules", "removed", ["udev"]],
    ["lib/systemd/network/x.link", "added", ["udev"]],
    ["lib/binfmt.d/x.conf", "removed", ["binfmt"]],
    ["lib/systemd/network/x.network", "added", ["networkd"]],
    ["lib/systemd/network/x.network.d/y.conf", "removed", ["networkd"]],
    ["lib/systemd/network/x.netdev", "added", ["networkd"]],
    ["share/dbus-1/system-services/org.x.service", "added", ["dbus"]],
    ["share/dbus-1/system.d/org.x.conf", "removed", ["dbus"]],
    ["lib/systemd/journald.conf.d/x.conf", "added", []],
    // What these subsystems do not read is not their business.
    ["lib/sysctl.d/README", "added", []],
    ["lib/tmpfiles.d/x.conf~", "added", []],
    ["lib/systemd/network/x.network.d/y", "added", []],
    ["lib/sysctl.d.old/x.conf", "added", []],
    ["etc/lib/sysctl.d/x.conf", "added", []],
  ];
  for (const [path, change, expected] of rows) {
    const one = manifestOf([file(path, "1")]);
    const none = manifestOf([]);
    const changes = change === "added" ? diffTrees(none, one) : diffTrees(one, none);
    assert.deepEqual(
      triggersFor(changes).map((t) => [t.name, ...t.files].join(" ")),
      expected,
      `${change} ${path}`,
    );
  }
  assert.deepEqual(triggersFor(diffTrees(undefined, manifestOf([dir("lib/sysctl.d")]))), []);
  const all = ["systemd/network/a.netdev", "sysctl.d/a.conf", "tmpfiles.d/a.conf", "sysusers.d/a.conf"];
  const order = triggersFor(diffTrees(undefined, manifestOf(all.map((p) => file(`lib/${p}`, "1"))))).map(
    (t) => t.name,
  );
  assert.deepEqual(order, ["sysusers", "tmpfiles", "sysctl", "networkd"]);
});

test("triggers run for another content, not for another mode, nor for a link that hides a vendor's file", () => {
  const path = "lib/tmpfiles.d/x.conf";
  const of = (before: ManifestEntry, after: ManifestEntry): string[] =>
    triggersFor(diffTrees(manifestOf([before]), manifestOf([after]))).map((t) => t.name);
  assert.deepEqual(of(file(path, "1"), file(path, "2")), ["tmpfiles"]);
  assert.deepEqual(of(file(path, "1"), file(path, "1", { mode: 0o600 })), []);
  assert.deepEqual(of(file(path, "1"), link(path, "/dev/null")), []);
});

test("what a removed file leaves behind is said", () => {
  const gone = ["lib/tmpfiles.d/x.conf", "lib/sysusers.d/x.conf", "lib/sysctl.d/x.conf"];
  const changes = diffTrees(manifestOf(gone.map((p) => file(p, "1"))), manifestOf([]));
  assert.deepEqual(planNotes(changes), [
    "lib/sysusers.d/x.conf was removed: its users and groups stay, since files may belong to them; `userdel` removes one",
    "lib/tmpfiles.d/x.conf was removed: what it made stays, since it may hold data",
  ]);
  const user = diffTrees(undefined, manifestOf([file("lib/systemd/user/x.service", "1")]));
  assert.deepEqual(planNotes(user), [
    "lib/systemd/user/x.service is for user managers: one that runs takes it after " +
      "`systemctl --user daemon-reload`, or at its user's next login",
  ]);
});

test("daemons that read their folder at start only are asked for and restarted where they run", () => {
  const changes = diffTrees(undefined, manifestOf([file("lib/systemd/resolved.conf.d/x.conf", "1")]));
  assert.deepEqual(
    daemonsFor(changes, readUnitSet(treeView(undefined, new Map()))).map((d) => d.unit),
    ["systemd-resolved.service"],
  );
  const actions = (name: string, state: string, installs = false) =>
    plan([], [file(`lib/systemd/${name}.conf.d/x.conf`, "1")], {
      units: new Map([unit(`systemd-${name}.service`, state)]),
      missingPackages: new Set(installs ? ["nginx-light"] : []),
    }).units.map((u) => u.action);
  // Their live units can reload; journald still does not read its configuration then.
  assert.deepEqual(actions("resolved", "active"), ["reload"]);
  assert.deepEqual(actions("journald", "active"), ["restart"]);
  assert.deepEqual(actions("resolved", "inactive"), []);
});

function unit(name: string, activeState: string): [UnitName, ReturnType<typeof liveUnit>] {
  return [name as UnitName, liveUnit(name, { activeState, canReload: true })];
}

function probed(rest: Partial<Probe>): Probe {
  return {
    host: "gw",
    pushedBy: undefined,
    generation: { number: 4, id: OLD },
    manifest: undefined,
    pending: false,
    left: [],
    undo: undefined,
    notWritable: undefined,
    hasRsync: true,
    freeBytes: 1e9,
    systemdVersion: 257,
    drifted: new Set(),
    driftUnknown: false,
    fingerprint: undefined,
    packagesStamp: undefined,
    shown: "",
    missingPackages: new Set(),
    ownPackages: new Set(),
    failedUnits: [],
    units: new Map(),
    states: new Map(),
    recovered: [],
    driftCut: false,
    damaged: [],
    ...rest,
  };
}

const TEXTS = new Map([["lib/systemd/system/x.service", "[Service]\nExecStart=/bin/x\n"]]);

function plan(
  before: readonly ManifestEntry[],
  after: readonly ManifestEntry[],
  probe: Partial<Probe> = {},
  packages: Manifest["packages"] = [],
  id = NEW,
): PushPlan {
  const manifest: Manifest = { ...manifestOf(after), packages };
  const set = (m: Manifest) =>
    readUnitSet(treeView(m, new Map([...TEXTS].filter(([path]) => m.entries.some((e) => e.path === path)))));
  const changes = diffTrees(manifestOf(before), manifest, probe.drifted);
  const old = manifestOf(before);
  return planPush({ manifest, id, probe: probed(probe), changes, before: set(old), after: set(manifest) });
}

test("a unit that a package yet to be installed may start is restarted, so that it never keeps the stock configuration", () => {
  const path = "lib/systemd/system/x.service";
  const wants = link("lib/systemd/system/multi-user.target.wants/x.service", "../x.service");
  const after = [file(path, "1"), wants];
  const packages = [{ name: "x", layer: "web" as never }];
  const actions = (probe: Partial<Probe>) =>
    plan([], after, probe, packages).units.map((u) => `${u.action} ${u.unit}`);
  const missing = new Set(["x"]);
  assert.deepEqual(actions({ missingPackages: missing }), ["restart x.service"]);
  assert.deepEqual(actions({}), ["start x.service"], "nothing to install");
  const stopped = new Map([unit("x.service", "inactive")]);
  assert.deepEqual(
    actions({ missingPackages: missing, units: stopped }),
    ["start x.service"],
    "it was there before",
  );
});

test("a generation's message can't add an operation", () => {
  const x = [file("etc/x", "1")];
  const text = operationLines(plan([], x), NEW, {
    confirmSeconds: 0,
    keep: 1,
    meta: { message: "a\nunit\tstop\tssh.service\u0085" },
  });
  assert.match(text, /^meta\tmessage\ta unit stop ssh\.service $/m);
});

test("a plan is empty only if nothing at all would happen", () => {
  const x = [file("etc/x", "1")];
  const packages = [{ name: "curl", layer: "web" as never }];
  assert.equal(isEmpty(plan(x, x, {}, [], OLD)), true);
  assert.equal(isEmpty(plan(x, x, {}, packages, OLD)), true, "an installed package");
  assert.equal(isEmpty(plan(x, x, { missingPackages: new Set(["curl"]) }, packages, OLD)), false);
  assert.equal(isEmpty(plan(x, x, { pending: true }, [], OLD)), false);
  assert.equal(isEmpty(plan(x, x, { drifted: new Set(["etc/x"]) }, [], OLD)), false);
  assert.equal(
    isEmpty(plan(x, x, {}, [], NEW)),
    false,
    "the same files by other sources are another generation",
  );
  assert.equal(isEmpty(plan(x, [file("etc/x", "2")])), false);
  assert.equal(isEmpty(plan([], [], { generation: undefined })), false, "a first push of nothing");
});

test("operations: one line each, in the words of docs/remote-protocol.md, and `end` last", () => {
  const before = [
    dir("gone"),
    file("gone/x", "1"),
    file("mode", "1"),
    file("edit", "1"),
    dir("was-folder"),
    file("was-folder/in", "1"),
    file("was-file", "1"),
    dir("open"),
  ];
  const after = [
    file("mode", "1", { mode: 0o4755, owner: "www-data", group: "adm" }),
    file("edit", "2"),
    file("was-folder", "3"),
    dir("was-file"),
    link("was-file/l", "../edit"),
    dir("open", { mode: 0o1777 }),
    file("lib/systemd/system/x.service", "1"),
    link("lib/systemd/system/multi-user.target.wants/x.service", "../x.service"),
    file("lib/labctl/check.d/c", "1", { mode: 0o755 }),
    file("lib/labctl/check.d/no-program", "1"),
    file("lib/sysctl.d/x.conf", "1"),
  ];
  const p = plan(before, after, { units: new Map([unit("multi-user.target", "active")]) });
  const text = operationLines(p, NEW, {
    confirmSeconds: 60,
    keep: 10,
    meta: { commit: "c", message: "a b" },
  });
  assert.equal(
    text,
    [
      "expect\t4",
      `generation\t5\t${NEW}`,
      "keep\t10",
      "confirm\t60",
      "meta\tcommit\tc",
      "meta\tmessage\ta b",
      "meta\tfiles\t11",
      "meta\tunits\t1",
      "plan\tchanged edit: layers/web/edit was edited",
      "plan\tremoved gone/x: layer web no longer has layers/web/gone/x",
      "plan\tadded lib/labctl/check.d/c: layer web has layers/web/lib/labctl/check.d/c",
      "plan\tadded lib/labctl/check.d/no-program: layer web has layers/web/lib/labctl/check.d/no-program",
      "plan\tadded lib/sysctl.d/x.conf: layer web has layers/web/lib/sysctl.d/x.conf",
      "plan\tadded lib/systemd/system/multi-user.target.wants/x.service: layer web has layers/web/lib/systemd/system/multi-user.target.wants/x.service",
      "plan\tadded lib/systemd/system/x.service: layer web has layers/web/lib/systemd/system/x.service",
      "plan\tattributes mode: layers/web/mode was edited",
      "plan\tadded was-file/l: layer web has layers/web/was-file/l",
      "plan\tchanged was-folder: layers/web/was-folder was edited",
      "plan\tremoved was-folder/in: layer web no longer has layers/web/was-folder/in",
      "plan\tdaemon-reload",
      "plan\ttrigger sysctl: lib/sysctl.d/x.conf was added",
      "plan\tstart x.service: is new, and multi-user.target wants it",
      "put\t0644\troot\troot\tedit",
      "rmdir\tgone",
      "del\tgone/x",
      "put\t0755\troot\troot\tlib/labctl/check.d/c",
      "put\t0644\troot\troot\tlib/labctl/check.d/no-program",
      "put\t0644\troot\troot\tlib/sysctl.d/x.conf",
      "put\t0777\troot\troot\tlib/systemd/system/multi-user.target.wants/x.service",
      "put\t0644\troot\troot\tlib/systemd/system/x.service",
      "attr\t4755\twww-data\tadm\tmode",
      "dir\t1777\troot\troot\topen",
      "dir\t0755\troot\troot\twas-file",
      "put\t0777\troot\troot\twas-file/l",
      "rmdir\twas-folder",
      "put\t0644\troot\troot\twas-folder",
      "del\twas-folder/in",
      "daemon-reload",
      "trigger\tsysctl",
      "unit\tstart\tx.service",
      "check\tlib/labctl/check.d/c",
      "end",
      "",
    ].join("\n"),
  );
  const staged = stagedPaths(p.files).map((f) => f.path);
  assert.ok(staged.includes("was-folder" as never) && staged.includes("was-file/l" as never));
  assert.ok(!staged.includes("mode" as never) && !staged.includes("was-file" as never));
});

test("a generation remembers what it replaced that was not what had been pushed", () => {
  const before = [file("edited", "1"), file("gone", "1"), file("whole", "1"), dir("folder")];
  const p = plan(before, [file("edited", "2"), file("whole", "2"), dir("folder")], {
    drifted: new Set(["edited", "gone", "folder"]),
  });
  const text = operationLines(p, NEW, { confirmSeconds: 0, keep: 10, meta: {} });
  const meta = text.split("\n").filter((l) => l.startsWith("meta\tdrifted"));
  assert.deepEqual(meta, ["meta\tdrifted\tedited", "meta\tdrifted\tgone"]);
});

test("the printed plan names what happens, counts folders, and lets no terminal code through", () => {
  const live = new Map([unit("x.service", "active"), unit("multi-user.target", "active")]);
  const p = plan(
    [file("lib/systemd/system/x.service", "1")],
    [
      file("lib/systemd/system/x.service", "1"),
      dir("etc"),
      file("etc/y", "1"),
      file("lib/sysctl.d/x.conf", "1"),
    ],
    { units: live },
  );
  assert.deepEqual(planLines(p), [
    "gw: generation 4 → 5 (aaaaaaaaaaaa → bbbbbbbbbbbb)",
    "  + etc/y                layer web has layers/web/etc/y",
    "  + lib/sysctl.d/x.conf  layer web has layers/web/lib/sysctl.d/x.conf",
    "    and 1 folder",
    "  trigger sysctl: lib/sysctl.d/x.conf was added",
  ]);
  const evil = {
    unit: "\u001b[2Jx.service" as UnitName,
    action: "restart" as const,
    reason: "r\u001b[0m",
    causes: [],
  };
  const printed = planLines({ ...p, units: [evil, { ...evil, action: "none" }] }).join("\n");
  assert.ok(!printed.includes("\u001b"), printed);
  assert.deepEqual(planLines(plan([], [], {}, [], OLD)), ["gw: nothing to do (generation 4, aaaaaaaaaaaa)"]);
});

test("packages: what comes and what is no longer needed, each with its reason; what stays is said", () => {
  const x = [file("etc/x", "1")];
  const curl = [{ name: "curl", layer: "web" as never }];
  const own = { ownPackages: new Set(["curl", "jq"]) };
  const lines = (p: PushPlan): string[] => planLines(p).filter((l) => l.includes("package"));
  assert.deepEqual(lines(plan(x, x, { missingPackages: new Set(["curl"]) }, curl, OLD)), [
    "  install package curl: layer web asks for it",
  ]);
  const kept = plan(x, x, own, curl, OLD);
  assert.equal(isEmpty(kept), true);
  assert.deepEqual(lines(kept), [
    "  leave package jq: labctl installed it, and no layer asks for it; --prune-packages removes it",
  ]);
  const pruned = { ...kept, prunePackages: true };
  assert.equal(isEmpty(pruned), false);
  assert.deepEqual(lines(pruned), ["  remove package jq: labctl installed it, and no layer asks for it"]);
  const json = planJson(pruned) as { packages: object[] };
  assert.deepEqual(json.packages, [
    { name: "jq", reason: "labctl installed it, and no layer asks for it", action: "remove" },
  ]);
});

test("forty files are listed, and the rest counted", () => {
  const many = Array.from({ length: 45 }, (_, i) => file(`f${i}`, "1"));
  const printed = planLines(plan([], many));
  assert.equal(printed.filter((l) => l.startsWith("  + ")).length, 40);
  assert.ok(printed.includes("    … and 5 more files"));
});

test("the JSON of a plan has the contract's keys", () => {
  const json = planJson(plan([], [file("etc/y", "1")], { generation: undefined })) as Record<string, unknown>;
  assert.deepEqual(json, {
    machine: "gw",
    from: null,
    to: NEW,
    files: [{ path: "etc/y", change: "added", type: "file", cause: "layer web has layers/web/etc/y" }],
    taken: [],
    units: [],
    daemonReload: false,
    triggers: [],
    packages: [],
    drifted: [],
    pending: false,
    notes: [],
  });
});

test("what an interrupted push left undone is named, as the machine will do it", () => {
  const x = [file("etc/x", "1")];
  const left = [
    ["daemon-reload"],
    ["trigger", "sysctl"],
    ["unit", "restart", "a.service"],
    ["unit", "start", "gone.service"],
    ["check", "lib/labctl/check.d/x"],
  ];
  const told = (p: PushPlan): string[] => [
    ...(p.daemonReload ? ["daemon-reload"] : []),
    ...p.triggers.map((t) => `trigger ${t.name}: ${t.reason}`),
    ...p.units.map((u) => `${u.action} ${u.unit}: ${u.reason}`),
  ];
  const reason = "an interrupted push left it undone";
  assert.deepEqual(told(plan(x, x, { pending: true, left }, [], OLD)), [
    "daemon-reload",
    `trigger sysctl: ${reason}`,
    `restart a.service: ${reason}`,
    `start gone.service: ${reason}`,
  ]);
  // A push that removes a unit's file does not start it, and what it does anyway it does once.
  const path = "lib/systemd/system/gone.service";
  const p = plan([file(path, "1"), ...x], [file("lib/sysctl.d/y.conf", "1"), ...x], { pending: true, left });
  assert.deepEqual(told(p), [
    "daemon-reload",
    "trigger sysctl: lib/sysctl.d/y.conf was added",
    `restart a.service: ${reason}`,
    `none gone.service: ${path} was removed, and no other unit file stands behind it; it was not running`,
  ]);
});
