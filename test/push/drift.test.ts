/** What a machine says of itself, compared with what was pushed: tables, no machine; nonsense first. */
import assert from "node:assert/strict";
import test from "node:test";
import type { Manifest, ManifestEntry } from "../../src/build/manifest.ts";
import { treeView } from "../../src/build/tree-view.ts";
import { formatDiagnostic } from "../../src/diagnostics.ts";
import { describeDrift, findingDiagnostic } from "../../src/push/live/describe-drift.ts";
import { type ContentVerdict, findFileDrift, pathsToCompare } from "../../src/push/live/file-drift.ts";
import { type LiveAnswer, readLiveAnswer, readTime } from "../../src/push/live/live-answer.ts";
import { findUnitDrift, unitsToVerify } from "../../src/push/live/unit-drift.ts";
import { parseRecords } from "../../src/push/records.ts";
import { readUnitSet } from "../../src/units/unit-set.ts";
import { seededRandom } from "../seeded-random.ts";
import { dir, file, link, manifestOf } from "./manifest-of.ts";

const ID = "ab".repeat(32);

function answerText(...more: string[]): string {
  const head = [
    "labctl\t1",
    `generation\t3\t${ID}`,
    "clock\t1700000000",
    "journal\tno",
    "pending\tno",
    "undo\tno",
  ];
  return [...head, ...more, "done\tok", ""].join("\n");
}

function read(text: string): LiveAnswer | undefined {
  return readLiveAnswer(parseRecords(Buffer.from(text)));
}

function answer(...more: string[]): LiveAnswer {
  const found = read(
    answerText(...(more.some((m) => m.startsWith("drift\t")) ? [] : ["drift\tnone"]), ...more),
  );
  assert.ok(found);
  return found;
}

function data(name: string, text: string): string {
  return `data\t${name}\t${Buffer.byteLength(text)}\n${text}`;
}

/** `systemctl show` of a running service, changed by `with_`. */
function unit(id: string, with_: Readonly<Record<string, string>> = {}): string {
  const values = {
    Id: id,
    Names: id,
    LoadState: "loaded",
    ActiveState: "active",
    SubState: "running",
    Type: "simple",
    Result: "success",
    MainPID: "7",
    ExecMainStartTimestamp: "Tue 2023-11-14 22:13:20.500000 UTC",
    StateChangeTimestamp: "Tue 2023-11-14 22:13:20.600000 UTC",
    InactiveExitTimestamp: "Tue 2023-11-14 22:13:20.400000 UTC",
    ...with_,
  };
  return Object.entries(values)
    .map(([key, value]) => `${key}=${value}\n`)
    .join("");
}

function units(...blocks: string[]): string {
  return data("units", blocks.join("\n"));
}

test("an answer that is none of ours, not whole, or nonsense in any part is no answer", () => {
  for (const bad of [
    "",
    "Welcome!\n",
    answerText("drift\tnone").replace("done\tok", "done\tfailed-unchanged"),
    answerText("drift\tnone").replace("labctl\t1", "labctl\t2"),
    answerText("drift\tnone").replace(`3\t${ID}`, "3\tshort"),
    answerText("drift\tnone").replace(`3\t${ID}`, `-3\t${ID}`),
    answerText("drift\tchanged\t1", "differs\tx\tf\t644\troot\troot\tmany\t1\tyes\t"),
    answerText("drift\tchanged\t1", "differs\tx\tf\t999\troot\troot\t1\t1\tyes\t"),
    answerText("drift\tchanged\t1", "differs\tx\tfile\t644\troot\troot\t1\t1\tyes\t"),
    answerText("drift\tchanged\t1", "differs\tx\tf\t644\troot\troot\t1\t1\tperhaps\t"),
    answerText("drift\tchanged\t1", "differs\tx"),
    answerText("drift\tnone", "bind\ta.service\tmaybe\tx\t/y"),
    answerText("drift\tnone", "unit-file\ta.service\tyesterday\t/x"),
    answerText("drift\tnone", "busy\tlunch"),
    answerText("drift\tnone", data("extras.base64", Buffer.from("fno-end").toString("base64"))),
    answerText("drift\tnone", data("manifest.gz.base64", "bm90IGd6aXA=")),
  ]) {
    assert.equal(read(bad), undefined, bad);
  }
  assert.ok(read(answerText("drift\tnone")), "control");
  assert.equal(read(answerText("drift\tnone").replace(`3\t${ID}`, "0\t-"))?.generation, undefined);
});

test("random answers throw nothing", () => {
  const random = seededRandom(7);
  const words = [
    "labctl\t1",
    "differs",
    "data\tunits\t3",
    "\t",
    "\n",
    "x",
    "done\tok",
    "\0",
    "bind",
    "9",
    ID,
    "unit-file",
  ];
  for (let i = 0; i < 500; i++) {
    let text = "";
    for (let n = 0; n < 30; n++) text += random.pick(words);
    read(text);
    read(answerText("drift\tnone", text));
  }
});

test("times of systemd are read to the microsecond; what is none is undefined", () => {
  assert.equal(readTime("Tue 2023-11-14 22:13:20.250000 UTC"), 1_700_000_000.25);
  assert.equal(readTime("Tue 2023-11-14 22:13:20 UTC"), 1_700_000_000);
  for (const bad of ["", "n/a", "0", "Tue 2023-11-14 22:13:20 CET", "Tue 2023-99-14 22:13:20 UTC", undefined])
    assert.equal(readTime(bad), undefined);
});

const TREE = manifestOf([
  dir("etc/x"),
  file("etc/x/a", "1"),
  file("etc/x/b", "2", { mode: 0o640, group: "adm" }),
  link("etc/x/l", "a"),
  dir("opt"),
  dir("opt/y"),
  file("opt/y/c", "3"),
]);

function files(
  lines: readonly string[],
  verdicts: Record<string, ContentVerdict> = {},
  tree: Manifest = TREE,
) {
  const said = answer(`drift\tchanged\t${lines.length}`, ...lines.map((l) => `differs\t${l}`));
  const compared = pathsToCompare(tree, said).map((e) => e.path as string);
  const known = new Map<string, ContentVerdict>(compared.map((p) => [p, verdicts[p] ?? "same"]));
  const found = findFileDrift(tree, said, known);
  return {
    drifts: found.drifts.map(
      (d) => `${d.kind} ${d.entry.path}: ${d.expected} | ${d.found}${d.below ? ` +${d.below}` : ""}`,
    ),
    compared,
    rewritten: found.rewritten.map((r) => r.entry.path as string),
    touched: found.touched,
  };
}

test("each kind of file drift is told with what was expected and what was found", () => {
  const rows: [string[], Record<string, ContentVerdict>, string[]][] = [
    [["etc/x/a\tf\t644\troot\troot\t1\t5\tyes\t"], {}, []],
    [["etc/x/a\tf\t644\troot\troot\t1\t5\tno\t"], {}, []],
    [
      ["etc/x/a\tf\t644\troot\troot\t1\t5\tyes\t"],
      { "etc/x/a": "other" },
      ["content etc/x/a: 1 bytes, BLAKE3 1111111111111111… | other bytes, as many"],
    ],
    [
      ["etc/x/a\tf\t644\troot\troot\t99999999999\t5\tyes\t"],
      {},
      ["content etc/x/a: 1 bytes, BLAKE3 1111111111111111… | 99999999999 bytes"],
    ],
    [["etc/x/a\tf\t600\troot\troot\t1\t5\tno\t"], {}, ["mode etc/x/a: 0644 | 0600"]],
    [["etc/x/a\tf\t4755\troot\troot\t1\t5\tno\t"], {}, ["mode etc/x/a: 0644 | 4755"]],
    [["etc/x/b\tf\t640\t1000\tadm\t1\t5\tno\t"], {}, ["owner etc/x/b: root:adm | 1000:adm"]],
    [["etc/x/l\tl\t777\troot\troot\t1\t5\tyes\t/etc/shadow"], {}, ["target etc/x/l: a | /etc/shadow"]],
    [["etc/x/l\tl\t777\troot\troot\t1\t5\tyes\ta"], {}, []],
    [["etc/x/a\tp\t644\troot\troot\t0\t5\tyes\t"], {}, ["type etc/x/a: a file | a pipe"]],
    [["etc/x/a\tabsent"], {}, ["missing etc/x/a: a file | nothing"]],
    [["opt/y\tabsent", "opt/y/c\tabsent"], {}, ["missing opt/y: a folder | nothing +1"]],
    [
      ["opt/y\tl\t777\troot\troot\t1\t5\tyes\t/srv", "opt/y/c\tabsent"],
      {},
      ["type opt/y: a folder | a link +1"],
    ],
    // A path that is not in the tree can't come from the question that was asked.
    [["../../etc/shadow\tabsent", "not/ours\tabsent"], {}, []],
  ];
  for (const [lines, verdicts, expected] of rows)
    assert.deepEqual(files(lines, verdicts).drifts, expected, lines[0]);
});

test("only files of the pushed size are read; those that were written and are the same again are remembered", () => {
  const found = files([
    "etc/x/a\tf\t644\troot\troot\t1\t5\tyes\t",
    "etc/x/b\tf\t640\troot\tadm\t2\t5\tyes\t",
    "etc/x/l\tl\t777\troot\troot\t1\t5\tyes\ta",
    "opt/y/c\tf\t644\troot\troot\t1\t5\tno\t",
  ]);
  assert.deepEqual(found.compared, ["etc/x/a", "opt/y/c"]);
  assert.deepEqual(found.rewritten, ["etc/x/a", "etc/x/l"]);
  assert.deepEqual(found.touched, ["etc/x/a", "etc/x/l", "opt/y/c"]);
});

test("extras count in the tree's folders only, whatever their names hold", () => {
  const names = ["fetc/x/mine", "detc/x/a\nb", "fopt/z\u001b[31m", "fusr/elsewhere", "fetc/mine"];
  const packed = Buffer.from(names.map((n) => `${n}\0`).join("")).toString("base64");
  const found = findFileDrift(TREE, answer(data("extras.base64", packed)), new Map());
  assert.deepEqual(
    found.extras.map((e) => `${e.type} ${e.path}`),
    ["f etc/x/mine", "d etc/x/a\nb", "f opt/z\u001b[31m"],
  );
  const [, , last] = found.extras;
  assert.ok(last);
  const text = formatDiagnostic(findingDiagnostic(describeDrift("gw", last)));
  assert.ok(!text.includes("\u001b"), text);
});

const RUNS = `[Service]
ExecStart=/usr/local/bin/run
EnvironmentFile=/usr/local/etc/x/a
BindReadOnlyPaths=/usr/local/etc/x/b:/etc/b
[X-Labctl]
ReloadOn=/usr/local/opt/y
`;
const ENTRIES: readonly ManifestEntry[] = [
  ...TREE.entries,
  dir("lib/systemd/system"),
  file("lib/systemd/system/run.service", "8"),
  link("lib/systemd/system/multi-user.target.wants/run.service", "../run.service"),
  file("lib/systemd/system/ssh.service.d/10.conf", "9"),
];

function unitDrifts(
  said: readonly string[],
  rewritten: Readonly<Record<string, number>> = {},
  texts: Readonly<Record<string, string>> = {},
) {
  const tree = manifestOf(ENTRIES);
  const view = treeView(
    tree,
    new Map(
      Object.entries({
        "lib/systemd/system/run.service": RUNS,
        "lib/systemd/system/ssh.service.d/10.conf": "[Service]\nNice=5\n",
        ...texts,
      }),
    ),
  );
  const set = readUnitSet(view);
  const found = findUnitDrift(tree, set, answer(...said), {
    drifts: [],
    extras: [],
    touched: [],
    rewritten: Object.entries(rewritten).map(([path, changedAtS]) => {
      const entry = tree.entries.find((e) => e.path === path);
      assert.ok(entry, path);
      return { entry, changedAtS };
    }),
  });
  assert.deepEqual(unitsToVerify(set), ["multi-user.target", "run.service", "ssh.service"]);
  return [
    ...found.drifts.map((d) => `${d.kind} ${[d.unit, ...d.more].join(" ")}: ${d.found}`),
    ...found.notes,
  ];
}

const TARGET = unit("multi-user.target", { Type: "", MainPID: "" });
const STARTED = 1_700_000_000.5;

test("each kind of unit drift is told; what is in order is not", () => {
  const stopped = { ActiveState: "inactive", SubState: "dead", MainPID: "0" };
  const never = { ...stopped, InactiveExitTimestamp: "" };
  const rows: [string, string[], string[]][] = [
    ["running", [units(TARGET, unit("run.service"))], []],
    ["nothing known", [], []],
    [
      "failed",
      [
        units(TARGET, unit("run.service", { ...stopped, ActiveState: "failed", Result: "signal" })),
        "failed\trun.service",
      ],
      ["failed run.service: failed (signal)"],
    ],
    ["not the tree's", ["failed\tother.service"], ["failed other.service: failed"]],
    ["stopped", [units(TARGET, unit("run.service", stopped))], ["not-running run.service: stopped"]],
    [
      "never started",
      [units(TARGET, unit("run.service", never))],
      ["not-running run.service: never started"],
    ],
    [
      "its target is not up",
      [units(unit("multi-user.target", { ActiveState: "inactive" }), unit("run.service", stopped))],
      [],
    ],
    ["a oneshot that ended", [units(TARGET, unit("run.service", { ...stopped, Type: "oneshot" }))], []],
    [
      "a oneshot that should remain",
      [units(TARGET, unit("run.service", { ...stopped, Type: "oneshot", RemainAfterExit: "yes" }))],
      ["not-running run.service: stopped"],
    ],
    [
      "its condition fails",
      [
        units(
          TARGET,
          unit("run.service", {
            ...never,
            ConditionResult: "no",
            ConditionTimestamp: "Tue 2023-11-14 22:13:20 UTC",
          }),
        ),
      ],
      [],
    ],
    ["nobody wants it", [units(TARGET, unit("ssh.service", stopped))], []],
    [
      "masked",
      [units(TARGET, unit("run.service", { ...stopped, LoadState: "masked", UnitFileState: "masked" }))],
      ["masked run.service: masked by hand"],
    ],
    [
      "masked, with a drop-in only",
      [units(unit("ssh.service", { LoadState: "masked", UnitFileState: "masked-runtime" }))],
      ["masked ssh.service: masked until the next boot"],
    ],
    [
      "overruled",
      [units(TARGET, unit("run.service", { FragmentPath: "/etc/systemd/system/run.service" }))],
      ["shadowed run.service: /etc/systemd/system/run.service"],
    ],
    [
      "in its place",
      [units(TARGET, unit("run.service", { FragmentPath: "/usr/local/lib/systemd/system/run.service" }))],
      [],
    ],
    [
      "dies over and over",
      [
        units(
          TARGET,
          unit("run.service", { ActiveState: "activating", SubState: "auto-restart", Result: "exit-code" }),
        ),
      ],
      ["failed run.service: dies and is started again (exit-code)"],
    ],
    [
      "a stale bind",
      [units(TARGET, unit("run.service")), "bind\trun.service\tother\tetc/x/b\t/etc/b"],
      ["stale-bind run.service: another file than the tree's at /etc/b"],
    ],
    [
      "not mounted",
      [units(TARGET, unit("run.service")), "bind\trun.service\tabsent\tetc/x/b\t/etc/b"],
      ["stale-bind run.service: nothing is mounted at /etc/b"],
    ],
    [
      "a bind of what is not the tree's",
      [units(TARGET, unit("run.service")), "bind\trun.service\tother\tsrv/own\t/etc/b"],
      [],
    ],
    [
      "a path that escapes",
      [units(TARGET, unit("run.service")), "bind\trun.service\tother\t../../etc/shadow\t/etc/b"],
      [],
    ],
    [
      "a unit that nobody asked about",
      [units(unit("x.service", { LoadState: "masked" })), "bind\tx.service\tother\tetc/x/b\t/etc/b"],
      [],
    ],
  ];
  for (const [name, said, expected] of rows) assert.deepEqual(unitDrifts(said), expected, name);
});

test("a unit is older than what someone else wrote since it started, or since its reload where a reload is enough", () => {
  const up = units(TARGET, unit("run.service"));
  const before = STARTED - 0.01;
  const older = ["older-configuration run.service: started before"];
  assert.deepEqual(unitDrifts([up], { "etc/x/a": before }), []);
  assert.deepEqual(unitDrifts([up], { "etc/x/a": STARTED + 0.01 }), older);
  assert.deepEqual(unitDrifts([up], { "opt/y/c": STARTED + 0.01 }), [], "reloaded since");
  assert.deepEqual(unitDrifts([up], { "opt/y/c": STARTED + 1 }), [
    "older-configuration run.service: reloaded before",
  ]);
  assert.deepEqual(unitDrifts([up], { "lib/systemd/system/run.service": STARTED + 1 }), older);
  // What a bind shows is looked at itself.
  assert.deepEqual(unitDrifts([up], { "etc/x/b": STARTED + 1 }), []);
  const none = { "lib/systemd/system/run.service": `${RUNS}OnChange=none\n` };
  assert.deepEqual(unitDrifts([up], { "etc/x/a": STARTED + 1 }, none), [
    "run.service has not read etc/x/a since it was written; its OnChange=none asks for that",
  ]);
});

test("a daemon-reload is missing where others wrote unit files, not where labctl left one out for want of meaning", () => {
  const waits = { NeedDaemonReload: "yes" };
  const path = "/usr/local/lib/systemd/system/run.service";
  const loaded = "loaded-at\tTue 2023-11-14 22:13:20.000000 UTC";
  const said = (changed: number, at = path): string[] => [
    units(TARGET, unit("run.service", waits), unit("ssh.service", waits)),
    loaded,
    `unit-file\trun.service\t${changed}\t${at}`,
    "unit-file\tssh.service\t1700000009\t/usr/local/lib/systemd/system/ssh.service.d/10.conf",
  ];
  const found = "they were written since it read them";
  assert.deepEqual(unitDrifts(said(1_700_000_009)), [], "labctl wrote both, later than systemd read them");
  assert.deepEqual(unitDrifts(said(1_600_000_000)), [`daemon-reload run.service: ${found}`]);
  assert.deepEqual(unitDrifts(said(1_700_000_009, "/etc/systemd/system/run.service.d/x.conf")), [
    `daemon-reload run.service: ${found}`,
  ]);
  assert.deepEqual(unitDrifts(said(1_700_000_009), { "lib/systemd/system/run.service": 1_700_000_009 }), [
    `daemon-reload run.service: ${found}`,
  ]);
});

test("a finding says where it comes from and what to do next", () => {
  const found = findFileDrift(
    TREE,
    answer("drift\tchanged\t1", "differs\tetc/x/a\tf\t644\troot\troot\t7\t5\tyes\t"),
    new Map(),
  );
  const [drift] = found.drifts;
  assert.ok(drift);
  assert.equal(
    formatDiagnostic(findingDiagnostic(describeDrift("gw", drift))),
    `warning[content] gw: /usr/local/etc/x/a has other content than was pushed
  expected 1 bytes, BLAKE3 1111111111111111…, found 7 bytes
  from layers/web/etc/x/a, layer web
  help: \`labctl push gw\` puts it back; \`labctl adopt gw etc/x/a\` keeps the edit`,
  );
});
