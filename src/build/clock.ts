/** The time, for durations. Loads nothing: the global `performance` takes 3 ms to load when it is first asked. */

/** Milliseconds since some moment, never going back. */
export function clockMs(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1000 + nanoseconds / 1_000_000;
}

/** How long the phases of a run take: each ends with a call of `phase`, and began when the one before ended. */
export interface Phases {
  /** Milliseconds by name. */
  readonly phases: Record<string, number>;
  phase(name: string): void;
}

/** The first phase began at `startedAt`, a time of `clockMs`. */
export function phasesSince(startedAt: number): Phases {
  const phases: Record<string, number> = {};
  let mark = startedAt;
  return {
    phases,
    phase: (name) => {
      const now = clockMs();
      phases[name] = now - mark;
      mark = now;
    },
  };
}
