/**
 * A command of the user's on one machine: its words reach the program there as they are, its output comes as it is printed.
 * Must not know what is printed, nor of other machines.
 */
import type { Readable } from "node:stream";
import type { Result } from "../diagnostics.ts";
import { failure, success } from "../diagnostics.ts";
import { describeFleet } from "./fleet/problems.ts";
import { shellWord } from "./shell-word.ts";
import { describeProblem } from "./ssh/problems.ts";
import type { Transport } from "./transport.ts";

/** A longer line is handed on in pieces: a machine may print without end. */
const MAX_LINE_BYTES = 1 << 20;
/** A background process of the command may hold its output open for ever. */
const LAST_OUTPUT_MS = 2000;

export interface CommandEnd {
  /** `null`: a signal ended it. */
  readonly status: number | null;
  readonly signal?: string;
}

export interface CommandOptions {
  /** Undefined: no limit but the connection's keepalive. */
  readonly timeoutMs: number | undefined;
  /** Aborted: the command is asked to end. */
  readonly signal: AbortSignal;
  /** Bytes as they come, since a machine may print anything. */
  readonly onOutput: (stream: "out" | "err", chunk: Buffer) => void;
}

/** Between asking a command to end and leaving it to itself. */
const PATIENCE_MS = 2000;

/**
 * Runs its arguments with an empty standard input, and has them end (SIGTERM to the group) when ours ends: sshd refuses to
 * hand signals on to root's commands, and without a terminal a command outlives its connection.
 */
const GUARD =
  'trap : TERM; exec 3<&0; "$@" </dev/null 3<&- & c=$!; { read -r _ <&3; kill -TERM 0; } >/dev/null 2>&1 & r=$!; exec 3<&-; wait "$c"; s=$?; kill -KILL "$r" 2>/dev/null; exit "$s"';

/** The words as one line for a shell, which hands each to the program as it is. Pure. */
export function commandLine(words: readonly string[]): string {
  return words.map(shellWord).join(" ");
}

/** Cuts a stream of bytes into lines; the last one may lack its newline. */
export class LineCutter {
  #rest: Buffer = Buffer.alloc(0);
  readonly #onLine: (line: Buffer) => void;

  constructor(onLine: (line: Buffer) => void) {
    this.#onLine = onLine;
  }

  /** Hands on every line that is whole now. */
  push(chunk: Buffer): void {
    let rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    for (let end = rest.indexOf(0x0a); end >= 0; end = rest.indexOf(0x0a)) {
      this.#onLine(rest.subarray(0, end));
      rest = rest.subarray(end + 1);
    }
    for (; rest.length > MAX_LINE_BYTES; rest = rest.subarray(MAX_LINE_BYTES))
      this.#onLine(rest.subarray(0, MAX_LINE_BYTES));
    // A copy: the chunk's memory may be much larger than what is left of it.
    this.#rest = Buffer.from(rest);
  }

  /** Hands on what has no newline. */
  end(): void {
    if (this.#rest.length > 0) this.#onLine(this.#rest);
    this.#rest = Buffer.alloc(0);
  }
}

/**
 * Runs it with an empty standard input. A failure: the connection was lost, the time was over, or no channel opened; that
 * the command itself failed is a success with its status. It ends at the latest with the connection.
 */
export async function runCommand(
  transport: Transport,
  words: readonly string[],
  { timeoutMs, signal, onOutput }: CommandOptions,
): Promise<Result<CommandEnd>> {
  const opened = await transport.open(commandLine(["sh", "-c", GUARD, "labctl", ...words]));
  if (!opened.ok) return opened;
  const channel = opened.value;
  const { label } = transport;
  const read = Promise.all([
    whenRead(channel.stream, (chunk) => onOutput("out", chunk)),
    whenRead(channel.stderr, (chunk) => onOutput("err", chunk)),
  ]);
  let late = false;
  let left = false;
  const timers: NodeJS.Timeout[] = [];
  const stop = (): void => {
    channel.stream.end();
    const leave = (): void => {
      left = true;
      channel.close();
    };
    timers.push(setTimeout(leave, PATIENCE_MS));
  };
  const expire = (): void => {
    late = true;
    stop();
  };
  if (timeoutMs !== undefined) timers.push(setTimeout(expire, timeoutMs));
  if (signal.aborted) stop();
  signal.addEventListener("abort", stop);
  const end = await channel.done;
  for (const timer of timers) clearTimeout(timer);
  signal.removeEventListener("abort", stop);
  if (!left)
    await Promise.race([read, new Promise((resolve) => setTimeout(resolve, LAST_OUTPUT_MS).unref())]);
  if (late && timeoutMs !== undefined)
    return failure(describeFleet({ kind: "command-late", label, afterMs: timeoutMs, ended: !left }));
  const lost = end.status === null && end.signal === undefined && !signal.aborted;
  if (lost)
    return failure(
      describeProblem({ kind: "lost", label, detail: "no exit status came; the command was asked to end" }),
    );
  return success(end);
}

function whenRead(stream: Readable, onChunk: (chunk: Buffer) => void): Promise<void> {
  return new Promise((resolve) => {
    stream.on("data", onChunk);
    stream.once("end", () => resolve());
    stream.once("close", () => resolve());
  });
}
