/**
 * One machine during a command: its connection and the calls of the remote program over it. Owns the way a call is put
 * into a command line; must not know what verbs mean.
 */
import { randomBytes } from "node:crypto";
import type { Diagnostic, Result } from "../diagnostics.ts";
import { failure, success } from "../diagnostics.ts";
import type { Machine } from "../project/project.ts";
import { describe } from "./problems.ts";
import { parseRecords, RecordReader, type RemoteRecord } from "./records.ts";
import { remoteProgram } from "./remote/program.ts";
import { shellWord } from "./shell-word.ts";
import { describeProblem } from "./ssh/problems.ts";
import { asRoot, unlockSudo, wantsPassword } from "./sudo.ts";
import type { SshTarget, Transport } from "./transport.ts";

export interface CallOptions {
  readonly data?: string | Buffer;
  readonly onRecord?: (record: RemoteRecord) => void;
  readonly timeoutMs?: number;
}

export interface RemoteAnswer {
  readonly records: readonly RemoteRecord[];
  /** The last record's word: `ok`, `unconfirmed`, `failed-unchanged`, `failed-reverted` … */
  readonly done: string;
  /** `problem` records: code and detail. */
  readonly problems: readonly { readonly code: string; readonly detail: string }[];
}

/** Where a machine keeps what labctl must remember there; `docs/remote-protocol.md` lists what. */
export const STATE = "/usr/local/.labctl";

/** A tree of 50,000 files answers with some 20 MB. */
export const MAX_ANSWER_BYTES = 128 << 20;

/** Verbs whose caller tells what becomes of the machine if their answer is lost. */
const CHANGING = new Set(["commit", "confirm", "revert", "apply"]);

/** How ssh shall reach a machine: machine.ini's settings; what it leaves out is `~/.ssh/config`'s. Pure. */
export function sshTarget(machine: Machine): SshTarget {
  return {
    host: machine.host,
    ...(machine.ssh.user ? { user: machine.ssh.user } : {}),
    ...(machine.ssh.port ? { port: machine.ssh.port } : {}),
    identityFiles: machine.ssh.identityFiles,
    ...(machine.ssh.client ? { client: machine.ssh.client } : {}),
  };
}

/** A name for this push's stage folder on the machine. */
export function newSessionName(): string {
  return randomBytes(8).toString("hex");
}

/** Runs one verb. A failure means that no whole answer came; a refusal by the remote program is a success with problems. */
export async function callRemote(
  transport: Transport,
  machine: string,
  verb: string,
  args: readonly string[],
  options: CallOptions = {},
): Promise<Result<RemoteAnswer>> {
  const answer = await callOnce(transport, machine, verb, args, options);
  if (answer.ok || !answer.problems.some((p) => p.code === "sudo" && p.notes.some(wantsPassword)))
    return answer;
  // sudo refused before it ran anything, so that a second call repeats nothing.
  const unlocked = await unlockSudo(transport, machine);
  if (!unlocked.ok) return unlocked;
  return unlocked.value ? callOnce(transport, machine, verb, args, options) : answer;
}

/** A channel that was opened before its call has no limit of its own. */
function within<T>(result: Promise<Result<T>>, label: string, afterMs?: number): Promise<Result<T>> {
  if (afterMs === undefined) return result;
  return new Promise((resolve) => {
    const giveUp = (): void => resolve(failure(describeProblem({ kind: "exec-timeout", label, afterMs })));
    const timer = setTimeout(giveUp, afterMs);
    result.then((value) => {
      clearTimeout(timer);
      resolve(value);
    });
  });
}

/** What the remote user's shell is to run; the program then comes on standard input, and after it the data. Pure. */
export function commandLine(
  before: readonly string[],
  program: string,
  verb: string,
  args: readonly string[],
): string {
  const load = `LABCTL_PROGRAM=$(head -c ${Buffer.byteLength(program)}); eval "$LABCTL_PROGRAM"`;
  const words = ["bash", "--norc", "-c", load, "labctl", verb, ...args];
  return [...before, ...words.map(shellWord)].join(" ");
}

async function callOnce(
  transport: Transport,
  machine: string,
  verb: string,
  args: readonly string[],
  options: CallOptions,
): Promise<Result<RemoteAnswer>> {
  const root = asRoot(transport);
  const reader = new RecordReader();
  const onStdout = (chunk: Buffer): boolean => {
    for (const record of reader.push(chunk)) options.onRecord?.(record);
    return reader.nonsense === undefined;
  };
  const data = options.data ?? "";
  const { standby } = transport;
  const begun = standby?.verb === verb ? standby.run(args, data, onStdout) : undefined;
  const waiting = begun && within(begun, transport.label, options.timeoutMs);
  if (waiting) transport.standby = undefined;
  const program = waiting ? "" : remoteProgram(verb);
  const result = await (waiting ??
    transport.exec(commandLine(root.words, program, verb, args), {
      stdin: Buffer.concat([Buffer.from(root.input + program), Buffer.from(data)]),
      maxStdoutBytes: MAX_ANSWER_BYTES,
      ...(options.timeoutMs === undefined ? {} : { timeoutMs: options.timeoutMs }),
      onStdout,
    }));
  if (reader.nonsense !== undefined) {
    const stdout = reader.nonsense;
    const { label } = transport;
    return failure(describe({ kind: "no-answer", machine, label, verb, status: null, stderr: "", stdout }));
  }
  if (!result.ok) return failure(...result.problems.map((p) => inPhase(p, verb)));
  const { stdout, stderr, status } = result.value;
  const records = parseRecords(stdout);
  const done = records.findLast((r) => r.name === "done")?.fields[0];
  if (done === undefined) {
    return failure(
      describe({
        kind: "no-answer",
        machine,
        label: transport.label,
        verb,
        status,
        stderr,
        stdout: stdout.subarray(0, 400).toString("utf8"),
      }),
    );
  }
  const problems = records
    .filter((r) => r.name === "problem")
    .map((r) => ({ code: r.fields[0] ?? "", detail: r.fields.slice(1).join(" ") }));
  return success({ records, done, problems });
}

/** A connection's problem, with what was under way when it showed. Pure. */
function inPhase(p: Diagnostic, verb: string): Diagnostic {
  const left = CHANGING.has(verb) ? [] : ["nothing on the machine changed"];
  return { ...p, notes: [...p.notes, `it was at work on \`${verb}\``, ...left] };
}

/** A refusal by the remote program, worded by its first problem. Pure. */
export function refusalOf(
  machine: string,
  verb: string,
  { done, problems: [first] }: RemoteAnswer,
): Diagnostic {
  return describe({
    kind: "remote",
    machine,
    verb,
    done,
    code: first?.code ?? "",
    detail: first?.detail ?? "",
    more: [],
  });
}
