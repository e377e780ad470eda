/** Views of an old and a new tree for the unit planner: from the local tree, from memory, or from the machine. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { AbsPath, FileHash, RelPath } from "../paths.ts";
import type { TreeView } from "../units/unit-set.ts";
import type { Manifest, ManifestEntry } from "./manifest.ts";

/** Only these are read as text by the unit planner. */
const UNIT_FOLDERS = /^lib\/systemd\/(system|user)\//;

/** True for a file whose text the unit planner reads: below a folder of unit files. Pure. */
export function isUnitText(entry: ManifestEntry): entry is Extract<ManifestEntry, { type: "file" }> {
  return entry.type === "file" && UNIT_FOLDERS.test(entry.path);
}

/** Texts of unit files by path; absent where they have to be fetched. */
export type UnitTexts = ReadonlyMap<string, string>;

/** A manifest as the unit planner sees it. Pure but for what `texts` was filled from. */
export function treeView(manifest: Manifest | undefined, texts: UnitTexts): TreeView {
  const entries = new Map<string, ManifestEntry>((manifest?.entries ?? []).map((e) => [e.path, e]));
  return {
    paths: [...entries.keys()] as RelPath[],
    read: (path) => texts.get(path),
    link: (path) => {
      const entry = entries.get(path);
      return entry?.type === "link" ? entry.target : undefined;
    },
  };
}

/** Unit texts of a tree that was built here. Reads the tree. */
export function readBuiltTexts(manifest: Manifest, tree: AbsPath): Map<string, string> {
  const out = new Map<string, string>();
  for (const entry of manifest.entries)
    if (isUnitText(entry)) out.set(entry.path, readFileSync(join(tree, entry.path), "utf8"));
  return out;
}

/**
 * Unit texts of another tree as far as they are known here: equal hashes have equal texts. `missing` lists the rest.
 * Paths in `stale` are never taken from memory: the machine has something else there.
 */
export function recallTexts(
  manifest: Manifest | undefined,
  built: { readonly manifest: Manifest; readonly texts: UnitTexts } | undefined,
  recall: (hash: FileHash) => string | undefined,
  stale: ReadonlySet<string>,
): { readonly texts: Map<string, string>; readonly missing: readonly RelPath[] } {
  const byHash = new Map<string, string>();
  for (const entry of built?.manifest.entries ?? []) {
    const text = isUnitText(entry) ? built?.texts.get(entry.path) : undefined;
    if (text !== undefined && entry.type === "file") byHash.set(entry.hash, text);
  }
  const texts = new Map<string, string>();
  const missing: RelPath[] = [];
  for (const entry of manifest?.entries ?? []) {
    if (!isUnitText(entry)) continue;
    const text = stale.has(entry.path) ? undefined : (byHash.get(entry.hash) ?? recall(entry.hash));
    if (text === undefined) missing.push(entry.path);
    else texts.set(entry.path, text);
  }
  return { texts, missing };
}
