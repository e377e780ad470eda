/**
 * What becomes of a machine that could not be reached after a change: whether it took the change back, told by whoever
 * can still tell. Waits for the machine's own deadline, so that the push's last word is what is, not what should be.
 * Must not know what was changed.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { type Diagnostic, failure, type Result, success } from "../diagnostics.ts";
import type { OnPushEvent } from "./push-event.ts";
import { type AftermathState, describeAftermath } from "./safety-problems.ts";
import { callRemote, refusalOf } from "./session.ts";
import type { Transport } from "./transport.ts";

/** Beyond the machine's deadline: to undo, to restart its sshd, to configure its network. */
const PATIENCE_S = 30;
const BETWEEN_TRIES_MS = 1000;
/** An old connection that is alive answers at once. */
const ALIVE_MS = 3000;
const REVERT_MS = 120_000;

export interface Aftermath {
  /** The generation that was to be confirmed. */
  readonly number: number;
  /** Seconds that the machine waits for a confirmation; 0: it asks for none. */
  readonly confirmSeconds: number;
  readonly reconnect: () => Promise<Result<Transport>>;
  /** Aborted when the operator does not want to wait. */
  readonly signal?: AbortSignal | undefined;
}

/** Marks why a fresh connection failed, until `afterNoConfirmation` knows what became of the machine. Pure. */
export function notConfirmed(why: Diagnostic): Diagnostic {
  return { ...why, code: "not-confirmed", notes: [why.code] };
}

/**
 * A fresh connection failed, as `marked` says (`notConfirmed`), while `old`, over which the commit went, may still stand: has the machine
 * take the change back at once if it does, else waits until it did so by itself. Never a success: the change is gone
 * or its fate unknown, and the problem says which. Problem: `not-confirmed`.
 */
export async function afterNoConfirmation(
  old: Transport,
  machine: string,
  { number, confirmSeconds, reconnect, signal }: Aftermath,
  marked: Diagnostic,
  onEvent: OnPushEvent,
): Promise<Result<never>> {
  const startedAt = performance.now();
  const why = { ...marked, code: marked.notes[0] ?? marked.code };
  const say = (state: AftermathState): Result<never> => {
    if (state !== "unknown") onEvent({ kind: "refused", done: "reverted" });
    const afterS = (performance.now() - startedAt) / 1000;
    return failure(describeAftermath({ machine, number, why, state, afterS }));
  };
  const alive = await old.exec("true", { maxStdoutBytes: 1024, timeoutMs: ALIVE_MS });
  if (alive.ok) {
    const answer = await callRemote(old, machine, "revert", [String(number)], {
      timeoutMs: REVERT_MS,
      onRecord: (r) => {
        if (r.name === "note") onEvent({ kind: "note", text: r.fields.join(" ") });
      },
    });
    if (answer.ok && answer.value.done === "reverted") return say("told");
  }
  onEvent({
    kind: "note",
    text: `no fresh connection (${why.message}); waiting for the machine to take generation ${number} back by itself, ${confirmSeconds + PATIENCE_S} s at most`,
  });
  const deadline = startedAt + (confirmSeconds + PATIENCE_S) * 1000;
  while (performance.now() < deadline && signal?.aborted !== true) {
    const now = await currentGeneration(machine, reconnect);
    if (now !== undefined && now !== number) return say("itself");
    await sleep(BETWEEN_TRIES_MS);
  }
  return say("unknown");
}

/**
 * The connection was lost while the commit was under way (`why`): asks by a new one what became of it. Success: the
 * generation stands, and is confirmed if it had to be. Problems: `why` with the machine's state, or its refusal.
 */
export async function afterLostCommit(
  machine: string,
  { number, confirmSeconds, reconnect, signal }: Aftermath,
  why: Diagnostic,
  onEvent: OnPushEvent,
): Promise<Result<void>> {
  const startedAt = performance.now();
  const say = (state: AftermathState): Result<never> => {
    if (state !== "unknown") onEvent({ kind: "refused", done: "reverted" });
    const afterS = (performance.now() - startedAt) / 1000;
    return failure(describeAftermath({ machine, number, why, state, afterS }));
  };
  onEvent({
    kind: "note",
    text: `the connection was lost (${why.notes[0] ?? why.message}); asking by a new one what became of it, ${confirmSeconds + PATIENCE_S} s at most`,
  });
  const deadline = startedAt + (confirmSeconds + PATIENCE_S) * 1000;
  while (performance.now() < deadline && signal?.aborted !== true) {
    const fresh = await reconnect();
    if (fresh.ok) {
      try {
        // It waits for the lock, so for the end of a commit that is still at work.
        const answer = await callRemote(fresh.value, machine, "confirm", [String(number)], {
          timeoutMs: 20_000,
        });
        if (answer.ok && answer.value.done === "ok") return success(undefined);
        const [first] = answer.ok ? answer.value.problems : [];
        if (answer.ok && first?.code !== "lock-held") {
          if (first?.code !== "not-waiting") return failure(refusalOf(machine, "confirm", answer.value));
          const now = Number(/^generation (\d+) /.exec(first.detail)?.[1] ?? Number.NaN);
          if (now === number && confirmSeconds === 0) return success(undefined);
          return say(now < number ? "itself" : "unknown");
        }
      } finally {
        await fresh.value.close();
      }
    }
    await sleep(BETWEEN_TRIES_MS);
  }
  return say("unknown");
}

/** Undefined: the machine can't be reached or asked, or somebody is at work there. */
async function currentGeneration(
  machine: string,
  reconnect: () => Promise<Result<Transport>>,
): Promise<number | undefined> {
  const fresh = await reconnect();
  if (!fresh.ok) return undefined;
  try {
    const answer = await callRemote(fresh.value, machine, "probe", [], { timeoutMs: 20_000 });
    if (!answer.ok) return undefined;
    const field = (name: string): string | undefined =>
      answer.value.records.find((r) => r.name === name)?.fields[0];
    // While the way back is under way, the number is the old one already.
    if (field("undo") !== "no" || field("journal") !== "no") return undefined;
    return Number(field("generation"));
  } finally {
    await fresh.value.close();
  }
}
