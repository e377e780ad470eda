/**
 * The `Transport` on top of any back-end: commands under their limits, and at most 8 channels at once. This file must
 * not know what carries a channel, nor what runs over it.
 */
import type { Duplex, Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { type Diagnostic, failure, type Result, success } from "../../diagnostics.ts";
import type {
  ExecOptions,
  ExecResult,
  RemoteChannel,
  SudoAccess,
  Transport,
  WaitingChannel,
} from "../transport.ts";
import { describeProblem } from "./problems.ts";

/** sshd's MaxSessions is 10 by default; two stay free for what else shares the connection. */
const MAX_CHANNELS = 8;
const STDERR_TAIL_BYTES = 64 * 1024;
/** A server counts a session for a moment after its command has ended here. */
const LINGERING_MS = 50;
const LINGERING_TRIES = 10;
/** A background process of the command may hold its output open for ever. */
const LAST_OUTPUT_MS = 2000;

export type ChannelEnd = Awaited<RemoteChannel["done"]>;

export interface OpenChannel {
  readonly stream: Duplex;
  readonly stderr: Readable;
  readonly end: Promise<ChannelEnd>;
  /** Ends it from our side; `end` settles without waiting, since sshd confirms only after the command has ended. */
  abandon(): void;
}

/** One logged-in connection of a back-end. */
export interface Link {
  readonly label: string;
  readonly user: string;
  /** Why the connection ended; undefined while it stands. */
  lostBecause(): string | undefined;
  /** Calls back once when the connection is gone, at once if it is already; returns how to stop waiting. */
  onLost(listener: () => void): () => void;
  /** Opens a channel; an Error says why the machine opened none. Never rejects. */
  request(command: string): Promise<OpenChannel | Error>;
  /** Ends the connection and waits until it is gone. Called once. */
  end(): Promise<void>;
}

export class ChannelTransport implements Transport {
  /** Set by who knows the machine's other connections. */
  declare sudo?: SudoAccess;
  declare standby?: WaitingChannel | undefined;
  readonly label: string;
  readonly user: string;
  readonly #link: Link;
  readonly #waiting: (() => void)[] = [];
  #limit = MAX_CHANNELS;
  #active = 0;
  #closed = false;

  constructor(link: Link) {
    this.#link = link;
    this.label = link.label;
    this.user = link.user;
    link.onLost(() => {
      for (const wake of this.#waiting.splice(0)) wake();
    });
  }

  async open(command: string): Promise<Result<RemoteChannel>> {
    const opened = await this.#openChannel(command);
    if (!opened.ok) return opened;
    const { stream, stderr, end, abandon } = opened.value;
    return success({ stream, stderr, done: end, close: abandon });
  }

  async exec(command: string, options: ExecOptions): Promise<Result<ExecResult>> {
    const opened = await this.#openChannel(command);
    if (!opened.ok) return opened;
    const channel = opened.value;
    const { label } = this;
    return new Promise((resolve) => {
      const stdout: Buffer[] = [];
      const stderr = new Tail(STDERR_TAIL_BYTES);
      let sizeBytes = 0;
      let over = false;
      let timer: NodeJS.Timeout | undefined;
      const giveUp = (problem: Diagnostic): void => {
        over = true;
        clearTimeout(timer);
        resolve(failure(problem));
        channel.abandon();
      };
      if (options.timeoutMs !== undefined) {
        const afterMs = options.timeoutMs;
        timer = setTimeout(() => giveUp(describeProblem({ kind: "exec-timeout", label, afterMs })), afterMs);
      }
      channel.stream.on("data", (chunk: Buffer) => {
        if (over) return;
        sizeBytes += chunk.length;
        if (sizeBytes > options.maxStdoutBytes)
          return giveUp(
            describeProblem({ kind: "output-overrun", label, limitBytes: options.maxStdoutBytes }),
          );
        stdout.push(chunk);
        if (options.onStdout?.(chunk) === false) giveUp(describeProblem({ kind: "output-refused", label }));
      });
      channel.stderr.on("data", (chunk: Buffer) => stderr.add(chunk));
      const read = Promise.all([whenRead(channel.stream), whenRead(channel.stderr)]);
      channel.end.then(async (how) => {
        clearTimeout(timer);
        // The command may be known to have ended before the last of its output was handed on.
        if (how.status !== null) await Promise.race([read, sleep(LAST_OUTPUT_MS, undefined, { ref: false })]);
        if (how.status === null && how.signal === undefined && this.#link.lostBecause() !== undefined)
          return resolve(failure(this.#lost()));
        resolve(success({ ...how, stdout: Buffer.concat(stdout), stderr: stderr.text() }));
      });
      feed(channel.stream, options.stdin);
    });
  }

  isLost(): boolean {
    return this.#closed || this.#link.lostBecause() !== undefined;
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#link.end();
  }

  /** Waits for a free place and opens; a machine that allows fewer sessions lowers the limit instead of failing. */
  async #openChannel(command: string): Promise<Result<OpenChannel>> {
    for (let refusals = 0; ; ) {
      while (this.#active >= this.#limit && this.#link.lostBecause() === undefined && !this.#closed)
        await this.#room();
      if (this.#closed || this.#link.lostBecause() !== undefined) return failure(this.#lost());
      this.#active++;
      const outcome = await this.#link.request(command);
      if (!(outcome instanceof Error)) {
        outcome.end.then(() => this.#release());
        return success(outcome);
      }
      this.#release();
      if (this.#link.lostBecause() !== undefined) return failure(this.#lost());
      this.standby?.drop();
      if (this.#active > 0) this.#limit = Math.min(this.#limit, this.#active);
      else if (++refusals > LINGERING_TRIES)
        return failure(describeProblem({ kind: "channel", label: this.label, detail: outcome.message }));
      else await sleep(LINGERING_MS);
    }
  }

  #room(): Promise<void> {
    this.standby?.drop();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #release(): void {
    this.#active--;
    this.#waiting.shift()?.();
  }

  #lost(): Diagnostic {
    const detail = this.#closed
      ? "labctl had already closed it"
      : (this.#link.lostBecause() ?? "the machine closed it");
    return describeProblem({ kind: "lost", label: this.label, detail });
  }
}

/** Settles when nothing more will come. */
function whenRead(stream: Readable): Promise<void> {
  return new Promise((resolve) => {
    stream.once("end", () => resolve());
    stream.once("close", () => resolve());
  });
}

function feed(stream: Duplex, stdin: Buffer | string | Readable | undefined): void {
  if (stdin === undefined) stream.end();
  else if (typeof stdin === "string" || Buffer.isBuffer(stdin)) stream.end(stdin);
  else {
    // A source that fails ends the input: the remote command sees end of file, and its status tells.
    stdin.once("error", () => stream.end());
    stdin.pipe(stream);
  }
}

/** Keeps the last bytes of a stream. */
export class Tail {
  readonly #limitBytes: number;
  #chunks: Buffer[] = [];
  #sizeBytes = 0;

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  add(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#sizeBytes += chunk.length;
    if (this.#sizeBytes > 2 * this.#limitBytes) this.#trim();
  }

  text(): string {
    this.#trim();
    return Buffer.concat(this.#chunks).toString("utf8");
  }

  #trim(): void {
    const kept = Buffer.concat(this.#chunks).subarray(-this.#limitBytes);
    this.#chunks = [kept];
    this.#sizeBytes = kept.length;
  }
}
