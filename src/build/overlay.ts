/**
 * Lays a machine's layers over each other and its own files on top: one winner per path, or a refusal naming both.
 * Pure; must not know file contents, facts or earlier builds.
 */
import { posix } from "node:path";
import type { Diagnostic } from "../diagnostics.ts";
import { compareBytes, foldersAbove, type LayerName, pathFault, type RelPath } from "../paths.ts";
import type { AttributeRule, Machine } from "../project/project.ts";
import { attributesFor } from "./attributes.ts";
import { describe, type Writer } from "./problems.ts";
import type { SourceEntry, SourceFile, SourceTree } from "./source.ts";

/** How an output gets its content. */
export type Content =
  | { readonly kind: "copy"; readonly source: SourceFile }
  | { readonly kind: "render"; readonly source: SourceFile }
  | { readonly kind: "bundle"; readonly source: SourceFile }
  | { readonly kind: "link"; readonly target: string }
  /** Follows from a setting of `source`. */
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "dir" };

/** One path of a machine's tree, decided. */
export interface PlannedOutput {
  readonly path: RelPath;
  readonly content: Content;
  readonly mode: number;
  readonly owner: string;
  readonly group: string;
  readonly layer: LayerName | "machine";
  /** Repository-relative. */
  readonly source: string;
}

/** Sorted by path bytes; holds every folder above every file. */
export interface Overlay {
  readonly outputs: readonly PlannedOutput[];
  readonly problems: readonly Diagnostic[];
}

/** What a layer, or the machine, would have at a path. */
export interface Candidate {
  readonly path: string;
  readonly content: Content;
  readonly layer: LayerName | "machine";
  readonly source: string;
}

/** `trees` are the machine's layers in order, its own files last; `more` counts as the machine's own. */
export function overlay(
  machine: Machine,
  trees: readonly SourceTree[],
  more: readonly Candidate[] = [],
): Overlay {
  const problems: Diagnostic[] = [];
  const winners = new Map<string, Candidate>();
  const usedOverrides = new Set<string>();
  const layers = new Map(machine.layers.map((l) => [l.name as string, l]));

  const place = (next: Candidate): void => {
    const before = winners.get(next.path);
    if (!before) {
      winners.set(next.path, next);
      return;
    }
    if (before.content.kind === "dir" && next.content.kind === "dir") return;
    const first: Writer = before;
    const second: Writer = next;
    if ((before.content.kind === "dir") !== (next.content.kind === "dir")) {
      problems.push(
        describe({ kind: "type-collision", path: next.path, machine: machine.name, first, second }),
      );
      return;
    }
    if (next.layer === "machine" && before.layer !== "machine") {
      winners.set(next.path, next);
      return;
    }
    const declared = layers.get(next.layer)?.overrides.get(next.path)?.layers ?? [];
    if (declared.includes(before.layer) && next.layer !== before.layer) {
      usedOverrides.add(`${next.layer}\0${next.path}`);
      winners.set(next.path, next);
      return;
    }
    usedOverrides.add(next.path);
    problems.push(describe({ kind: "collision", path: next.path, machine: machine.name, first, second }));
  };

  for (const tree of trees) {
    const { found, refused } = candidatesOf(tree);
    problems.push(...refused);
    for (const candidate of found) place(candidate);
  }
  for (const candidate of [...instanceLinks(machine, problems), ...more]) place(candidate);
  addMissingFolders(winners, machine, problems);
  reportUnusedOverrides(machine, winners, usedOverrides, problems);

  // A layer's rules hold for its own files, the machine's for all.
  const rules = new Map<LayerName | "machine", readonly AttributeRule[]>(
    machine.layers.map((l) => [l.name, [...l.attributes, ...machine.attributes]]),
  );
  rules.set("machine", machine.attributes);
  const outputs = [...winners.values()]
    .sort((a, b) => compareBytes(a.path, b.path))
    .map((c) => finish(c, rules));
  return { outputs, problems };
}

interface TreeCandidates {
  readonly found: readonly Candidate[];
  readonly refused: readonly Diagnostic[];
}

const candidatesKnown = new WeakMap<SourceTree, TreeCandidates>();

/** The same for every machine that has the layer, so they are made once. */
function candidatesOf(tree: SourceTree): TreeCandidates {
  const known = candidatesKnown.get(tree);
  if (known) return known;
  const refused: Diagnostic[] = [];
  const found = tree.entries.flatMap((entry) => candidateOf(entry, tree.layer, refused) ?? []);
  const made = { found, refused };
  candidatesKnown.set(tree, made);
  return made;
}

/** Applies the name markers; undefined after reporting why the entry can't be part of a tree. */
function candidateOf(
  entry: SourceEntry,
  layer: LayerName | "machine",
  problems: Diagnostic[],
): Candidate | undefined {
  const at = { file: entry.display };
  if (entry.type === "other") {
    problems.push(describe({ kind: "special-file", place: at }));
    return undefined;
  }
  const render = entry.type === "file" && entry.path.endsWith(".hbs");
  const bundle = entry.type === "file" && entry.path.endsWith(".ts") && !entry.path.endsWith(".d.ts");
  const path = render ? entry.path.slice(0, -4) : bundle ? `${entry.path.slice(0, -3)}.mjs` : entry.path;
  const fault = path === "" || path.endsWith("/") ? "empty" : pathFault(path);
  if (fault) {
    // What lies in a folder of such a name need not be refused again.
    const reported = fault !== "too-long" && pathFault(posix.dirname(path)) === fault;
    if (!reported) problems.push(describe({ kind: "bad-path", fault, path, place: at }));
    return undefined;
  }
  if (entry.type === "link") {
    if (!entry.target.startsWith("/") && posix.join(posix.dirname(path), entry.target).startsWith("..")) {
      problems.push(describe({ kind: "link-escapes", place: at, target: entry.target }));
      return undefined;
    }
    return { path, content: { kind: "link", target: entry.target }, layer, source: entry.display };
  }
  if (entry.type === "dir") return { path, content: { kind: "dir" }, layer, source: entry.display };
  const kind = render ? "render" : bundle ? "bundle" : "copy";
  return { path, content: { kind, source: entry }, layer, source: entry.display };
}

/** An instance in machine.ini is the link that `systemctl enable` would make. */
function* instanceLinks(machine: Machine, problems: Diagnostic[]): Generator<Candidate> {
  for (const { unit, place } of machine.instances) {
    const template = unit.replace(/@[^@]*(\.[a-z]+)$/, "@$1");
    const path = `lib/systemd/system/multi-user.target.wants/${unit}`;
    const fault = pathFault(path);
    if (fault) problems.push(describe({ kind: "bad-path", fault, path, place }));
    else
      yield {
        path,
        content: { kind: "link", target: `../${template}` },
        layer: "machine",
        source: place.file,
      };
  }
}

/** Every folder above an output is an output, too; a file where a folder is needed is a collision. */
function addMissingFolders(winners: Map<string, Candidate>, machine: Machine, problems: Diagnostic[]): void {
  for (const candidate of [...winners.values()]) {
    for (const folder of foldersAbove(candidate.path)) {
      const there = winners.get(folder);
      if (!there) {
        winners.set(folder, {
          path: folder,
          content: { kind: "dir" },
          layer: candidate.layer,
          source: candidate.source,
        });
      } else if (there.content.kind !== "dir") {
        problems.push(
          describe({
            kind: "type-collision",
            path: folder,
            machine: machine.name,
            first: there,
            second: candidate,
          }),
        );
        break;
      }
    }
  }
}

function reportUnusedOverrides(
  machine: Machine,
  winners: ReadonlyMap<string, Candidate>,
  used: ReadonlySet<string>,
  problems: Diagnostic[],
): void {
  for (const layer of machine.layers) {
    for (const [path, { layers, place }] of layer.overrides) {
      const present = layers.filter((name) => machine.layers.some((l) => l.name === name));
      // The overridden layer may be absent from this machine; then there is nothing to replace, and no mistake.
      if (
        present.length === 0 ||
        used.has(`${layer.name}\0${path}`) ||
        // Refused as a collision already.
        used.has(path) ||
        winners.get(path)?.layer === "machine"
      )
        continue;
      problems.push(
        describe({ kind: "override-unused", path, layer: layer.name, of: present.join(", "), place }),
      );
    }
  }
}

function finish(
  c: Candidate,
  rules: ReadonlyMap<LayerName | "machine", readonly AttributeRule[]>,
): PlannedOutput {
  const executable = "source" in c.content ? c.content.source.executable : false;
  // Only the executable bit is taken from the file: it is all that Git keeps, and umasks differ between hosts.
  const usual =
    c.content.kind === "link"
      ? 0o777
      : c.content.kind === "dir" || executable || c.content.kind === "bundle"
        ? 0o755
        : 0o644;
  const own = attributesFor(c.path, rules.get(c.layer) ?? rules.get("machine") ?? []);
  return {
    path: c.path as RelPath,
    content: c.content,
    mode: c.content.kind === "link" ? usual : (own.mode ?? usual),
    owner: own.owner ?? "root",
    group: own.group ?? "root",
    layer: c.layer,
    source: c.source,
  };
}
