/**
 * What each changed path asks of one unit, before anyone looks at the unit's live state: a restart, a reload, or
 * nothing, each with the sentence that says why. Must not know machines, nor which demand wins.
 */
import type { Place } from "../diagnostics.ts";
import type { RelPath } from "../paths.ts";
import { compareSettings, type SettingChange } from "./compare.ts";
import { liveReason } from "./live-settings.ts";
import { matchReference, type Reference, readReferences } from "./references.ts";
import type { ChangedPath } from "./unit-change.ts";
import { unitType } from "./unit-name.ts";
import { resolveLinks, type Unit, type UnitSet } from "./unit-set.ts";

export interface Demand {
  readonly wish: "restart" | "reload" | "none";
  /** True for a bind whose source has a new inode: a reload can't satisfy it. */
  readonly staleBind: boolean;
  readonly why: string;
  readonly causes: readonly string[];
  readonly place?: Place;
}

/** At most so many settings are spelled out in one sentence. */
const SPELLED = 3;

const HAPPENED: Readonly<Record<ChangedPath["change"], string>> = {
  added: "was added",
  changed: "was replaced",
  removed: "was removed",
  attributes: "got another mode or owner",
};

/** The demand of the unit's own files; undefined if they mean the same as before. Pure but for the sets' reads. */
export function definitionDemand(
  before: Unit,
  after: Unit,
  changed: readonly ChangedPath[],
): Demand | undefined {
  const result = compareSettings(before.settings, after.settings, unitType(after.name));
  if (result.kind === "same") return undefined;
  const files = new Set<string>([...filesOf(before), ...filesOf(after)]);
  const causes = changed.filter((entry) => files.has(entry.path)).map((entry) => entry.cause);
  const place = result.settings[0]?.place;
  const rest = { staleBind: false, causes, ...(place ? { place } : {}) };
  const list = describeSettings(result.settings);
  if (result.kind === "daemon-reload") {
    const first = result.settings[0];
    const because = first && liveReason(unitType(after.name), first.section, first.key);
    return {
      ...rest,
      wish: "none",
      why: `daemon-reload is enough for ${list}${because ? `: ${because}` : ""}`,
    };
  }
  // A mount takes other options by a remount, which is its reload; so does switch-to-configuration-ng.
  const remount = result.settings.every((each) => each.section === "Mount" && each.key === "Options");
  return { ...rest, wish: remount ? "reload" : "restart", why: `${list} changed` };
}

/** The demands of all other changed files, in the order of the changes. Reads through the sets' views. */
export function referenceDemands(
  unit: Unit,
  before: UnitSet,
  after: UnitSet,
  changed: readonly ChangedPath[],
): Demand[] {
  const references = withLinksResolved(readReferences(unit).references, before, after);
  const out: Demand[] = [];
  for (const entry of changed) {
    const isLink = [before, after].some((set) => set.view.link(entry.path) !== undefined);
    const seen = new Set<string>();
    for (const reference of references) {
      const met = matchReference(reference, entry.path);
      // A plain folder above keeps its inode; a link above now leads somewhere else.
      if (met === undefined || (met === "above" && !isLink)) continue;
      const demand = demandOf(reference, entry, met);
      if (seen.has(demand.why)) continue;
      seen.add(demand.why);
      out.push(demand);
    }
  }
  return out;
}

/** Paths of the tree that make up a unit: its file and its drop-ins. Pure. */
export function filesOf(unit: Unit): RelPath[] {
  return [...(unit.fragment ? [unit.fragment.path] : []), ...unit.dropIns];
}

/** True if any changed path is referred to by the unit, whatever it asks for. Reads through the sets' views. */
export function isReferred(
  unit: Unit,
  before: UnitSet,
  after: UnitSet,
  changed: readonly ChangedPath[],
): boolean {
  return referenceDemands(unit, before, after, changed).length > 0;
}

function demandOf(reference: Reference, entry: ChangedPath, met: "at" | "below" | "above"): Demand {
  const base = { staleBind: false, causes: [entry.cause], place: reference.place };
  const name = entry.path;
  const what = `${name}, which ${HAPPENED[entry.change]}`;
  if (entry.change === "attributes") {
    return { ...base, wish: "none", why: `only the mode or owner of ${name} changed` };
  }
  switch (reference.how) {
    case "bind":
      if (met === "below") {
        return { ...base, wish: "reload", why: `reads ${what}, through the bound folder ${reference.path}` };
      }
      return { ...base, wish: "restart", staleBind: true, why: `binds ${what} (${STALE[entry.change]})` };
    case "exec":
      return { ...base, wish: "restart", why: `runs ${what}` };
    case "exec-later":
      return { ...base, wish: "none", why: `${reference.key}= will run the new ${name} when it is due` };
    case "environment-file":
      return { ...base, wish: "restart", why: `takes its environment from ${what}` };
    case "credential":
      return { ...base, wish: "restart", why: `loads the credential ${what}` };
    case "root":
      return { ...base, wish: "restart", why: `has its root or an image in ${what}` };
    case "config":
      return { ...base, wish: "reload", why: `${reference.key}= names ${below(reference, met, what)}` };
    case "reload-on":
      return { ...base, wish: "reload", why: `ReloadOn= names ${below(reference, met, what)}` };
    case "restart-on":
      return { ...base, wish: "restart", why: `RestartOn= names ${below(reference, met, what)}` };
  }
}

const STALE: Readonly<Record<ChangedPath["change"], string>> = {
  added: "the running unit has not mounted it",
  changed: "a reload would re-read the old file",
  removed: "the running unit still holds the old file",
  attributes: "",
};

function below(reference: Reference, met: string, what: string): string {
  return met === "below" ? `${reference.path}, which holds ${what}` : what;
}

function describeSettings(settings: readonly SettingChange[]): string {
  const named = settings.slice(0, SPELLED).map((each) => {
    const place = each.place.line === undefined ? each.place.file : `${each.place.file}:${each.place.line}`;
    return `${each.section}.${each.key} (${place})`;
  });
  const more = settings.length - named.length;
  return named.join(", ") + (more > 0 ? ` and ${more} more` : "");
}

/** A bind or a program follows links, so what a link leads to counts as referred to as well. */
function withLinksResolved(references: readonly Reference[], before: UnitSet, after: UnitSet): Reference[] {
  return references.flatMap((reference) => {
    if (reference.match !== "exact") return [reference];
    const paths = [before, after].flatMap((set) => resolveLinks(set.view, reference.path as RelPath));
    return [...new Set<string>(paths)].map((path) => ({ ...reference, path }));
  });
}
