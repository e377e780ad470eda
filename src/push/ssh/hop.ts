/**
 * Brings one hop up: socket, key exchange, host key, authentication. The socket may be TCP or a channel of the hop
 * before. This file must not know what the connection is for.
 */
import { connect as connectTcp, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { Client, ClientChannel } from "ssh2";
import ssh2 from "ssh2";
import { type Diagnostic, failure, type Result, success } from "../../diagnostics.ts";
import type { ConnectOptions } from "../transport.ts";
import { Authenticator, readCandidates } from "./authentication.ts";
import { Deadline } from "./deadline.ts";
import type { KnownHost } from "./host-keys.ts";
import { judgeHostKey, orderAlgorithms, readKnownHost, rememberHostKey } from "./host-keys.ts";
import { KEEPALIVE_COUNT, keepaliveMs } from "./keepalive.ts";
import { describeProblem, type SshProblem } from "./problems.ts";
import { describeKey, type PublicKey, typeOfBlob } from "./public-key.ts";
import type { SshSettings } from "./ssh-config.ts";

/** An open, authenticated connection. */
export interface Hop {
  readonly settings: SshSettings;
  readonly client: Client;
  /** Why the connection ended; undefined while it stands. */
  lostBecause(): string | undefined;
  /** Calls back once when the connection is gone, at once if it is already; returns how to stop waiting. */
  onLost(listener: () => void): () => void;
}

/**
 * Connects and logs in to one hop. `before`: the hop to go through; undefined: directly. Effects: a socket, the
 * agent, key and known_hosts files, questions to the person. Never rejects but for a bug.
 */
export async function openHop(
  settings: SshSettings,
  options: ConnectOptions,
  before: Hop | undefined,
): Promise<Result<Hop>> {
  const timeoutMs = Math.min(options.timeoutMs, settings.connectTimeoutMs ?? options.timeoutMs);
  const attempt = new Attempt(settings, options, before, timeoutMs);
  return attempt.run();
}

class Attempt {
  readonly #settings: SshSettings;
  readonly #options: ConnectOptions;
  readonly #before: Hop | undefined;
  readonly #timeoutMs: number;
  readonly #warnings: Diagnostic[] = [];
  #stage = "opening the connection";
  #socket: Duplex | undefined;
  #settle: (result: Result<Hop>) => void = () => {};

  constructor(settings: SshSettings, options: ConnectOptions, before: Hop | undefined, timeoutMs: number) {
    this.#settings = settings;
    this.#options = options;
    this.#before = before;
    this.#timeoutMs = timeoutMs;
  }

  run(): Promise<Result<Hop>> {
    return new Promise((resolve, reject) => {
      const deadline = new Deadline(this.#timeoutMs, () =>
        this.#fail({ kind: "timeout", ...this.#where, stage: this.#stage, afterMs: this.#timeoutMs }),
      );
      let settled = false;
      this.#settle = (result) => {
        if (settled) return;
        settled = true;
        deadline.end();
        if (!result.ok) this.#socket?.destroy();
        resolve(result);
      };
      this.#connect(deadline).catch((error: unknown) => {
        deadline.end();
        this.#socket?.destroy();
        reject(error);
      });
    });
  }

  async #connect(deadline: Deadline): Promise<void> {
    const { askSecret } = this.#options;
    // The machine gets its greeting ready meanwhile; it waits in the socket until someone reads.
    const [known, candidates, socket] = await Promise.all([
      readKnownHost(this.#settings, this.#options.env, this.#options.run),
      readCandidates(this.#settings, askSecret && ((prompt) => deadline.pause(() => askSecret(prompt)))),
      this.#openSocket(),
    ]);
    if (!known.ok) this.#settle(known);
    else if (socket?.destroyed)
      this.#fail({ kind: "handshake", ...this.#where, detail: "the machine closed the connection" });
    else if (socket)
      this.#logIn(
        socket,
        known.value,
        new Authenticator(this.#settings, candidates),
        candidates.skipped,
        deadline,
      );
  }

  /** The TCP socket or jump channel; undefined: the attempt has already failed. */
  #openSocket(): Promise<Duplex | undefined> {
    const { hostName, port, family } = this.#settings;
    return new Promise((resolve) => {
      const failed = (error: NodeJS.ErrnoException): void => {
        this.#failToReach(error);
        resolve(undefined);
      };
      if (this.#before) {
        this.#before.client.forwardOut("127.0.0.1", 0, hostName, port, (error, channel) => {
          if (error) return failed(error);
          this.#socket = channel;
          resolve(channel);
        });
        return;
      }
      const socket: Socket = connectTcp({
        host: hostName,
        port,
        family,
        autoSelectFamily: true,
        noDelay: true,
      });
      this.#socket = socket;
      socket.once("error", failed);
      socket.once("close", () => resolve(undefined));
      socket.once("connect", () => {
        socket.off("error", failed);
        resolve(socket);
      });
    });
  }

  #logIn(
    socket: Duplex,
    known: KnownHost,
    authenticator: Authenticator,
    skipped: readonly string[],
    deadline: Deadline,
  ): void {
    const settings = this.#settings;
    const client = new ssh2.Client();
    const watch = watchLoss(socket);
    let ready = false;
    let authenticating = false;
    this.#stage = "waiting for the SSH greeting and key exchange";
    const giveUp = (detail: string | undefined): void => {
      if (authenticating)
        this.#fail({ kind: "auth", label: settings.label, tried: authenticator.tried, skipped, detail });
      else this.#fail({ kind: "handshake", ...this.#where, detail: detail ?? "the connection was closed" });
    };
    client.on("error", (error: Error & { level?: string }) => {
      watch.note(error.message);
      // A key that could not sign is noted by its agent; the next one is tried.
      if (ready || error.level === "agent") return;
      giveUp(error.level === "client-authentication" ? undefined : error.message);
    });
    client.on("close", () => {
      if (!ready) giveUp("the machine closed the connection");
    });
    client.on("ready", () => {
      ready = true;
      this.#settle(success({ settings, client, ...watch.view }, this.#warnings));
    });
    client.connect({
      sock: socket,
      username: settings.user,
      readyTimeout: 0,
      keepaliveInterval: keepaliveMs(this.#options.timeoutMs),
      keepaliveCountMax: KEEPALIVE_COUNT,
      algorithms: { serverHostKey: orderAlgorithms(known) },
      hostVerifier: (blob: Buffer, verify: (valid: boolean) => void) => {
        this.#stage = "checking the host key";
        this.#trusts(blob, known, deadline).then(verify, (error: unknown) => {
          watch.note(String(error));
          verify(false);
        });
      },
      authHandler: (_left, _partial, next) => {
        authenticating = true;
        this.#stage = "authenticating";
        const method = authenticator.next();
        // ssh2 takes `false` for "no more"; its types leave that out.
        next(method as Exclude<typeof method, false>);
      },
    });
  }

  /** Decides on a presented host key; a refusal also settles the attempt. */
  async #trusts(blob: Buffer, known: KnownHost, deadline: Deadline): Promise<boolean> {
    const settings = this.#settings;
    const { label } = settings;
    const key: PublicKey = { type: typeOfBlob(blob) ?? "unknown", blob, comment: "" };
    const presented = describeKey(key);
    const verdict = judgeHostKey(blob, known);
    switch (verdict.kind) {
      case "known":
        return true;
      case "revoked":
        return this.#fail({ kind: "key-revoked", label, presented, entry: verdict.entry });
      case "changed":
        return this.#fail({
          kind: "key-changed",
          label,
          name: settings.hostKeyName,
          presented,
          known: verdict.known,
        });
      case "unknown": {
        const refuse = (reason: "no-terminal" | "declined" | "strict"): false => {
          const { authorities } = verdict;
          return this.#fail({
            kind: "key-unknown",
            label,
            name: settings.hostKeyName,
            presented,
            reason,
            authorities,
          });
        };
        const { acceptNew, confirm } = this.#options;
        if (!acceptNew && settings.unknownKey !== "accept-new") {
          if (settings.unknownKey === "refuse") return refuse("strict");
          if (!confirm) return refuse("no-terminal");
          const question = `the host key of ${label} is unknown: ${presented}; trust it from now on?`;
          if (!(await deadline.pause(() => confirm(question)))) return refuse("declined");
        }
        const warning = await rememberHostKey(settings, key);
        if (warning) this.#warnings.push(warning);
        return true;
      }
    }
  }

  get #where(): { label: string; address: string; via?: string } {
    const { label, hostName, port } = this.#settings;
    const address = hostName.includes(":") ? `[${hostName}]:${port}` : `${hostName}:${port}`;
    return { label, address, ...(this.#before ? { via: this.#before.settings.label } : {}) };
  }

  #failToReach(error: NodeJS.ErrnoException): void {
    const where = this.#where;
    const detail = error.message.replace(/^\(SSH\) Channel open failure: /, "");
    if (error.code === "ECONNREFUSED" || /connection refused/i.test(detail))
      this.#fail({ kind: "refused", ...where });
    else if (
      /^(ENOTFOUND|EAI_)/.test(error.code ?? "") ||
      /name or service not known|name resolution/i.test(detail)
    )
      this.#fail({ kind: "unresolvable", ...where, hostName: this.#settings.hostName });
    else this.#fail({ kind: "unreachable", ...where, detail });
  }

  #fail(p: SshProblem): false {
    this.#settle(failure(describeProblem(p)));
    return false;
  }
}

/** Watches a socket from its first moment, so that the loss is known before any channel on it reports its end. */
function watchLoss(socket: Duplex | ClientChannel): {
  readonly view: Pick<Hop, "lostBecause" | "onLost">;
  note(reason: string): void;
} {
  const listeners = new Set<() => void>();
  let lost = false;
  let reason: string | undefined;
  socket.on("error", (error: Error) => {
    reason ??= error.message;
  });
  socket.once("close", () => {
    lost = true;
    for (const listener of listeners) listener();
    listeners.clear();
  });
  return {
    note(text) {
      reason ??= text;
    },
    view: {
      lostBecause: () => (lost ? (reason ?? "the machine closed it") : undefined),
      onLost(listener) {
        if (lost) listener();
        else listeners.add(listener);
        return () => listeners.delete(listener);
      },
    },
  };
}
