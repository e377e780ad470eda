/**
 * Which units are not what the tree makes of them: failed, masked, stopped, running with what is no longer the tree's.
 * Reads through the unit set; must not know files' contents, nor how a machine is asked.
 *
 * labctl's own pushes decide by meaning what must be restarted, so the age of a file that labctl wrote last says nothing
 * about a unit. Only what someone else wrote since, even back to what was pushed, makes a unit older than its files.
 */
import type { Manifest, ManifestEntry } from "../../build/manifest.ts";
import { compareBytes, foldersAbove, type RelPath, TREE_ROOT, type UnitName } from "../../paths.ts";
import { filesOf, referenceDemands } from "../../units/demands.ts";
import { liveReason } from "../../units/live-settings.ts";
import { labctlSetting } from "../../units/references.ts";
import { isTemplate, templateOf, unitPattern, unitType } from "../../units/unit-name.ts";
import { type Unit, type UnitSet, valuesOf } from "../../units/unit-set.ts";
import type { Rewritten, UnitDrift } from "./drift.ts";
import type { FileFindings } from "./file-drift.ts";
import type { LiveAnswer, LiveService } from "./live-answer.ts";

export interface UnitFindings {
  readonly drifts: readonly UnitDrift[];
  readonly notes: readonly string[];
}

/** Names and patterns to ask a machine about: the tree's units, their instances, and what pulls them in. Pure. */
export function unitsToVerify(set: UnitSet): string[] {
  const out = new Set<string>();
  for (const name of set.names) {
    out.add(isTemplate(name) ? unitPattern({ kind: "template", unit: name }) : name);
    for (const link of set.unit(name).wantedBy) if (!isTemplate(link.by)) out.add(link.by);
  }
  return [...out].sort(compareBytes);
}

/** Sorted by unit; at most one drift a unit, the one that explains the others. */
export function findUnitDrift(
  manifest: Manifest,
  set: UnitSet,
  answer: LiveAnswer,
  files: FileFindings,
): UnitFindings {
  const entries = new Map<string, ManifestEntry>(manifest.entries.map((e) => [e.path, e]));
  const known = new Set<UnitName>(set.names);
  const look: Look = {
    set,
    answer,
    rewritten: files.rewritten,
    entries,
    drifted: driftedPaths(files),
    notes: [],
  };
  const drifts = new Map<UnitName, UnitDrift>();
  const stale = waitsForReload(look, known);
  for (const service of new Set(answer.units.values())) {
    const template = templateOf(service.name);
    const name = service.names.find((each) => known.has(each as UnitName)) as UnitName | undefined;
    if (name === undefined && !(template && known.has(template))) continue;
    const unit = set.unit(set.canonical(name ?? service.name));
    if (unit.fragment?.kind === "masked") continue;
    const found = judge(look, unit, service);
    if (found) drifts.set(service.name, found);
  }
  for (const text of answer.failed) {
    const failed = text as UnitName;
    const service = answer.units.get(failed);
    const name = service?.name ?? failed;
    if (drifts.get(name)?.kind === "masked") continue;
    const tree = known.has(name) || known.has(templateOf(name) ?? name) ? set.unit(name) : undefined;
    drifts.set(name, {
      ...base(look, name, tree),
      kind: "failed",
      expected: "not failed",
      found: `failed${service?.result && service.result !== "success" ? ` (${service.result})` : ""}`,
    });
  }
  const [first, ...more] = stale.filter(
    (name) => !drifts.has(name) || drifts.get(name)?.kind === "older-configuration",
  );
  if (first) {
    for (const name of [first, ...more]) drifts.delete(name);
    drifts.set(first, {
      ...base(look, first, set.unit(first)),
      kind: "daemon-reload",
      more,
      expected: "systemd has read the unit files as they are",
      found: "they were written since it read them",
      pushRepairs: [first, ...more].some((name) => ownFiles(set, name).some((p) => isRewritten(look, p))),
    });
  }
  return {
    drifts: [...drifts.values()].sort((a, b) => compareBytes(a.unit, b.unit)),
    notes: look.notes,
  };
}

interface Look {
  readonly set: UnitSet;
  readonly answer: LiveAnswer;
  readonly rewritten: readonly Rewritten[];
  readonly entries: ReadonlyMap<string, ManifestEntry>;
  /** Paths that are not as pushed, what lies below lost folders not included. */
  readonly drifted: ReadonlySet<string>;
  readonly notes: string[];
}

function base(
  look: Look,
  name: UnitName,
  unit: Unit | undefined,
): Omit<UnitDrift, "kind" | "expected" | "found"> {
  const path =
    unit && (unit.fragment?.path ?? unit.dropIns.find((p) => isOwn(p, name)) ?? unit.wantedBy[0]?.path);
  return { unit: name, more: [], entry: path ? look.entries.get(path) : undefined, pushRepairs: false };
}

/** A drop-in for this unit or its template, not for all of its type. */
function isOwn(path: RelPath, name: UnitName): boolean {
  const folder = path.split("/").at(-2);
  return folder === `${name}.d` || folder === `${templateOf(name)}.d`;
}

function judge(look: Look, unit: Unit, live: LiveService): UnitDrift | undefined {
  const name = live.name;
  const say = (kind: UnitDrift["kind"], expected: string, found: string, pushRepairs = false): UnitDrift => ({
    ...base(look, name, unit),
    kind,
    expected,
    found,
    pushRepairs,
  });
  if (live.loadState === "masked") {
    const where = live.unitFileState === "masked-runtime" ? "until the next boot" : "by hand";
    return say("masked", "not masked", `masked ${where}`);
  }
  const { fragmentPath } = live;
  if (unit.fragment?.kind === "file" && /^\/(etc|run)\/systemd\//.test(fragmentPath))
    return say("shadowed", `${TREE_ROOT}/${unit.fragment.path}`, fragmentPath);
  if (live.activeState === "activating" && live.subState === "auto-restart" && live.result !== "success")
    return say("failed", "running", `dies and is started again (${live.result})`);
  if (!isUp(live)) return notRunning(look, unit, live, say);
  return staleBind(look, unit, live, say) ?? older(look, unit, live, say);
}

function isUp(live: LiveService): boolean {
  return /^(active|reloading|refreshing|activating)$/.test(live.activeState);
}

type Say = (kind: UnitDrift["kind"], expected: string, found: string, pushRepairs?: boolean) => UnitDrift;

/** The tree pulls it in, what pulls it in is up, and it is not. */
function notRunning(look: Look, unit: Unit, live: LiveService, say: Say): UnitDrift | undefined {
  if (live.activeState !== "inactive" && live.loadState === "loaded") return undefined;
  const by = unit.wantedBy.find(
    (link) => look.answer.units.get(link.by)?.activeState === "active" && !look.drifted.has(link.path),
  )?.by;
  if (by === undefined) return undefined;
  const wanted = `active, since ${by} wants it`;
  if (live.loadState !== "loaded") return say("not-running", wanted, `not loaded (${live.loadState})`);
  if (live.conditionFailed || live.result === "exec-condition") return undefined;
  if (
    /^(1|yes|y|true|t|on)$/i.test(valuesOf(unit.settings, "Unit", "RefuseManualStart").at(-1)?.value ?? "no")
  )
    return undefined;
  // A oneshot is done when it ends.
  if (live.type === "oneshot" && !live.remainAfterExit && live.startedAtS !== undefined) return undefined;
  return say("not-running", wanted, live.startedAtS === undefined ? "never started" : "stopped");
}

function staleBind(look: Look, unit: Unit, live: LiveService, say: Say): UnitDrift | undefined {
  const mine = filesOf(unit).filter((path) => path === unit.fragment?.path || isOwn(path, live.name));
  if (mine.some((path) => look.drifted.has(path))) return undefined;
  const binds = look.answer.binds.filter(
    (b) => live.names.includes(b.unit) && look.entries.has(b.source) && !isDrifted(look, b.source),
  );
  const [bind] = binds;
  if (!bind) return undefined;
  const more = binds.length > 1 ? `, and ${binds.length - 1} more` : "";
  const found =
    bind.sees === "absent"
      ? `nothing is mounted at ${bind.target}${more}`
      : `another file than the tree's at ${bind.target}${more}`;
  if (asksForNone(unit)) {
    look.notes.push(`${live.name} sees ${found}; its OnChange=none asks for that`);
    return undefined;
  }
  const repairs = binds.every((b) => isRewritten(look, b.source));
  return say("stale-bind", `${TREE_ROOT}/${bind.source} at ${bind.target}`, found, repairs);
}

/** A file that someone else wrote, to what was pushed in the end, after the unit had read it. */
function older(look: Look, unit: Unit, live: LiveService, say: Say): UnitDrift | undefined {
  for (const { entry, changedAtS } of look.rewritten) {
    const wish = wishOf(look, unit, entry.path);
    const readAtS =
      wish === "reload" ? Math.max(live.startedAtS ?? 0, live.changedAtS ?? 0) : (live.startedAtS ?? 0);
    if (wish === undefined || readAtS === 0 || changedAtS <= readAtS) continue;
    if (asksForNone(unit)) {
      look.notes.push(
        `${live.name} has not read ${entry.path} since it was written; its OnChange=none asks for that`,
      );
      return undefined;
    }
    const what = wish === "reload" ? "reloaded" : "started";
    return say(
      "older-configuration",
      `${what} after ${TREE_ROOT}/${entry.path} was written`,
      `${what} before`,
      true,
    );
  }
  return undefined;
}

function wishOf(look: Look, unit: Unit, path: RelPath): "restart" | "reload" | undefined {
  if (filesOf(unit).includes(path)) {
    const type = unitType(unit.name);
    const needsStart = [...unit.settings.values()].some(
      (s) => s.values.some((v) => v.place.file === path) && liveReason(type, s.section, s.key) === undefined,
    );
    if (needsStart) return "restart";
  }
  const demands = referenceDemands(unit, look.set, look.set, [{ path, change: "changed", cause: "" }]);
  const asked = demands.filter((d) => !d.staleBind).map((d) => d.wish);
  return asked.includes("restart") ? "restart" : asked.includes("reload") ? "reload" : undefined;
}

/**
 * Units whose files systemd wants to read anew for a reason that is neither labctl's own (a change without a meaning
 * needs no reload) nor a drifted file, which is a finding of its own.
 */
function waitsForReload(look: Look, known: ReadonlySet<UnitName>): UnitName[] {
  const loadedAtS = look.answer.unitsLoadedAtS;
  const out: UnitName[] = [];
  for (const live of new Set(look.answer.units.values())) {
    const template = templateOf(live.name);
    if (!live.needsReload || live.loadState !== "loaded") continue;
    if (!live.names.some((n) => known.has(n as UnitName)) && !(template && known.has(template))) continue;
    if (ownFiles(look.set, live.name).some((path) => look.drifted.has(path) || hasExtra(look, path)))
      continue;
    const files = look.answer.unitFiles.filter((f) => f.unit === live.name);
    const own = files.filter((f) => look.entries.has(f.path.slice(TREE_ROOT.length + 1)));
    const explained = own.some(
      (f) =>
        !isRewritten(look, f.path.slice(TREE_ROOT.length + 1)) &&
        (loadedAtS === undefined || f.changedAtS > loadedAtS),
    );
    const rewritten = own.some((f) => isRewritten(look, f.path.slice(TREE_ROOT.length + 1)));
    if (rewritten || !explained) out.push(live.name);
  }
  return out.sort(compareBytes);
}

function ownFiles(set: UnitSet, name: UnitName): RelPath[] {
  return filesOf(set.unit(set.canonical(name)));
}

function hasExtra(look: Look, path: RelPath): boolean {
  const folder = path.slice(0, path.lastIndexOf("/") + 1);
  return folder.endsWith(".d/") && look.answer.extras.some((extra) => extra.path.startsWith(folder));
}

function asksForNone(unit: Unit): boolean {
  return labctlSetting(unit.settings, "OnChange")?.value === "none";
}

function isRewritten(look: Look, path: string): boolean {
  return look.rewritten.some((r) => r.entry.path === path);
}

function isDrifted(look: Look, path: string): boolean {
  return look.drifted.has(path) || foldersAbove(path).some((above) => look.drifted.has(above));
}

/** Attributes alone change nothing that a unit reads. */
function driftedPaths(files: FileFindings): Set<string> {
  return new Set(
    files.drifts.filter((d) => d.kind !== "mode" && d.kind !== "owner").map((d) => d.entry.path),
  );
}
