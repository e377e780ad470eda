/**
 * A plan that was written down, to be carried out later: its text, and whether the machine and the build are still what
 * it was made from. Pure; must not know files, terminals or connections.
 */
import { createHash } from "node:crypto";
import type { Diagnostic, Result } from "../../diagnostics.ts";
import { failure, success } from "../../diagnostics.ts";
import { isName, type MachineName } from "../../paths.ts";
import { isRunning, type LiveUnit } from "../../units/unit-change.ts";
import { type PushPlan, planJson } from "../plan.ts";
import type { Probe } from "../probe.ts";
import { describePlanFile } from "./problems.ts";

const FORMAT = "labctl-plan";

/** Raised whenever an older labctl would misread a file, or a newer one an old file. */
export const PLAN_VERSION = 1;

/** What one machine's plan was made from, and what it comes to. All of it must be the same when it is carried out. */
export interface SavedMachine {
  readonly machine: MachineName;
  /** 0: nothing was ever pushed. */
  readonly generation: number;
  /** Hash over type, mode, owner, size, times and inode of all that labctl put there; empty: nothing yet. */
  readonly fingerprint: string;
  /** `running`, `stopped` … of each unit that the plan looked at. */
  readonly units: Readonly<Record<string, string>>;
  /** As `plan --json` has it, with the checks that follow. */
  readonly plan: Readonly<Record<string, unknown>>;
}

export interface SavedPlan {
  /** ISO 8601, UTC. */
  readonly createdAt: string;
  /** `user@host`. */
  readonly by: string;
  /** `--fact` of the command that planned: without them the build would be another one. */
  readonly facts: readonly string[];
  readonly takeOver: boolean;
  readonly prunePackages: boolean;
  readonly machines: readonly SavedMachine[];
}

/** What a survey found, as it is saved. Pure. */
export function savedMachine(plan: PushPlan, probe: Probe): SavedMachine {
  const units = [...probe.units].map(([name, unit]) => [name, unitState(unit)] as const);
  return {
    machine: plan.machine,
    generation: plan.from?.number ?? 0,
    fingerprint: probe.fingerprint ?? "",
    units: Object.fromEntries(units.sort(([a], [b]) => (a < b ? -1 : 1))),
    // Through JSON once, so that what was read back compares with what was not.
    plan: JSON.parse(JSON.stringify({ ...planJson(plan), checks: plan.checks })),
  };
}

/** States between which no plan differs are one. */
function unitState(unit: LiveUnit): string {
  if (unit.loadState !== "loaded") return unit.loadState || "not-found";
  const state = isRunning(unit) ? "running" : unit.activeState === "failed" ? "failed" : "stopped";
  return unit.unitFileState === "masked" ? "masked" : state;
}

/** The file's text: JSON for people to look at, with a checksum over what counts. Pure. */
export function savedPlanText(saved: SavedPlan): string {
  const head = { format: FORMAT, version: PLAN_VERSION, checksum: checksumOf(saved) };
  return `${JSON.stringify({ ...head, ...saved }, null, 2)}\n`;
}

/** Against accidents, not against malice: whoever can write the file can write another checksum. */
function checksumOf(saved: SavedPlan): string {
  const { createdAt, by, facts, takeOver, prunePackages, machines } = saved;
  const text = JSON.stringify([createdAt, by, facts, takeOver, prunePackages, machines]);
  return `sha256:${createHash("sha256").update(text).digest("hex")}`;
}

/** True for the text of a plan of any version: only such a file is written over. Pure. */
export function isPlanText(text: string): boolean {
  const raw = parse(text);
  return raw?.format === FORMAT;
}

/** Reads a file's text. Problems: `plan-foreign`, `plan-version`, `plan-damaged`. Pure. */
export function parseSavedPlan(text: string, file: string): Result<SavedPlan> {
  const raw = parse(text);
  if (raw === undefined && text.includes(`"format": "${FORMAT}"`))
    return failure(describePlanFile({ kind: "damaged", file, why: "it is cut off, or no JSON any more" }));
  if (raw?.format !== FORMAT) return failure(describePlanFile({ kind: "foreign", file }));
  if (raw.version !== PLAN_VERSION)
    return failure(describePlanFile({ kind: "version", file, version: String(raw.version) }));
  const { createdAt, by, facts, takeOver, prunePackages, machines } = raw;
  if (
    typeof createdAt !== "string" ||
    typeof by !== "string" ||
    !isStrings(facts) ||
    typeof takeOver !== "boolean" ||
    typeof prunePackages !== "boolean" ||
    !Array.isArray(machines) ||
    machines.length === 0 ||
    !machines.every(isSavedMachine)
  )
    return failure(describePlanFile({ kind: "damaged", file, why: "a part of it is missing" }));
  const saved: SavedPlan = { createdAt, by, facts, takeOver, prunePackages, machines };
  if (raw.checksum !== checksumOf(saved))
    return failure(describePlanFile({ kind: "damaged", file, why: "its checksum does not fit" }));
  return success(saved);
}

function parse(text: string): Record<string, unknown> | undefined {
  try {
    const raw: unknown = JSON.parse(text);
    return isObject(raw) ? raw : undefined;
  } catch {
    return undefined;
  }
}

function isSavedMachine(m: unknown): m is SavedMachine {
  return (
    isObject(m) &&
    typeof m.machine === "string" &&
    isName(m.machine) &&
    Number.isSafeInteger(m.generation) &&
    typeof m.fingerprint === "string" &&
    isObject(m.units) &&
    isStrings(Object.values(m.units)) &&
    isObject(m.plan)
  );
}

function isObject(value: unknown): value is Record<string, unknown> {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

function isStrings(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((v) => typeof v === "string");
}

/** The refusal where a saved plan no longer holds; undefined: it does, and what was planned now is the same. Pure. */
export function stalePlan(saved: SavedMachine, now: SavedMachine): Diagnostic | undefined {
  const changes = changesSince(saved, now);
  return changes.length === 0
    ? undefined
    : describePlanFile({ kind: "stale", machine: now.machine, changes: [...new Set(changes)] });
}

/** What is different now, in words; the causes first, since all else follows from them. Pure. */
export function changesSince(saved: SavedMachine, now: SavedMachine): string[] {
  const out: string[] = [];
  const [was, is] = [saved.plan, now.plan];
  if (was.to !== is.to)
    out.push(`the build: it was generation ${shortId(was.to)}, and is ${shortId(is.to)} now`);
  const moved = saved.generation !== now.generation || was.from !== is.from;
  if (moved)
    out.push(
      `the machine's generation: it was at ${place(saved.generation, was.from)}, and is at ${place(now.generation, is.from)} now`,
    );
  for (const path of differing(strings(was.drifted), strings(is.drifted)))
    out.push(`/usr/local/${path} on the machine`);
  if (!moved && saved.fingerprint !== now.fingerprint && out.length === 0)
    out.push("files under /usr/local on the machine: they were written again");
  for (const name of new Set([...Object.keys(saved.units), ...Object.keys(now.units)])) {
    const [a, b] = [saved.units[name], now.units[name]];
    if (a !== undefined && b !== undefined && a !== b) out.push(`unit ${name}: it was ${a}, and is ${b} now`);
  }
  for (const { name, action } of differingEntries(was.packages, is.packages))
    out.push(
      `package ${name}: ${action === "install" ? "installed or missing" : "installed by labctl"}, other than then`,
    );
  if (was.pending !== is.pending) out.push("what an interrupted push left undone");
  if (out.length > 0) return out;
  // Nothing of the above, and yet another plan: labctl itself, or what it can't name.
  return Object.keys({ ...was, ...is })
    .filter((key) => JSON.stringify(was[key]) !== JSON.stringify(is[key]))
    .map((key) => `the plan's ${key}`);
}

function shortId(id: unknown): string {
  return typeof id === "string" ? id.slice(0, 12) : "none";
}

function place(number: number, id: unknown): string {
  return number === 0 ? "none" : `${number} (${shortId(id)})`;
}

function strings(list: unknown): string[] {
  return isStrings(list) ? list : [];
}

function differing(a: readonly string[], b: readonly string[]): string[] {
  return [...a.filter((x) => !b.includes(x)), ...b.filter((x) => !a.includes(x))].sort();
}

function differingEntries(a: unknown, b: unknown): { readonly name: string; readonly action: string }[] {
  const lines = (list: unknown): string[] => (Array.isArray(list) ? list.map((x) => JSON.stringify(x)) : []);
  return differing(lines(a), lines(b)).map((line) => JSON.parse(line) as { name: string; action: string });
}
