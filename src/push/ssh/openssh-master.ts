/**
 * One `ssh -M` process: the connection that channels share. It runs behind a small shell that ends it and removes its
 * folder when this process is gone, however it went. This file must not know about channels.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { SshTarget } from "../transport.ts";
import { Tail } from "./channels.ts";
import { KEEPALIVE_COUNT, keepaliveMs } from "./keepalive.ts";

/** A peer that is silent for the interval times the count is gone (ssh_config(5)); the built-in client's figures. */
const LOG_TAIL_BYTES = 64 * 1024;
const POLL_MS = 5;
/** A socket's path holds 104 bytes on BSD, 108 on Linux; ssh adds 17 while it makes it, the folder's name takes 20. */
const MAX_PARENT_BYTES = 60;

/**
 * Holds fd 0 open to labctl: it ends when labctl does. The reader is told of that by end of file and ends ssh; a
 * connection that ends by itself takes the reader along. Arguments: the folder, then ssh's own.
 */
const GUARD = `
folder=$1; shift
exec 3<&0
ssh "$@" </dev/null 3<&- &
master=$!
{ read -r _ <&3; kill "$master"; } 2>/dev/null &
reader=$!
exec 3<&-
wait "$master"; status=$?
kill "$reader" 2>/dev/null
rm -rf -- "$folder"
exit "$status"
`;

export interface MasterSettings {
  readonly target: SshTarget;
  readonly configFile?: string | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly strictHostKeyChecking: "yes" | "ask" | "accept-new";
  /** False: nobody can be asked for a password, so none is offered. */
  readonly passwords: boolean;
  /** `--timeout`. */
  readonly timeoutMs: number;
}

/** Makes a private folder (0700) whose path is short enough for sockets and means nothing to ssh_config. */
export function makeSocketFolder(): Promise<string> {
  const wanted = tmpdir();
  const usable = Buffer.byteLength(wanted) <= MAX_PARENT_BYTES && /^[A-Za-z0-9_./-]+$/.test(wanted);
  return mkdtemp(join(usable ? wanted : "/tmp", "labctl-ssh-"));
}

export class Master {
  readonly folder: string;
  /** ControlPath. */
  readonly control: string;
  readonly #child: ChildProcess;
  readonly #log = new Tail(LOG_TAIL_BYTES);
  readonly #listeners = new Set<() => void>();
  #gone = false;

  constructor(folder: string, settings: MasterSettings) {
    this.folder = folder;
    this.control = join(folder, "c");
    this.#child = spawn("sh", ["-c", GUARD, "labctl", folder, ...masterArguments(this.control, settings)], {
      // A session of its own: an interrupt typed at the terminal is labctl's to handle.
      detached: true,
      env: { ...settings.env, LC_ALL: "C" },
      stdio: ["pipe", "ignore", "pipe"],
    });
    this.#child.stdin?.on("error", () => {});
    this.#child.stderr?.on("data", (chunk: Buffer) => this.#log.add(chunk));
    const ended = (): void => {
      if (this.#gone) return;
      this.#gone = true;
      for (const listener of this.#listeners) listener();
      this.#listeners.clear();
    };
    this.#child.once("error", ended);
    // Not `close`: a ProxyCommand's child may hold the error stream open.
    this.#child.once("exit", () => setImmediate(ended));
  }

  get gone(): boolean {
    return this.#gone;
  }

  /** What ssh wrote to its error stream, at most the last 64 KiB. */
  log(): string {
    return this.#log.text();
  }

  /** True once channels can be opened; false if ssh ended before. */
  async ready(): Promise<boolean> {
    // ssh gives the socket its name only when it listens.
    while (!this.#gone && !existsSync(this.control))
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    return !this.#gone;
  }

  /** Calls back once when ssh has ended, at once if it has already; returns how to stop waiting. */
  onGone(listener: () => void): () => void {
    if (this.#gone) listener();
    else this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Ends ssh, waits for that, and leaves nothing of it behind. */
  async end(): Promise<void> {
    const gone = new Promise<void>((resolve) => this.onGone(resolve));
    this.#child.stdin?.end();
    const timer = setTimeout(() => this.#killGroup(), 1_000);
    await gone;
    clearTimeout(timer);
    await rm(this.folder, { recursive: true, force: true });
  }

  #killGroup(): void {
    if (this.#child.pid === undefined) return;
    try {
      // Detached, the shell leads a group of its own, and ssh and its proxies are in it.
      process.kill(-this.#child.pid, "SIGKILL");
    } catch {
      // It ended in this moment.
    }
  }
}

/** ssh's arguments; what stands here overrides the configuration. Pure. */
function masterArguments(control: string, settings: MasterSettings): string[] {
  const { target } = settings;
  const options = [
    "ControlPersist=no",
    `StrictHostKeyChecking=${settings.strictHostKeyChecking}`,
    `ServerAliveInterval=${Math.ceil(keepaliveMs(settings.timeoutMs) / 1000)}`,
    `ServerAliveCountMax=${KEEPALIVE_COUNT}`,
    "TCPKeepAlive=yes",
    // What a person's interactive session wants is no part of this one.
    "ClearAllForwardings=yes",
    "ForkAfterAuthentication=no",
    "PermitLocalCommand=no",
    "RemoteCommand=none",
    "Tunnel=no",
    "ForwardX11=no",
    ...(settings.passwords ? [] : ["PasswordAuthentication=no", "KbdInteractiveAuthentication=no"]),
  ];
  return [
    "-M",
    "-N",
    "-T",
    // The only way to learn which keys were offered and which host key was shown.
    "-v",
    "-S",
    control,
    ...options.flatMap((option) => ["-o", option]),
    ...(settings.configFile === undefined ? [] : ["-F", settings.configFile]),
    ...(target.port === undefined ? [] : ["-p", String(target.port)]),
    ...(target.user === undefined ? [] : ["-l", target.user]),
    ...target.identityFiles.flatMap((file) => ["-i", file]),
    "--",
    target.host,
  ];
}
