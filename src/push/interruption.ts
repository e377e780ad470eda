/**
 * Stopping on request: a step that may be left alone is, and its caller gets a refusal that says what state that leaves.
 * Must not know who asks for it, nor what the steps are.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { type Diagnostic, failure, type Result } from "../diagnostics.ts";

/** A Ctrl-C reaches rsync and ssh, too: that they ended may be heard of before the signal is. */
const SIGNAL_DELAY_MS = 50;

/**
 * What `work` comes to, or `stopped` as soon as the signal is aborted: at once if it is already, and then `work` never
 * begins. Work that is under way goes on, and nobody hears how it ends. Undefined: nobody can ask to stop.
 */
export async function unlessInterrupted<T>(
  signal: AbortSignal | undefined,
  stopped: () => Diagnostic,
  work: () => Promise<Result<T>>,
): Promise<Result<T>> {
  if (!signal) return work();
  if (signal.aborted) return failure(stopped());
  let stop: (() => void) | undefined;
  const asked = new Promise<"asked">((resolve) => {
    stop = () => resolve("asked");
    signal.addEventListener("abort", stop);
  });
  try {
    const end = await Promise.race([work(), asked]);
    if (end === "asked") return failure(stopped());
    if (!end.ok) {
      await sleep(SIGNAL_DELAY_MS);
      if (signal.aborted) return failure(stopped());
    }
    return end;
  } finally {
    if (stop) signal.removeEventListener("abort", stop);
  }
}
