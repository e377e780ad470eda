/**
 * The units that a tree defines or touches, each with its files and merged settings. Reads through a view that
 * the caller hands in and looks at nothing else: a vendor's unit file is not in a tree, so a unit may consist of
 * drop-ins only. Merge rules: systemd.unit(5), and conf-files.c for the order of drop-ins.
 */
import type { Place } from "../diagnostics.ts";
import { compareBytes, type RelPath, TREE_ROOT, type UnitName } from "../paths.ts";
import { isResetBy, meantKeys, settingKind } from "./setting-kinds.ts";
import { parseUnitFile, type UnitFile } from "./unit-file.ts";
import { dropInFolders, isUnitName, joinUnitName, splitUnitName, templateOf, unitType } from "./unit-name.ts";
import { classifyPath, type LinkKind, type ManagerScope, SEARCH_PATH } from "./unit-path.ts";

/** Read-only access to one tree; paths are relative to /usr/local. */
export interface TreeView {
  /** Every file and link; folders may be listed too. */
  readonly paths: Iterable<RelPath>;
  /** A regular file's text; undefined for anything else. */
  read(path: RelPath): string | undefined;
  /** A link's target as written; undefined for anything else. */
  link(path: RelPath): string | undefined;
}

export interface SettingValue {
  readonly value: string;
  /** `file` is relative to the tree's root. */
  readonly place: Place;
}

/** One key's effective values: at least one, none of them empty; exactly one for a single-value key. */
export interface Setting {
  readonly section: string;
  readonly key: string;
  readonly values: readonly SettingValue[];
}

/** By `Section.Key`, in order of first assignment. A key that was reset and not set again is absent. */
export type Settings = ReadonlyMap<string, Setting>;

export type Fragment =
  | { readonly kind: "file"; readonly path: RelPath }
  /** A link to /dev/null, or an empty file: systemd refuses to start the unit. */
  | { readonly kind: "masked"; readonly path: RelPath }
  /** A link to another unit: both names are one unit. */
  | { readonly kind: "alias"; readonly path: RelPath; readonly of: UnitName }
  /** A link to a file that is not in the tree. */
  | { readonly kind: "outside"; readonly path: RelPath; readonly target: string };

export interface WantLink {
  readonly how: LinkKind;
  readonly by: UnitName;
  readonly path: RelPath;
}

export interface Unit {
  readonly name: UnitName;
  /** Undefined: the tree has no unit file for it, nor for its template. */
  readonly fragment: Fragment | undefined;
  /** In the order in which systemd merges them. */
  readonly dropIns: readonly RelPath[];
  /** Links in the tree that pull this unit in, by path. */
  readonly wantedBy: readonly WantLink[];
  /** Other names in the tree that mean this unit, sorted. */
  readonly aliases: readonly UnitName[];
  readonly settings: Settings;
}

export interface UnitSet {
  readonly scope: ManagerScope;
  readonly view: TreeView;
  /** Names that the tree has a file, an own drop-in folder or a pulling link for, sorted; templates included. */
  readonly names: readonly UnitName[];
  /** What the tree says about any name; for one that it does not mention, only general drop-ins. Cached. */
  unit(name: UnitName): Unit;
  /** The name that `name` is an alias of, else itself. */
  canonical(name: UnitName): UnitName;
}

/** Collects one manager's units; reads files only when `unit()` asks for them. Effects: reads through `view`. */
export function readUnitSet(view: TreeView, scope: ManagerScope = "system"): UnitSet {
  const fragments = new Map<UnitName, RelPath>();
  const folders = new Map<string, Map<string, RelPath>>();
  const links = new Map<UnitName, WantLink[]>();
  const names = new Set<UnitName>();
  const rank = (path: string): number =>
    SEARCH_PATH.findIndex((entry) => path.startsWith(`${entry.folder}/`));
  const sorted = [...view.paths].sort((a, b) => rank(a) - rank(b) || compareBytes(a, b));
  for (const path of sorted) {
    const found = classifyPath(path);
    if (found?.scope !== scope) continue;
    if (found.kind === "unit") {
      if (!fragments.has(found.unit)) fragments.set(found.unit, path);
      names.add(found.unit);
    } else if (found.kind === "link") {
      links.set(found.unit, [...(links.get(found.unit) ?? []), { how: found.how, by: found.by, path }]);
      names.add(found.unit);
    } else {
      const folder = path.split("/").at(-2) ?? "";
      const files = folders.get(folder) ?? new Map<string, RelPath>();
      if (!files.has(found.file)) files.set(found.file, path);
      folders.set(folder, files);
      if (found.applies.kind === "unit" || found.applies.kind === "template") names.add(found.applies.unit);
    }
  }

  const aliasTargets = new Map<UnitName, UnitName>();
  for (const [name, path] of fragments) {
    const fragment = readFragment(view, name, path);
    if (fragment.kind === "alias") aliasTargets.set(name, fragment.of);
  }
  const canonical = (name: UnitName): UnitName => {
    let current = name;
    for (let hops = 0; hops < 8; hops++) {
      const next = aliasTargets.get(current) ?? instanceAlias(current, aliasTargets);
      if (next === undefined) return current;
      current = next;
    }
    return name;
  };

  const cache = new Map<UnitName, Unit>();
  const unit = (name: UnitName): Unit => {
    const known = cache.get(name);
    if (known) return known;
    const own = fragments.get(name);
    const template = templateOf(name);
    const path = own ?? (template ? fragments.get(template) : undefined);
    const fragment = path ? readFragment(view, name, path) : undefined;
    const aliases = [...aliasTargets.keys()]
      .filter((alias) => alias !== name && canonical(alias) === name)
      .sort(compareBytes);
    const dropIns = dropInsOf([name, ...aliases], folders);
    const files = fragment?.kind === "file" ? [fragment.path, ...dropIns] : dropIns;
    const made: Unit = {
      name,
      fragment,
      dropIns,
      wantedBy: [name, ...aliases].flatMap((each) => links.get(each) ?? []),
      aliases,
      settings: mergeSettings(
        files.map((file) => ({ path: file, file: parseUnitFile(readThrough(view, file) ?? "") })),
      ),
    };
    cache.set(name, made);
    return made;
  };
  return { scope, view, names: [...names].sort(compareBytes), unit, canonical };
}

/** Merges parsed files in the given order: lists accumulate, an empty assignment resets, others: last wins. Pure. */
export function mergeSettings(
  files: readonly { readonly path: string; readonly file: UnitFile }[],
): Settings {
  const merged = new Map<string, Setting>();
  for (const { path, file } of files) {
    for (const assignment of file.assignments) {
      const { value, line } = assignment;
      const { section, keys } = meantKeys(assignment.section, assignment.key);
      for (const key of keys) assign(merged, section, key, { value, place: { file: path, line } });
    }
  }
  return merged;
}

function assign(merged: Map<string, Setting>, section: string, key: string, added: SettingValue): void {
  if (added.value === "") {
    for (const [other, setting] of merged) {
      if (setting.section === section && isResetBy(section, setting.key, key)) merged.delete(other);
    }
    return;
  }
  const id = `${section}.${key}`;
  const before = settingKind(section, key) === "single" ? [] : (merged.get(id)?.values ?? []);
  merged.set(id, { section, key, values: [...before, added] });
}

/** A setting's values in order; empty if it is not set. Pure. */
export function valuesOf(settings: Settings, section: string, key: string): readonly SettingValue[] {
  return settings.get(`${section}.${key}`)?.values ?? [];
}

/**
 * The tree path that an absolute path, or one relative to the folder of `from`, leads to; undefined if it leaves
 * the tree. Purely textual. Pure.
 */
export function treePath(target: string, from?: RelPath): RelPath | undefined {
  const base = target.startsWith("/") ? target : `${TREE_ROOT}/${from ?? ""}/../${target}`;
  const parts: string[] = [];
  for (const part of base.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "" && part !== ".") parts.push(part);
  }
  const path = `/${parts.join("/")}`;
  return path.startsWith(`${TREE_ROOT}/`) ? (path.slice(TREE_ROOT.length + 1) as RelPath) : undefined;
}

/** All paths that lead from `path` to what it finally names, links in any component followed; itself first. Pure. */
export function resolveLinks(view: TreeView, path: RelPath): RelPath[] {
  const out: RelPath[] = [path];
  for (let hops = 0, current: RelPath | undefined = path; current && hops < 16; hops++) {
    current = stepThroughLink(view, current);
    if (current && !out.includes(current)) out.push(current);
  }
  return out;
}

/** Replaces the first component of `path` that is a link; undefined if none is, or if the link leaves the tree. */
function stepThroughLink(view: TreeView, path: RelPath): RelPath | undefined {
  for (let end = path.indexOf("/"); ; end = path.indexOf("/", end + 1)) {
    const head = (end < 0 ? path : path.slice(0, end)) as RelPath;
    const target = view.link(head);
    const stood = target === undefined ? undefined : treePath(target, head);
    if (target !== undefined) return stood && ((end < 0 ? stood : stood + path.slice(end)) as RelPath);
    if (end < 0) return undefined;
  }
}

/** `al@x.service` where the tree has `al@.service` as a link to `foo@.service`: `foo@x.service`. */
function instanceAlias(name: UnitName, targets: ReadonlyMap<UnitName, UnitName>): UnitName | undefined {
  const template = templateOf(name);
  const of = template ? targets.get(template) : undefined;
  return of ? joinUnitName({ ...splitUnitName(of), instance: splitUnitName(name).instance }) : undefined;
}

function readThrough(view: TreeView, path: RelPath): string | undefined {
  return view.read(resolveLinks(view, path).at(-1) ?? path);
}

function readFragment(view: TreeView, name: UnitName, path: RelPath): Fragment {
  const target = view.link(path);
  if (target === undefined) {
    return { kind: view.read(path) === "" ? "masked" : "file", path };
  }
  if (target === "/dev/null") return { kind: "masked", path };
  const base = target.slice(target.lastIndexOf("/") + 1);
  const own = path.slice(path.lastIndexOf("/") + 1) as UnitName;
  const last = resolveLinks(view, path).at(-1);
  if (last && view.link(last) === "/dev/null") return { kind: "masked", path };
  // A link to the unit's own template is how an instance is enabled; it makes no second name.
  if (isUnitName(base) && base !== own && base !== templateOf(own) && unitType(base) === unitType(own)) {
    const of =
      name === own ? base : joinUnitName({ ...splitUnitName(base), instance: splitUnitName(name).instance });
    return { kind: "alias", path, of };
  }
  if (last && view.read(last) !== undefined) return { kind: "file", path };
  return { kind: "outside", path, target };
}

/** Files of all folders by name; for one name the file in the most specific folder counts. */
function dropInsOf(
  names: readonly UnitName[],
  folders: ReadonlyMap<string, ReadonlyMap<string, RelPath>>,
): RelPath[] {
  const byFile = new Map<string, RelPath>();
  const order = names.map((name) => dropInFolders(name));
  // The type's folder comes after every name's own folders, aliases included.
  const general = order[0]?.slice(-1) ?? [];
  for (const folder of [...order.flatMap((own) => own.slice(0, -1)), ...general]) {
    for (const [file, path] of folders.get(folder) ?? []) if (!byFile.has(file)) byFile.set(file, path);
  }
  return [...byFile].sort(([a], [b]) => compareBytes(a, b)).map(([, path]) => path);
}
