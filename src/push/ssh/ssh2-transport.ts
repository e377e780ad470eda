/**
 * The built-in back-end, which stands on ssh2: one connection, also through jump hosts. This file must not know what
 * runs over the channels, nor how a hop is brought up.
 */
import type { ClientChannel } from "ssh2";
import { type Diagnostic, failure, type Result, success } from "../../diagnostics.ts";
import type { ConnectOptions, SshTarget } from "../transport.ts";
import { type ChannelEnd, ChannelTransport, type Link, type OpenChannel } from "./channels.ts";
import { type Hop, openHop } from "./hop.ts";
import { describeProblem } from "./problems.ts";
import { parseJump, readSshSettings, type SshSettings } from "./ssh-config.ts";

/** A longer chain is a loop in the configuration. */
const MAX_HOPS = 8;

/**
 * Connects and logs in; `value` is ready for channels. Warnings: an accepted host key that could not be written down.
 * Problems have the codes of `problems.ts`. Effects: sockets, `ssh -G`, `ssh-keygen -F`, key and known_hosts files,
 * and questions by `confirm` and `askSecret`.
 */
export async function connectBuiltIn(
  target: SshTarget,
  options: ConnectOptions,
): Promise<Result<ChannelTransport>> {
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
  return success(new ChannelTransport(new Ssh2Link(hops)), warnings);
}

/**
 * The hops to the target in order, the target last. As in OpenSSH, the first jump host may have a ProxyJump of its
 * own; for the others the list on the target decides.
 */
async function settleRoute(
  target: SshTarget,
  options: ConnectOptions,
): Promise<Result<readonly SshSettings[]>> {
  const settled = await readBuiltInSettings(target, options);
  if (!settled.ok) return settled;
  const route: SshSettings[] = [settled.value];
  let jumps = settled.value.jumps;
  while (jumps.length > 0) {
    const hops: SshSettings[] = [];
    for (const text of jumps) {
      const jump = parseJump(text);
      if (!jump)
        return failure(describeProblem({ kind: "jump-syntax", label: settled.value.label, hop: text }));
      const hop = await readBuiltInSettings(jump, options);
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

/** Settings that this client can follow. */
async function readBuiltInSettings(target: SshTarget, options: ConnectOptions): Promise<Result<SshSettings>> {
  const settled = await readSshSettings(target, options);
  if (!settled.ok || settled.value.proxyCommand === undefined) return settled;
  const { host, proxyCommand } = settled.value;
  return failure(describeProblem({ kind: "proxy-command", host, command: proxyCommand }));
}

class Ssh2Link implements Link {
  readonly label: string;
  readonly user: string;
  readonly #hops: readonly Hop[];
  readonly #hop: Hop;

  constructor(hops: readonly Hop[]) {
    this.#hops = hops;
    // `connectBuiltIn` settles at least the target itself.
    this.#hop = hops[hops.length - 1] as Hop;
    this.label = this.#hop.settings.label;
    this.user = this.#hop.settings.user;
  }

  lostBecause(): string | undefined {
    return this.#hop.lostBecause();
  }

  onLost(listener: () => void): () => void {
    return this.#hop.onLost(listener);
  }

  request(command: string): Promise<OpenChannel | Error> {
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

  async end(): Promise<void> {
    for (const hop of [...this.#hops].reverse()) {
      const gone = new Promise<void>((resolve) => hop.onLost(resolve));
      hop.client.end();
      // A dead peer never answers the goodbye.
      const timer = setTimeout(() => hop.client.destroy(), 1_000);
      await gone;
      clearTimeout(timer);
    }
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
    end.then(forget);
    const abandon = (): void => {
      discard(channel);
      settle(seen);
    };
    return { stream: channel, stderr: channel.stderr, end, abandon };
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
