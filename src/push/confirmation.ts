/**
 * The proof that a machine can still be reached after a change: a fresh connection, made once units and triggers have
 * run, by which the generation is confirmed after the checks. Must not know what was changed.
 */
import { type Diagnostic, failure, type Result, success } from "../diagnostics.ts";
import { notConfirmed } from "./aftermath.ts";
import { unlessInterrupted } from "./interruption.ts";
import type { OnPushEvent } from "./push-event.ts";
import type { PushSettings } from "./push-settings.ts";
import { callRemote, refusalOf } from "./session.ts";
import { openStandby } from "./standby.ts";
import type { Transport } from "./transport.ts";

/**
 * A connection that has stood for longer than this when it is asked to confirm, or that was begun longer ago than the
 * second figure, proves too little: a unit that counts as started may still be at work on the firewall. Then another one
 * is made. One that is being made, on a host that is busy, may take the second figure: its login is later than that.
 */
const FRESH_MS = 250;
const BEGUN_MS = 1_000;
/** An early connection that fails sooner is followed by another attempt. */
const PATIENCE_MS = 3_000;

interface Early {
  readonly startedAt: number;
  readonly connection: Promise<Result<Transport>>;
  /** When it stood; undefined: it is being made. */
  openedAt?: number;
}

export class Confirmation {
  readonly #machine: string;
  readonly #number: number;
  readonly #settings: PushSettings;
  #early: Early | undefined;

  constructor(machine: string, number: number, settings: PushSettings) {
    this.#machine = machine;
    this.#number = number;
    this.#settings = settings;
  }

  /** Units and triggers have run: connects while the machine's checks are at work. Never before that. */
  begin(): void {
    const connection = this.#settings.reconnect();
    const early: Early = { startedAt: performance.now(), connection };
    // Whoever waits for it hears of a bug; until then it is nobody's.
    connection.then(
      (opened) => {
        early.openedAt = performance.now();
        if (opened.ok) openStandby(opened.value, "confirm");
      },
      () => {
        early.openedAt = performance.now();
      },
    );
    this.#early = early;
  }

  /** Nothing is to be confirmed after all. */
  async drop(): Promise<void> {
    const connection = await this.#early?.connection;
    if (connection?.ok) await connection.value.close();
  }

  /**
   * Confirms the generation. Problems: `not-confirmed`, `not-waiting`, and what a dead machine gives; `stopped` words
   * an interruption while there is no connection yet.
   */
  async confirm(onEvent: OnPushEvent, stopped: () => Diagnostic): Promise<Result<void>> {
    const startedAt = performance.now();
    const [machine, number] = [this.#machine, this.#number];
    const refused = (why: Diagnostic): Result<void> => failure(notConfirmed(why));
    const fresh = await unlessInterrupted(
      this.#settings.signal,
      stopped,
      async () => (await this.#earlyConnection(startedAt)) ?? this.#settings.reconnect(),
    );
    if (!fresh.ok) {
      // A failure has at least one problem.
      const why = fresh.problems[0] as Diagnostic;
      return why.code === "interrupted" ? fresh : refused(why);
    }
    // From here on the answer is awaited: whether the generation stays must be known.
    try {
      const answer = await callRemote(fresh.value, machine, "confirm", [String(number)], {
        timeoutMs: 20_000,
      });
      if (!answer.ok) return refused(answer.problems[0] as Diagnostic);
      if (answer.value.done !== "ok") return failure(refusalOf(machine, "confirm", answer.value));
    } finally {
      await fresh.value.close();
    }
    onEvent({ kind: "confirmed", ms: performance.now() - startedAt });
    return success(undefined);
  }

  /** Undefined: there is none that still proves anything. */
  async #earlyConnection(now: number): Promise<Result<Transport> | undefined> {
    if (!this.#early) return undefined;
    const { startedAt, openedAt } = this.#early;
    if (now - startedAt > BEGUN_MS || (openedAt !== undefined && now - openedAt > FRESH_MS)) {
      this.drop();
      return undefined;
    }
    const connection = await this.#early.connection;
    // What failed at once may have met a restarting sshd; what took its whole time has waited enough.
    const tooSoon =
      !connection.ok &&
      performance.now() - startedAt < PATIENCE_MS &&
      !connection.problems.some((p) => p.code === "ssh-timeout");
    return tooSoon ? undefined : connection;
  }
}
