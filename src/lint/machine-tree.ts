/**
 * One machine's built tree as the checks see it: entries, texts on demand, and where the tree lies on disk. A text that
 * several machines share is read once. Owns reading; must not judge.
 */
import { closeSync, openSync, readFileSync, readSync } from "node:fs";
import { join } from "node:path";
import type { Manifest, ManifestEntry } from "../build/manifest.ts";
import type { AbsPath, RelPath } from "../paths.ts";
import type { Machine } from "../project/project.ts";
import type { LintTree } from "../units/lint/lint-tree.ts";

export interface MachineTree extends LintTree {
  readonly machine: Machine;
  readonly manifest: Manifest;
  /** Where `/usr/local` of the machine lies here. */
  readonly folder: AbsPath;
  /** Regular files in path order. */
  readonly files: readonly FileEntry[];
  entry(path: string): ManifestEntry | undefined;
}

export type FileEntry = Extract<ManifestEntry, { type: "file" }>;

/** Texts by content hash, shared by the machines of a run. */
export type TextCache = Map<string, string>;

/** Larger files are no configuration, and are not read. */
const LARGEST_TEXT_BYTES = 4 << 20;
const HEAD_BYTES = 256;

/** Reads lazily from `folder`; throws what `fs` throws for a tree that went away. */
export function machineTree(
  machine: Machine,
  manifest: Manifest,
  folder: AbsPath,
  texts: TextCache,
): MachineTree {
  const entries = new Map<string, ManifestEntry>(manifest.entries.map((e) => [e.path, e]));
  const files = manifest.entries.filter((e): e is FileEntry => e.type === "file");
  const read = (path: string): string | undefined => {
    const entry = entries.get(path);
    if (entry?.type !== "file" || entry.sizeBytes > LARGEST_TEXT_BYTES) return undefined;
    let text = texts.get(entry.hash);
    if (text === undefined) {
      text = readFileSync(join(folder, path), "utf8");
      texts.set(entry.hash, text);
    }
    return text;
  };
  return {
    machine,
    manifest,
    folder,
    files,
    paths: [...entries.keys()] as RelPath[],
    packages: manifest.packages.map((p) => p.name),
    entry: (path) => entries.get(path),
    read,
    link: (path) => {
      const entry = entries.get(path);
      return entry?.type === "link" ? entry.target : undefined;
    },
    stat: (path) => {
      const entry = entries.get(path);
      // On the machine a credential is a file like any other; here nobody can read it.
      return entry?.type === "secret" ? { ...entry, type: "file" } : entry;
    },
    head: (path) => {
      const entry = entries.get(path);
      if (entry?.type !== "file") return "";
      const known = texts.get(entry.hash);
      return known === undefined ? readHead(join(folder, path)) : known.slice(0, HEAD_BYTES);
    },
  };
}

function readHead(file: string): string {
  const fd = openSync(file, "r");
  try {
    const data = Buffer.alloc(HEAD_BYTES);
    return data.toString("latin1", 0, readSync(fd, data, 0, HEAD_BYTES, 0));
  } finally {
    closeSync(fd);
  }
}
