/**
 * Runs programs on this host to their end. Must not know what the programs are for.
 */
import { spawn } from "node:child_process";
import { failure, type Result, success } from "../diagnostics.ts";
import { describeProblem } from "./problems.ts";

export interface ProgramEnd {
  /** Exit status; `null` if a signal ended it; 127 if it could not be started. */
  readonly status: number | null;
  /** Undefined: no signal ended it. */
  readonly signal?: string;
  readonly stdout: string;
  readonly stderr: string;
}

export interface ProgramOptions {
  /** Sent whole, then end of file. Undefined: empty. */
  readonly stdin?: string | Buffer;
  /** Undefined: this process's environment. */
  readonly env?: NodeJS.ProcessEnv;
  /** The program is killed after this long and `signal` is `SIGKILL`. Undefined: no limit. */
  readonly timeoutMs?: number;
  /** Called with each whole line of standard error as it comes. */
  readonly onStderrLine?: (line: string) => void;
}

/**
 * Starts `argv` (never through a shell), waits, and collects its output as UTF-8. Never rejects: a program that
 * can't be started ends with status 127 and the reason in `stderr`.
 */
export function runProgram(argv: readonly string[], options: ProgramOptions = {}): Promise<ProgramEnd> {
  const [program = "", ...args] = argv;
  return new Promise((resolve) => {
    const child = spawn(program, args, { env: options.env ?? process.env, stdio: ["pipe", "pipe", "pipe"] });
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    let partial = "";
    const timer =
      options.timeoutMs === undefined
        ? undefined
        : setTimeout(() => child.kill("SIGKILL"), options.timeoutMs);
    child.stdout.on("data", (chunk: Buffer) => out.push(chunk));
    child.stderr.on("data", (chunk: Buffer) => {
      err.push(chunk);
      if (!options.onStderrLine) return;
      const lines = (partial + chunk.toString()).split("\n");
      partial = lines.pop() ?? "";
      for (const line of lines) options.onStderrLine(line);
    });
    child.on("error", (error) => {
      clearTimeout(timer);
      resolve({ status: 127, stdout: "", stderr: `${program}: ${error.message}` });
    });
    child.on("close", (status, signal) => {
      clearTimeout(timer);
      const stdout = Buffer.concat(out).toString();
      const stderr = Buffer.concat(err).toString();
      resolve(signal ? { status: null, signal, stdout, stderr } : { status, stdout, stderr });
    });
    // A program that does not read its input closes the pipe; that is its right.
    child.stdin.on("error", () => {});
    child.stdin.end(options.stdin ?? "");
  });
}

/** Runs commands one after the other until one fails; `step` completes "could not …". */
export async function runSteps(
  steps: readonly (readonly [step: string, argv: readonly string[]])[],
): Promise<Result<undefined>> {
  for (const [step, argv] of steps) {
    const end = await runProgram(argv);
    if (end.status === 0) continue;
    return failure(describeProblem({ kind: "bed-step-failed", step, argv, output: end.stderr }));
  }
  return success(undefined);
}
