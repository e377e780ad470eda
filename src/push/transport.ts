/**
 * One connection to one machine, several channels on it. Two back-ends can stand behind it: ssh2, and the
 * system's `ssh` with ControlMaster. This file must not know what runs over the channels.
 */
import type { Duplex, Readable } from "node:stream";
import type { Result } from "../diagnostics.ts";
import type { RunTool } from "./ssh/tool.ts";

/** `builtin`: ssh2. `openssh`: the system's `ssh`, for what the built-in one can't do (certificates, ProxyCommand …). */
export type SshClient = "builtin" | "openssh";

/** Settled settings of one connection, as `ssh -G` resolved them plus what machine.ini overrides. */
export interface SshTarget {
  /** The name the user knows: machine.ini's `host`, or a host alias of `~/.ssh/config`. */
  readonly host: string;
  /** Undefined: take what `~/.ssh/config` says, else the current user, port 22. */
  readonly user?: string;
  readonly port?: number;
  /** Absolute paths of extra identity files, tried before those of the configuration. Empty: only those. */
  readonly identityFiles: readonly string[];
  /** Which back-end carries the connection, unless `ConnectOptions.client` says. Undefined: the built-in one. */
  readonly client?: SshClient;
}

export interface ConnectOptions {
  /** Accept a host key that no known_hosts file has, and remember it. Never accepts a changed one. */
  readonly acceptNew: boolean;
  /** Asks a person a yes/no question; undefined where there is no terminal, then an unknown key is refused. */
  readonly confirm?: (question: string) => Promise<boolean>;
  /** Asks for a passphrase or password without echo; undefined where there is no terminal. */
  readonly askSecret?: (prompt: string) => Promise<string>;
  /** Gives up on connecting and authenticating after this long. */
  readonly timeoutMs: number;
  /** Overrides the target's own choice. */
  readonly client?: SshClient;
  /** `ssh -F`: another configuration file instead of the user's. Undefined: the user's and the system's. */
  readonly configFile?: string;
  /** How `ssh -G` is run. Undefined: anew each time. */
  readonly run?: RunTool;
  /** How `ssh` and friends find agent, home and so on. */
  readonly env: Readonly<Record<string, string | undefined>>;
}

export interface ExecResult {
  /** Exit status; `null` if a signal ended it or the channel closed without one. */
  readonly status: number | null;
  readonly signal?: string;
  readonly stdout: Buffer;
  /** At most the last 64 KiB. */
  readonly stderr: string;
}

export interface ExecOptions {
  /** Sent whole, then end of file. Undefined: an empty standard input. */
  readonly stdin?: Buffer | string | Readable;
  /** Called with each chunk as it comes; the chunk also counts into `stdout`. False ends the channel with a problem. */
  readonly onStdout?: (chunk: Buffer) => unknown;
  /** More than this on stdout ends the channel with a problem: a machine may answer nonsense without end. */
  readonly maxStdoutBytes: number;
  /** Undefined: no limit but the connection's keepalive. */
  readonly timeoutMs?: number;
}

/** A running remote command as a duplex stream plus its error stream and its end. */
export interface RemoteChannel {
  readonly stream: Duplex;
  readonly stderr: Readable;
  readonly done: Promise<{ readonly status: number | null; readonly signal?: string }>;
  /** Ends it from our side; `done` still settles. */
  close(): void;
}

/** What is known about sudo on one machine; shared by all its connections during one run. */
export interface SudoAccess {
  /** Undefined: sudo wants none, or nobody was asked yet. */
  password?: string;
  /** Undefined: there is no terminal to ask on. */
  readonly ask?: (prompt: string) => Promise<string>;
  /** A question that is open now. */
  asking?: Promise<Result<boolean>>;
}

/** The remote program on a machine, waiting for its verb. */
export interface WaitingChannel {
  readonly verb: string;
  /** False: it is gone, or was used. */
  readonly isWaiting: boolean;
  /** Undefined: it does not wait, and nothing was sent. The arguments hold no control characters. */
  run(
    args: readonly string[],
    data: string | Buffer,
    onStdout: (chunk: Buffer) => unknown,
  ): Promise<Result<ExecResult>> | undefined;
  /** Ends it, if it was not used. */
  drop(): void;
}

export interface Transport {
  /** `root@gw.lan:22`, for messages. */
  readonly label: string;
  /** The user that is logged in; `root` needs no sudo. */
  readonly user: string;
  /** Undefined: sudo is used only where it wants no password. */
  readonly sudo?: SudoAccess;
  /** Taken by the next call of its verb; given up where another channel finds no room. Undefined: none waits. */
  standby?: WaitingChannel | undefined;
  /** Runs a command line by the remote user's shell. Failure: the connection was lost, timed out, or output overran. */
  exec(command: string, options: ExecOptions): Promise<Result<ExecResult>>;
  /** Opens a channel running a command; at most 8 at once, more wait their turn. */
  open(command: string): Promise<Result<RemoteChannel>>;
  /** True once the connection is gone: no channel will open on it any more. */
  isLost(): boolean;
  /** Ends the connection; safe to call twice. */
  close(): Promise<void>;
}
