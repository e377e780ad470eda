/** Plans on disk: what is refused before any machine is asked; the whole answer of the real program. */
import assert from "node:assert/strict";
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import type { MachineName } from "../../src/paths.ts";
import { savedPlanText } from "../../src/push/saved-plan/saved-plan.ts";
import { oneMachine, type Scenario, scenario } from "../scenario.ts";

/** A plan of another machine's, as `plan -o` writes it. */
const PLAN = savedPlanText({
  createdAt: "2026-11-21T10:00:00.000Z",
  by: "me@here",
  facts: [],
  takeOver: false,
  prunePackages: false,
  machines: [{ machine: "other" as MachineName, generation: 0, fingerprint: "", units: {}, plan: {} }],
});

function repository(t: TestContext): Scenario {
  const s = scenario(oneMachine("base"));
  t.after(() => s.end());
  writeFileSync(join(s.root, "text"), "mine\n");
  writeFileSync(join(s.root, "plan"), PLAN);
  mkdirSync(join(s.root, "folder"));
  symlinkSync("plan", join(s.root, "link"));
  return s;
}

const firstLine = (text: string): string | undefined => text.split("\n")[0];

test("plan -o writes over nothing but a plan, and says so before it asks a machine", (t) => {
  const s = repository(t);
  const rows: [string, string][] = [
    ["text", "error[plan-occupied] text: it is no plan of labctl, and is not written over"],
    ["folder", "error[plan-occupied] folder: it is no plan of labctl, and is not written over"],
    ["link", "error[plan-occupied] link: it is no plan of labctl, and is not written over"],
    [
      "none/plan",
      "error[plan-unwritable] none/plan: the plan can't be written: there is no such file or folder",
    ],
    [
      "text/plan",
      "error[plan-unwritable] text/plan: the plan can't be written: a part of its path is no folder",
    ],
  ];
  for (const [file, said] of rows) {
    const answer = s.run(["plan", "m", "-o", file]);
    assert.deepEqual([answer.code, firstLine(answer.stderr), answer.stdout], [1, said, ""]);
  }
  assert.equal(readFileSync(join(s.root, "text"), "utf8"), "mine\n");
});

test("push --plan with what can't be one", (t) => {
  const s = repository(t);
  writeFileSync(join(s.root, "cut"), PLAN.slice(0, 150));
  const rows: [string[], number, string][] = [
    [
      ["--plan", "none"],
      1,
      "error[plan-unreadable] none: the plan can't be read: there is no such file or folder",
    ],
    [["--plan", "folder"], 1, "error[plan-unreadable] folder: the plan can't be read: it is a folder"],
    [["--plan", "text"], 1, "error[plan-foreign] text: it is no plan of labctl"],
    [["--plan", "/dev/null"], 1, "error[plan-foreign] /dev/null: it is no plan of labctl"],
    [
      ["--plan", "cut"],
      1,
      "error[plan-damaged] cut: the plan is damaged or was edited: it is cut off, or no JSON any more",
    ],
    [["--plan", "plan", "m"], 1, "error[plan-no-machine] plan: the plan is not about machine `m`"],
    [["--plan", "plan"], 1, "error[unknown-machine] no machine matches `other`"],
    [
      ["--plan", "plan", "--fact", "A=1"],
      64,
      "error[usage] --plan and --fact contradict each other: the plan says itself what it was made with",
    ],
    [
      ["--plan", "plan", "--take-over"],
      64,
      "error[usage] --plan and --take-over contradict each other: the plan says itself what it was made with",
    ],
    [[], 64, "error[usage] `push` wants <machine…>, or --plan FILE"],
  ];
  for (const [args, code, said] of rows) {
    const answer = s.run(["push", ...args]);
    assert.deepEqual(
      [answer.code, firstLine(answer.stderr)?.replace(s.root, "<repo>")],
      [code, said],
      args.join(" "),
    );
  }
});
