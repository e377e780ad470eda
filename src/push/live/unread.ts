/**
 * Decides unit actions where some changed files are on the machine already: a unit that has read such a file since it was
 * written is left alone, one that has not is acted upon as if the file had just been put there. Pure but for reads
 * through the sets' views.
 */
import { compareBytes, type RelPath, type UnitName } from "../../paths.ts";
import { byOrder, type DecisionInput, decideActions } from "../../units/actions.ts";
import { filesOf } from "../../units/demands.ts";
import type { UnitAction, UnitDecision } from "../../units/unit-change.ts";
import { readUnitSet, type TreeView, type UnitSet } from "../../units/unit-set.ts";
import type { LiveService } from "./live-answer.ts";
import type { Settled } from "./settled.ts";

/** Stands for a unit file of which nobody knows what it said when it was read; it has no setting. */
const UNKNOWN_TEXT = "[X-Labctl]\n";

/** `input.changed` without the settled paths. */
export function decideUnread(input: DecisionInput, settled: Settled): UnitDecision {
  const paths = [...settled.changedAtS.keys()].sort(compareBytes);
  const all = decideActions(input);
  const actions = new Map<UnitName, UnitAction>(all.actions.map((a) => [a.unit, a]));
  let { daemonReload } = all;

  const groups = new Map<string, { unread: RelPath[]; units: LiveService[] }>();
  for (const service of new Set(settled.services.values())) {
    const unread = paths.filter((path) => isUnread(input.after, service, path, settled));
    if (unread.length === 0) continue;
    const key = unread.join("\n");
    const group = groups.get(key) ?? { unread, units: [] };
    group.units.push(service);
    groups.set(key, group);
  }
  for (const { unread, units } of groups.values()) {
    const decided = decideActions({
      ...input,
      before: withoutTexts(input.before, unread),
      changed: [
        ...input.changed,
        ...unread.map((path) => ({ path, change: "changed" as const, cause: WRITTEN })),
      ],
    });
    for (const service of units) {
      const action = decided.actions.find((a) => a.unit === service.name);
      const newest = Math.max(...unread.map((path) => settled.changedAtS.get(path) ?? 0));
      if (!action || action.action === "none" || action.action === actions.get(action.unit)?.action) continue;
      if (action.action === "reload" && (service.changedAtS ?? 0) > newest) continue;
      actions.set(action.unit, action);
      daemonReload ||= decided.daemonReload;
    }
    daemonReload ||= units.some(
      (service) =>
        service.needsReload && filesOf(input.after.unit(service.name)).some((path) => unread.includes(path)),
    );
  }
  return { daemonReload, actions: [...actions.values()].sort(byOrder) };
}

const WRITTEN = "was written on the machine by someone else";

function isUnread(after: UnitSet, service: LiveService, path: RelPath, settled: Settled): boolean {
  const readAtS = service.startedAtS;
  if (readAtS !== undefined && (settled.changedAtS.get(path) ?? 0) > readAtS) return true;
  return service.needsReload && filesOf(after.unit(service.name)).includes(path);
}

/** The same units, those files of theirs without settings. */
function withoutTexts(set: UnitSet, paths: readonly RelPath[]): UnitSet {
  const view: TreeView = {
    ...set.view,
    read: (path) =>
      paths.includes(path) && set.view.read(path) !== undefined ? UNKNOWN_TEXT : set.view.read(path),
  };
  return readUnitSet(view, set.scope);
}
