/**
 * Builds the machines that a command names, and runs something for each of them at once. Owns the exit code of a
 * command over several machines: one failing neither stops nor alters another.
 */

import { readFileSync } from "node:fs";
import pLimit from "p-limit";
import { buildLayout } from "../build/layout.ts";
import { parseManifest } from "../build/manifest.ts";
import { projectDisk } from "../build/project-disk.ts";
import type { Result } from "../diagnostics.ts";
import { failure, problem, success } from "../diagnostics.ts";
import { blake3 } from "../hash.ts";
import type { AbsPath, GenerationId } from "../paths.ts";
import type { Machine } from "../project/project.ts";
import { readProject } from "../project/read-project.ts";
import { selectMachines } from "../project/select-machines.ts";
import { type KnownTrees, knownTrees } from "../push/known-trees.ts";
import type { WantedTree } from "../push/survey.ts";
import { buildIfNeeded } from "./build.ts";
import type { ParsedArguments } from "./commands.ts";
import { EXIT } from "./exit.ts";
import { printDiagnostics } from "./print.ts";
import { repositoryIdentity } from "./repository.ts";
import { buildRequest } from "./request.ts";

export interface NamedMachines {
  readonly root: AbsPath;
  readonly machines: readonly Machine[];
  readonly known: KnownTrees;
  /** By what machines tell the repository from others; undefined: by nothing. */
  readonly repository: string | undefined;
}

/** A machine with its built tree. */
export interface BuiltMachine {
  readonly machine: Machine;
  readonly wanted: WantedTree & { readonly folder: AbsPath; readonly manifestFile: AbsPath };
}

/** Finds the machines that `patterns` name and `--limit` leaves. */
export async function findMachines(
  args: ParsedArguments,
  patterns: readonly string[],
): Promise<Result<NamedMachines>> {
  const request = buildRequest(args, patterns);
  if (!request.ok) return request;
  const project = readProject(request.value.root, request.value.builtInLayers, projectDisk());
  if (!project.ok) return project;
  const limits = args.list("limit").flatMap((text) => text.split(",").filter(Boolean));
  const machines = selectMachines(project.value.machines, patterns, limits);
  if (!machines.ok) return machines;
  const { root, givenName } = project.value;
  const known = knownTrees(buildLayout(root).cacheFolder, await blake3());
  const repository = await repositoryIdentity(root, givenName);
  return success({ root, machines: machines.value, known, repository });
}

/** Builds their trees and reads the manifests. */
export async function buildMachines(
  args: ParsedArguments,
  named: NamedMachines,
): Promise<Result<readonly BuiltMachine[]>> {
  const request = buildRequest(
    args,
    named.machines.map((m) => m.name),
  );
  if (!request.ok) return request;
  const built = await buildIfNeeded(request.value);
  if (!built.ok) return built;
  printDiagnostics(built.warnings);
  const out: BuiltMachine[] = [];
  for (const machine of named.machines) {
    const wanted = await readWanted(named.root, machine);
    if (!wanted.ok) return wanted;
    out.push({ machine, wanted: wanted.value });
  }
  return success(out);
}

/** A machine's tree as it was built last. */
export async function readWanted(
  root: AbsPath,
  machine: Pick<Machine, "name">,
): Promise<Result<BuiltMachine["wanted"]>> {
  const layout = buildLayout(root);
  const manifestFile = layout.manifest(machine.name);
  const text = readFileSync(manifestFile, "utf8");
  const manifest = parseManifest(text);
  if (!manifest) {
    return failure(
      problem("bad-manifest", `the manifest of \`${machine.name}\` can't be read back`, {
        place: { file: manifestFile },
        help: "build again with --rebuild",
      }),
    );
  }
  const id = (await blake3()).hash(text) as string as GenerationId;
  return success({ manifest, id, folder: layout.tree(machine.name), manifestFile });
}

/** Runs `work` for each, at most `jobs` at once; each returns its own exit code. */
export async function forEachMachine<T>(
  items: readonly T[],
  jobs: number,
  work: (item: T) => Promise<number>,
): Promise<number> {
  const limit = pLimit(jobs);
  const codes = await Promise.all(items.map((item) => limit(() => work(item))));
  const failed = codes.filter((c) => c === EXIT.failed).length;
  if (failed === codes.length && failed > 0) return EXIT.failed;
  if (failed > 0) return EXIT.partly;
  return codes.includes(EXIT.changes) ? EXIT.changes : EXIT.done;
}
