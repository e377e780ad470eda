/** The repository that a command was started in, read, and the machines of it that were named. Must not know what is done with them. */
import type { BuildRequest } from "../build/build-result.ts";
import { projectDisk, type RecordingDisk } from "../build/project-disk.ts";
import { type Result, success } from "../diagnostics.ts";
import type { Machine, Project } from "../project/project.ts";
import { readProject } from "../project/read-project.ts";
import { selectMachines } from "../project/select-machines.ts";
import type { ParsedArguments } from "./commands.ts";
import { buildRequest } from "./request.ts";

export interface Selection {
  readonly request: BuildRequest;
  readonly project: Project;
  readonly machines: readonly Machine[];
  /** As it was when the project was read: what is read later through it belongs to the same state. */
  readonly disk: RecordingDisk;
}

/** `patterns` as in `selectMachines`; empty: all machines. Problems: of the arguments, the project, the patterns. */
export function readSelection(args: ParsedArguments, patterns: readonly string[]): Result<Selection> {
  const request = buildRequest(args, patterns);
  if (!request.ok) return request;
  const disk = projectDisk();
  const project = readProject(request.value.root, request.value.builtInLayers, disk);
  if (!project.ok) return project;
  const machines = selectMachines(project.value.machines, patterns);
  if (!machines.ok) return machines;
  return success({ request: request.value, project: project.value, machines: machines.value, disk });
}
