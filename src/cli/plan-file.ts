/** Plans on disk: written for their owner alone and never over anything else; read with all that could be wrong said. */
import { lstatSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { failure, type Result, success } from "../diagnostics.ts";
import { describePlanFile } from "../push/saved-plan/problems.ts";
import { isPlanText, parseSavedPlan, type SavedPlan, savedPlanText } from "../push/saved-plan/saved-plan.ts";
import type { ParsedArguments } from "./commands.ts";

/** No plan of any repository comes near. */
const MOST_BYTES = 256 << 20;

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: "there is no such file or folder",
  EACCES: "permission denied",
  EISDIR: "it is a folder",
  ENOTDIR: "a part of its path is no folder",
  ENOSPC: "no room on the disk",
  EROFS: "its file system is read-only",
};

function reasonOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  return REASONS[code ?? ""] ?? message;
}

/** Whether a plan may be written there: to be asked before machines are. Writes nothing. */
export function checkPlanTarget(file: string): Result<void> {
  try {
    if (!statSync(dirname(resolve(file))).isDirectory())
      return failure(describePlanFile({ kind: "unwritable", file, why: "a part of its path is no folder" }));
    const stat = lstatSync(file, { throwIfNoEntry: false });
    if (!stat) return success(undefined);
    // Through a link something else would be written, and a pipe or device would be gone.
    const own = stat.isFile() && stat.size <= MOST_BYTES && isPlanText(readFileSync(file, "utf8"));
    return own ? success(undefined) : failure(describePlanFile({ kind: "occupied", file }));
  } catch (error) {
    return failure(describePlanFile({ kind: "unwritable", file, why: reasonOf(error) }));
  }
}

/** Whole or not there at all, mode 0600: it names facts and what a machine runs. */
export function writePlanFile(file: string, saved: SavedPlan): Result<void> {
  const checked = checkPlanTarget(file);
  if (!checked.ok) return checked;
  const draft = `${file}.${process.pid}.new`;
  try {
    writeFileSync(draft, savedPlanText(saved), { mode: 0o600, flag: "wx" });
    renameSync(draft, file);
    return success(undefined);
  } catch (error) {
    rmSync(draft, { force: true });
    return failure(describePlanFile({ kind: "unwritable", file, why: reasonOf(error) }));
  }
}

/** Reads a plan back. */
export function readPlanFile(file: string): Result<SavedPlan> {
  try {
    const stat = statSync(file);
    if (stat.isDirectory()) throw Object.assign(new Error(), { code: "EISDIR" });
    if (!stat.isFile() || stat.size > MOST_BYTES) return failure(describePlanFile({ kind: "foreign", file }));
    return parseSavedPlan(readFileSync(file, "utf8"), file);
  } catch (error) {
    return failure(describePlanFile({ kind: "unreadable", file, why: reasonOf(error) }));
  }
}

/** Options that a saved plan has answers to. */
const SETTLED = ["take-over", "prune-packages"] as const;

/** The arguments of a push with those that its plan was made with; or a phrase that says what contradicts it. Pure. */
export function withSavedOptions(args: ParsedArguments, saved: SavedPlan): ParsedArguments | string {
  const given =
    SETTLED.find((name) => args.flag(name)) ?? (args.list("fact").length > 0 ? "fact" : undefined);
  if (given !== undefined)
    return `--plan and --${given} contradict each other: the plan says itself what it was made with`;
  const flags: Readonly<Record<string, boolean>> = {
    "take-over": saved.takeOver,
    "prune-packages": saved.prunePackages,
  };
  return {
    ...args,
    flag: (name) => flags[name] ?? args.flag(name),
    list: (name) => (name === "fact" ? saved.facts : args.list(name)),
  };
}
