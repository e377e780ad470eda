/**
 * Ctrl-C while machines are worked on: the first asks the work to stop where it is known what state a machine is in, the
 * second ends the program. Must not know what the work is.
 */
import { setMaxListeners } from "node:events";
import { EXIT } from "./exit.ts";
import { printErr } from "./print.ts";

/** Work that stops sooner needs no word about it. */
const PATIENCE_MS = 700;

/**
 * Runs `work`, which hears of Ctrl-C by its signal, and answers its exit code; 130 if it was asked to stop. Then the
 * process ends here and now: what was left alone would hold it open.
 */
export async function untilCtrlC(work: (signal: AbortSignal) => Promise<number>): Promise<number> {
  const controller = new AbortController();
  // Every machine listens.
  setMaxListeners(0, controller.signal);
  const onSignal = (): void => {
    if (controller.signal.aborted) {
      printErr("left at once; `labctl generations` tells what a machine runs");
      process.exit(EXIT.interrupted);
    }
    const waiting = "stopping, as soon as the step under way allows it; Ctrl-C again leaves at once";
    setTimeout(() => printErr(waiting), PATIENCE_MS);
    controller.abort();
  };
  process.on("SIGINT", onSignal);
  try {
    const code = await work(controller.signal);
    if (controller.signal.aborted) process.exit(EXIT.interrupted);
    return code;
  } finally {
    process.removeListener("SIGINT", onSignal);
  }
}
