/** `labctl ssh <machine> [command…]`: a shell on a machine by the system's `ssh`, reached as machine.ini says. */
import { sshTarget } from "../push/session.ts";
import { interactiveArguments } from "../push/ssh/interactive.ts";
import type { CommandRun } from "./commands.ts";
import { refuseUsage } from "./help.ts";
import { runSsh } from "./interactive-ssh.ts";
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
  return runSsh(argv);
};
