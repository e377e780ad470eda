/**
 * How commands that talk to machines begin: options that they share, the machines named, their trees, a connection. Owns
 * what a bad beginning prints and which exit code it has. Must not know what a command then does.
 */
import type { Diagnostic } from "../diagnostics.ts";
import type { Machine } from "../project/project.ts";
import { unlessInterrupted } from "../push/interruption.ts";
import { describe } from "../push/problems.ts";
import type { PushEvent } from "../push/push-event.ts";
import type { SavedMachine } from "../push/saved-plan/saved-plan.ts";
import type { SurveyOptions } from "../push/survey.ts";
import type { ConnectOptions, Transport } from "../push/transport.ts";
import type { ParsedArguments } from "./commands.ts";
import { EXIT } from "./exit.ts";
import { refuseUsage } from "./help.ts";
import { type BuiltMachine, buildMachines, findMachines, type NamedMachines } from "./machines.ts";
import { printDiagnostics, refuse } from "./print.ts";
import { connectOptions, connectTo, foreseeConnection } from "./remote.ts";

/** With more machines than this the wait for one `ssh -G` is not what takes the time. */
const FORESEEN = 8;

/** What was found out before any machine is asked. */
export interface Start {
  readonly options: ConnectOptions;
  readonly named: NamedMachines;
  /** Aborted by Ctrl-C, in commands that change machines. Undefined: Ctrl-C ends the program. */
  readonly signal?: AbortSignal;
}

/** The same, with the trees. */
export interface BuiltStart extends Start {
  readonly built: readonly BuiltMachine[];
  /** What was planned before for each machine, by its name. Undefined: whatever is found is done. */
  readonly saved?: ReadonlyMap<string, SavedMachine>;
}

/** How a command looks at machines that it does not change. */
export function lookOptions(args: ParsedArguments): SurveyOptions {
  return { takeOver: args.flag("take-over"), prunePackages: args.flag("prune-packages") };
}

/** Finds the machines that `patterns` name. A number: all was said already, and it is the exit code. */
export async function startOnMachines(
  args: ParsedArguments,
  command: string,
  patterns: readonly string[],
): Promise<Start | number> {
  const options = connectOptions(args);
  if (typeof options === "string") return refuseUsage(options, command);
  const named = await findMachines(args, patterns);
  if (!named.ok) return refuse(named.problems);
  for (const machine of named.value.machines.slice(0, FORESEEN)) foreseeConnection(machine, options);
  return { options, named: named.value };
}

/** The same, and builds their trees. */
export async function startWithTrees(
  args: ParsedArguments,
  command: string,
  patterns: readonly string[],
): Promise<BuiltStart | number> {
  const start = await startOnMachines(args, command, patterns);
  if (typeof start === "number") return start;
  const built = await buildMachines(args, start.named);
  return built.ok ? { ...start, built: built.value } : refuse(built.problems);
}

/**
 * Connects, says so, runs `work`, and closes the connection whatever happens. `refused` hears why there is no
 * connection, after it was printed.
 */
export async function onConnection(
  machine: Machine,
  options: ConnectOptions,
  say: (event: PushEvent) => void,
  work: (transport: Transport) => Promise<number>,
  refused: (problems: readonly Diagnostic[]) => void = () => {},
  signal?: AbortSignal,
): Promise<number> {
  const startedAt = performance.now();
  const stopped = (): Diagnostic => describe({ kind: "interrupted", machine: machine.name });
  const transport = await unlessInterrupted(signal, stopped, () => connectTo(machine, options));
  if (!transport.ok) {
    printDiagnostics(transport.problems);
    refused(transport.problems);
    return EXIT.failed;
  }
  printDiagnostics(transport.warnings);
  say({ kind: "connected", label: transport.value.label, ms: performance.now() - startedAt });
  try {
    return await work(transport.value);
  } finally {
    await transport.value.close();
  }
}
