/**
 * `labctl verify --live`: how machines differ from what was pushed to them. Builds nothing: edits that were not pushed
 * are `labctl plan`'s. Exit 0: no drift, 2: drift, 1: error, 3: errors on some machines only.
 */
import { existsSync } from "node:fs";
import { buildLayout } from "../build/layout.ts";
import { type Diagnostic, printable } from "../diagnostics.ts";
import { blake3 } from "../hash.ts";
import type { Machine } from "../project/project.ts";
import { describeDrift, findingDiagnostic } from "../push/live/describe-drift.ts";
import { type BuiltTree, type LiveLook, verifyLive } from "../push/live/verify-live.ts";
import type { Transport } from "../push/transport.ts";
import type { ParsedArguments } from "./commands.ts";
import { EXIT } from "./exit.ts";
import { refuseUsage } from "./help.ts";
import { forEachMachine, type NamedMachines, readWanted } from "./machines.ts";
import { formatMs, paint, printDiagnostics, printErr, printJson, refuse } from "./print.ts";
import { onConnection, startOnMachines } from "./start.ts";

/** Machines that are asked at once. */
const JOBS = 8;

/** Returns the exit code. */
export async function verifyMachines(args: ParsedArguments): Promise<number> {
  if (args.list("fact").length > 0)
    return refuseUsage("--live compares with what was pushed, so --fact has no say in it", "verify");
  const start = await startOnMachines(args, "verify", args.positionals);
  if (typeof start === "number") return start;
  const { named, options } = start;
  const b3 = await blake3();
  const answers: object[] = [];
  const code = await forEachMachine(named.machines, JOBS, (machine) => {
    const startedAt = performance.now();
    const refused = (problems: readonly Diagnostic[]): void => {
      answers.push({ machine: machine.name, ok: false, problems });
    };
    const compare = async (transport: Transport): Promise<number> => {
      const built = await builtTree(named, machine);
      const look = await verifyLive(transport, machine.name, named.known, built, b3);
      if (look.ok) return report(machine.name, look.value, args, performance.now() - startedAt, answers);
      refused(look.problems);
      return refuse(look.problems);
    };
    return onConnection(machine, options, () => {}, compare, refused);
  });
  if (args.flag("json")) printJson({ machines: answers });
  return code;
}

/** What was built here last; it spares a round trip where the machine has the same. */
async function builtTree(named: NamedMachines, machine: Machine): Promise<BuiltTree | undefined> {
  if (!existsSync(buildLayout(named.root).manifest(machine.name))) return undefined;
  const wanted = await readWanted(named.root, machine);
  return wanted.ok ? wanted.value : undefined;
}

function report(
  machine: string,
  look: LiveLook,
  args: ParsedArguments,
  ms: number,
  answers: object[],
): number {
  const findings = look.drifts.map((drift) => describeDrift(machine, drift));
  const { number, id } = look.generation;
  answers.push({
    machine,
    ok: true,
    generation: number,
    id,
    findings,
    notes: look.notes,
    durationMs: Math.round(ms),
  });
  printDiagnostics(findings.map(findingDiagnostic));
  if (!args.flag("quiet")) {
    for (const note of look.notes) printErr(`${machine}: note: ${printable(note)}`);
    const paths = look.manifest?.entries.length ?? 0;
    const seen = `generation ${number} (${id.slice(0, 12)}), ${paths} paths and ${look.answer.units.size} units in ${formatMs(ms)}`;
    const said =
      findings.length === 0
        ? paint("green", "as pushed")
        : `${findings.length} ${findings.length === 1 ? "finding" : "findings"}`;
    printErr(`${machine}: ${said}: ${seen}`);
  }
  return findings.length === 0 ? EXIT.done : EXIT.changes;
}
