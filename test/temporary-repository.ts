/**
 * Temporary repositories for tests: made from a literal map of files, copied, photographed.
 * Must not know what a build does.
 */
import {
  chmodSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { AbsPath } from "../src/paths.ts";

/** A file's text, a link `{ link }`, a file with a mode, or an empty folder. */
export type Content =
  | string
  | { readonly link: string }
  | { readonly text: string; readonly mode: number }
  | { readonly folder: true };

/** Paths relative to the repository. */
export type Files = Readonly<Record<string, Content>>;

/** A new empty folder, its path without links in it; in memory (`/dev/shm`) where `fast` and where there is one. */
export function temporaryFolder(name: string, fast = false): AbsPath {
  const parent = fast && process.env.TMPDIR === undefined && existsSync("/dev/shm") ? "/dev/shm" : tmpdir();
  return realpathSync(mkdtempSync(join(parent, `labctl-${name}-`))) as AbsPath;
}

/** Writes files below `root`; whatever stood at a path is replaced. */
export function writeFiles(root: string, files: Files): void {
  for (const [path, content] of Object.entries(files)) {
    const file = join(root, path);
    mkdirSync(dirname(file), { recursive: true });
    if (typeof content !== "string" && "folder" in content) {
      mkdirSync(file, { recursive: true });
      continue;
    }
    rmSync(file, { recursive: true, force: true });
    if (typeof content === "string") writeFileSync(file, content);
    else if ("link" in content) symlinkSync(content.link, file);
    else {
      writeFileSync(file, content.text);
      chmodSync(file, content.mode);
    }
  }
}

/** Copies a repository without `var/` and `.git/`; links stay as they are written. */
export function copySources(from: string, to: string): void {
  rmSync(to, { recursive: true, force: true });
  mkdirSync(to, { recursive: true });
  for (const name of readdirSync(from)) {
    if (name === "var" || name === ".git") continue;
    cpSync(join(from, name), join(to, name), { recursive: true, verbatimSymlinks: true });
  }
}

/** `path → type, mode and content` of everything below a folder, links not followed, sorted; for comparing. */
export function photograph(folder: string): Map<string, string> {
  const out = new Map<string, string>();
  const walk = (below: string): void => {
    for (const name of readdirSync(join(folder, below)).sort()) {
      const path = below === "" ? name : `${below}/${name}`;
      const file = join(folder, path);
      const stats = lstatSync(file);
      const mode = (stats.mode & 0o7777).toString(8);
      if (stats.isSymbolicLink()) out.set(path, `link ${readlinkSync(file)}`);
      else if (stats.isDirectory()) {
        out.set(path, `dir ${mode}`);
        walk(path);
      } else out.set(path, `file ${mode} ${readFileSync(file, "latin1")}`);
    }
  };
  walk("");
  return out;
}

/** Paths that differ between two photographs, with both sides; empty if they are equal. */
export function difference(a: ReadonlyMap<string, string>, b: ReadonlyMap<string, string>): string[] {
  const paths = [...new Set([...a.keys(), ...b.keys()])].sort();
  return paths
    .filter((path) => a.get(path) !== b.get(path))
    .map((path) => `${path}: ${a.get(path) ?? "nothing"} | ${b.get(path) ?? "nothing"}`);
}
