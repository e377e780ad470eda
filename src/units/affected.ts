/**
 * Which units a change of files concerns, before the machine is asked about any: names, and patterns where only the
 * machine knows the instances. Also whether systemd must read its unit files anew. Reads through the sets' views.
 */
import { compareBytes, type RelPath, type UnitName } from "../paths.ts";
import { compareSettings } from "./compare.ts";
import { isReferred } from "./demands.ts";
import { neighbourhood, readDependencies } from "./dependencies.ts";
import { triggeredUnits } from "./references.ts";
import type { ChangedPath } from "./unit-change.ts";
import { parseUnitFile } from "./unit-file.ts";
import { isTemplate, isUnitName, splitUnitName, unitPattern, unitType } from "./unit-name.ts";
import { classifyPath, type UnitPath } from "./unit-path.ts";
import { mergeSettings, type Settings, type UnitSet } from "./unit-set.ts";

/** Programs that write unit files at each daemon-reload: systemd.generator(7). */
const GENERATORS = "lib/systemd/system-generators/";

/**
 * Unit names and `systemctl` patterns to ask the machine about, sorted: units whose files or links changed, units
 * that refer to a changed path, what pulls those in, and the services of affected sockets. A caller hands the live
 * states of all units that these expand to to `decideActions`.
 */
export function affectedUnits(before: UnitSet, after: UnitSet, changed: readonly ChangedPath[]): string[] {
  const out = new Set<string>();
  const add = (name: UnitName): void => {
    out.add(isTemplate(name) ? unitPattern({ kind: "template", unit: name }) : name);
    for (const set of [before, after]) {
      const unit = set.unit(name);
      for (const alias of [set.canonical(name), ...unit.aliases]) {
        out.add(isTemplate(alias) ? unitPattern({ kind: "template", unit: alias }) : alias);
      }
      if (isTemplate(name)) continue;
      for (const link of unit.wantedBy) if (!isTemplate(link.by)) out.add(link.by);
      for (const service of triggeredUnits(unit)) if (!isTemplate(service)) out.add(service);
    }
  };

  for (const { path } of changed) {
    const found = classifyPath(path);
    if (found?.scope !== before.scope) continue;
    if (found.kind === "unit") add(found.unit);
    else if (found.kind === "link") add(found.unit);
    else if (found.applies.kind === "unit" || found.applies.kind === "template") add(found.applies.unit);
    else {
      out.add(unitPattern(found.applies));
      for (const name of [...before.names, ...after.names]) {
        if (!isTemplate(name) && meets(found, name)) out.add(name);
      }
    }
  }
  for (const name of new Set([...before.names, ...after.names])) {
    const unit = after.unit(name);
    if (unit.fragment?.kind !== "alias" && isReferred(unit, before, after, changed)) add(name);
  }
  return [...withNeighbours(out, before, after)].sort(compareBytes);
}

/** A restart or a stop carries on along dependencies; whether it does depends on which of those units run. */
function withNeighbours(found: ReadonlySet<string>, before: UnitSet, after: UnitSet): Set<string> {
  const names = [...found].filter((name) => isUnitName(name));
  // Whatever a target pulls in was decided when it started, and it never restarts.
  const sources = names.filter(
    (name) => unitType(name) !== "target" || after.unit(name).fragment !== undefined,
  );
  const known = new Set([...before.names, ...after.names, ...names]);
  const graphs = [before, after].map((set) => readDependencies(set, known));
  return new Set([...found, ...neighbourhood(sources, graphs)]);
}

/** True if systemd's idea of its unit files would be out of date by meaning; links and generators count always. */
export function definitionsChanged(
  before: UnitSet,
  after: UnitSet,
  changed: readonly ChangedPath[],
): boolean {
  return changed.some(({ path, change }) => {
    if (change === "attributes") return false;
    if (path.startsWith(GENERATORS)) return before.scope === "system";
    const found = classifyPath(path);
    if (found?.scope !== before.scope) return false;
    if (found.kind === "link") return true;
    if (found.kind === "unit" && change !== "changed") return true;
    if ([before, after].some((set) => set.view.link(path) !== undefined)) return true;
    return compareSettings(settingsOf(before, path), settingsOf(after, path), "service").kind !== "same";
  });
}

function settingsOf(set: UnitSet, path: RelPath): Settings {
  return mergeSettings([{ path, file: parseUnitFile(set.view.read(path) ?? "") }]);
}

function meets(found: Extract<UnitPath, { kind: "drop-in" }>, name: UnitName): boolean {
  const { prefix, type } = splitUnitName(name);
  if (found.applies.kind === "type") return type === found.applies.type;
  const wanted = splitUnitName(found.applies.unit);
  return type === wanted.type && prefix.startsWith(wanted.prefix);
}
