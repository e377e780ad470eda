/** `labctl exec <machine…> -- command…`: runs a command on several machines at once; each line has its machine's name. */
import { type Diagnostic, printable } from "../diagnostics.ts";
import type { Machine } from "../project/project.ts";
import { type CommandEnd, commandLine, LineCutter, runCommand } from "../push/remote-command.ts";
import type { CommandRun, ParsedArguments } from "./commands.ts";
import { untilCtrlC } from "./ctrl-c.ts";
import { EXIT } from "./exit.ts";
import { refuseUsage } from "./help.ts";
import { forEachMachine } from "./machines.ts";
import { formatMs, paint, printDiagnostics, printErr, printJson, printLine } from "./print.ts";
import { connectTo, machinesAtOnce } from "./remote.ts";
import { type Start, startOnMachines } from "./start.ts";

/** What `--json` keeps of each stream of each machine. */
const MOST_KEPT_BYTES = 16 << 20;
/** A shell's word for a program that it did not find (POSIX sh, 2.8.2). */
const NOT_FOUND = 127;

/** What one machine said and how it ended. */
interface Ran {
  readonly machine: string;
  readonly end: CommandEnd | undefined;
  readonly problems: readonly Diagnostic[];
  readonly stdout: Kept;
  readonly stderr: Kept;
  readonly ms: number;
}

export const run: CommandRun = (args) => untilCtrlC((signal) => execute(args, signal));

async function execute(args: ParsedArguments, signal: AbortSignal): Promise<number> {
  const words = args.trailing;
  if (words === undefined || words.length === 0)
    return refuseUsage("`exec` wants ` -- ` and a command after the machines", "exec");
  const jobs = machinesAtOnce(args);
  if (typeof jobs === "string") return refuseUsage(jobs, "exec");
  const start = await startOnMachines(args, "exec", args.positionals);
  if (typeof start === "number") return start;
  const { machines } = start.named;
  if (args.flag("dry-run")) {
    for (const m of machines) printErr(`${m.name}: would run ${commandLine(words)}`);
    if (args.flag("json"))
      printJson({ machines: machines.map((m) => ({ machine: m.name, dryRun: true, command: words })) });
    return EXIT.done;
  }
  const all = new Map<Machine, Ran>();
  const code = await forEachMachine(machines, jobs, async (machine) => {
    if (signal.aborted) return EXIT.failed;
    const ran = await runOn(machine, words, args, start, signal);
    all.set(machine, ran);
    if (!signal.aborted) report(ran, words, args);
    return ran.end?.status === 0 ? EXIT.done : EXIT.failed;
  });
  const ordered = machines.flatMap((m) => all.get(m) ?? []);
  if (args.flag("json")) printJson({ machines: ordered.map(ranJson) });
  if (machines.length > 1 && (code !== EXIT.done || !args.flag("quiet")))
    printErr(summary(ordered, machines));
  return code;
}

async function runOn(
  machine: Machine,
  words: readonly string[],
  args: ParsedArguments,
  { options }: Start,
  signal: AbortSignal,
): Promise<Ran> {
  const beganAt = performance.now();
  const [stdout, stderr] = [new Kept(), new Kept()];
  const ended = (end: CommandEnd | undefined, problems: readonly Diagnostic[]): Ran => ({
    machine: machine.name,
    end,
    problems,
    stdout,
    stderr,
    ms: performance.now() - beganAt,
  });
  const transport = await connectTo(machine, options);
  if (!transport.ok) return ended(undefined, transport.problems);
  printDiagnostics(transport.warnings);
  const lines = {
    out: new LineCutter((line) => printLine("out", `${machine.name}: `, line)),
    err: new LineCutter((line) => printLine("err", `${machine.name}: `, line)),
  };
  try {
    // Connecting has as long once more: what a person names is how long the command may take.
    const timeoutMs = args.value("timeout") === undefined ? undefined : options.timeoutMs;
    const end = await runCommand(transport.value, words, {
      timeoutMs,
      signal,
      onOutput: (stream, chunk) => {
        if (args.flag("json")) (stream === "out" ? stdout : stderr).add(chunk);
        else lines[stream].push(chunk);
      },
    });
    lines.out.end();
    lines.err.end();
    return end.ok ? ended(end.value, []) : ended(undefined, end.problems);
  } finally {
    await transport.value.close();
  }
}

/** Says how it ended, unless it ended well. */
function report(ran: Ran, words: readonly string[], args: ParsedArguments): void {
  printDiagnostics(ran.problems);
  if (!ran.end || ran.end.status === 0) return;
  printErr(`${ran.machine}: ${paint("red", endWords(ran.end))} (${formatMs(ran.ms)})`);
  const [only = ""] = words;
  if (ran.end.status === NOT_FOUND && words.length === 1 && /[\s|&;<>$*?]/.test(only) && !args.flag("quiet"))
    printErr(
      `  help: the words after -- are a program and its arguments; \`-- sh -c '…'\` runs a line of shell`,
    );
}

function endWords({ status, signal }: CommandEnd): string {
  if (status !== null) return `exit status ${status}`;
  return `ended by ${signal === undefined ? "a signal" : printable(signal)}`;
}

/** `3 machines: 2 succeeded, 1 failed: den (exit status 2)`. Pure but for colour. */
function summary(all: readonly Ran[], machines: readonly Machine[]): string {
  const failed = all.filter((r) => r.end?.status !== 0);
  const counts = [
    `${all.length - failed.length} succeeded`,
    ...(failed.length > 0 ? [`${failed.length} failed`] : []),
    ...(machines.length > all.length ? [`${machines.length - all.length} not begun`] : []),
  ];
  const which = failed.map(
    (r) => `${r.machine} (${r.end ? endWords(r.end) : (r.problems[0]?.code ?? "unknown")})`,
  );
  return `${paint("bold", `${machines.length} machines: ${counts.join(", ")}`)}${which.length > 0 ? `: ${which.join(", ")}` : ""}`;
}

function ranJson(ran: Ran): object {
  return {
    machine: ran.machine,
    ok: ran.end?.status === 0,
    status: ran.end?.status ?? null,
    ...(ran.end?.signal ? { signal: ran.end.signal } : {}),
    stdout: ran.stdout.text(),
    stderr: ran.stderr.text(),
    ...(ran.stdout.cut || ran.stderr.cut ? { truncated: true } : {}),
    ms: Math.round(ran.ms),
    ...(ran.problems.length > 0 ? { problems: ran.problems } : {}),
  };
}

/** The beginning of what a stream said. */
class Kept {
  cut = false;
  #sizeBytes = 0;
  readonly #chunks: Buffer[] = [];

  add(chunk: Buffer): void {
    const kept = chunk.subarray(0, MOST_KEPT_BYTES - this.#sizeBytes);
    this.cut ||= kept.length < chunk.length;
    this.#sizeBytes += kept.length;
    if (kept.length > 0) this.#chunks.push(kept);
  }

  text(): string {
    return Buffer.concat(this.#chunks).toString("utf8");
  }
}
