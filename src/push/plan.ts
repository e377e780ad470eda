/**
 * The push plan: from the old tree, the new tree and what the machine said, what will happen, each part with its reason.
 * Pure. What it says is what `operations.ts` sends: execution has no choice left.
 */
import type { Manifest } from "../build/manifest.ts";
import { compareBytes, type GenerationId, type MachineName, type RelPath, type UnitName } from "../paths.ts";
import { decideActions } from "../units/actions.ts";
import type { ChangedPath, LiveUnit, UnitAction } from "../units/unit-change.ts";
import type { UnitSet } from "../units/unit-set.ts";
import { NOTHING_SETTLED, type Settled } from "./live/settled.ts";
import { decideUnread } from "./live/unread.ts";
import { withPending } from "./pending.ts";
import { planNotes } from "./plan-notes.ts";
import type { Probe } from "./probe.ts";
import type { FileChange } from "./tree-diff.ts";
import { daemonsFor, type Trigger, triggersFor } from "./triggers/index.ts";

/** Executables here run after every push that changed something. */
export const CHECK_FOLDER = "lib/labctl/check.d/";

export interface PushPlan {
  readonly machine: MachineName;
  /** Undefined: labctl has never pushed to this machine. */
  readonly from: { readonly number: number; readonly id: GenerationId } | undefined;
  readonly to: GenerationId;
  /** Folders are included; sorted by path. */
  readonly files: readonly FileChange[];
  /** Written on the machine by someone else, with the content that is wanted: they stay, and are labctl's again. */
  readonly taken: readonly FileChange[];
  /** Includes `none` entries: what depends on a change and is left alone all the same. */
  readonly units: readonly UnitAction[];
  readonly daemonReload: boolean;
  readonly triggers: readonly Trigger[];
  /** Debian packages that the layers need and the machine lacks; installed before anything else changes. */
  readonly packages: readonly { readonly name: string; readonly layer: string }[];
  /** Packages that labctl installed and no layer asks for any longer. */
  readonly unneeded: readonly UnneededPackage[];
  /** The unneeded ones go, at the very end. */
  readonly prunePackages: boolean;
  readonly checks: readonly RelPath[];
  /** Paths that someone else changed on the machine since the last push. */
  readonly drifted: readonly string[];
  /** Unit actions of an interrupted push are still to be done. */
  readonly pending: boolean;
  /** What the push does not do, though someone may expect it; one sentence each. */
  readonly notes: readonly string[];
}

export interface UnneededPackage {
  readonly name: string;
  /** Reads on after `remove package x: `. */
  readonly reason: string;
}

export interface PlanInput {
  readonly manifest: Manifest;
  readonly id: GenerationId;
  readonly probe: Probe;
  readonly changes: readonly FileChange[];
  readonly before: UnitSet;
  readonly after: UnitSet;
  /** The tree that the machine has; undefined: none, or it is not known. */
  readonly beforeManifest?: Manifest | undefined;
  readonly prunePackages?: boolean;
  /** Of `changes`, those that are on the machine already. Undefined: none. */
  readonly settled?: Settled;
}

/** Pure but for reads through the unit sets' views. */
export function planPush(input: PlanInput): PushPlan {
  const { manifest, probe, settled = NOTHING_SETTLED } = input;
  const isSettled = ({ path }: FileChange): boolean => settled.changedAtS.has(path);
  const decide = {
    before: input.before,
    after: input.after,
    changed: changedPaths(input.changes.filter((c) => !isSettled(c))),
    live: probe.units,
    states: probe.states,
  };
  const decision = settled.changedAtS.size > 0 ? decideUnread(decide, settled) : decideActions(decide);
  const taken = input.changes.filter((c) => isSettled(c) && !settled.attributes.has(c.path));
  const changes = input.changes.flatMap((c) =>
    !isSettled(c) ? [c] : settled.attributes.has(c.path) ? [{ ...c, change: "attributes" as const }] : [],
  );
  // Whether what reads a folder has read it since can't be seen; to have it read again does no harm.
  const loaded = input.changes.filter((c) => settled.changedAtS.get(c.path) !== 0);
  const installs = manifest.packages.some((p) => probe.missingPackages.has(p.name));
  const decided = installs
    ? decision.actions.map((a) => afterInstall(a, input.after, probe.units))
    : decision.actions;
  const units = [...decided, ...daemonActions({ ...input, changes: loaded }, decided, installs)];
  const plan: PushPlan = {
    machine: manifest.machine,
    from: probe.generation,
    to: input.id,
    files: changes,
    taken,
    units,
    daemonReload: decision.daemonReload,
    triggers: triggersFor(loaded),
    packages: manifest.packages.filter((p) => probe.missingPackages.has(p.name)),
    unneeded: unneededPackages(manifest, input.beforeManifest, probe),
    prunePackages: input.prunePackages === true,
    checks: manifest.entries
      .filter((e) => e.path.startsWith(CHECK_FOLDER) && e.type === "file" && (e.mode & 0o111) !== 0)
      .map((e) => e.path),
    drifted: [...probe.drifted],
    pending: probe.pending,
    notes: planNotes(changes),
  };
  return withPending(plan, probe.left);
}

function unneededPackages(manifest: Manifest, before: Manifest | undefined, probe: Probe): UnneededPackage[] {
  const wanted = new Set(manifest.packages.map((p) => p.name));
  return [...probe.ownPackages]
    .filter((name) => !wanted.has(name))
    .sort(compareBytes)
    .map((name) => {
      const layer = before?.packages.find((p) => p.name === name)?.layer;
      if (layer === undefined) return { name, reason: "labctl installed it, and no layer asks for it" };
      const stays = manifest.layers.includes(layer);
      return { name, reason: `layer ${layer} ${stays ? "no longer asks for it" : "is gone"}` };
    });
}

/**
 * Debian starts a service as soon as its package is installed, on its stock configuration: a start would then do
 * nothing, and a unit of which the tree has drop-ins only would run without them.
 */
function afterInstall(action: UnitAction, after: UnitSet, live: ReadonlyMap<UnitName, LiveUnit>): UnitAction {
  if (live.get(action.unit)?.loadState === "loaded") return action;
  if (action.action === "start")
    return { ...action, action: "restart", reason: `${action.reason}; ${STARTED_BY_APT}` };
  if (action.action !== "none" || after.unit(action.unit).fragment !== undefined) return action;
  const reason = `is not installed yet; ${STARTED_BY_APT}`;
  return { ...action, action: "restart", onlyIfRunning: true, reason };
}

const STARTED_BY_APT = "the installation of its package may have started it without the tree's configuration";

/** True if a push would leave the machine as it is. Pure. */
export function isEmpty(plan: PushPlan): boolean {
  return (
    plan.files.length === 0 &&
    plan.taken.length === 0 &&
    plan.packages.length === 0 &&
    !(plan.prunePackages && plan.unneeded.length > 0) &&
    !plan.pending &&
    plan.from?.id === plan.to &&
    plan.units.every((u) => u.action === "none") &&
    plan.triggers.length === 0
  );
}

/** The changes as the unit planner wants them: folders concern no unit. Pure. */
export function changedPaths(changes: readonly FileChange[]): ChangedPath[] {
  return changes
    .filter(
      (c) => (c.after ?? c.before)?.type !== "dir" || (c.before && c.after && c.before.type !== c.after.type),
    )
    .map((c) => ({ path: c.path, change: c.change, cause: c.cause }));
}

function daemonActions(
  { changes, after, probe }: PlanInput,
  decided: readonly UnitAction[],
  installs: boolean,
): UnitAction[] {
  return daemonsFor(changes, after).flatMap((demand): UnitAction[] => {
    const { unit, causes } = demand;
    if (decided.some((a) => a.unit === unit && a.action !== "none")) return [];
    const live = probe.units.get(unit);
    const either = live?.canReload ? "reload" : "restart";
    if (live?.activeState === "active")
      return [{ ...demand, action: demand.action === "either" ? either : demand.action }];
    if (!installs || live?.loadState === "loaded") return [];
    const reason = `${demand.reason}; ${STARTED_BY_APT}`;
    return [{ unit, action: "restart", onlyIfRunning: true, reason, causes }];
  });
}

/** What `--json` prints (DESIGN: the command line's contract). Pure. */
export function planJson(plan: PushPlan): object {
  return {
    machine: plan.machine,
    from: plan.from?.id ?? null,
    to: plan.to,
    files: plan.files.map((f) => ({
      path: f.path,
      change: f.change,
      type: (f.after ?? f.before)?.type,
      cause: f.cause,
    })),
    taken: plan.taken.map((f) => f.path),
    units: plan.units.map((u) => ({ unit: u.unit, action: u.action, reason: u.reason, causes: u.causes })),
    daemonReload: plan.daemonReload,
    triggers: plan.triggers,
    packages: [
      ...plan.packages.map((p) => ({
        name: p.name,
        action: "install",
        reason: `layer ${p.layer} asks for it`,
      })),
      ...plan.unneeded.map((p) => ({ ...p, action: plan.prunePackages ? "remove" : "none" })),
    ],
    drifted: plan.drifted,
    pending: plan.pending,
    notes: plan.notes,
  };
}
