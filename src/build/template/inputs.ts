/** Reads what only templates need, for a build of few outputs: project, facts and partials. Loaded only when it is wanted. */
import type { Result } from "../../diagnostics.ts";
import { failure, sortDiagnostics, success } from "../../diagnostics.ts";
import type { Blake3 } from "../../hash.ts";
import type { RelPath } from "../../paths.ts";
import type { Machine } from "../../project/project.ts";
import { readProject } from "../../project/read-project.ts";
import type { BuildRequest } from "../build-result.ts";
import { templateViews } from "../lay-machine.ts";
import { readMachineFacts } from "../machine-facts.ts";
import { type Parts, partReader } from "../parts.ts";
import { projectDisk } from "../project-disk.ts";
import type { SourceHashes } from "../source-hashes.ts";
import type { TemplateView } from "./view.ts";

/** By machine. */
export interface TemplateInputs {
  readonly views: ReadonlyMap<string, (path: RelPath) => TemplateView>;
  readonly machines: readonly Machine[];
  readonly parts: Parts;
}

/** Undefined: the project can't be read, which the full build says properly. */
export function readTemplateInputs(
  request: BuildRequest,
  wanted: readonly { readonly name: string }[],
  hashes: SourceHashes,
  b3: Blake3,
  readAtMs: number,
): Result<TemplateInputs> | undefined {
  const disk = projectDisk();
  const project = readProject(request.root, request.builtInLayers, disk);
  if (!project.ok) return undefined;
  const machines = project.value.machines.filter((m) => wanted.some((w) => w.name === m.name));
  const facts = readMachineFacts(project.value, machines, request.facts, disk);
  if (!facts.ok) return failure(...sortDiagnostics(facts.problems));
  const views = new Map<string, (path: RelPath) => TemplateView>();
  for (const machine of machines) {
    const own = facts.value.get(machine.name);
    if (own) views.set(machine.name, templateViews(machine, own));
  }
  return success({ machines, views, parts: partReader(project.value, hashes, b3, readAtMs) });
}
