/**
 * Becoming root on a machine where the login is another user: without a password where sudo wants none, else with one
 * that a person is asked for once a machine and run. It travels as the first line of a command's standard input and
 * stands in no argument, no environment and no file. This file must not know which commands become root.
 */
import { failure, type Result, success } from "../diagnostics.ts";
import { describe } from "./problems.ts";
import type { SudoAccess, Transport } from "./transport.ts";

const TRIES = 3;

export interface AsRoot {
  /** To put before a command's words; empty for root. Safe for a shell as they are, joined by blanks. */
  readonly words: readonly string[];
  /** To send before the command's own input; it holds the password. Empty: nothing. */
  readonly input: string;
}

/** True if commands need sudo to write below /usr/local. Pure. */
export function needsSudo(transport: Transport): boolean {
  return transport.user !== "root";
}

/**
 * How a command becomes root. sudo reads its line byte by byte, so what follows is the command's (sudo(8), `-S`); `-k`
 * makes it read the line even where an earlier password still counts: else the command would read it.
 */
export function asRoot(transport: Transport): AsRoot {
  if (!needsSudo(transport)) return { words: [], input: "" };
  const password = transport.sudo?.password;
  return password === undefined
    ? { words: ["sudo", "-n", "--"], input: "" }
    : { words: ["sudo", "-k", "-S", "-p", "''", "--"], input: `${password}\n` };
}

/** True of a line by which `sudo -n` refused for want of a password: nothing was run. Pure. */
export function wantsPassword(line: string): boolean {
  return /^sudo(?:-rs)?: (?:a password is required|interactive authentication is required)/.test(line);
}

/**
 * Asks for the password and has sudo check it; `value` says whether one is known now, false where nobody can be asked.
 * Callers at the same time share one question. Problem: `sudo-password`.
 */
export function unlockSudo(transport: Transport, machine: string): Promise<Result<boolean>> {
  const { sudo } = transport;
  if (!sudo?.ask || sudo.password !== undefined) return Promise.resolve(success(false));
  sudo.asking ??= askAndCheck(transport, machine, sudo, sudo.ask).finally(() => {
    delete sudo.asking;
  });
  return sudo.asking;
}

async function askAndCheck(
  transport: Transport,
  machine: string,
  sudo: SudoAccess,
  ask: (prompt: string) => Promise<string>,
): Promise<Result<boolean>> {
  for (let tries = 0; tries < TRIES; tries++) {
    const password = await ask(`sudo password of ${transport.label}: `);
    if (password === "") break;
    // With a second line sudo would take that for a second guess.
    if (/[\n\r\0]/.test(password)) continue;
    const checked = await transport.exec("sudo -k -S -p '' -- true", {
      stdin: `${password}\n`,
      maxStdoutBytes: 64 * 1024,
      timeoutMs: 30_000,
    });
    if (!checked.ok) return checked;
    if (checked.value.status === 0) {
      sudo.password = password;
      return success(true);
    }
  }
  return failure(describe({ kind: "sudo-password", machine, label: transport.label }));
}
