/** What commands that talk to machines share: connection options, prompts, who is asking. */

import { hostname, userInfo } from "node:os";
import { printable, type Result } from "../diagnostics.ts";
import type { Machine } from "../project/project.ts";
import { sshTarget } from "../push/session.ts";
import { connect } from "../push/ssh/connect.ts";
import { readSshSettings } from "../push/ssh/ssh-config.ts";
import { rememberingTool } from "../push/ssh/tool.ts";
import type { ConnectOptions, Transport } from "../push/transport.ts";
import type { ParsedArguments } from "./commands.ts";
import { askSecret, askYesNo } from "./prompts.ts";

const DEFAULT_TIMEOUT_S = 10;

/** Seconds until a machine takes an unconfirmed generation back, unless the command line says otherwise. */
const CONFIRM_SECONDS = 60;

/** Machines that are worked on at once, unless the command line says otherwise. */
const DEFAULT_JOBS = 25;

/** Generations kept on a machine, unless its machine.ini says otherwise. */
export const KEEP_GENERATIONS = 10;

/** Connection options from the command line, or a phrase that says what is wrong with them. Prompts only on a terminal. */
export function connectOptions(args: ParsedArguments): ConnectOptions | string {
  const seconds = wholeNumber(args, "timeout", DEFAULT_TIMEOUT_S, 3600);
  if (typeof seconds === "string") return seconds;
  const client = args.value("ssh");
  if (client !== undefined && client !== "builtin" && client !== "openssh")
    return `--ssh wants \`builtin\` or \`openssh\`, not \`${printable(client)}\``;
  const configFile = args.value("ssh-config");
  const interactive = process.stdin.isTTY === true && process.stderr.isTTY === true;
  return {
    acceptNew: args.flag("accept-new"),
    timeoutMs: seconds * 1000,
    run: rememberingTool(),
    env: process.env,
    ...(client === undefined ? {} : { client }),
    ...(configFile === undefined ? {} : { configFile }),
    ...(interactive ? { confirm: askYesNo, askSecret } : {}),
  };
}

/** An option's whole number from 1 to `most`, `otherwise` where it is not given; or a phrase that says what is wrong. Pure. */
export function wholeNumber(
  args: ParsedArguments,
  name: string,
  otherwise: number,
  most: number,
): number | string {
  const text = args.value(name);
  if (text === undefined) return otherwise;
  const number = /^\d{1,9}$/.test(text) ? Number(text) : 0;
  if (number >= 1 && number <= most) return number;
  return `--${name} wants a whole number from 1 to ${most}, not \`${printable(text)}\``;
}

/** How many machines may be worked on at once, or a phrase that says what is wrong. Pure. */
export function machinesAtOnce(args: ParsedArguments): number | string {
  return wholeNumber(args, "jobs", DEFAULT_JOBS, 1000);
}

/** Seconds that a machine waits for a confirmation, 0: it does not ask for one; or a phrase that says what is wrong. Pure. */
export function confirmSeconds(args: ParsedArguments): number | string {
  if (args.flag("no-confirm")) {
    const both = args.value("confirm-seconds") !== undefined;
    return both ? "--no-confirm and --confirm-seconds contradict each other" : 0;
  }
  // The remote program takes no more than an hour.
  return wholeNumber(args, "confirm-seconds", CONFIRM_SECONDS, 3600);
}

/** Has `ssh -G` asked what connecting will need, while there is other work to do. */
export function foreseeConnection(machine: Machine, options: ConnectOptions): void {
  // Whoever connects hears how it ends.
  readSshSettings(sshTarget(machine), options).catch(() => {});
}

/** Opens a machine's connection. */
export function connectTo(machine: Machine, options: ConnectOptions): Promise<Result<Transport>> {
  return connect(sshTarget(machine), options);
}

/** `user@host` of the person at work. */
export function whoAmI(): string {
  let user = process.env.SUDO_USER ?? process.env.USER;
  try {
    user ??= userInfo().username;
  } catch {
    // A user id without a name, as in some containers.
  }
  return `${user ?? "unknown"}@${hostname()}`.replace(/[^\x21-\x7e]/g, "_");
}
