/**
 * What an interrupted push left undone, as parts of the plan that does it. Pure. The rules of what a commit takes in
 * are those of `adopt_pending` in `remote/commit.sh`: the plan must name what the machine will do.
 */
import type { UnitName } from "../paths.ts";
import type { UnitAction } from "../units/unit-change.ts";
import type { PushPlan } from "./plan.ts";
import type { Trigger } from "./triggers/index.ts";

const REASON = "an interrupted push left it undone";

const ACTIONS: Readonly<Record<string, UnitAction["action"]>> = {
  start: "start",
  stop: "stop",
  reload: "reload",
  restart: "restart",
  "try-restart": "restart",
};

/** `left`: lines of the machine's `pending` list, in words (docs/remote-protocol.md, Operations of a commit). */
export function withPending(plan: PushPlan, left: readonly (readonly string[])[]): PushPlan {
  const commits = plan.files.length > 0 || plan.from?.id !== plan.to;
  const removed = new Set(
    plan.files.flatMap((f) => (f.change === "removed" && f.before?.type !== "dir" ? [f.path as string] : [])),
  );
  const acted = new Set(plan.units.filter((u) => u.action !== "none").map((u) => u.unit));
  const units: UnitAction[] = [];
  const triggers: Trigger[] = [];
  let { daemonReload } = plan;
  for (const [word, name = "", ...rest] of left) {
    if (word === "daemon-reload") daemonReload = true;
    if (word === "trigger") {
      const known = plan.triggers.some((t) => t.name === name && String(t.files) === String(rest));
      if (known || rest.some((file) => removed.has(file.replace(/^\/usr\/local\//, "")))) continue;
      triggers.push({ name: name as Trigger["name"], files: rest, reason: REASON });
    }
    const action = word === "unit" ? ACTIONS[name] : undefined;
    const unit = rest[0] as UnitName | undefined;
    if (action === undefined || unit === undefined || (commits && acted.has(unit))) continue;
    if (action !== "stop" && removed.has(`lib/systemd/system/${unit}`)) continue;
    units.push({ unit, action, reason: REASON, causes: [] });
  }
  const taken = new Set(units.map((u) => u.unit));
  return {
    ...plan,
    daemonReload,
    triggers: [...triggers, ...plan.triggers],
    units: [...units, ...plan.units.filter((u) => u.action !== "none" || !taken.has(u.unit))],
  };
}
