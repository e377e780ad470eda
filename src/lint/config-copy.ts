/**
 * Copies of a machine's configuration files for programs that check them here: paths of the machine are turned into
 * paths of a scratch folder line by line, so that lines stay equal and nothing of this host is read or written.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { AbsPath } from "../paths.ts";
import type { MachineTree } from "./machine-tree.ts";

/** Files of the tree that a root file includes, itself first; `includesOf` gives the absolute patterns in a text. */
export function includedFiles(
  tree: MachineTree,
  root: string,
  includesOf: (text: string) => readonly string[],
): string[] {
  const out = [root];
  for (let i = 0; i < out.length && out.length < 2000; i++) {
    const text = tree.read((out[i] ?? "") as never) ?? "";
    for (const pattern of includesOf(text)) {
      if (!pattern.startsWith("/usr/local/")) continue;
      for (const path of matching(tree, pattern.slice("/usr/local/".length)))
        if (!out.includes(path)) out.push(path);
    }
  }
  return out;
}

/** Regular files of the tree that a shell pattern matches: `*` and `?` within one name. Pure. */
function matching(tree: MachineTree, pattern: string): string[] {
  if (!/[*?[]/.test(pattern)) return tree.stat(pattern)?.type === "file" ? [pattern] : [];
  const source = pattern
    .replace(/[\\^$.|+(){}]/g, "\\$&")
    .replaceAll("*", "[^/]*")
    .replaceAll("?", "[^/]");
  let wanted: RegExp;
  try {
    wanted = new RegExp(`^${source}$`);
  } catch {
    return [];
  }
  return tree.files.filter((f) => wanted.test(f.path) && !/\/\.[^/]*$/.test(f.path)).map((f) => f.path);
}

/** Equal for machines whose files of this set are equal. Pure. */
export function contentKey(tree: MachineTree, paths: readonly string[]): string {
  return paths
    .map((path) => {
      const entry = tree.entry(path);
      return `${path}\0${entry?.type === "file" ? entry.hash : ""}\0${entry?.origin.source}`;
    })
    .join("\n");
}

/** Folders of a machine that a configuration may name; each gets its place in the scratch folder. */
const MACHINE_PATH = /(^|[\s"'=:])\/((?:usr\/local|run|var|etc|srv|tmp)\/[^\s"';{}]*)/gm;

/** Turns the machine's paths into the scratch folder's. Same number of lines. Pure. */
export function intoScratch(text: string, scratch: AbsPath): string {
  return text.replace(MACHINE_PATH, (_, before: string, path: string) => `${before}${scratch}/${path}`);
}

/** Turns a scratch path in a message back into the machine's. Pure. */
export function outOfScratch(message: string, scratch: AbsPath): string {
  return message.replaceAll(scratch, "");
}

/** Writes a file below the scratch folder, with the folders above it. */
export function writeScratch(scratch: AbsPath, path: string, text: string, mode = 0o644): string {
  const file = join(scratch, path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text, { mode });
  return file;
}
