/** A plan that was written down: read back whole or refused, and what counts as "changed since": tables, no disk. */
import assert from "node:assert/strict";
import test from "node:test";
import { formatDiagnostic } from "../../src/diagnostics.ts";
import type { MachineName } from "../../src/paths.ts";
import {
  changesSince,
  isPlanText,
  parseSavedPlan,
  type SavedMachine,
  type SavedPlan,
  savedPlanText,
  stalePlan,
} from "../../src/push/saved-plan/saved-plan.ts";

const OLD = "a".repeat(64);
const NEW = "b".repeat(64);

const MACHINE: SavedMachine = {
  machine: "gw" as MachineName,
  generation: 4,
  fingerprint: "f".repeat(64),
  units: { "nginx.service": "running", "x.timer": "stopped" },
  plan: {
    from: OLD,
    to: NEW,
    files: [{ path: "a" }],
    drifted: ["x"],
    packages: [],
    units: [],
    pending: false,
  },
};

const SAVED: SavedPlan = {
  createdAt: "2026-11-21T10:00:00.000Z",
  by: "me@here",
  facts: ["A=1"],
  takeOver: false,
  prunePackages: true,
  machines: [MACHINE],
};

function problemsOf(text: string): string {
  const read = parseSavedPlan(text, "p.json");
  assert.ok(!read.ok);
  return read.problems.map(formatDiagnostic).join("\n");
}

test("what is no plan, another version's, cut off, or edited is refused", () => {
  const text = savedPlanText(SAVED);
  const rows: [string, string][] = [
    ["", "plan-foreign"],
    ["{}", "plan-foreign"],
    ["[1]", "plan-foreign"],
    ['{"machine":"gw","from":null}', "plan-foreign"],
    ["\u001b[2J", "plan-foreign"],
    [text.replace('"version": 1', '"version": 2'), "plan-version"],
    [text.replace('"version": 1', '"version": "1"'), "plan-version"],
    [text.slice(0, 200), "plan-damaged"],
    [text.replace('"generation": 4', '"generation": 5'), "plan-damaged"],
    [text.replace('"me@here"', "7"), "plan-damaged"],
    [text.replace(/"machines": \[[\s\S]*\]/, '"machines": []'), "plan-damaged"],
    [text.replace('"gw"', '"../gw"'), "plan-damaged"],
    [text.replace('"path": "a"', '"path": "b"'), "plan-damaged"],
  ];
  for (const [broken, code] of rows) {
    assert.notEqual(broken, text);
    assert.match(problemsOf(broken), new RegExp(`^error\\[${code}\\] p.json: `), broken.slice(0, 300));
  }
  assert.equal(
    problemsOf(text.slice(0, 200)),
    `error[plan-damaged] p.json: the plan is damaged or was edited: it is cut off, or no JSON any more
  no machine was asked
  help: plan anew: \`labctl plan MACHINE -o FILE\``,
  );
});

test("what was written is what is read; only a plan's text counts as one", () => {
  const text = savedPlanText(SAVED);
  const read = parseSavedPlan(text, "p.json");
  assert.ok(read.ok);
  assert.deepEqual(read.value, SAVED);
  assert.deepEqual(changesSince(MACHINE, read.value.machines[0] as SavedMachine), []);
  assert.deepEqual([isPlanText(text), isPlanText("{}"), isPlanText("x")], [true, false, false]);
});

test("what changed since is named, causes before what follows from them", () => {
  const plan = (rest: object): Partial<SavedMachine> => ({ plan: { ...MACHINE.plan, ...rest } });
  const rows: [Partial<SavedMachine>, string[]][] = [
    [{}, []],
    [plan({ to: OLD, files: [] }), ["the build: it was generation bbbbbbbbbbbb, and is aaaaaaaaaaaa now"]],
    [
      { generation: 5, ...plan({ from: NEW, files: [] }) },
      ["the machine's generation: it was at 4 (aaaaaaaaaaaa), and is at 5 (bbbbbbbbbbbb) now"],
    ],
    [plan({ drifted: ["x", "y"] }), ["/usr/local/y on the machine"]],
    [plan({ drifted: [] }), ["/usr/local/x on the machine"]],
    [{ fingerprint: "0".repeat(64) }, ["files under /usr/local on the machine: they were written again"]],
    [
      { units: { "nginx.service": "failed", "x.timer": "stopped" } },
      ["unit nginx.service: it was running, and is failed now"],
    ],
    [
      plan({ packages: [{ name: "curl", action: "install", reason: "r" }] }),
      ["package curl: installed or missing, other than then"],
    ],
    [plan({ pending: true }), ["what an interrupted push left undone"]],
    [plan({ checks: ["c"] }), ["the plan's checks"]],
  ];
  for (const [now, expected] of rows)
    assert.deepEqual(changesSince(MACHINE, { ...MACHINE, ...now }), expected);
  assert.equal(stalePlan(MACHINE, MACHINE), undefined);
});
