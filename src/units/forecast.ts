/**
 * What a change of files would do to units on a machine where all of them run: for questions that are answered offline.
 * Pure but for reads through the sets' views. Must not know any machine.
 */
import type { UnitName } from "../paths.ts";
import { decideActions } from "./actions.ts";
import { affectedUnits } from "./affected.ts";
import type { ChangedPath, LiveUnit, UnitAction } from "./unit-change.ts";
import { isUnitName } from "./unit-name.ts";
import type { UnitSet } from "./unit-set.ts";

/** Newest systemd that labctl is tried on; only rebinding depends on it. */
const ASSUMED_SYSTEMD = 257;

/** Actions with their reasons, `none` ones left out. Units are taken as running and able to reload. */
export function forecastActions(
  before: UnitSet,
  after: UnitSet,
  changed: readonly ChangedPath[],
): readonly UnitAction[] {
  const live = new Map<UnitName, LiveUnit>();
  for (const name of affectedUnits(before, after, changed))
    if (isUnitName(name)) live.set(name, running(name));
  return decideActions({ before, after, changed, live }).actions.filter((a) => a.action !== "none");
}

function running(name: UnitName): LiveUnit {
  return {
    name,
    loadState: "loaded",
    activeState: "active",
    subState: "running",
    unitFileState: "enabled",
    canReload: true,
    systemdVersion: ASSUMED_SYSTEMD,
    vendorFragment: true,
  };
}
