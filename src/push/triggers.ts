/**
 * Which subsystems must be told about a changed path, and how: the one table from a folder of configuration to what
 * re-reads it. Pure. Search paths are those of the man pages named at each rule; all of them include /usr/local/lib.
 */
import { type RelPath, TREE_ROOT, type UnitName } from "../paths.ts";
import type { FileChange } from "./tree-diff.ts";

/** In the order in which the remote program runs them; it knows more than are asked for here. */
export type TriggerName = "sysusers" | "tmpfiles" | "modules-load" | "sysctl" | "udev" | "networkd";

export interface Trigger {
  readonly name: TriggerName;
  /** Absolute paths on the machine; empty: the subsystem reads all its folders. */
  readonly files: readonly string[];
  readonly reason: string;
}

interface Rule {
  /** Folder in the tree, `/` at its end. */
  readonly folder: string;
  readonly name: TriggerName;
  /** `files`: handed the changed files, and silent where files only went away. `all`: reads everything anew. */
  readonly reads: "files" | "all";
}

const RULES: readonly Rule[] = [
  // sysusers.d(5): users are only ever added, so a file that went asks for nothing.
  { folder: "lib/sysusers.d/", name: "sysusers", reads: "files" },
  // tmpfiles.d(5): `--create` of the changed files alone; other files' lines are left to the boot.
  { folder: "lib/tmpfiles.d/", name: "tmpfiles", reads: "files" },
  // modules-load.d(5)
  { folder: "lib/modules-load.d/", name: "modules-load", reads: "files" },
  // sysctl.d(5): all files, because a later file may set the same key.
  { folder: "lib/sysctl.d/", name: "sysctl", reads: "all" },
  // udev(7)
  { folder: "lib/udev/rules.d/", name: "udev", reads: "all" },
  // systemd.network(5)
  { folder: "lib/systemd/network/", name: "networkd", reads: "all" },
];

/** Daemons that read a folder of configuration at start only: restarted if they run, and the plan lists them as units. */
const DAEMONS: readonly { readonly folder: string; readonly unit: UnitName }[] = [
  // journald.conf(5): a restart keeps open streams (systemd.exec's fd store).
  { folder: "lib/systemd/journald.conf.d/", unit: "systemd-journald.service" as UnitName },
  // resolved.conf(5): many machines do without it, or have it switched off.
  { folder: "lib/systemd/resolved.conf.d/", unit: "systemd-resolved.service" as UnitName },
  // timesyncd.conf(5)
  { folder: "lib/systemd/timesyncd.conf.d/", unit: "systemd-timesyncd.service" as UnitName },
  // logind.conf(5): logind keeps its sessions over a restart.
  { folder: "lib/systemd/logind.conf.d/", unit: "systemd-logind.service" as UnitName },
];

/** Triggers for a set of changes, in the order of the table; folders themselves trigger nothing. Pure. */
export function triggersFor(changes: readonly FileChange[]): Trigger[] {
  const out: Trigger[] = [];
  for (const rule of RULES) {
    const hits = changes.filter(
      (c) => c.path.startsWith(rule.folder) && (c.after ?? c.before)?.type !== "dir",
    );
    const there = hits.filter((c) => c.change !== "removed");
    if (rule.reads === "files" ? there.length === 0 : hits.length === 0) continue;
    out.push({
      name: rule.name,
      files: rule.reads === "files" ? there.map((c) => `${TREE_ROOT}/${c.path}`) : [],
      reason: describeHits(rule.reads === "files" ? there : hits),
    });
  }
  return out;
}

/** Daemons whose configuration changed, with the reason for a restart. Pure. */
export function daemonsFor(
  changes: readonly FileChange[],
): { readonly unit: UnitName; readonly reason: string; readonly causes: string[] }[] {
  return DAEMONS.flatMap(({ folder, unit }) => {
    const hits = changes.filter((c) => c.path.startsWith(folder) && (c.after ?? c.before)?.type !== "dir");
    return hits.length === 0 ? [] : [{ unit, reason: describeHits(hits), causes: hits.map((c) => c.cause) }];
  });
}

function describeHits(hits: readonly FileChange[]): string {
  const [first] = hits;
  if (!first) return "";
  const more = hits.length - 1;
  return `${first.path as RelPath} was ${first.change}${more > 0 ? `, and ${more} more` : ""}`;
}
