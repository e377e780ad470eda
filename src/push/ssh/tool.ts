/**
 * Runs one of OpenSSH's own programs (`ssh -G`, `ssh-keygen -F`) to its end and returns what it said.
 * Arguments go as an array: nothing passes through a shell. This file must not know what the programs mean.
 */
import { execFile } from "node:child_process";
import { statSync } from "node:fs";

export type ToolOutcome =
  | { readonly kind: "ended"; readonly status: number; readonly stdout: string; readonly stderr: string }
  | { readonly kind: "missing" }
  | { readonly kind: "timeout"; readonly afterMs: number };

/** How a program is run; replaced in tests of the callers' decisions. Never rejects. */
export type RunTool = (
  program: string,
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
) => Promise<ToolOutcome>;

/** A `Match exec` in a configuration may hang; the programs themselves take milliseconds. */
const TOOL_TIMEOUT_MS = 10_000;

/** Runs a program with an empty standard input under the C locale. Effects: one child process. */
export const runTool: RunTool = (program, args, env) =>
  new Promise((resolve) => {
    const child = execFile(
      program,
      [...args],
      { env: { ...env, LC_ALL: "C" }, timeout: TOOL_TIMEOUT_MS, maxBuffer: 16 * 1024 * 1024 },
      (error, stdout, stderr) => {
        if (error?.code === "ENOENT") resolve({ kind: "missing" });
        else if (error?.killed) resolve({ kind: "timeout", afterMs: TOOL_TIMEOUT_MS });
        else {
          const status = error === null ? 0 : typeof error.code === "number" ? error.code : 255;
          resolve({
            kind: "ended",
            status,
            stdout,
            stderr: stderr || (error && status === 255 ? error.message : ""),
          });
        }
      },
    );
    // A program that ends before it reads its input closes the pipe; that is no fault.
    child.stdin?.on("error", () => {});
    child.stdin?.end();
  });

/** How long what `ssh -G` said is believed: a push asks again a moment later, a `watch` for hours. */
const BELIEVED_MS = 60_000;

/**
 * A `RunTool` that asks `ssh -G` once for equal questions that follow each other, and `ssh-keygen -F` once for a file that
 * stays as it is; other questions are always asked. For one environment: it is the first question's. Questions at the same
 * time share one process.
 */
export function rememberingTool(run: RunTool = runTool): RunTool {
  const answers = new Map<string, { readonly askedAt: number; readonly answer: Promise<ToolOutcome> }>();
  return (program, args, env) => {
    const file = program === "ssh-keygen" && args[0] === "-F" ? args[3] : undefined;
    if (program !== "ssh" && file === undefined) return run(program, args, env);
    const question = [program, ...args, file === undefined ? "" : stampOf(file)].join("\0");
    const known = answers.get(question);
    if (known && performance.now() - known.askedAt < BELIEVED_MS) return known.answer;
    const answer = run(program, args, env);
    answers.set(question, { askedAt: performance.now(), answer });
    return answer;
  };
}

/** What changes with a file's content; different each time where that can't be told. */
function stampOf(file: string): string {
  try {
    const { dev, ino, size, mtimeNs, ctimeNs } = statSync(file, { bigint: true });
    return [dev, ino, size, mtimeNs, ctimeNs].join(" ");
  } catch {
    return String(performance.now());
  }
}
