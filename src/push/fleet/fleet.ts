/**
 * Pushes to several machines: so many at once, wave after wave, and takes a wave back that failed. Owns what one
 * machine's failure means for the others; must not know how a machine is pushed to, nor print.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { Result } from "../../diagnostics.ts";
import { failure, problem, success } from "../../diagnostics.ts";
import { endedBadly, type MachineEnd } from "./machine-end.ts";
import { splitWaves, type WaveSize } from "./waves.ts";

/** What is done to a machine; no method rejects but for a bug. */
export interface FleetWork<M> {
  push(machine: M): Promise<MachineEnd>;
  /** Whether a machine that was pushed to is still well before the next wave begins. */
  check(machine: M): Promise<Result<unknown>>;
  /** Brings back what ran before `generation`; `before` undefined: nothing of labctl's did. */
  revert(machine: M, generation: number, before: number | undefined): Promise<Result<unknown>>;
  /** The machine's wave is over; lets go of its connection. */
  release(machine: M): Promise<void>;
}

export interface FleetSettings {
  /** Machines at once, at least 1. */
  readonly jobs: number;
  /** Undefined: all machines are one wave, and nothing is taken back because another machine failed. */
  readonly waves: readonly WaveSize[] | undefined;
  /** So many failures stop everything that has not begun. Undefined: 1 with waves, else never. */
  readonly maxFailures: number | undefined;
  /** Between a wave and its second check. */
  readonly pauseMs: number;
  /** Aborted: nothing more is begun; what is under way ends in its own time. */
  readonly interrupted: AbortSignal;
}

export type FleetEvent<M> =
  /** `wave` counts from 1. */
  | { readonly kind: "wave"; readonly wave: number; readonly waves: number; readonly machines: readonly M[] }
  | { readonly kind: "checking"; readonly wave: number; readonly machines: readonly M[] }
  /** What a wave's machines are brought back for. */
  | {
      readonly kind: "wave-failed";
      readonly wave: number;
      readonly failed: number;
      readonly reverting: readonly M[];
    }
  /** What became of a machine, as far as that is known now: a later one replaces it. */
  | { readonly kind: "end"; readonly machine: M; readonly end: MachineEnd };

type Done = Extract<MachineEnd, { kind: "done" }>;

/** Every machine's end, in the order of `machines`. One machine's failure changes another only as the settings say. */
export async function runFleet<M>(
  machines: readonly M[],
  work: FleetWork<M>,
  settings: FleetSettings,
  onEvent: (event: FleetEvent<M>) => void,
): Promise<ReadonlyMap<M, MachineEnd>> {
  const { jobs, interrupted } = settings;
  const ends = new Map<M, MachineEnd>();
  const settle = (machine: M, end: MachineEnd): void => {
    ends.set(machine, end);
    onEvent({ kind: "end", machine, end });
  };
  const waves = settings.waves ? splitWaves(machines, settings.waves) : [machines];
  const limit = settings.maxFailures ?? (settings.waves ? 1 : Number.POSITIVE_INFINITY);
  const tooMany = (): boolean => [...ends.values()].filter(endedBadly).length >= limit;
  const stopped = (): boolean => interrupted.aborted || tooMany();
  for (const [i, wave] of waves.entries()) {
    if (stopped()) break;
    if (settings.waves) onEvent({ kind: "wave", wave: i + 1, waves: waves.length, machines: wave });
    const done = new Map<M, Done>();
    const changed = (): readonly M[] => wave.filter((m) => done.has(m));
    await eachOf(wave, jobs, stopped, async (machine) => {
      const end = await pushed(machine, work);
      if (end.kind === "done") done.set(machine, end);
      settle(machine, end);
    });
    if (i + 1 < waves.length && done.size > 0 && !stopped()) {
      onEvent({ kind: "checking", wave: i + 1, machines: changed() });
      // An interrupt ends the wait; what was pushed is looked at all the same.
      await sleep(settings.pauseMs, undefined, { signal: interrupted }).catch(() => {});
      await eachOf(changed(), jobs, never, async (machine) => {
        const checked = await caught(() => work.check(machine));
        const failed: MachineEnd | undefined = checked.ok
          ? undefined
          : { kind: "failed", problems: checked.problems, left: "stands" };
        // Told once more where it is well: it was at something in between.
        settle(machine, failed ?? (done.get(machine) as Done));
      });
    }
    if (settings.waves && tooMany()) {
      const failed = wave.filter((m) => ends.get(m)?.kind === "failed").length;
      onEvent({ kind: "wave-failed", wave: i + 1, failed, reverting: changed() });
      await eachOf([...done], jobs, never, async ([machine, end]) =>
        settle(machine, await takenBack(machine, end, ends.get(machine), work)),
      );
    }
    await Promise.all(wave.map((m) => caught(async () => success(await work.release(m)))));
  }
  const why = tooMany() ? "failures" : "interrupted";
  for (const machine of machines) if (!ends.has(machine)) settle(machine, { kind: "untouched", why });
  return new Map(machines.map((m) => [m, ends.get(m) ?? { kind: "untouched", why }]));
}

const never = (): boolean => false;

/** Runs `work` for each, `jobs` at once, in order; begins nothing more once `stopped`. */
async function eachOf<T>(
  items: readonly T[],
  jobs: number,
  stopped: () => boolean,
  work: (item: T) => Promise<void>,
): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < items.length && !stopped()) {
      const item = items[next++] as T;
      await work(item);
    }
  };
  await Promise.all(Array.from({ length: Math.min(jobs, items.length) }, worker));
}

async function pushed<M>(machine: M, work: FleetWork<M>): Promise<MachineEnd> {
  const end = await caught(async () => success(await work.push(machine)));
  return end.ok ? end.value : { kind: "failed", problems: end.problems, left: "unsettled" };
}

async function takenBack<M>(
  machine: M,
  { generation, before }: Done,
  end: MachineEnd | undefined,
  work: FleetWork<M>,
): Promise<MachineEnd> {
  const own = end?.kind === "failed" ? end.problems : [];
  const reverted = await caught(() => work.revert(machine, generation, before));
  return reverted.ok
    ? { kind: "reverted", from: generation, to: before, problems: own }
    : { kind: "not-reverted", generation, problems: [...own, ...reverted.problems] };
}

/** A fault in labctl on one machine must not leave the others in the middle of theirs. */
async function caught<T>(work: () => Promise<Result<T>>): Promise<Result<T>> {
  try {
    return await work();
  } catch (error) {
    return failure(
      problem("internal", (error as Error).message, {
        help: "this is a fault in labctl; report it with the output of the same command and --debug",
      }),
    );
  }
}
