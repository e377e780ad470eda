/** How a plan and the events of a push read. Returns lines; prints nothing. Pure but for colour. */
import { printable } from "../diagnostics.ts";
import type { PushPlan } from "../push/plan.ts";
import { isEmpty } from "../push/plan.ts";
import type { PushEvent } from "../push/push-event.ts";
import type { FileChange } from "../push/tree-diff.ts";
import { formatMs, type Paint, paint as paintErr } from "./print.ts";

/** More files than this are counted, not listed. */
const LISTED_FILES = 40;

const SIGN: Readonly<Record<FileChange["change"], string>> = {
  added: "+",
  changed: "~",
  removed: "-",
  attributes: "m",
};

/** The whole plan, one line a thing that happens. Pure but for colour, which is stderr's unless `paint` is another's. */
export function planLines(plan: PushPlan, paint: Paint = paintErr): string[] {
  // What stays as it is still has to be seen, or nobody would ever remove it.
  const leftover = plan.prunePackages
    ? []
    : plan.unneeded.map((p) =>
        paint(
          "dim",
          `  leave package ${printable(p.name)}: ${printable(p.reason)}; --prune-packages removes it`,
        ),
      );
  const from = plan.from ? `generation ${plan.from.number}` : "no generation yet";
  if (isEmpty(plan))
    return [`${plan.machine}: nothing to do (${from}, ${plan.to.slice(0, 12)})`, ...leftover];
  const out = [
    `${paint("bold", plan.machine)}: ${from} → ${(plan.from?.number ?? 0) + 1} (${plan.from?.id.slice(0, 12) ?? "nothing"} → ${plan.to.slice(0, 12)})`,
  ];
  const shown = plan.files.filter((f) => (f.after ?? f.before)?.type !== "dir");
  const width = Math.min(60, Math.max(0, ...shown.slice(0, LISTED_FILES).map((f) => f.path.length)));
  for (const f of shown.slice(0, LISTED_FILES))
    out.push(
      `  ${colourSign(f, paint)} ${printable(f.path).padEnd(width)}  ${paint("dim", printable(f.cause))}`,
    );
  if (shown.length > LISTED_FILES) out.push(`    … and ${shown.length - LISTED_FILES} more files`);
  for (const f of plan.taken)
    out.push(paint("dim", `  = ${printable(f.path)}  is so on the machine already`));
  const folders = plan.files.length - shown.length;
  if (folders > 0) out.push(paint("dim", `    and ${folders} ${folders === 1 ? "folder" : "folders"}`));
  for (const p of plan.packages) out.push(`  install package ${p.name}: layer ${p.layer} asks for it`);
  if (plan.daemonReload) out.push("  daemon-reload");
  for (const t of plan.triggers) out.push(`  trigger ${t.name}: ${printable(t.reason)}`);
  for (const u of plan.units)
    if (u.action !== "none") out.push(`  ${u.action} ${printable(u.unit)}: ${printable(u.reason)}`);
  for (const [reason, units] of leftAlone(plan)) {
    out.push(
      paint(
        "dim",
        `  leave ${units.length > 3 ? `${units.length} units` : printable(units.join(", "))}: ${printable(reason)}`,
      ),
    );
  }
  out.push(...leftover);
  for (const note of plan.notes) out.push(paint("dim", `  note: ${printable(note)}`));
  if (plan.pending) out.push(paint("dim", "  with what an interrupted push left undone"));
  if (plan.prunePackages)
    for (const p of plan.unneeded) out.push(`  remove package ${printable(p.name)}: ${printable(p.reason)}`);
  if (plan.checks.length > 0)
    out.push(paint("dim", `  then ${plan.checks.length} ${plan.checks.length === 1 ? "check" : "checks"}`));
  return out;
}

/** Units that nothing happens to, by reason: a drop-in for every service would fill the screen otherwise. */
function leftAlone(plan: PushPlan): Map<string, string[]> {
  const out = new Map<string, string[]>();
  for (const u of plan.units)
    if (u.action === "none") out.set(u.reason, [...(out.get(u.reason) ?? []), u.unit]);
  return out;
}

function colourSign(f: FileChange, paint: Paint): string {
  const style = f.change === "added" ? "green" : f.change === "removed" ? "red" : "yellow";
  return paint(style, SIGN[f.change]);
}

/** One line for an event, undefined for those not worth one. Pure but for colour. */
export function eventLine(event: PushEvent): string | undefined {
  const paint = paintErr;
  switch (event.kind) {
    case "connected":
      return paint("dim", `connected to ${event.label} (${formatMs(event.ms)})`);
    case "recovered":
      return `an interrupted push was put right: ${printable(event.what)}`;
    case "packages":
      return `installed ${event.names.join(", ")} (${formatMs(event.ms)})`;
    case "pruned":
      return `removed ${printable(event.names.join(", "))} (${formatMs(event.ms)})`;
    case "staged":
      return event.files === 0
        ? undefined
        : paint(
            "dim",
            `staged ${event.files} ${event.files === 1 ? "file" : "files"} (${formatMs(event.ms)})`,
          );
    case "committed":
      return paint("dim", `committed (${formatMs(event.ms)})`);
    case "reloaded":
      return `daemon-reload (${formatMs(event.ms)})`;
    case "trigger":
      return `${event.ok ? "" : paint("red", "failed: ")}trigger ${printable(event.name)} (${formatMs(event.ms)})${event.ok ? "" : `: ${printable(event.detail)}`}`;
    case "unit":
      return `${event.ok ? "" : paint("red", "failed: ")}${printable(`${event.action} ${event.unit}`)} (${formatMs(event.ms)})`;
    case "check":
      return event.verdict === "ok"
        ? paint("dim", `check ${printable(event.name)} ok (${formatMs(event.ms)})`)
        : `${paint("red", `check ${printable(`${event.name} ${event.verdict}`)}`)} (${formatMs(event.ms)})`;
    case "output":
      return `  | ${printable(event.line)}`;
    case "note":
      return `note: ${printable(event.text)}`;
    case "confirmed":
      return paint("dim", `confirmed by a fresh connection (${formatMs(event.ms)})`);
    case "planned":
    case "committing":
    case "refused":
    case "warning":
      return undefined;
  }
}
