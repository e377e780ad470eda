/** The time, for durations. Loads nothing: the global `performance` takes 3 ms to load when it is first asked. */

/** Milliseconds since some moment, never going back. */
export function clockMs(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1000 + nanoseconds / 1_000_000;
}
