/**
 * A machine of this host as a transport: what a push sends over SSH goes to a program of this side that runs it there. Must
 * not know what is run, nor whether the machine is booted.
 */
import { spawn } from "node:child_process";
import { Duplex } from "node:stream";
import { failure, type Result, success } from "../diagnostics.ts";
import type { ExecOptions, ExecResult, RemoteChannel, Transport } from "../push/transport.ts";
import { describeProblem } from "./problems.ts";

const STDERR_BYTES = 64 << 10;

/** `words` stand before `sh -c COMMAND`, so that it is run in the machine by its root. */
export function processTransport(label: string, words: readonly string[]): Transport {
  const start = (command: string) => {
    const [program = "", ...args] = [...words, "sh", "-c", command];
    return spawn(program, args, { stdio: ["pipe", "pipe", "pipe"] });
  };
  return {
    label,
    user: "root",
    exec: (command, options) => run(start(command), label, options),
    open(command) {
      const child = start(command);
      const done = new Promise<Awaited<RemoteChannel["done"]>>((resolve) => {
        child.on("error", () => resolve({ status: 127 }));
        child.on("close", (status, signal) => resolve({ status, ...(signal ? { signal } : {}) }));
      });
      const stream = Duplex.from({ readable: child.stdout, writable: child.stdin });
      // Whoever reads hears of it by the end.
      stream.on("error", () => {});
      return Promise.resolve(
        success({ stream, stderr: child.stderr, done, close: () => void child.kill("SIGKILL") }),
      );
    },
    isLost: () => false,
    close: () => Promise.resolve(),
  };
}

function run(
  child: ReturnType<typeof spawn>,
  label: string,
  options: ExecOptions,
): Promise<Result<ExecResult>> {
  const { stdin, stdout, stderr } = child;
  // All three are pipes: see `start`.
  if (!stdin || !stdout || !stderr) throw new Error("a program was started without pipes");
  const out: Buffer[] = [];
  let size = 0;
  let said = "";
  let fault: string | undefined;
  const end = (why: string): void => {
    fault ??= why;
    child.kill("SIGKILL");
  };
  const { timeoutMs } = options;
  const timer =
    timeoutMs === undefined
      ? undefined
      : setTimeout(() => end(`it did not end within ${timeoutMs / 1000} s`), timeoutMs);
  stdout.on("data", (chunk: Buffer) => {
    size += chunk.length;
    if (size > options.maxStdoutBytes) return end(`it printed more than ${options.maxStdoutBytes} bytes`);
    out.push(chunk);
    if (options.onStdout?.(chunk) === false) end("its answer makes no sense");
  });
  stderr.on("data", (chunk: Buffer) => {
    said = (said + chunk.toString()).slice(-STDERR_BYTES);
  });
  // A program that does not read its input closes the pipe; that is its right.
  stdin.on("error", () => {});
  if (options.stdin === undefined || typeof options.stdin === "string" || Buffer.isBuffer(options.stdin))
    stdin.end(options.stdin ?? "");
  else options.stdin.pipe(stdin);
  return new Promise((resolve) => {
    child.on("error", (error) => end(error.message));
    child.on("close", (status, signal) => {
      clearTimeout(timer);
      resolve(
        fault === undefined
          ? success({ status, ...(signal ? { signal } : {}), stdout: Buffer.concat(out), stderr: said })
          : failure(describeProblem({ kind: "machine-call-failed", name: label, why: fault })),
      );
    });
  });
}
