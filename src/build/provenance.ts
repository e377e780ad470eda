/**
 * Where one path of a machine's tree comes from, or could have come from: the winning source, what it overrides, the
 * places in its template that read facts. Reads sources; writes nothing.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { MachineFacts } from "../facts/read-facts.ts";
import type { AbsPath, FactName } from "../paths.ts";
import type { Machine } from "../project/project.ts";
import { nearest } from "../suggestion.ts";
import { ownerOf, sourceTrees } from "./lay-machine.ts";
import type { ManifestEntry } from "./manifest.ts";
import { type Overlay, overlay } from "./overlay.ts";
import { treeReader } from "./read-tree.ts";
import type { SourceTree } from "./source.ts";
import { readPlaces } from "./template/source.ts";
import { templateFacts } from "./template/view.ts";

export interface FactRead {
  /** `WEB_PORT`, `net.bridge.name`, `machine.name`. */
  readonly path: string;
  /** Lines of the template that name it; empty if only a partial does. */
  readonly lines: readonly number[];
  /** The value as JSON; undefined: it is unset. */
  readonly value: string | undefined;
  /** `facts/demo.env:3`, `layers/web/layer.ini:9`, `--fact`, `machine.ini`. */
  readonly from: string;
}

export interface Provenance {
  readonly entry: ManifestEntry;
  /** Absolute path of the source, for Git. */
  readonly sourceFile: AbsPath;
  readonly overrides: readonly string[];
  readonly reads: readonly FactRead[];
}

/** For an entry of a machine's manifest. */
export function provenanceOf(
  root: AbsPath,
  builtInLayers: AbsPath,
  entry: ManifestEntry,
  host: Machine,
  hostFacts: MachineFacts,
): Provenance {
  const { machine, facts, path: at } = ownerOf(host, hostFacts, entry.path);
  const writers = writersOf(at, sourceTrees(machine, treeReader([root, builtInLayers], Date.now())));
  const winner = writers.find((w) => w.source === entry.origin.source);
  const sourceFile = winner?.file ?? (join(root, entry.origin.source) as AbsPath);
  const places = entry.origin.template ? readPlaces(readFileSync(sourceFile, "utf8")) : [];
  const reads = Object.keys(entry.origin.facts).map((path): FactRead => {
    const [name = "", ...rest] = path.split(".");
    const fact = facts.facts.get(name as FactName);
    const lines = places
      .filter((p) => p.name === path || p.name === name || path.startsWith(`${p.name}.`))
      .map((p) => p.line);
    const place = fact?.origin.place;
    const from =
      name === "machine"
        ? machine.place.file
        : !fact
          ? "unset"
          : place
            ? `${place.file}${place.line === undefined ? "" : `:${place.line}`}`
            : "--fact";
    let value: unknown = name === "machine" ? templateFacts(machine, facts).machine : fact?.value;
    for (const key of rest)
      value =
        value !== null && typeof value === "object" ? (value as Record<string, unknown>)[key] : undefined;
    return {
      path,
      lines: [...new Set(lines)],
      value: value === undefined ? undefined : JSON.stringify(value),
      from,
    };
  });
  return {
    entry,
    sourceFile,
    overrides: writers.filter((w) => w.source !== entry.origin.source).map((w) => w.source),
    reads,
  };
}

interface WriterOf {
  readonly source: string;
  readonly file: AbsPath;
}

/** Everyone who has something for a path, by the same rules as the overlay: each tree laid alone. */
function writersOf(path: string, trees: readonly SourceTree[]): WriterOf[] {
  return trees.flatMap((tree) => {
    const output = layAlone(tree).outputs.find((o) => o.path === path);
    if (!output || output.content.kind === "dir") return [];
    const file = tree.entries.find((e) => e.display === output.source)?.file;
    return file ? [{ source: output.source, file }] : [];
  });
}

/** Names of a tree's outputs without the rules between layers. */
export function layAlone(tree: SourceTree): Overlay {
  const nobody = { name: "", layers: [], instances: [], attributes: [] } as unknown as Machine;
  return overlay(nobody, [tree]);
}

/** The path in `known` that `path` most likely meant; undefined if none is near. Pure. */
export function nearestPath(path: string, known: readonly string[]): string | undefined {
  const name = path.split("/").at(-1) ?? path;
  const sameName = known.find((k) => k.endsWith(`/${name}`) || k === name);
  return sameName ?? nearest(path, known);
}
