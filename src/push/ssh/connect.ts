/**
 * Opens a connection by the back-end that was chosen, and tries again where a second attempt can help. Commands are
 * never tried again: here nothing has been run yet. This file must not know how a back-end connects.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { Result } from "../../diagnostics.ts";
import type { ConnectOptions, SshTarget, SudoAccess, Transport } from "../transport.ts";
import type { ChannelTransport } from "./channels.ts";

/** Pauses before the second and the third attempt: a restarting sshd is back, a full MaxStartups has drained. */
const PAUSES_MS = [150, 400];

/** No session came about, and no person was asked: trying again repeats nothing. */
const WORTH_ANOTHER = new Set(["ssh-refused", "ssh-handshake"]);

/**
 * Connects and logs in; `value` is ready for channels. A refused connection, and one that ends during the handshake,
 * is tried at most twice more; all attempts together keep to `timeoutMs`. Once connected, a peer that stays silent
 * for 15 to 20 s counts as gone with either back-end. Warnings: an accepted host key that could not be written down.
 * Problems have the codes of `problems.ts`. Effects: sockets or child processes, key and known_hosts files, and
 * questions by `confirm` and `askSecret`.
 */
export async function connect(target: SshTarget, options: ConnectOptions): Promise<Result<Transport>> {
  const client = options.client ?? target.client ?? "builtin";
  // Loaded only now: ssh2 takes as long to load as Node.js itself.
  const connectOnce =
    client === "openssh"
      ? (await import("./openssh-transport.ts")).connectOpenSsh
      : (await import("./ssh2-transport.ts")).connectBuiltIn;
  const result = await connectPatiently(connectOnce, target, options);
  if (result.ok) result.value.sudo = sudoOf(result.value.label, options);
  return result;
}

/** By the machine's label: connections of one run share what a person was asked for. */
const sudoByLabel = new Map<string, SudoAccess>();

function sudoOf(label: string, { askSecret }: ConnectOptions): SudoAccess {
  const known = sudoByLabel.get(label);
  if (known && known.ask === askSecret) return known;
  const access: SudoAccess = askSecret ? { ask: askSecret } : {};
  sudoByLabel.set(label, access);
  return access;
}

async function connectPatiently(
  connectOnce: (target: SshTarget, options: ConnectOptions) => Promise<Result<ChannelTransport>>,
  target: SshTarget,
  options: ConnectOptions,
): Promise<Result<ChannelTransport>> {
  const startedAt = performance.now();
  let result = await connectOnce(target, options);
  for (const pauseMs of PAUSES_MS) {
    if (result.ok || !result.problems.some((one) => WORTH_ANOTHER.has(one.code))) return result;
    const leftMs = options.timeoutMs - (performance.now() - startedAt) - pauseMs;
    if (leftMs < 1_000) return result;
    await sleep(pauseMs);
    const again = await connectOnce(target, { ...options, timeoutMs: Math.floor(leftMs / 100) * 100 });
    // The first refusal says more than "no time was left".
    if (again.ok || again.problems.some((one) => one.code !== "ssh-timeout")) result = again;
  }
  return result;
}
