/** Hands the terminal over to the system's `ssh`. Must not know what runs at the other end. */
import { spawn } from "node:child_process";
import { constants } from "node:os";
import { describeProblem } from "../push/ssh/problems.ts";
import { refuse } from "./print.ts";

/** Resolves to its exit status, or 128 and the signal's number; says so if there is no `ssh`. */
export function runSsh(argv: readonly string[]): Promise<number> {
  return new Promise((resolve) => {
    // What is typed is for the other end; ssh itself ends by Ctrl-C while it still connects.
    const ignore = (): void => {};
    process.on("SIGINT", ignore);
    const child = spawn("ssh", argv, { stdio: "inherit" });
    child.once("error", () => resolve(refuse([describeProblem({ kind: "tool-missing", tool: "ssh" })])));
    child.once("exit", (status, signal) => {
      process.removeListener("SIGINT", ignore);
      resolve(status ?? 128 + (signal ? constants.signals[signal] : 0));
    });
  });
}
