/**
 * The `Transport` that stands on ssh2: one connection, also through jump hosts, and at most 8 channels on it.
 * This file must not know what runs over the channels, nor how a hop is brought up.
 */
import type { Readable } from "node:stream";
import type { ClientChannel } from "ssh2";
import { type Diagnostic, failure, type Result, success } from "../../diagnostics.ts";
import type {
  ConnectOptions,
  ExecOptions,
  ExecResult,
  RemoteChannel,
  SshTarget,
  Transport,
} from "../transport.ts";
import { type Hop, openHop } from "./hop.ts";
import { describeProblem } from "./problems.ts";
import { parseJump, readSshSettings, type SshSettings } from "./ssh-config.ts";

/** sshd's MaxSessions is 10 by default; two stay free for what else shares the connection. */
const MAX_CHANNELS = 8;
/** A longer chain is a loop in the configuration. */
const MAX_HOPS = 8;
const STDERR_TAIL_BYTES = 64 * 1024;

/**
 * Connects and logs in; `value` is ready for channels. Warnings: an accepted host key that could not be written down.
 * Problems have the codes of `problems.ts`. Effects: sockets, `ssh -G`, `ssh-keygen -F`, key and known_hosts files,
 * and questions by `confirm` and `askSecret`.
 */
export async function connect(target: SshTarget, options: ConnectOptions): Promise<Result<Transport>> {
  const route = await settleRoute(target, options);
  if (!route.ok) return route;
  const hops: Hop[] = [];
  const warnings: Diagnostic[] = [];
  for (const settings of route.value) {
    const opened = await openHop(settings, options, hops.at(-1));
    if (!opened.ok) {
      for (const hop of hops.reverse()) hop.client.end();
      return opened;
    }
    warnings.push(...opened.warnings);
    hops.push(opened.value);
  }
  return success(new Ssh2Transport(hops), warnings);
}

/**
 * The hops to the target in order, the target last. As in OpenSSH, the first jump host may have a ProxyJump of its
 * own; for the others the list on the target decides.
 */
async function settleRoute(
  target: SshTarget,
  options: ConnectOptions,
): Promise<Result<readonly SshSettings[]>> {
  const settled = await readSshSettings(target, options);
  if (!settled.ok) return settled;
  const route: SshSettings[] = [settled.value];
  let jumps = settled.value.jumps;
  while (jumps.length > 0) {
    const hops: SshSettings[] = [];
    for (const text of jumps) {
      const jump = parseJump(text);
      if (!jump)
        return failure(describeProblem({ kind: "jump-syntax", label: settled.value.label, hop: text }));
      const hop = await readSshSettings(jump, options);
      if (!hop.ok) return hop;
      hops.push(hop.value);
    }
    route.unshift(...hops);
    if (route.length > MAX_HOPS)
      return failure(
        describeProblem({
          kind: "jump-loop",
          label: settled.value.label,
          route: route.map((hop) => hop.label).reverse(),
        }),
      );
    jumps = hops[0]?.jumps ?? [];
  }
  return success(route);
}

type ChannelEnd = Awaited<RemoteChannel["done"]>;

interface OpenChannel {
  readonly channel: ClientChannel;
  readonly end: Promise<ChannelEnd>;
  /** Ends it from our side; `end` settles without waiting, since sshd confirms only after the command has ended. */
  abandon(): void;
}

class Ssh2Transport implements Transport {
  readonly label: string;
  readonly user: string;
  readonly #hops: readonly Hop[];
  readonly #hop: Hop;
  readonly #waiting: (() => void)[] = [];
  #limit = MAX_CHANNELS;
  #active = 0;
  #closed = false;

  constructor(hops: readonly Hop[]) {
    this.#hops = hops;
    // `connect` settles at least the target itself.
    this.#hop = hops[hops.length - 1] as Hop;
    this.label = this.#hop.settings.label;
    this.user = this.#hop.settings.user;
    this.#hop.onLost(() => {
      for (const wake of this.#waiting.splice(0)) wake();
    });
  }

  async open(command: string): Promise<Result<RemoteChannel>> {
    const opened = await this.#openChannel(command);
    if (!opened.ok) return opened;
    const { channel, end, abandon } = opened.value;
    return success({ stream: channel, stderr: channel.stderr, done: end, close: abandon });
  }

  async exec(command: string, options: ExecOptions): Promise<Result<ExecResult>> {
    const opened = await this.#openChannel(command);
    if (!opened.ok) return opened;
    const { channel, end, abandon } = opened.value;
    const { label } = this;
    return new Promise((resolve) => {
      const stdout: Buffer[] = [];
      const stderr = new Tail(STDERR_TAIL_BYTES);
      let sizeBytes = 0;
      let timer: NodeJS.Timeout | undefined;
      const giveUp = (problem: Diagnostic): void => {
        clearTimeout(timer);
        resolve(failure(problem));
        abandon();
      };
      if (options.timeoutMs !== undefined) {
        const afterMs = options.timeoutMs;
        timer = setTimeout(() => giveUp(describeProblem({ kind: "exec-timeout", label, afterMs })), afterMs);
      }
      channel.on("data", (chunk: Buffer) => {
        sizeBytes += chunk.length;
        if (sizeBytes > options.maxStdoutBytes)
          return giveUp(
            describeProblem({ kind: "output-overrun", label, limitBytes: options.maxStdoutBytes }),
          );
        stdout.push(chunk);
        options.onStdout?.(chunk);
      });
      channel.stderr.on("data", (chunk: Buffer) => stderr.add(chunk));
      end.then((how) => {
        clearTimeout(timer);
        if (how.status === null && how.signal === undefined && this.#hop.lostBecause() !== undefined)
          return resolve(failure(this.#lost()));
        resolve(success({ ...how, stdout: Buffer.concat(stdout), stderr: stderr.text() }));
      });
      feed(channel, options.stdin);
    });
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    for (const hop of [...this.#hops].reverse()) {
      const gone = new Promise<void>((resolve) => hop.onLost(resolve));
      hop.client.end();
      // A dead peer never answers the goodbye.
      const timer = setTimeout(() => hop.client.destroy(), 1_000);
      await gone;
      clearTimeout(timer);
    }
  }

  /** Waits for a free place and opens; a machine that allows fewer sessions lowers the limit instead of failing. */
  async #openChannel(command: string): Promise<Result<OpenChannel>> {
    for (;;) {
      while (this.#active >= this.#limit && this.#hop.lostBecause() === undefined && !this.#closed)
        await new Promise<void>((resolve) => this.#waiting.push(resolve));
      if (this.#closed || this.#hop.lostBecause() !== undefined) return failure(this.#lost());
      this.#active++;
      const outcome = await this.#request(command);
      if (!(outcome instanceof Error)) return success(outcome);
      this.#release();
      if (this.#hop.lostBecause() !== undefined) return failure(this.#lost());
      if (this.#active === 0)
        return failure(describeProblem({ kind: "channel", label: this.label, detail: outcome.message }));
      this.#limit = Math.min(this.#limit, this.#active);
    }
  }

  #request(command: string): Promise<OpenChannel | Error> {
    return new Promise((resolve) => {
      // A connection that breaks here may never answer the request.
      const forget = this.#hop.onLost(() => resolve(new Error("the connection was lost")));
      const settle = (outcome: OpenChannel | Error): void => {
        forget();
        resolve(outcome);
      };
      try {
        this.#hop.client.exec(command, (error, channel) => {
          if (error) return settle(error);
          // Errors of a channel show as its end; without a listener they would end the process.
          channel.on("error", () => {});
          // Listens before anything else runs: the exit status may stand in the same packet as this answer.
          settle(this.#track(channel));
        });
      } catch (error) {
        settle(error as Error);
      }
    });
  }

  #release(): void {
    this.#active--;
    this.#waiting.shift()?.();
  }

  #track(channel: ClientChannel): OpenChannel {
    let settle: (end: ChannelEnd) => void = () => {};
    const end = new Promise<ChannelEnd>((resolve) => {
      settle = resolve;
    });
    let seen: ChannelEnd = { status: null };
    channel.once("exit", (status: number | null, signal?: string) => {
      seen = { status: status ?? null, ...(signal ? { signal } : {}) };
    });
    channel.once("close", () => settle(seen));
    const forget = this.#hop.onLost(() => setImmediate(() => settle(seen)));
    end.then(() => {
      forget();
      this.#release();
    });
    const abandon = (): void => {
      discard(channel);
      settle(seen);
    };
    return { channel, end, abandon };
  }

  #lost(): Diagnostic {
    const detail = this.#closed
      ? "labctl had already closed it"
      : (this.#hop.lostBecause() ?? "the machine closed it");
    return describeProblem({ kind: "lost", label: this.label, detail });
  }
}

/** Asks the command to end, closes the channel, and lets go of what may still come. */
function discard(channel: ClientChannel): void {
  channel.removeAllListeners("data");
  channel.resume();
  channel.stderr.resume();
  try {
    channel.signal("TERM");
    channel.close();
  } catch {
    // The connection is gone, and the channel with it.
  }
}

function feed(channel: ClientChannel, stdin: Buffer | string | Readable | undefined): void {
  if (stdin === undefined) channel.end();
  else if (typeof stdin === "string" || Buffer.isBuffer(stdin)) channel.end(stdin);
  else {
    // A source that fails ends the input: the remote command sees end of file, and its status tells.
    stdin.once("error", () => channel.end());
    stdin.pipe(channel);
  }
}

/** Keeps the last bytes of a stream. */
class Tail {
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
