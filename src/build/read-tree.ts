/**
 * Walks a layer's or machine's folder with `lstat`, and resolves `!` links inside the repository.
 * Reads names and metadata only; must not read contents.
 */
import { readdirSync, readlinkSync, realpathSync, type Stats } from "node:fs";
import { basename } from "node:path";
import type { Diagnostic } from "../diagnostics.ts";
import { type AbsPath, compareBytes, type LayerName } from "../paths.ts";
import { linksOnTheWay } from "./link-chain.ts";
import { describe } from "./problems.ts";
import { isRacy, lookAt, signatureOf, type WatchedPath } from "./signature.ts";
import type { SourceEntry, SourceTree } from "./source.ts";

/** Names at a layer's root that describe it and are not shipped. */
const NOT_SHIPPED = new Set(["layer.ini", "machine.ini", "README.md", "_partials", "_guests"]);

/** What editors, file managers and Git leave beside files; no one means it to be part of a machine. */
const LEFTOVER = /^(\.git|\.DS_Store|4913|.*~|\..*\.sw[a-p]|#.*#|\.#.*)$/;

/** True for a name that never becomes part of a tree. Pure. */
export function isLeftover(name: string): boolean {
  return LEFTOVER.test(name);
}

/** True if a file at this path below a layer's folder becomes the same path of a tree. Pure. */
export function isShippedAsIs(path: string): boolean {
  const parts = path.split("/");
  return !NOT_SHIPPED.has(parts[0] ?? "") && !parts.some(isLeftover) && !/\.(hbs|ts)$/.test(path);
}

export interface TreeReader {
  /** The tree of one layer's or machine's folder; read once, then remembered. */
  read(folder: AbsPath, display: string, layer: LayerName | "machine"): SourceTree;
  /** Every folder and file looked at, for the next run to look at again. */
  readonly watched: Map<AbsPath, WatchedPath>;
  readonly problems: Diagnostic[];
}

/** `boundaries`: folders that a `!` link may not leave: the repository, then the built-in layers. */
export function treeReader(boundaries: readonly AbsPath[], readAtMs: number): TreeReader {
  const watched = new Map<AbsPath, WatchedPath>();
  const problems: Diagnostic[] = [];
  const trees = new Map<string, SourceTree>();
  /** Undefined: it went away since its folder was listed, as an editor's temporary files do. */
  const stat = (file: AbsPath): Stats | undefined => {
    const stats = lookAt(file);
    if (!stats) return undefined;
    watched.set(file, { signature: signatureOf(stats), racy: isRacy(stats, readAtMs) });
    return stats;
  };

  const entry = (file: AbsPath, path: string, display: string, stats: Stats): SourceEntry => {
    const base = { path, file, display, signature: signatureOf(stats), racy: isRacy(stats, readAtMs) };
    if (stats.isFile())
      return { ...base, type: "file", executable: (stats.mode & 0o100) !== 0, sizeBytes: stats.size };
    if (stats.isSymbolicLink()) return { ...base, type: "link", target: readlinkSync(file) };
    if (stats.isDirectory()) return { ...base, type: "dir" };
    return { ...base, type: "other" };
  };

  const walk = (
    folder: AbsPath,
    prefix: string,
    display: string,
    above: readonly string[],
    out: SourceEntry[],
  ): void => {
    for (const name of readdirSync(folder)) {
      if ((prefix === "" && NOT_SHIPPED.has(name)) || isLeftover(name)) continue;
      if (name.includes("\ufffd")) {
        const place = { file: display };
        problems.push(describe({ kind: "bad-path", fault: "not-utf8", path: prefix + name, place }));
        continue;
      }
      add(`${folder}/${name}` as AbsPath, prefix + name, `${display}/${name}`, above, out);
    }
  };

  const add = (
    file: AbsPath,
    path: string,
    display: string,
    above: readonly string[],
    out: SourceEntry[],
  ): void => {
    const stats = stat(file);
    if (!stats) return;
    if (stats.isSymbolicLink() && basename(file).startsWith("!")) {
      follow(file, path, display, above, out);
      return;
    }
    out.push(entry(file, path, display, stats));
    if (stats.isDirectory()) walk(file, `${path}/`, display, above, out);
  };

  /** Replaces a `!` link by what it points to; the name loses the `!`. */
  const follow = (
    link: AbsPath,
    path: string,
    display: string,
    above: readonly string[],
    out: SourceEntry[],
  ): void => {
    const target = readlinkSync(link);
    let real: AbsPath;
    try {
      real = realpathSync(link) as AbsPath;
    } catch (error) {
      const loop = (error as NodeJS.ErrnoException).code === "ELOOP";
      problems.push(
        describe({ kind: loop ? "deref-cycle" : "deref-dangling", place: { file: display }, target }),
      );
      return;
    }
    for (const met of linksOnTheWay(link)) stat(met as AbsPath);
    if (!boundaries.some((b) => real.startsWith(`${b}/`))) {
      problems.push(describe({ kind: "deref-outside", place: { file: display }, target, real }));
      return;
    }
    if (above.includes(real) || link.startsWith(`${real}/`)) {
      problems.push(describe({ kind: "deref-cycle", place: { file: display }, target }));
      return;
    }
    const stats = stat(real);
    if (!stats) return;
    // Not joined: `!..` must stay the `..` that the overlay refuses.
    const start = path.length - basename(path).length;
    const name = path.slice(0, start) + path.slice(start + 1);
    if (["", ".", ".."].includes(name.slice(start))) {
      const fault = name.length === start ? "empty" : "escapes";
      problems.push(describe({ kind: "bad-path", fault, path: name, place: { file: display } }));
      return;
    }
    const shown = displayOf(real, boundaries) ?? display;
    // A link to `x.hbs` under the name `!y` is a plain copy: only the link's own name carries markers.
    out.push(entry(real, name, shown, stats));
    if (stats.isDirectory()) walk(real, `${name}/`, shown, [...above, real], out);
  };

  return {
    watched,
    problems,
    read: (folder, display, layer) => {
      const known = trees.get(folder);
      if (known) return known;
      const entries: SourceEntry[] = [];
      const real = realpathSync(folder) as AbsPath;
      stat(real);
      if (real !== folder && !boundaries.some((b) => real.startsWith(`${b}/`))) {
        // The link may be a folder above.
        const target = lookAt(folder)?.isSymbolicLink() ? readlinkSync(folder) : real;
        problems.push(describe({ kind: "deref-outside", place: { file: display }, target, real }));
      } else walk(folder, "", display, [real], entries);
      entries.sort((a, b) => compareBytes(a.path, b.path));
      const tree: SourceTree = { layer, entries };
      trees.set(folder, tree);
      return tree;
    },
  };
}

/** A real path as repository-relative text; `undefined` if it lies in no boundary. Pure. */
function displayOf(real: AbsPath, boundaries: readonly AbsPath[]): string | undefined {
  for (const [i, b] of boundaries.entries()) {
    if (!real.startsWith(`${b}/`)) continue;
    const inside = real.slice(b.length + 1);
    return i === 0 ? inside : `layers/${inside}`;
  }
  return undefined;
}
