/** From planned outputs and what became of them to the manifest's entries. Pure. */
import { compareBytes, type FileHash } from "../paths.ts";
import type { Machine } from "../project/project.ts";
import { MANIFEST_VERSION, type Manifest, type ManifestEntry } from "./manifest.ts";
import type { PlannedOutput } from "./overlay.ts";
import type { UnbuiltEntries } from "./secret-entries.ts";
import { type OutputRecord, recordOf } from "./state.ts";
import type { ReadToken } from "./template/scope.ts";

/** The manifest of a tree whose outputs were carried out; `unbuilt` are what only the machine will have. Pure. */
export function manifestOf(
  machine: Machine,
  outputs: readonly PlannedOutput[],
  records: Readonly<Record<string, OutputRecord>>,
  unbuilt: UnbuiltEntries,
): Manifest {
  const packages = new Map<string, Manifest["packages"][number]>();
  for (const layer of machine.layers) {
    for (const name of layer.packages)
      if (!packages.has(name)) packages.set(name, { name, layer: layer.name });
  }
  const built = manifestEntries(outputs, records);
  return {
    version: MANIFEST_VERSION,
    machine: machine.name,
    layers: machine.layers.map((l) => l.name),
    packages: [...packages.values()].sort((a, b) => (a.name < b.name ? -1 : 1)),
    entries:
      unbuilt.length === 0 ? built : [...built, ...unbuilt].sort((a, b) => compareBytes(a.path, b.path)),
  };
}

/** Outputs as the manifest lists them. Pure. */
export function manifestEntries(
  outputs: readonly PlannedOutput[],
  records: Readonly<Record<string, OutputRecord>>,
): ManifestEntry[] {
  const entries: ManifestEntry[] = [];
  for (const output of outputs) {
    const record = recordOf(records, output.path);
    if (!record) continue;
    const facts = record.reads === undefined ? NO_FACTS : factsRead(record.reads);
    const origin = {
      layer: output.layer,
      source: output.source,
      template: output.content.kind === "render",
      facts,
    };
    const base = { path: output.path, mode: output.mode, owner: output.owner, group: output.group, origin };
    if (record.type === "file")
      entries.push({ ...base, type: "file", sizeBytes: record.sizeBytes, hash: record.content as FileHash });
    else if (record.type === "link") entries.push({ ...base, type: "link", target: record.content });
    else entries.push({ ...base, type: "dir" });
  }
  return entries;
}

const NO_FACTS: Readonly<Record<string, string | null>> = {};

function factsRead(reads: Readonly<Record<string, ReadToken>>): Readonly<Record<string, string | null>> {
  const facts: Record<string, string | null> = {};
  for (const [path, token] of Object.entries(reads)) {
    if (token === "absent") facts[path] = null;
    else if (token.startsWith("=")) facts[path] = token.slice(1);
  }
  return facts;
}
