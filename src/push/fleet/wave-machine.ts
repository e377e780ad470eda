/**
 * What a wave asks of one machine after its push: whether it is still well, and to go back to what it ran before. Must
 * not know of other machines.
 */
import type { Result } from "../../diagnostics.ts";
import { failure, success } from "../../diagnostics.ts";
import type { Blake3 } from "../../hash.ts";
import type { KnownTrees } from "../known-trees.ts";
import { describe } from "../problems.ts";
import type { OnPushEvent } from "../push-event.ts";
import type { PushSettings } from "../push-settings.ts";
import { planRollback, rollBack } from "../rollback.ts";
import { findTarget, type LocalTree } from "../rollback-target.ts";
import { callRemote, refusalOf } from "../session.ts";
import type { Transport } from "../transport.ts";
import { describeFleet } from "./problems.ts";

/** The checks of a machine's tree run for at most this long in the remote program, all at once. */
const CHECK_TIMEOUT_MS = 30_000;

/** A machine as its push left it. */
export interface PushedMachine {
  readonly machine: string;
  readonly generation: number;
  /** Paths of the tree's checks. */
  readonly checks: readonly string[];
  /** Units that had failed before the push: they are not held against it. */
  readonly failedBefore: readonly string[];
}

/** Runs the tree's checks again and looks for units that failed since. Changes nothing. */
export async function checkPushed(
  transport: Transport,
  pushed: PushedMachine,
  onEvent: OnPushEvent,
): Promise<Result<void>> {
  const { machine, generation } = pushed;
  const answer = await callRemote(transport, machine, "check", [], {
    data: pushed.checks.map((path) => `${path}\n`).join(""),
    timeoutMs: CHECK_TIMEOUT_MS,
  });
  if (!answer.ok) return answer;
  if (answer.value.done !== "ok") return failure(refusalOf(machine, "check", answer.value));
  for (const { name, fields } of answer.value.records) {
    const [a = "", b = "", ms = ""] = fields;
    if (name === "check") onEvent({ kind: "check", name: a, verdict: b, ms: Number(ms) });
    if (name === "out") onEvent({ kind: "output", line: fields.join(" ") });
  }
  const word = (code: string, detail: string) =>
    describe({ kind: "remote", machine, verb: "check", done: "", code, detail, more: [] });
  const moved = answer.value.records.find((r) => r.name === "generation")?.fields[0];
  const problems = [
    ...answer.value.problems.map((p) => word(p.code, p.detail)),
    ...answer.value.records
      .filter((r) => r.name === "failed" && !pushed.failedBefore.includes(r.fields[0] ?? ""))
      .map((r) => word("unit-failed", r.fields[0] ?? "")),
    ...(moved === String(generation) ? [] : [word("generation-moved", moved ?? "0")]),
  ];
  return problems.length > 0 ? failure(...problems) : success(undefined);
}

/** What a machine is brought back with. */
export interface RevertAround {
  readonly known: KnownTrees;
  readonly b3: Blake3;
  readonly local: LocalTree;
  readonly settings: Omit<PushSettings, "repository">;
}

/**
 * Brings back what ran before `pushed.generation`, unless another push came in between: the tree of generation `before`
 * as a new generation, or none of labctl's where there was none. Where that is refused, for a check that fails on the old
 * tree as well, the push itself is undone, which asks no check.
 */
export async function revertPushed(
  transport: Transport,
  pushed: PushedMachine,
  before: number | undefined,
  around: RevertAround,
  onEvent: OnPushEvent,
): Promise<Result<void>> {
  const { machine, generation } = pushed;
  if (before === generation) return failure(describeFleet({ kind: "packages-stay", machine, generation }));
  if (before === undefined) return undo(transport, pushed);
  const back = await rollBackTo(transport, pushed, before, around, onEvent);
  if (back.ok || back.problems.some((p) => p.code === "ssh-lost")) return back;
  const undone = await undo(transport, pushed);
  if (!undone.ok) return back;
  const codes = back.problems.map((p) => p.code).join(", ");
  onEvent({ kind: "note", text: `a rollback was refused (${codes}), so the push was undone without checks` });
  return undone;
}

async function undo(transport: Transport, { machine, generation }: PushedMachine): Promise<Result<void>> {
  const answer = await callRemote(transport, machine, "revert", [String(generation)]);
  if (!answer.ok) return answer;
  return answer.value.done === "reverted"
    ? success(undefined)
    : failure(refusalOf(machine, "revert", answer.value));
}

async function rollBackTo(
  transport: Transport,
  { machine, generation }: PushedMachine,
  before: number,
  { known, b3, local, settings }: RevertAround,
  onEvent: OnPushEvent,
): Promise<Result<void>> {
  const target = await findTarget(transport, machine, before, b3, local);
  if (!target.ok) return target;
  const survey = await planRollback(transport, machine, target.value, known, onEvent);
  if (!survey.ok) return survey;
  const now = survey.value.plan.from?.number;
  if (now !== generation) {
    const [code, detail] = ["generation-moved", String(now ?? 0)] as const;
    return failure(
      describe({ kind: "remote", machine, verb: "revert", done: "failed-unchanged", code, detail, more: [] }),
    );
  }
  const back = await rollBack(transport, machine, target.value, survey.value, known, settings, onEvent);
  return back.ok ? success(undefined) : back;
}
