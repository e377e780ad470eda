/**
 * The system's `ssh` as a person would call it, with the settings that machine.ini has. This file must not know who reads
 * the terminal.
 */
import type { SshTarget } from "../transport.ts";

export interface InteractiveOptions {
  /** `ssh -F`; undefined: the user's and the system's. */
  readonly configFile: string | undefined;
  readonly acceptNew: boolean;
  /** Undefined: as the configuration says. */
  readonly timeoutMs: number | undefined;
  /** A terminal there although a command is given. */
  readonly tty: boolean;
}

/** ssh's arguments. The command is what ssh makes of it: its words joined by blanks, for the machine's shell to read. Pure. */
export function interactiveArguments(
  target: SshTarget,
  command: readonly string[],
  options: InteractiveOptions,
): string[] {
  const { configFile, acceptNew, timeoutMs, tty } = options;
  return [
    ...(configFile === undefined ? [] : ["-F", configFile]),
    ...(acceptNew ? ["-o", "StrictHostKeyChecking=accept-new"] : []),
    ...(timeoutMs === undefined ? [] : ["-o", `ConnectTimeout=${Math.ceil(timeoutMs / 1000)}`]),
    ...(target.port === undefined ? [] : ["-p", String(target.port)]),
    ...(target.user === undefined ? [] : ["-l", target.user]),
    ...target.identityFiles.flatMap((file) => ["-i", file]),
    ...(tty ? ["-t"] : []),
    "--",
    target.host,
    ...command,
  ];
}
