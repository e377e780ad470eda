/** `labctl ssh <machine> [command…]`: a shell on a machine by the system's `ssh`, reached as machine.ini says. */
import { spawn } from "node:child_process";
import { constants } from "node:os";
import { sshTarget } from "../push/session.ts";
import { interactiveArguments } from "../push/ssh/interactive.ts";
import { describeProblem } from "../push/ssh/problems.ts";
import type { CommandRun } from "./commands.ts";
import { refuseUsage } from "./help.ts";
import { refuse } from "./print.ts";
import { startOnMachines } from "./start.ts";

export const run: CommandRun = async (args) => {
  const start = await startOnMachines(args, "ssh", args.positionals);
  if (typeof start === "number") return start;
  const [machine, ...others] = start.named.machines;
  if (!machine || others.length > 0)
    return refuseUsage("`ssh` wants one machine; `labctl exec` runs a command on several", "ssh");
  const { configFile, acceptNew, timeoutMs } = start.options;
  const argv = interactiveArguments(sshTarget(machine), args.trailing ?? [], {
    configFile,
    acceptNew,
    timeoutMs: args.value("timeout") === undefined ? undefined : timeoutMs,
    tty: args.flag("tty"),
  });
  return new Promise((resolve) => {
    // What is typed is for the machine; ssh itself ends by Ctrl-C while it still connects.
    const ignore = (): void => {};
    process.on("SIGINT", ignore);
    const child = spawn("ssh", argv, { stdio: "inherit" });
    child.once("error", () => resolve(refuse([describeProblem({ kind: "tool-missing", tool: "ssh" })])));
    child.once("exit", (status, signal) => {
      process.removeListener("SIGINT", ignore);
      resolve(status ?? 128 + (signal ? constants.signals[signal] : 0));
    });
  });
};
