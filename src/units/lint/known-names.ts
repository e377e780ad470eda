/**
 * Answers whether anything could define a unit: the tree, systemd or a common Debian package (`known-units.ts`), or a
 * package of the machine whose name the unit's resembles. In doubt the answer is yes: offline, nobody can know.
 */
import type { UnitName } from "../../paths.ts";
import { nearest } from "../../suggestion.ts";
import { splitUnitName, templateOf } from "../unit-name.ts";
import type { UnitSet } from "../unit-set.ts";
import { KNOWN_UNITS } from "./known-units.ts";

export interface UnitNames {
  /** True if the tree defines it, instances of its templates included. */
  inTree(name: UnitName): boolean;
  /** True unless surely nothing defines it. */
  mayExist(name: UnitName): boolean;
  /** The name that was probably meant; undefined if none is near. */
  near(name: UnitName): string | undefined;
}

/** Types that systemd makes by itself from other configuration: /etc/fstab, udev, cgroups. */
const GENERATED = new Set(["device", "mount", "automount", "swap", "slice", "scope"]);

let known: ReadonlySet<string> | undefined;

/** `packages` are those that the machine's layers ask for. */
export function unitNames(sets: readonly UnitSet[], packages: readonly string[]): UnitNames {
  known ??= new Set(KNOWN_UNITS.trim().split(/\s+/));
  const vendor = known;
  const defined = new Set<string>();
  for (const set of sets) for (const name of set.names) if (set.unit(name).fragment) defined.add(name);
  const has = (names: ReadonlySet<string>, name: UnitName): boolean => {
    const template = templateOf(name);
    return names.has(name) || (template !== undefined && names.has(template));
  };
  const inTree = (name: UnitName): boolean =>
    has(defined, name) || sets.some((set) => set.unit(set.canonical(name)).fragment !== undefined);
  const stems = packages.flatMap((p) => [p, ...p.split(/[-.+0-9]+/)]).filter((s) => s.length > 2);
  const near = (name: UnitName): string | undefined => {
    const instance = splitUnitName(name).instance;
    const wanted = templateOf(name) ?? name;
    const found = nearestUnit(wanted, [...defined]) ?? nearestUnit(wanted, [...vendor]);
    return found && instance ? found.replace("@.", `@${instance}.`) : found;
  };
  return {
    inTree,
    near,
    mayExist: (name) => {
      if (inTree(name) || has(vendor, name) || GENERATED.has(splitUnitName(name).type)) return true;
      const { prefix } = splitUnitName(name);
      if (stems.some((stem) => prefix.includes(stem) || stem.includes(prefix))) return true;
      // Packages that we know nothing of may bring anything that resembles nothing else.
      return packages.length > 0 && near(name) === undefined;
    },
  };
}

/** Only names that differ in few letters of the stem: `.service` must not count as likeness. */
function nearestUnit(name: string, names: readonly string[]): string | undefined {
  const dot = name.lastIndexOf(".");
  const type = name.slice(dot);
  const stems = names.filter((n) => n.endsWith(type)).map((n) => n.slice(0, n.lastIndexOf(".")));
  const stem = nearest(name.slice(0, dot), stems);
  return stem === undefined ? undefined : stem + type;
}
