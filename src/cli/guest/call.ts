/**
 * A call of the guests' program on one machine: options go in as JSON, one JSON object comes back. Owns what it says when
 * there is no such program, or no such answer. Must not know what a verb does.
 */
import { type Diagnostic, failure, problem, type Result, success } from "../../diagnostics.ts";
import type { Machine } from "../../project/project.ts";
import { shellWord } from "../../push/shell-word.ts";
import { asRoot, unlockSudo, wantsPassword } from "../../push/sudo.ts";
import type { Transport } from "../../push/transport.ts";
import type { ParsedArguments } from "../commands.ts";
import { refuseUsage } from "../help.ts";
import { findMachines } from "../machines.ts";
import { printDiagnostics, refuse } from "../print.ts";
import { connectTo } from "../remote.ts";
import { startOnMachines } from "../start.ts";

/** On a machine with the layer `guests`. */
export const GUEST_PROGRAM = "/usr/local/libexec/guests/guest.mjs";
const MOST_ANSWER_BYTES = 8 << 20;
/** A shell's words for what is not there (POSIX sh, 2.8.2), and node's for a program that is not. */
const ABSENT = /Cannot find module|not found|No such file/;

/** What a machine says of one guest. */
export interface GuestRow {
  readonly name: string;
  readonly kind?: string;
  readonly image?: string;
  readonly network?: string;
  /** systemd's word for its unit, or `left over`: there is something of it, and no definition. */
  readonly state: string;
  readonly declared?: boolean;
  readonly autostart?: boolean;
  readonly pinned?: boolean;
  readonly ephemeral?: boolean;
  readonly ipv4?: string;
  readonly ipv6?: string;
  readonly fullName?: string;
}

/** The one machine that `pattern` names; no connection is made. A number: all was said, and it is the exit code. */
export async function nameMachine(args: ParsedArguments, pattern: string): Promise<Machine | number> {
  const named = await findMachines(args, [pattern]);
  return named.ok ? oneOf(named.value.machines) : refuse(named.problems);
}

function oneOf([machine, ...others]: readonly Machine[]): Machine | number {
  return machine && others.length === 0 ? machine : refuseUsage("`guest` wants one machine", "guest");
}

/** Connects to the one machine that `pattern` names and runs `work`; prints what goes wrong, and answers the exit code. */
export async function onGuestMachine(
  args: ParsedArguments,
  pattern: string,
  work: (transport: Transport, machine: string) => Promise<number>,
): Promise<number> {
  const start = await startOnMachines(args, "guest", [pattern]);
  if (typeof start === "number") return start;
  const machine = oneOf(start.named.machines);
  if (typeof machine === "number") return machine;
  const transport = await connectTo(machine, start.options);
  if (!transport.ok) return refuse(transport.problems);
  printDiagnostics(transport.warnings);
  try {
    return await work(transport.value, machine.name);
  } finally {
    await transport.value.close();
  }
}

/** Runs one verb there. A failure holds what the machine refused with, its placeholder `MACHINE` replaced. */
export async function callGuests<T extends object>(
  transport: Transport,
  machine: string,
  words: readonly string[],
  options: object = {},
): Promise<Result<T>> {
  const first = await callOnce<T>(transport, machine, words, options);
  if (first.ok || !first.problems.some((p) => p.notes.some(wantsPassword))) return first;
  // sudo refused before it ran anything.
  const unlocked = await unlockSudo(transport, machine);
  if (!unlocked.ok) return unlocked;
  return unlocked.value ? callOnce<T>(transport, machine, words, options) : first;
}

async function callOnce<T extends object>(
  transport: Transport,
  machine: string,
  words: readonly string[],
  options: object,
): Promise<Result<T>> {
  const root = asRoot(transport);
  const line = [...root.words, "node", GUEST_PROGRAM, ...words.map(shellWord)].join(" ");
  const ran = await transport.exec(line, {
    stdin: `${root.input}${JSON.stringify(options)}`,
    maxStdoutBytes: MOST_ANSWER_BYTES,
  });
  if (!ran.ok) return ran;
  const { stdout, stderr, status } = ran.value;
  const answer = parseAnswer(stdout.toString("utf8"));
  const listed = (list: unknown): Diagnostic[] => (Array.isArray(list) ? list.filter(isProblem) : []);
  if (answer?.ok === true) return success(answer as unknown as T, listed(answer.warnings));
  const refused = answer?.ok === false ? listed(answer.problems) : [];
  if (refused.length > 0) return failure(...refused.map((p) => named(p, machine)));
  const notes = stderr.split("\n").filter((text) => text.trim() !== "");
  if (ABSENT.test(stderr))
    return failure(
      problem("layer-missing", `machine \`${machine}\` has no ${GUEST_PROGRAM}`, {
        help: `add \`nspawn\` or \`qemu\` to \`layers\` in machines/${machine}/machine.ini and push`,
      }),
    );
  return failure(
    problem(
      "guest-answer",
      `machine \`${machine}\` gave no answer about its guests (exit status ${status})`,
      {
        notes: notes.slice(-10),
        help: "run it again; it can be begun anew wherever it ended",
      },
    ),
  );
}

/** Whatever a machine sends, its program may be another version's. */
function isProblem(value: unknown): value is Diagnostic {
  const {
    severity,
    code,
    message,
    notes,
    help = "",
    place,
  } = (value ?? {}) as {
    readonly [key in keyof Diagnostic]?: unknown;
  };
  return (
    (severity === "error" || severity === "warning") &&
    [code, message, help].every((text) => typeof text === "string") &&
    Array.isArray(notes) &&
    notes.every((note) => typeof note === "string") &&
    (place === undefined || typeof (place as { file?: unknown } | null)?.file === "string")
  );
}

function parseAnswer(text: string): { ok?: unknown; problems?: unknown; warnings?: unknown } | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}

function named(p: Diagnostic, machine: string): Diagnostic {
  return p.help === undefined ? p : { ...p, help: p.help.replaceAll("MACHINE", machine) };
}
