/**
 * Which subsystems must be told about a changed path, and how: the table of all families, and what a set of changes asks
 * of them. Pure. Credentials are no family: what reads one is a unit, and src/units/references.ts finds it.
 */
import { TREE_ROOT, type UnitName } from "../../paths.ts";
import type { UnitSet } from "../../units/unit-set.ts";
import type { FileChange } from "../tree-diff.ts";
import { binfmt } from "./binfmt.ts";
import { daemons } from "./daemons.ts";
import { dbus } from "./dbus.ts";
import { journald } from "./journald.ts";
import { modulesLoad } from "./modules-load.ts";
import { networkd } from "./networkd.ts";
import { nftables } from "./nftables.ts";
import { resolved } from "./resolved.ts";
import type { DaemonRule, Rule, TriggerName, TriggerRule } from "./rule.ts";
import { sysctl } from "./sysctl.ts";
import { sysusers } from "./sysusers.ts";
import { tmpfiles } from "./tmpfiles.ts";
import { udev } from "./udev.ts";

/** In the order in which the plan lists them, which is the one in which they run. */
const RULES: readonly Rule[] = [
  ...sysusers,
  ...tmpfiles,
  ...modulesLoad,
  ...sysctl,
  ...udev,
  ...binfmt,
  ...networkd,
  ...dbus,
  ...nftables,
  ...resolved,
  ...journald,
  ...daemons,
];

export interface Trigger {
  readonly name: TriggerName;
  /** Absolute paths on the machine; empty: the subsystem reads all its folders. */
  readonly files: readonly string[];
  readonly reason: string;
}

export interface DaemonDemand {
  readonly unit: UnitName;
  readonly action: DaemonRule["action"];
  readonly reason: string;
  readonly causes: readonly string[];
}

/** Triggers for a set of changes, one for each subsystem. Pure. */
export function triggersFor(changes: readonly FileChange[]): Trigger[] {
  const out = new Map<TriggerName, Trigger>();
  for (const rule of RULES) {
    if (!isTrigger(rule)) continue;
    const hits = hitsOf(rule, changes).filter((c) => rule.reads === "all" || hasContent(c));
    if (hits.length === 0) continue;
    const known = out.get(rule.trigger);
    const reason = describeHits(hits) + (rule.counts ? `; ${rule.counts}` : "");
    out.set(rule.trigger, {
      name: rule.trigger,
      files: rule.reads === "files" ? hits.map((c) => `${TREE_ROOT}/${c.path}`) : [],
      reason: known ? `${known.reason}; ${reason}` : reason,
    });
  }
  return [...out.values()];
}

/** Daemons that take their configuration by a restart or a reload, with the reason, if they run. Pure. */
export function daemonsFor(changes: readonly FileChange[], after: UnitSet): DaemonDemand[] {
  const out = new Map<UnitName, DaemonDemand>();
  for (const rule of RULES) {
    if (isTrigger(rule) || !(rule.reads?.(after.unit(rule.unit)) ?? true)) continue;
    const hits = hitsOf(rule, changes);
    const known = out.get(rule.unit);
    if (hits.length === 0 || known) continue;
    out.set(rule.unit, {
      unit: rule.unit,
      action: rule.action,
      reason: `${rule.why}; ${describeHits(hits)}`,
      causes: [...new Set(hits.map((c) => c.cause))],
    });
  }
  return [...out.values()];
}

/** What removed files leave on the machine, one sentence each, for people. Pure. */
export function leftBehind(changes: readonly FileChange[]): string[] {
  return RULES.flatMap((rule) => {
    const stays = isTrigger(rule) ? rule.stays : undefined;
    if (stays === undefined) return [];
    const gone = hitsOf(rule, changes).filter((c) => c.change === "removed");
    return gone.map((c) => `${c.path} was removed: ${stays}`);
  });
}

function isTrigger(rule: Rule): rule is TriggerRule {
  return "trigger" in rule;
}

function hitsOf(rule: TriggerRule | DaemonRule, changes: readonly FileChange[]): FileChange[] {
  return changes.filter(
    (c) => c.change !== "attributes" && (c.after ?? c.before)?.type !== "dir" && rule.path.test(c.path),
  );
}

/** A link to /dev/null hides a vendor's file of the same name: there is nothing to do for it but at the next boot. */
function hasContent(c: FileChange): boolean {
  return c.after !== undefined && !(c.after.type === "link" && c.after.target === "/dev/null");
}

function describeHits(hits: readonly FileChange[]): string {
  const [first] = hits;
  if (!first) return "";
  const more = hits.length - 1;
  return `${first.path} was ${first.change}${more > 0 ? `, and ${more} more` : ""}`;
}
