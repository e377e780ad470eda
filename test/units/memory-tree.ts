/** A tree held in memory, for tests of planners: texts by path, and links written as `-> target`. */
import type { RelPath, UnitName } from "../../src/paths.ts";
import type { LiveUnit } from "../../src/units/unit-change.ts";
import { readUnitSet, type TreeView, type UnitSet } from "../../src/units/unit-set.ts";

export type Files = Readonly<Record<string, string>>;

/** Folder of system units, for short paths in tests. */
export const SYSTEM = "lib/systemd/system";

export function memoryTree(files: Files): TreeView {
  return {
    paths: Object.keys(files) as RelPath[],
    read: (path) => (files[path]?.startsWith("-> ") ? undefined : files[path]),
    link: (path) => (files[path]?.startsWith("-> ") ? files[path].slice(3) : undefined),
  };
}

export function memorySet(files: Files): UnitSet {
  return readUnitSet(memoryTree(files));
}

/** A running unit; give what differs. */
export function liveUnit(name: string, rest: Partial<LiveUnit> = {}): LiveUnit {
  return {
    name: name as UnitName,
    loadState: "loaded",
    activeState: "active",
    subState: "running",
    unitFileState: "static",
    canReload: false,
    systemdVersion: 252,
    ...rest,
  };
}
