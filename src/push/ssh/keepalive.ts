/** How long a connection may be silent; the same for both clients. Must not know them. */

/** A peer that leaves this many questions unanswered is gone. */
export const KEEPALIVE_COUNT = 3;
const MIN_MS = 1_000;
const MAX_MS = 5_000;

/**
 * Milliseconds between two questions whether the peer is there: a third of `--timeout`, within bounds. With its 10 s a
 * silent cut is noticed after some 13 s. Pure.
 */
export function keepaliveMs(timeoutMs: number): number {
  return Math.round(Math.min(MAX_MS, Math.max(MIN_MS, timeoutMs / KEEPALIVE_COUNT)));
}
