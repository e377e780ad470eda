/**
 * What fetching and unpacking do to a machine: programs, locks, files that appear whole, and what a person sees of it.
 * Must not know what an image is.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, fsyncSync, mkdirSync, openSync, renameSync, statfsSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { failure, type Result, success } from "../diagnostics.ts";
import { hostEffects } from "../guests/fork-effects.ts";
import { describeImageProblem } from "./problems.ts";

/** Journal lines of one step come at least this far apart; its status in `systemctl status` is newer. */
const LINE_PAUSE_MS = 5_000;
const STATUS_PAUSE_MS = 1_000;

/** Says what goes on: `status` is for now, `line` stays in the journal. */
export interface Teller {
  /** Shown by `systemctl status`, and as a line if the last one is some seconds old. */
  status(text: string): void;
  /** A line, at once. */
  line(text: string): void;
}

/** Lines to standard error, status to systemd where it started this process with a socket for that. */
export function teller(): Teller {
  let lastLine = Date.now();
  let lastStatus = 0;
  const notify = (text: string): void => {
    lastStatus = Date.now();
    if (process.env.NOTIFY_SOCKET)
      spawn("systemd-notify", [`--status=${text}`], { stdio: "ignore" }).on("error", () => {});
  };
  const line = (text: string): void => {
    lastLine = Date.now();
    process.stderr.write(`${text}\n`);
    notify(text);
  };
  return {
    line,
    status(text) {
      const now = Date.now();
      if (now - lastLine >= LINE_PAUSE_MS) line(text);
      else if (now - lastStatus >= STATUS_PAUSE_MS) notify(text);
    },
  };
}

/** Runs a program to its end; `step` completes "could not …". Its standard output. */
export async function runStep(step: string, argv: readonly string[]): Promise<Result<string>> {
  const end = await hostEffects.run(argv);
  if (end.status === 0) return success(end.stdout);
  return failure(describeImageProblem({ kind: "image-step-failed", step, argv, output: end.stderr }));
}

export interface Stream {
  readonly child: ChildProcess;
  /** Standard output, chunk by chunk; the program waits while nobody reads. */
  readonly chunks: AsyncIterable<Buffer>;
  /** Resolves after the last chunk. */
  readonly end: Promise<{ readonly status: number | null; readonly stderr: string }>;
}

/** Starts a program whose output is read as it comes. */
export function stream(argv: readonly string[]): Stream {
  const [program = "", ...args] = argv;
  const child = spawn(program, args, {
    env: { ...process.env, LC_ALL: "C" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let stderr = "";
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => {
    // The last lines say what went wrong.
    stderr = (stderr + chunk).slice(-65_536);
  });
  const end = new Promise<{ status: number | null; stderr: string }>((resolve) => {
    child.on("error", (error) => resolve({ status: 127, stderr: `${program}: ${error.message}` }));
    child.on("close", (status) => resolve({ status, stderr }));
  });
  return { child, chunks: child.stdout, end };
}

/** A file with this text, whole or not at all, on the disk before it has its name. Mode 0644. */
export function writeWhole(file: string, text: string): void {
  mkdirSync(dirname(file), { recursive: true });
  const draft = `${file}.${process.pid}.draft`;
  const fd = openSync(draft, "w", 0o644);
  try {
    writeSync(fd, text);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  renameSync(draft, file);
}

/**
 * Waits for a lock that ends with this process, however that ends. Node.js has no flock(2): flock(1) locks the open file
 * that both hold, and this process keeps it open. `onWait` is called if another holds it.
 */
export async function takeLock(
  file: string,
  mode: "shared" | "exclusive",
  onWait: () => void = () => {},
): Promise<() => void> {
  mkdirSync(dirname(file), { recursive: true });
  const fd = openSync(file, "a", 0o644);
  const flock = (...args: readonly string[]): Promise<boolean> =>
    new Promise((resolve) => {
      const child = spawn("flock", [`--${mode}`, ...args, "3"], {
        stdio: ["ignore", "ignore", "inherit", fd],
      });
      child.on("error", () => resolve(false));
      child.on("close", (status) => resolve(status === 0));
    });
  if (!(await flock("--nonblock"))) {
    onWait();
    if (!(await flock())) throw new Error(`the lock ${file} can't be taken; is util-linux installed?`);
  }
  return () => closeSync(fd);
}

/** Bytes that root may still write below an existing folder. */
export function freeBytes(folder: string): number {
  const { bavail, bsize } = statfsSync(folder);
  return bavail * bsize;
}
