/** What commands that talk to machines share: connection options, prompts, who is asking. */

import { spawn } from "node:child_process";
import { readSync, writeSync } from "node:fs";
import { hostname, userInfo } from "node:os";
import { createInterface } from "node:readline";
import type { Result } from "../diagnostics.ts";
import { failure, problem, success } from "../diagnostics.ts";
import type { AbsPath } from "../paths.ts";
import type { Machine } from "../project/project.ts";
import { sshTarget } from "../push/session.ts";
import { connect } from "../push/ssh/connect.ts";
import type { ConnectOptions, Transport } from "../push/transport.ts";
import type { ParsedArguments } from "./commands.ts";

const DEFAULT_TIMEOUT_S = 10;

/** Seconds until a machine takes an unconfirmed generation back, unless the command line says otherwise. */
const CONFIRM_SECONDS = 60;

/** Generations kept on a machine. */
export const KEEP_GENERATIONS = 10;

/** Connection options from the command line. Prompts only where stdin is a terminal. */
export function connectOptions(args: ParsedArguments): Result<ConnectOptions> {
  const seconds = Number(args.value("timeout") ?? DEFAULT_TIMEOUT_S);
  if (!(seconds > 0 && seconds <= 3600)) {
    return failure(
      problem("usage", `--timeout wants seconds from 1 to 3600, not \`${args.value("timeout")}\``, {
        help: "`--timeout=30` waits half a minute",
      }),
    );
  }
  const client = args.value("ssh");
  if (client !== undefined && client !== "builtin" && client !== "openssh") {
    return failure(
      problem("usage", `--ssh wants \`builtin\` or \`openssh\`, not \`${client}\``, {
        help: "leave it out for what machine.ini says, else `builtin`",
      }),
    );
  }
  const configFile = args.value("ssh-config");
  const interactive = process.stdin.isTTY === true && process.stderr.isTTY === true;
  return success({
    acceptNew: args.flag("accept-new"),
    timeoutMs: seconds * 1000,
    env: process.env,
    ...(client === undefined ? {} : { client }),
    ...(configFile === undefined ? {} : { configFile }),
    ...(interactive ? { confirm: askYesNo, askSecret } : {}),
  });
}

/** Seconds that a machine waits for a confirmation, 0: it does not ask for one; or a phrase that says what is wrong. Pure. */
export function confirmSeconds(args: ParsedArguments): number | string {
  const text = args.value("confirm-seconds");
  if (args.flag("no-confirm"))
    return text === undefined ? 0 : "--no-confirm and --confirm-seconds contradict each other";
  const seconds = Number(text ?? CONFIRM_SECONDS);
  // The remote program takes no more than an hour.
  if (Number.isInteger(seconds) && seconds >= 1 && seconds <= 3600) return seconds;
  return `--confirm-seconds wants a whole number from 1 to 3600, not \`${text}\``;
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

/** The repository's commit and whether it differs from it; both undefined outside Git. */
export async function gitState(root: AbsPath): Promise<{ commit?: string; dirty?: boolean }> {
  const [commit, status] = await Promise.all([
    outputOf(root, ["rev-parse", "HEAD"]),
    outputOf(root, ["status", "--porcelain", "--untracked-files=normal"]),
  ]);
  if (commit === undefined || !/^[0-9a-f]{40,64}\n?$/.test(commit)) return {};
  return { commit: commit.trim(), ...(status === undefined ? {} : { dirty: status.trim() !== "" }) };
}

function outputOf(cwd: string, args: readonly string[]): Promise<string | undefined> {
  return new Promise((resolve) => {
    const child = spawn("git", ["--no-optional-locks", ...args], {
      cwd,
      stdio: ["ignore", "pipe", "ignore"],
    });
    let out = "";
    child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
      out += chunk;
    });
    child.on("error", () => resolve(undefined));
    child.on("close", (code) => resolve(code === 0 ? out : undefined));
  });
}

function askYesNo(question: string): Promise<boolean> {
  return new Promise((resolve) => {
    const reader = createInterface({ input: process.stdin, output: process.stderr });
    reader.question(`${question} [y/N] `, (answer) => {
      reader.close();
      resolve(/^y(es)?$/i.test(answer.trim()));
    });
  });
}

/** Reads a line without echo. */
async function askSecret(prompt: string): Promise<string> {
  writeSync(2, prompt);
  process.stdin.setRawMode(true);
  try {
    let text = "";
    const piece = Buffer.alloc(1);
    for (;;) {
      let n = 0;
      try {
        n = readSync(0, piece, 0, 1, null);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EAGAIN") throw error;
        await new Promise((resolve) => setTimeout(resolve, 20));
        continue;
      }
      const char = n === 0 ? "\r" : piece.toString("latin1");
      if (char === "\u0003") process.exit(130);
      if (char === "\r" || char === "\n") return Buffer.from(text, "latin1").toString("utf8");
      text = char === "\u007f" ? text.slice(0, -1) : text + char;
    }
  } finally {
    process.stdin.setRawMode(false);
    writeSync(2, "\n");
  }
}
