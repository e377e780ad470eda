/**
 * Channels through a running `ssh -M`: each is a short-lived `ssh` that hands its three pipes to the master. This file
 * must not know how the master came up, nor what runs over the channels.
 */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { Duplex, PassThrough, type Readable, type Writable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import type { ChannelEnd, Link, OpenChannel } from "./channels.ts";
import type { Master } from "./openssh-master.ts";
import type { SshSettings } from "./ssh-config.ts";

const POLL_MS = 3;
/** `ssh` ends with this for itself, and with the command's own status otherwise (ssh(1), EXIT STATUS). */
const SSH_FAILED = 255;
/** When a master goes, its channels may be seen to end a moment before it. */
const LOSS_SHOWS_WITHIN_MS = 250;
/** Said by a client at `-vv` (mux.c). */
const OPENED = "master session id";
const STATUS_CAME = "Received exit status from master";

type Client = ChildProcessByStdio<Writable, Readable, Readable>;

export class OpenSshLink implements Link {
  readonly label: string;
  readonly user: string;
  readonly #master: Master;
  readonly #env: Readonly<Record<string, string | undefined>>;
  readonly #whenEnded: () => void;
  #count = 0;

  /** `whenEnded` lets go of what served the connection. */
  constructor(
    settings: SshSettings,
    master: Master,
    env: Readonly<Record<string, string | undefined>>,
    whenEnded: () => void,
  ) {
    this.label = settings.label;
    this.user = settings.user;
    this.#master = master;
    this.#env = env;
    this.#whenEnded = whenEnded;
    master.onGone(whenEnded);
  }

  lostBecause(): string | undefined {
    if (!this.#master.gone) return undefined;
    const said = this.#master
      .log()
      .split(/\r?\n/)
      .filter((line) => line.trim() !== "" && !/^debug\d: /.test(line));
    const why = said.findLast((line) => /timeout|timed out|closed|reset|broken|disconnect/i.test(line));
    return why?.replace(/^ssh: /, "") ?? "the machine closed it";
  }

  onLost(listener: () => void): () => void {
    return this.#master.onGone(listener);
  }

  async request(command: string): Promise<OpenChannel | Error> {
    const log = join(this.#master.folder, `${++this.#count}.log`);
    const client: Client = spawn("ssh", clientArguments(this.#master.control, log, command), {
      detached: true,
      env: this.#env,
      stdio: ["pipe", "pipe", "pipe"],
    });
    let closed = false;
    const done = new Promise<number | null>((resolve) => {
      client.once("error", () => resolve(null));
      client.once("exit", () => {
        closed = true;
      });
      client.once("close", (status) => resolve(status));
    });
    for (const pipe of [client.stdin, client.stdout, client.stderr]) pipe.on("error", () => {});
    // Node drains and forgets the output of a child that ends before anyone listens.
    const stream = joinPipes(client.stdin, client.stdout);
    const stderr = client.stderr.pipe(new PassThrough());
    while (!closed && !read(log).includes(OPENED)) await sleep(POLL_MS);
    const text = read(log);
    if (!text.includes(OPENED)) {
      rmSync(log, { force: true });
      return new Error(reasonOf(text));
    }
    return this.#track(client, stream, stderr, done, log);
  }

  async end(): Promise<void> {
    await this.#master.end();
    this.#whenEnded();
  }

  #track(
    client: Client,
    stream: Duplex,
    stderr: Readable,
    done: Promise<number | null>,
    log: string,
  ): OpenChannel {
    let settle: (end: ChannelEnd) => void = () => {};
    const end = new Promise<ChannelEnd>((resolve) => {
      settle = resolve;
    });
    const finish = async (status: number | null): Promise<void> => {
      const came = status !== SSH_FAILED || read(log).includes(STATUS_CAME);
      rmSync(log, { force: true });
      if (status !== null && came) return settle({ status });
      // A command that a signal ended looks like a channel whose master went away.
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, LOSS_SHOWS_WITHIN_MS);
        this.onLost(() => {
          clearTimeout(timer);
          resolve();
        });
      });
      settle({ status: null });
    };
    done.then(finish);
    const abandon = (): void => {
      client.kill("SIGKILL");
      client.stdin.destroy();
      client.stdout.destroy();
      client.stderr.destroy();
      stderr.destroy();
      settle({ status: null });
    };
    return { stream, stderr, end, abandon };
  }
}

/** No configuration is read: all it could say was said to the master. Pure. */
function clientArguments(control: string, log: string, command: string): string[] {
  return [
    "-F",
    "none",
    "-S",
    control,
    // Without a master, ssh would connect by itself; to whom, only the master knows.
    "-o",
    "ProxyCommand=exit 1",
    "-o",
    "BatchMode=yes",
    "-T",
    "-vv",
    "-E",
    log,
    "--",
    "machine",
    command,
  ];
}

function read(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}

function reasonOf(log: string): string {
  const refused = /session request failed: (.*)/.exec(log)?.[1]?.trim();
  return refused ?? "ssh could not open a session on the connection";
}

/** One stream of a command's input and output; each side ends by itself. */
function joinPipes(stdin: Writable, stdout: Readable): Duplex {
  const joined = new Duplex({
    allowHalfOpen: true,
    read: () => stdout.resume(),
    write(chunk: Buffer, _encoding, done) {
      // An input that nobody reads any more is not the sender's fault: the command's status tells.
      stdin.write(chunk, () => done());
    },
    final(done) {
      stdin.end(() => done());
    },
    destroy(_error, done) {
      stdin.destroy();
      stdout.destroy();
      done(null);
    },
  });
  // A pipe that is gone calls no write or end back.
  stdin.once("close", () => joined.writableEnded || joined.end());
  stdout.on("data", (chunk: Buffer) => {
    if (!joined.push(chunk)) stdout.pause();
  });
  stdout.once("end", () => joined.push(null));
  stdout.once("close", () => joined.readableEnded || joined.push(null));
  stdout.pause();
  return joined;
}
