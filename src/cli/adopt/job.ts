/** What every way of adopting needs, and how each refuses. Must not know what is adopted. */
import type { Diagnostic } from "../../diagnostics.ts";
import type { AbsPath } from "../../paths.ts";
import type { Project } from "../../project/project.ts";
import type { Transport } from "../../push/transport.ts";
import type { ParsedArguments } from "../commands.ts";
import type { BuiltMachine } from "../machines.ts";
import { printJson, refuse } from "../print.ts";
import { type BuiltStart, onConnection } from "../start.ts";

/** What every way of adopting needs. */
export interface AdoptJob {
  readonly args: ParsedArguments;
  readonly start: BuiltStart;
  readonly built: BuiltMachine;
  /** Relative to /usr/local; not checked beyond that. */
  readonly path: string;
  readonly project: Project;
  readonly builtInLayers: AbsPath;
}

/** Prints refusals, in JSON too if that is asked for. */
export function refuseWith({ args, built, path }: AdoptJob, ...problems: Diagnostic[]): number {
  if (args.flag("json")) printJson({ machine: built.machine.name, path, adopted: false, problems });
  return refuse(problems);
}

/** Runs `work` on the machine's connection. */
export function onMachine(job: AdoptJob, work: (transport: Transport) => Promise<number>): Promise<number> {
  return onConnection(job.built.machine, job.start.options, () => {}, work);
}
