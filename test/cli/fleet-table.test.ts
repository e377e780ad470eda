/** The table of a push to several machines, its summary and its exit code, as they read. */
import assert from "node:assert/strict";
import test from "node:test";
import { type TableRow, tableLines } from "../../src/cli/fleet/table.ts";
import { endJson, exitOf, type NamedEnd, summaryLines } from "../../src/cli/fleet/words.ts";
import { problem } from "../../src/diagnostics.ts";
import type { MachineEnd } from "../../src/push/fleet/machine-end.ts";

function row(name: string, rest: Partial<TableRow> = {}): TableRow {
  return {
    name,
    phase: "waiting",
    tone: "waiting",
    files: undefined,
    units: undefined,
    ms: undefined,
    ...rest,
  };
}

const SOME: readonly TableRow[] = [
  row("gateway", { phase: "done: it runs generation 5", tone: "good", files: 12, units: [3, 3], ms: 1234 }),
  row("den", { phase: "restart nginx.service", tone: "working", files: 3, units: [1, 2], ms: 470 }),
  row("storage"),
];

test("a table says of each machine what it is at, how much there is to do, and since when", () => {
  assert.deepEqual(tableLines(SOME, "wave 1 of 2", { columns: 80, rows: 24 }), [
    "machine                                        files  units      time",
    "gateway  done: it runs generation 5               12    3/3     1.2 s",
    "den      restart nginx.service                     3    1/2    470 ms",
    "storage  waiting                                                     ",
    "wave 1 of 2; 1 done, 1 at work, 1 waiting",
  ]);
});

test("no line is as wide as the screen, however narrow; there must be room for names and times", () => {
  for (const columns of [20, 30, 40, 55, 57, 80, 200]) {
    const lines = tableLines([...SOME, row("a-machine-with-a-very-long-name-indeed")], "", {
      columns,
      rows: 24,
    });
    if (columns >= 46) for (const line of lines) assert.ok(line.length < columns, `${columns}: ${line}`);
    assert.equal(lines.length, 6);
  }
});

test("with more machines than the screen has rows, those that tell most are shown, in their own order", () => {
  const rows = Array.from({ length: 30 }, (_, i) => row(`m${i}`));
  rows[7] = row("m7", { tone: "good", phase: "done" });
  rows[20] = row("m20", { tone: "bad", phase: "failed" });
  rows[25] = row("m25", { tone: "working", phase: "sending" });
  const lines = tableLines(rows, "", { columns: 80, rows: 9 });
  assert.ok(lines.length <= 8, "one row is left for the cursor");
  assert.deepEqual(
    lines.slice(1, -2).map((l) => l.split(" ")[0]),
    ["m7", "m20", "m25", "m0"].sort((a, b) => Number(a.slice(1)) - Number(b.slice(1))),
  );
  assert.equal(lines.at(-2), "… and 26 more");
  assert.equal(lines.at(-1), "1 failed, 1 done, 1 at work, 27 waiting");
});

test("text from a machine steers no terminal", () => {
  const lines = tableLines([row("m", { phase: "check \u001b[2J" })], "", { columns: 80, rows: 24 });
  assert.match(lines[1] ?? "", /check \\x1b\[2J/);
});

const why = [problem("unit-failed", "x failed")];
const ENDS: readonly (readonly [NamedEnd, string])[] = [
  [
    { name: "a", end: { kind: "done", generation: 2, before: 1 }, effort: "1 file, 0 unit actions, 1.2 s" },
    "  a     done           it runs generation 2 (1 file, 0 unit actions, 1.2 s)",
  ],
  [{ name: "b", end: { kind: "unchanged", generation: 1 } }, "  b     nothing to do  it runs generation 1"],
  [
    { name: "c", end: { kind: "failed", problems: why, left: "taken-back" } },
    "  c     failed         [unit-failed] everything was taken back: it runs what it ran before",
  ],
  [
    { name: "dd", end: { kind: "reverted", from: 2, to: 1, problems: [] } },
    "  dd    reverted       generation 2 was taken back: it has the tree of generation 1 again",
  ],
  [
    { name: "e", end: { kind: "reverted", from: 1, to: undefined, problems: why } },
    "  e     reverted       [unit-failed] generation 1 was taken back: nothing of labctl's is there again",
  ],
  [
    { name: "ffff", end: { kind: "not-reverted", generation: 2, problems: why } },
    "  ffff  NOT reverted   [unit-failed] generation 2 could not be taken back; see above",
  ],
  [
    { name: "g", end: { kind: "untouched", why: "failures" } },
    "  g     untouched      others failed before its turn",
  ],
  [
    { name: "h", end: { kind: "failed", problems: why, left: "takes-back" } },
    "  h     failed         [unit-failed] it takes the change back by itself when the time to confirm is over",
  ],
];

test("the summary counts, and says of each machine what state it is in", () => {
  assert.deepEqual(summaryLines(ENDS.map(([end]) => end)), [
    "8 machines: 1 done, 1 nothing to do, 2 failed, 2 reverted, 1 NOT reverted, 1 untouched",
    ...ENDS.map(([, line]) => line),
  ]);
});

test("the exit code is 0, 1, 2, 3 or 130", () => {
  const done: MachineEnd = { kind: "done", generation: 2, before: 1 };
  const failed: MachineEnd = { kind: "failed", problems: why, left: "unchanged" };
  const reverted: MachineEnd = { kind: "reverted", from: 2, to: 1, problems: [] };
  const left: MachineEnd = { kind: "untouched", why: "failures" };
  const interrupted: MachineEnd = { kind: "untouched", why: "interrupted" };
  assert.equal(exitOf([done, { kind: "unchanged", generation: 1 }]), 0);
  assert.equal(exitOf([failed]), 1);
  assert.equal(exitOf([failed, reverted]), 1);
  assert.equal(exitOf([failed, done]), 3);
  assert.equal(exitOf([failed, left]), 3);
  assert.equal(exitOf([done, interrupted]), 130);
  assert.equal(
    exitOf([
      { kind: "planned", changes: true },
      { kind: "planned", changes: false },
    ]),
    2,
  );
  assert.equal(exitOf([{ kind: "planned", changes: true }, failed]), 3);
});

test("--json has each end's state, and what belongs to it", () => {
  assert.deepEqual(endJson({ name: "a", end: { kind: "reverted", from: 2, to: 1, problems: why } }), {
    machine: "a",
    ok: false,
    state: "reverted",
    says: "reverted: [unit-failed] generation 2 was taken back: it has the tree of generation 1 again",
    from: 2,
    to: 1,
    problems: why,
  });
});
