/**
 * `labctl guest shell`: a shell in a container, or a command, by the system's `ssh` through its machine; and
 * `labctl guest console`: the serial console of a virtual machine, the same way.
 */
import { sshTarget } from "../../push/session.ts";
import { shellWord } from "../../push/shell-word.ts";
import { interactiveArguments } from "../../push/ssh/interactive.ts";
import type { ParsedArguments } from "../commands.ts";
import { refuseUsage } from "../help.ts";
import { runSsh } from "../interactive-ssh.ts";
import { startOnMachines } from "../start.ts";

/** On a machine with the layer `guests`. */
const SHELL_PROGRAM = "/usr/local/libexec/guests/shell.mjs";

/** On a machine with the layer `qemu`. */
export const MONITOR_PROGRAM = "/usr/local/libexec/qemu/monitor.mjs";

/** Resolves to the shell's exit code. */
export function shellInGuest(args: ParsedArguments, pattern: string, guest: string): Promise<number> {
  const words = args.trailing ?? [];
  return runThere(args, pattern, [SHELL_PROGRAM, guest, ...words], words.length === 0);
}

/** Shows what the console said last, then what it says and what is typed, until Ctrl-]. */
export function consoleOfGuest(args: ParsedArguments, pattern: string, guest: string): Promise<number> {
  return runThere(args, pattern, [MONITOR_PROGRAM, "console", guest], true);
}

async function runThere(
  args: ParsedArguments,
  pattern: string,
  program: readonly string[],
  talks: boolean,
): Promise<number> {
  const start = await startOnMachines(args, "guest", [pattern]);
  if (typeof start === "number") return start;
  const [machine, ...others] = start.named.machines;
  if (!machine || others.length > 0) return refuseUsage("`guest` wants one machine", "guest");
  const { configFile, acceptNew, timeoutMs } = start.options;
  // Which user ssh logs in as is settled by its configuration; root's sudo asks for nothing.
  const asRoot = `if [ "$(id -u)" = 0 ]; then exec "$@"; else exec sudo -- "$@"; fi`;
  // Node's own words for that are a page of its insides.
  const missing = `if ! [ -e "$2" ]; then printf 'error[layer-missing] machine \`%s\` has no %s\\n  help: add \`nspawn\` or \`qemu\` to its \`layers\` and push\\n' "$0" "$2" >&2; exit 1; fi`;
  const line = ["sh", "-c", `${missing}; ${asRoot}`, machine.name, "node", ...program]
    .map(shellWord)
    .join(" ");
  const argv = interactiveArguments(sshTarget(machine), [line], {
    configFile,
    acceptNew,
    timeoutMs: args.value("timeout") === undefined ? undefined : timeoutMs,
    tty: talks && process.stdin.isTTY === true,
  });
  return runSsh(argv);
}
