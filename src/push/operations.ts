/** Turns a plan into the lines that the remote program's `commit` reads (docs/remote-protocol.md). Pure. */
import { printable } from "../diagnostics.ts";
import type { GenerationId } from "../paths.ts";
import type { UnitAction } from "../units/unit-change.ts";
import { type Seen, seenLines } from "./memory.ts";
import type { PushPlan } from "./plan.ts";
import type { FileChange } from "./tree-diff.ts";

/** Files beyond this are counted in a generation's `plan`, not named: the list travels with every commit. */
const NOTED_FILES = 500;

export interface CommitSettings {
  /** Seconds until an unconfirmed generation undoes itself; 0: it stays without asking. */
  readonly confirmSeconds: number;
  /** Generations kept on the machine. */
  readonly keep: number;
  /** Written to the generation's `meta`: commit, message and so on; control characters in values become blanks. */
  readonly meta: Readonly<Record<string, string>>;
  /** Replace what stands in the way and is not labctl's. */
  readonly takeOver?: boolean;
}

/** Paths whose content must be staged first. Pure. */
export function stagedPaths(files: readonly FileChange[]): FileChange[] {
  return files.filter(
    (f) =>
      (f.change === "added" || f.change === "changed") && f.after !== undefined && f.after.type !== "dir",
  );
}

/** The whole list, `end` last. `seen`: what the plan relies on, where the machine was not asked for it. Pure. */
export function operationLines(
  plan: PushPlan,
  to: GenerationId,
  settings: CommitSettings,
  seen?: Seen,
): string {
  const expect = plan.from?.number ?? 0;
  const lines: string[] = [
    `expect\t${expect}`,
    `generation\t${expect + 1}\t${to}`,
    `keep\t${settings.keep}`,
    `confirm\t${settings.confirmSeconds}`,
  ];
  for (const [key, value] of Object.entries(settings.meta))
    lines.push(`meta\t${key}\t${value.replace(/\p{Cc}/gu, " ")}`);
  if (seen) lines.push(...seenLines(seen));
  lines.push(...plannedLines(plan));
  // A later rollback must not take what someone else wrote for what was pushed.
  const drifted = new Set(plan.drifted);
  for (const f of [...plan.files, ...plan.taken])
    if (f.before && drifted.has(f.path) && f.before.type !== "dir") lines.push(`meta\tdrifted\t${f.path}`);
  for (const f of plan.files) lines.push(...fileLines(f, settings.takeOver === true));
  for (const f of plan.taken) lines.push(...fileLines({ ...f, change: "attributes" }, false));
  if (plan.daemonReload) lines.push("daemon-reload");
  for (const t of plan.triggers) lines.push(["trigger", t.name, ...t.files].join("\t"));
  // No action is an action that the machine need not hear of.
  for (const u of plan.units)
    if (u.action !== "none" && !u.implied) lines.push(`unit\t${verbOf(u)}\t${u.unit}`);
  for (const u of plan.units) if (u.forget) lines.push(`unit\tforget\t${u.unit}`);
  for (const c of plan.checks) lines.push(`check\t${c}`);
  lines.push("end");
  return `${lines.join("\n")}\n`;
}

/** Counts for `labctl generations`, and a text that `cat` shows: what changed, what ran, and why. */
function plannedLines(plan: PushPlan): string[] {
  const files = plan.files.filter((f) => (f.after ?? f.before)?.type !== "dir");
  const units = plan.units.filter((u) => u.action !== "none");
  const texts = [
    ...files.slice(0, NOTED_FILES).map((f) => `${f.change} ${f.path}: ${f.cause}`),
    ...(files.length > NOTED_FILES
      ? [`and ${files.length - NOTED_FILES} more files; \`touched\` lists all`]
      : []),
    ...plan.packages.map((p) => `install package ${p.name}: layer ${p.layer} asks for it`),
    ...(plan.daemonReload ? ["daemon-reload"] : []),
    ...plan.triggers.map((t) => `trigger ${t.name}: ${t.reason}`),
    ...units.map((u) => `${u.action} ${u.unit}: ${u.reason}`),
  ];
  return [
    `meta\tfiles\t${files.length}`,
    `meta\tunits\t${units.length}`,
    ...texts.map((text) => `plan\t${printable(text).slice(0, 1000)}`),
  ];
}

function verbOf(u: UnitAction): string {
  if (u.onlyIfRunning) return "try-restart";
  return u.action === "rebind" ? "restart" : u.action;
}

function fileLines(f: FileChange, takeOver: boolean): string[] {
  const { after, before, path } = f;
  if (!after) return [before?.type === "dir" ? `rmdir\t${path}` : `del\t${path}`];
  const attributes = `${after.mode.toString(8).padStart(4, "0")}\t${after.owner}\t${after.group}\t${path}`;
  const adopt = takeOver && f.change === "added" ? "\tadopt" : "";
  // A folder that was there before labctl stays as its owner made it, whoever takes the files in it over.
  if (after.type === "dir") return [`dir\t${attributes}`];
  if (f.change === "attributes") {
    // The machine has the new content already, from someone else: the generation keeps what it is.
    const other = before?.type === "file" && after.type === "file" && before.hash !== after.hash;
    return [`${other ? "take" : "attr"}\t${attributes}`];
  }
  return before?.type === "dir" ? [`rmdir\t${path}`, `put\t${attributes}`] : [`put\t${attributes}${adopt}`];
}
