/**
 * What systemd does to further units because of the decided actions: a restart or stop carries on to units that require
 * the unit, a start to those that it pulls in. Each becomes an action of the plan of its own, so that the plan is whole
 * and a revert knows of it. Source: transaction_add_job_and_dependencies() in systemd's transaction.c.
 * Must not know files. Pure but for reads through the sets' views.
 */
import type { UnitName } from "../paths.ts";
import { type Dependencies, readDependencies } from "./dependencies.ts";
import { type Action, isRunning, isRunningState, type LiveUnit, type UnitAction } from "./unit-change.ts";
import { type UnitSet, valuesOf } from "./unit-set.ts";

export interface Surroundings {
  readonly before: UnitSet;
  readonly after: UnitSet;
  readonly live: ReadonlyMap<UnitName, LiveUnit>;
  /** ActiveState of every unit that systemd has loaded, as far as the machine told. */
  readonly states: ReadonlyMap<string, string>;
}

/** The given actions and all that follow from them, by unit. */
export function withConsequences(
  around: Surroundings,
  decided: ReadonlyMap<UnitName, UnitAction>,
): Map<UnitName, UnitAction> {
  const out = new Map(decided);
  const queue = [...decided.values()].filter((action) => action.action !== "none");
  if (queue.length === 0) return out;
  const names = new Set([...around.before.names, ...around.after.names, ...around.live.keys()]);
  const was = readDependencies(around.before, names);
  const is = readDependencies(around.after, names);
  const runs = (unit: UnitName): boolean => {
    const live = around.live.get(unit);
    return live ? isRunning(live) : isRunningState(around.states.get(unit) ?? "");
  };
  const add = (unit: UnitName, action: Action, reason: string, from: UnitAction): void => {
    const known = out.get(unit);
    if (known && RANK[known.action] >= RANK[action]) return;
    const more = known && known.action !== "none" ? `; ${known.reason}` : "";
    const causes = [...new Set([...(known?.causes ?? []), ...from.causes])];
    const implied = refuses(around.after, unit, action);
    const made: UnitAction = { unit, action, reason: reason + more, causes, ...(implied ? { implied } : {}) };
    out.set(unit, known?.forget ? { ...made, forget: true } : made);
    queue.push(made);
  };

  for (const from of queue) {
    const { unit, action } = from;
    // An action that a later one took the place of has been followed already, and does no more than that one.
    if (action === "stop" || action === "restart") {
      for (const other of stopsWith(around, was, is, unit)) {
        if (!runs(other) || out.get(other)?.action === "stop") continue;
        const still = is.dependents(unit).includes(other) || !was.dependents(unit).includes(other);
        if (action === "stop" && still) add(other, "stop", `depends on ${unit}, which stops`, from);
        else if (action === "stop")
          add(other, "restart", `stops with ${unit}, on which it no longer depends, and starts again`, from);
        else if (still) add(other, "restart", `depends on ${unit}, which restarts`, from);
      }
    }
    if (action === "start" || action === "restart") {
      const verb = `${action}s`;
      for (const other of is.pulls(unit)) {
        const fragment = around.after.unit(other).fragment;
        // What the system's own units pull in beyond the tree was settled when they started.
        if (fragment?.kind !== "file" || runs(other)) continue;
        // Of a wish and an exclusion in one transaction the wish is dropped.
        if (is.excludes(unit).includes(other)) continue;
        add(other, "start", `${unit}, which ${verb}, pulls it in`, from);
      }
      for (const other of is.excludes(unit)) {
        if (runs(other)) add(other, "stop", `conflicts with ${unit}, which ${verb}`, from);
      }
    }
    if (action === "reload") {
      for (const other of is.reloads(unit)) {
        if (runs(other) && around.live.get(other)?.canReload)
          add(other, "reload", `reloads with ${unit}`, from);
      }
    }
  }
  return out;
}

/** An action takes the place of those below it; a start and a reload never meet. */
const RANK: Readonly<Record<Action, number>> = {
  none: 0,
  reload: 1,
  start: 1,
  rebind: 2,
  restart: 2,
  stop: 3,
};

/** What the trees say, and what systemd said of dependencies that no file of the tree makes. */
function stopsWith(around: Surroundings, was: Dependencies, is: Dependencies, unit: UnitName): UnitName[] {
  const live = around.live.get(unit)?.dependents ?? [];
  return [...new Set([...is.dependents(unit), ...was.dependents(unit), ...live])];
}

/** systemd refuses these by hand, and does them all the same where another unit's job asks. */
function refuses(after: UnitSet, unit: UnitName, action: Action): boolean {
  const keys = action === "start" ? ["RefuseManualStart"] : ["RefuseManualStop"];
  if (action === "restart") keys.push("RefuseManualStart");
  return keys.some((key) =>
    /^(1|yes|y|true|t|on)$/i.test(valuesOf(after.unit(unit).settings, "Unit", key).at(-1)?.value ?? "no"),
  );
}
