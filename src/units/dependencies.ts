/**
 * Which units of a tree pull in, stop with or exclude which others, from their settings and links: the part of systemd's
 * dependencies that a restart, a stop or a start carries on. Source: systemd.unit(5) and `atom_map` in systemd's
 * unit-dependency-atom.c. Must not know what changed. Reads through the set's view.
 */
import type { UnitName } from "../paths.ts";
import { splitWords } from "./quoted-words.ts";
import { expandSpecifiers } from "./specifiers.ts";
import { isTemplate, isUnitName } from "./unit-name.ts";
import { type UnitSet, valuesOf } from "./unit-set.ts";

/** Keys whose unit stops and restarts with the named one. */
const STOPS_WITH = ["Requires", "Requisite", "BindsTo", "BindTo", "PartOf"];
/** Keys whose unit starts the named one along with itself. */
const PULLS = ["Requires", "Wants", "BindsTo", "BindTo", "Upholds"];

export interface Dependencies {
  /** Units that stop or restart when this one does; sorted by name of first mention. */
  dependents(unit: UnitName): readonly UnitName[];
  /** Units that a start of this one starts. */
  pulls(unit: UnitName): readonly UnitName[];
  /** Units that can't run beside this one. */
  excludes(unit: UnitName): readonly UnitName[];
  /** Units that reload when this one does. */
  reloads(unit: UnitName): readonly UnitName[];
}

/** Reads the dependencies of `names`, which may hold instances that the tree does not mention. */
export function readDependencies(set: UnitSet, names: Iterable<UnitName>): Dependencies {
  const dependents = new Map<UnitName, Set<UnitName>>();
  const pulls = new Map<UnitName, Set<UnitName>>();
  const excludes = new Map<UnitName, Set<UnitName>>();
  const reloads = new Map<UnitName, Set<UnitName>>();
  const put = (map: Map<UnitName, Set<UnitName>>, from: UnitName, to: UnitName): void => {
    if (from !== to) map.set(from, (map.get(from) ?? new Set()).add(to));
  };
  for (const name of names) {
    if (isTemplate(name)) continue;
    const unit = set.unit(name);
    if (unit.fragment?.kind === "alias" || unit.fragment?.kind === "masked") continue;
    const named = (keys: readonly string[]): UnitName[] =>
      keys.flatMap((key) =>
        valuesOf(unit.settings, "Unit", key).flatMap((entry) =>
          splitWords(entry.value, "keep").flatMap((word) => {
            const { text, partial } = expandSpecifiers(word, name);
            return !partial && isUnitName(text) ? [set.canonical(text)] : [];
          }),
        ),
      );
    for (const other of named(STOPS_WITH)) put(dependents, other, name);
    for (const other of named(PULLS)) put(pulls, name, other);
    for (const other of named(["Conflicts"])) {
      put(excludes, name, other);
      put(excludes, other, name);
    }
    for (const other of named(["PropagatesReloadTo", "PropagateReloadTo"])) put(reloads, name, other);
    for (const other of named(["ReloadPropagatedFrom", "PropagateReloadFrom"])) put(reloads, other, name);
    for (const link of unit.wantedBy) {
      const by = set.canonical(link.by);
      put(pulls, by, name);
      if (link.how === "requires") put(dependents, name, by);
    }
  }
  const listed = (map: Map<UnitName, Set<UnitName>>) => (unit: UnitName) => [...(map.get(unit) ?? [])];
  return {
    dependents: listed(dependents),
    pulls: listed(pulls),
    excludes: listed(excludes),
    reloads: listed(reloads),
  };
}

/** `units` and all that they could carry along or be carried along by, to any depth. Pure. */
export function neighbourhood(units: Iterable<UnitName>, graphs: readonly Dependencies[]): Set<UnitName> {
  const out = new Set(units);
  // A set's iteration also visits what is added meanwhile.
  for (const unit of out) {
    for (const graph of graphs) {
      for (const other of [
        ...graph.dependents(unit),
        ...graph.pulls(unit),
        ...graph.excludes(unit),
        ...graph.reloads(unit),
      ]) {
        if (!isTemplate(other)) out.add(other);
      }
    }
  }
  return out;
}
