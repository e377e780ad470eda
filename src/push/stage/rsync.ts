/**
 * Sends files by rsync over a channel of an open connection: rsync here believes it talks to a remote shell, and what
 * it says goes through the channel. This file must not know what the files are for, nor which back-end carries them.
 */
import { type ChildProcess, spawn } from "node:child_process";
import type { Duplex, Readable, Writable } from "node:stream";
import { failure, type Result, success } from "../../diagnostics.ts";
import { type AbsPath, hasControlCharacter, type RelPath } from "../../paths.ts";
import { type AsRoot, asRoot } from "../sudo.ts";
import type { RemoteChannel, Transport } from "../transport.ts";
import { describeRsyncProblem, type RsyncProblem } from "./rsync-problems.ts";

export interface SendFiles {
  /** The tree's root here; `files` are relative to it. */
  readonly sourceRoot: AbsPath;
  /** Files, links and folders to send, not recursively; folders above a file come along. Empty: nothing is run. */
  readonly files: readonly RelPath[];
  /** Absolute folder there; it is made if only its last component is missing. */
  readonly destination: string;
  /** Runs rsync there by sudo, with the password that the transport knows, if it does. */
  readonly sudo: boolean;
  /** Files whose content the destination already has are left alone; else each is compared block by block and written anew. */
  readonly checksum?: boolean;
  /** Reports what would be sent; writes nothing. */
  readonly dryRun?: boolean;
  /**
   * Absolute folder there whose file of the same path is the basis that a big file's delta refers to, e.g.
   * `/usr/local` while staging. Only read. Undefined: new files travel whole.
   */
  readonly deltaFrom?: string;
  /** rsync's name or path there. Undefined: `rsync`. A shell reads it: it must be a constant of the program. */
  readonly rsyncPath?: string;
}

export interface SentFiles {
  readonly bytesSent: number;
  readonly bytesReceived: number;
  /** Content that travelled as such, and content that the basis already had. */
  readonly literalBytes: number;
  readonly matchedBytes: number;
  /** Files and links that were written, or had attributes set, in rsync's order. */
  readonly changed: readonly string[];
  readonly ms: number;
}

/** rsync's remote-shell arguments never reach this: an answer beyond it is not from our script. */
const MAX_COMMAND_BYTES = 64 * 1024;
const MAX_OUTPUT_BYTES = 64 * 1024 * 1024;

/**
 * Stands where rsync expects `ssh`: hands its arguments to fd 5 (an empty one ends them), then carries bytes from
 * rsync to fd 4 and from fd 3 to rsync. The half that feeds rsync stays in front, since rsync waits for it to end;
 * the other is given its input by name, because a shell starts background jobs with an empty one.
 * rsync splits this string itself: single quotes are rsync's, so there is none inside.
 */
const REMOTE_SHELL =
  `sh -c 'shift; for word in "$@" ""; do printf "%s\\0" "$word"; done >&5; exec 5>&- 6<&0; ` +
  `cat <&6 3<&- >&4 & exec 6<&- 4>&-; exec cat <&3' labctl`;

/**
 * Sends files and waits for both ends. Modes and links are kept; times are not, since what decides is content and a
 * checkout's times mean nothing on the machine; owners are not, since the receiving user owns what is staged.
 * Problems: `rsync-missing`, `rsync-sudo`, `disk-full`, `rsync-not-writable`, `rsync-failed`, and those of the
 * transport. Whatever happens, no local rsync is left behind.
 */
export async function sendFiles(transport: Transport, job: SendFiles): Promise<Result<SentFiles>> {
  const started = performance.now();
  const bad = job.files.find(
    (path) => path.startsWith("/") || hasControlCharacter(path) || path.split("/").includes(".."),
  );
  if (bad !== undefined) return failure(describeRsyncProblem({ kind: "file-name", path: bad }));
  if (job.files.length === 0)
    return success({ bytesSent: 0, bytesReceived: 0, literalBytes: 0, matchedBytes: 0, changed: [], ms: 0 });

  const root: AsRoot = job.sudo ? asRoot(transport) : { words: [], input: "" };
  const child = spawn("rsync", rsyncArguments(job, root), {
    env: { ...process.env, LC_ALL: "C", RSYNC_RSH: undefined, RSYNC_OLD_ARGS: undefined },
    stdio: ["pipe", "pipe", "pipe", "pipe", "pipe", "pipe"],
  });
  const local = watchLocal(child);
  const [stdin, , , toRsync, fromRsync, words] = child.stdio as unknown as [
    Writable,
    Readable,
    Readable,
    Duplex,
    Duplex,
    Duplex,
  ];
  // An end that goes away is judged by the exit statuses, not by the pipe it breaks.
  for (const pipe of [stdin, toRsync, fromRsync, words]) pipe.on("error", () => {});
  // A name that begins with `#` or `;` would be a comment in the list, and left out in silence.
  stdin.end(job.files.map((path) => `./${path}\0`).join(""));

  const command = await Promise.race([readWords(words), local.done.then(() => undefined)]);
  if (command === undefined) {
    const end = await local.done;
    if (end.missing) return failure(describeRsyncProblem({ kind: "missing-here" }));
    return failure(judge(transport, job, end, { status: null, stderr: "" }));
  }
  const opened = await transport.open(command.join(" "));
  if (!opened.ok) {
    child.kill("SIGKILL");
    await local.done;
    return opened;
  }
  if (root.input !== "") opened.value.stream.write(root.input);
  const remote = await relay(opened.value, toRsync, fromRsync, child, local.done);
  const end = await local.done;
  if (end.status === 0 && remote.status === 0) {
    const parsed = parseOutput(end.stdout);
    return success({ ...parsed, ms: performance.now() - started });
  }
  if (remote.status === null) {
    // No status: the connection may be gone, which the transport words best.
    const probe = await transport.open("true");
    if (!probe.ok) return probe;
    probe.value.close();
  }
  return failure(judge(transport, job, end, remote));
}

/** The command line, without the program. Pure. */
function rsyncArguments(job: SendFiles, root: AsRoot): string[] {
  return [
    "--links",
    "--perms",
    "--numeric-ids",
    // Sent over the protocol, names pass no shell on the machine.
    "--protect-args",
    "--from0",
    "--files-from=-",
    "--no-whole-file",
    // Without times, "size and time are equal" would be chance: either content decides, or everything is sent.
    ...(job.checksum ? ["--checksum"] : ["--ignore-times"]),
    ...(job.dryRun ? ["--dry-run"] : []),
    // Not --compare-dest: it would leave out of the destination what the basis has already, and the destination must
    // be complete. The basis is copied from, never linked to.
    ...(job.deltaFrom === undefined ? [] : [`--copy-dest=${job.deltaFrom}`]),
    "--8-bit-output",
    "--no-human-readable",
    "--stats",
    "--out-format=+ %i %n",
    `--rsync-path=${[...root.words, job.rsyncPath ?? "rsync"].join(" ")}`,
    "-e",
    REMOTE_SHELL,
    "--",
    `${job.sourceRoot.replace(/\/+$/, "")}/`,
    // The host is never looked at: the remote shell is ours.
    `machine:${job.destination.replace(/\/+$/, "")}/`,
  ];
}

interface LocalEnd {
  readonly status: number | null;
  readonly missing: boolean;
  readonly stdout: string;
  readonly stderr: string;
}

function watchLocal(child: ChildProcess): { readonly done: Promise<LocalEnd> } {
  const stdout = collect(child.stdout);
  const stderr = collect(child.stderr);
  const done = new Promise<LocalEnd>((resolve) => {
    const finish = (status: number | null, missing: boolean): void =>
      resolve({ status, missing, stdout: stdout(), stderr: stderr() });
    child.once("error", (error: NodeJS.ErrnoException) => finish(null, error.code === "ENOENT"));
    child.once("close", (status) => finish(status, false));
  });
  return { done };
}

function collect(stream: Readable | null): () => string {
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  stream?.on("data", (chunk: Buffer) => {
    sizeBytes += chunk.length;
    if (sizeBytes <= MAX_OUTPUT_BYTES) chunks.push(chunk);
  });
  return () => Buffer.concat(chunks).toString("utf8");
}

/** Reads NUL-terminated words up to an empty one; undefined if they do not come. */
function readWords(stream: Readable): Promise<string[] | undefined> {
  return new Promise((resolve) => {
    let received = Buffer.alloc(0);
    stream.on("data", (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
      const end = received.indexOf("\0\0");
      if (end >= 0) resolve(received.toString("utf8", 0, end).split("\0"));
      else if (received.length > MAX_COMMAND_BYTES) resolve(undefined);
    });
  });
}

/** Carries bytes both ways, with back-pressure, until the channel has ended; then rsync here must end as well. */
async function relay(
  channel: RemoteChannel,
  toRsync: Duplex,
  fromRsync: Duplex,
  child: ChildProcess,
  localDone: Promise<LocalEnd>,
): Promise<{ status: number | null; stderr: string }> {
  const stderr = collect(channel.stderr);
  channel.stream.on("error", () => {});
  fromRsync.pipe(channel.stream);
  channel.stream.pipe(toRsync);
  const unheard = (): void => {
    channel.stream.unpipe(toRsync);
    channel.stream.resume();
  };
  // A channel ends only once all it brought was read, also when rsync here is no longer there to read it.
  toRsync.once("close", unheard);
  localDone.then(() => {
    unheard();
    channel.stream.end();
  });
  const { status } = await channel.done;
  toRsync.end();
  // What rsync still says has nobody to hear it; unread, it would hold the carrying process back.
  fromRsync.unpipe();
  fromRsync.resume();
  // rsync waits for ever for a peer that is gone; one that ended well needs a moment to finish its own side.
  const graceMs = status === 0 ? 10_000 : 1_000;
  const timer = setTimeout(() => child.kill("SIGKILL"), status === null ? 0 : graceMs);
  await localDone;
  clearTimeout(timer);
  return { status, stderr: stderr() };
}

/** Reads `--out-format` lines and the `--stats` block. Pure. */
export function parseOutput(text: string): Omit<SentFiles, "ms"> {
  const changed: string[] = [];
  for (const line of text.split("\n")) {
    const match = /^\+ (\S+) (.*)$/.exec(line);
    // The second letter of an itemised change is the kind; `d` is a folder (rsync(1), --itemize-changes).
    if (match?.[1] && match[2] !== undefined && match[1][1] !== "d") changed.push(unescapeName(match[2]));
  }
  const count = (label: string): number => Number(new RegExp(`^${label}: (\\d+)`, "m").exec(text)?.[1] ?? 0);
  return {
    bytesSent: count("Total bytes sent"),
    bytesReceived: count("Total bytes received"),
    literalBytes: count("Literal data"),
    matchedBytes: count("Matched data"),
    changed,
  };
}

/** rsync writes unprintable bytes, and a backslash that looks like such an escape, as `\#` and three octal digits. */
function unescapeName(name: string): string {
  return name.replace(/\\#([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}

function judge(
  transport: Transport,
  job: SendFiles,
  local: LocalEnd,
  remote: { readonly status: number | null; readonly stderr: string },
): ReturnType<typeof describeRsyncProblem> {
  const { label } = transport;
  const folder = job.destination;
  const output = `${remote.stderr}\n${local.stderr}`.split("\n").filter((line) => line.trim() !== "");
  const find = (pattern: RegExp): string | undefined => output.find((line) => pattern.test(line));
  const describe = (p: RsyncProblem) => describeRsyncProblem(p);
  const sudo = job.sudo ? find(/^sudo: (?!.*command not found)/) : undefined;
  if (sudo !== undefined) return describe({ kind: "sudo", label, detail: sudo });
  if (remote.status === 127 || find(/rsync: (command )?not found|rsync: No such file/) !== undefined)
    return describe({ kind: "missing-there", label });
  if (find(/No space left on device|Disk quota exceeded/) !== undefined)
    return describe({ kind: "disk-full", label, folder });
  const denied = find(/(Permission denied|Read-only file system|Operation not permitted) \(\d+\)/);
  if (denied !== undefined) return describe({ kind: "not-writable", label, folder, detail: denied });
  return describe({ kind: "failed", label, folder, statuses: [local.status, remote.status], output });
}
