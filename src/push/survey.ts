/**
 * Connects, asks the machine what it is, and makes the plan: everything up to the point where something would change.
 * One round trip where this host's memory of the machine is right; up to three where it is not.
 */
import type { Manifest } from "../build/manifest.ts";
import { readBuiltTexts, recallTexts, treeView, type UnitTexts } from "../build/tree-view.ts";
import type { Result } from "../diagnostics.ts";
import { failure, success } from "../diagnostics.ts";
import type { AbsPath, FileHash, GenerationId, RelPath } from "../paths.ts";
import { affectedUnits } from "../units/affected.ts";
import { readUnitSet } from "../units/unit-set.ts";
import { keptManifest, passDamage } from "./damage.ts";
import { describeFleet } from "./fleet/problems.ts";
import type { KnownTrees } from "./known-trees.ts";
import { readSettled } from "./live/settled.ts";
import { type Look, parseLook, takeLook } from "./memory.ts";
import { changedPaths, type PushPlan, planPush } from "./plan.ts";
import { type Probe, readProbe } from "./probe.ts";
import { describe } from "./problems.ts";
import type { OnPushEvent } from "./push-event.ts";
import { callRemote, newSessionName } from "./session.ts";
import type { Transport } from "./transport.ts";
import { diffTrees, type FileChange } from "./tree-diff.ts";
import { daemonsFor } from "./triggers/index.ts";

/** The tree that the machine shall have. */
export interface WantedTree {
  /** Why its files are as they are, where no edit of a layer is the reason. */
  readonly cause?: string;
  readonly manifest: Manifest;
  readonly id: GenerationId;
  /** Where its files are here; undefined: only the machine has them (rollback). */
  readonly folder?: AbsPath;
  /** Texts of its unit files where `folder` is undefined. */
  readonly texts?: UnitTexts;
  /** False for files whose content lies nowhere any more but, perhaps, on the machine. Undefined: all can be sent. */
  readonly canSend?: (path: RelPath) => boolean;
}

export interface Survey {
  readonly plan: PushPlan;
  readonly probe: Probe;
  /** The tree that the machine has now; undefined: none. */
  readonly before: Manifest | undefined;
  /** A name for the stage folder of the push that follows. */
  readonly session: string;
  /** What of it the next push can be planned from. */
  readonly look: Look | undefined;
}

export interface SurveyOptions {
  /** Have a hash of the machine's files, for a plan that is saved. Undefined: it is not worth its time. */
  readonly fingerprint?: boolean;
  /** Packages that labctl installed and no layer asks for any longer shall go. Undefined: they stay. */
  readonly prunePackages?: boolean;
  /** Files in the way, and a machine that carries another machine's tree, are no refusal. */
  readonly takeOver: boolean;
  /** Where the machine's memory of what was pushed is damaged, it may be set aside. Undefined: never, as in a dry run. */
  readonly mayForget?: true;
  /** Whose tree this is; a machine that another repository pushed to last is refused. Undefined: nobody asks. */
  readonly repository?: string | undefined;
}

/** Looks, and refuses what push would refuse. */
export const LOOK_ONLY: SurveyOptions = { takeOver: false };

/** `before` of the machine's generation as far as this host knows it. */
interface Before {
  readonly id: GenerationId | undefined;
  readonly manifest: Manifest | undefined;
}

/** Makes the plan over an open connection. Changes nothing on the machine, but ends what was interrupted before. */
export async function surveyMachine(
  transport: Transport,
  machine: string,
  wanted: WantedTree,
  known: KnownTrees,
  onEvent: OnPushEvent,
  options: SurveyOptions,
): Promise<Result<Survey>> {
  const startedAt = performance.now();
  const builtTexts = wanted.folder
    ? readBuiltTexts(wanted.manifest, wanted.folder)
    : (wanted.texts ?? new Map<string, string>());
  const after = readUnitSet(treeView(wanted.manifest, builtTexts));
  const built = { manifest: wanted.manifest, texts: builtTexts };
  const recall = (hash: FileHash): string | undefined => known.text(hash);

  const believedId = known.lastSeen(machine);
  let before: Before = {
    id: believedId,
    manifest: believedId === wanted.id ? wanted.manifest : believedId && known.manifest(believedId),
  };
  let recalled = recallTexts(before.manifest, built, recall, new Set());
  let changes = diffTrees(before.manifest, wanted.manifest);
  const ask = (): string[] => unitsToAsk(before.manifest, recalled.texts, after, changes);
  let asked = ask();
  const first = await probeMachine(
    transport,
    machine,
    wanted,
    before.manifest ? before.id : undefined,
    asked,
    options.fingerprint,
  );
  if (!first.ok) return first;
  let probe = first.value;
  for (const what of probe.recovered) onEvent({ kind: "recovered", what });
  const sound = await passDamage(
    transport,
    machine,
    probe,
    options.takeOver && options.mayForget === true,
    () => probeMachine(transport, machine, wanted, undefined, asked, options.fingerprint),
    onEvent,
  );
  if (!sound.ok) return sound;
  probe = sound.value;
  const refusal = unfit(probe, machine, transport.label);
  if (refusal) return failure(refusal);

  if (probe.generation?.id !== before.id || (probe.generation && !before.manifest)) {
    before = {
      id: probe.generation?.id,
      manifest:
        probe.manifest ??
        (probe.generation?.id === wanted.id ? wanted.manifest : undefined) ??
        (probe.generation && (await keptManifest(transport, machine, probe.generation.number))),
    };
    if (probe.generation && !before.manifest)
      return failure(describe({ kind: "bad-probe", machine, label: transport.label }));
  }
  if (before.manifest && before.manifest.machine !== wanted.manifest.machine && !options.takeOver)
    return failure(
      describe({ kind: "other-machine", machine, label: transport.label, other: before.manifest.machine }),
    );
  const last = probe.pushedBy;
  const ours = options.repository;
  if (last && ours !== undefined && last.repository !== ours && !options.takeOver)
    return failure(describeFleet({ kind: "other-repository", machine, label: transport.label, last, ours }));
  const drifted = driftedPaths(probe, before.manifest);
  for (const path of lostPaths(drifted, before.manifest, wanted)) {
    drifted.delete(path);
    onEvent({
      kind: "note",
      text: `${path} was changed on the machine by someone else; it stays so, a push puts it right`,
    });
  }
  recalled = recallTexts(before.manifest, built, recall, drifted);
  if (recalled.missing.length > 0) {
    const fetched = await fetchTexts(transport, machine, recalled.missing);
    if (!fetched.ok) return fetched;
    for (const [path, text] of fetched.value) recalled.texts.set(path, text);
  }
  changes = diffTrees(before.manifest, wanted.manifest, drifted).map((change) =>
    explained(change, wanted, drifted),
  );
  if (!options.takeOver) {
    const taken = await occupiedPaths(transport, machine, changes);
    if (!taken.ok) return taken;
    if (taken.value.length > 0)
      return failure(describe({ kind: "foreign-files", machine, paths: taken.value }));
  }
  const now = ask();
  if (now.some((unit) => !asked.includes(unit))) {
    asked = now;
    const again = await probeMachine(
      transport,
      machine,
      wanted,
      probe.generation?.id,
      asked,
      options.fingerprint,
    );
    if (!again.ok) return again;
    if (again.value.generation?.id !== probe.generation?.id) {
      return failure(
        describe({
          kind: "remote",
          machine,
          verb: "probe",
          done: "failed-unchanged",
          code: "generation-moved",
          detail: String(again.value.generation?.number ?? 0),
          more: [],
        }),
      );
    }
    probe = again.value;
  }
  if (probe.generation && before.manifest) known.rememberSeen(machine, probe.generation.id);
  const settled = await readSettled(transport, machine, changes, drifted, wanted.folder, now);
  if (!settled.ok) return settled;
  const set = readUnitSet(treeView(before.manifest, recalled.texts));
  const plan = planPush({
    manifest: wanted.manifest,
    id: wanted.id,
    probe: { ...probe, drifted },
    changes,
    before: set,
    after,
    beforeManifest: before.manifest,
    ...(options.prunePackages ? { prunePackages: true } : {}),
    settled: settled.value,
  });
  onEvent({ kind: "planned", plan, failedUnits: probe.failedUnits, ms: performance.now() - startedAt });
  const packages = wanted.manifest.packages.map((p) => p.name);
  const look = takeLook(probe, asked, packages, parseLook(known.look(machine)));
  known.rememberLook(machine, look && JSON.stringify(look));
  return success({ plan, probe, before: before.manifest, session: newSessionName(), look });
}

/** The units whose state a plan from one tree to another depends on. Pure. */
export function unitsToAsk(
  manifest: Manifest | undefined,
  texts: UnitTexts,
  after: ReturnType<typeof readUnitSet>,
  changes: readonly FileChange[],
): string[] {
  const before = readUnitSet(treeView(manifest, texts));
  return [
    ...affectedUnits(before, after, changedPaths(changes)),
    ...daemonsFor(changes, after).map((d) => d.unit),
  ];
}

async function probeMachine(
  transport: Transport,
  machine: string,
  wanted: WantedTree,
  knownId: GenerationId | undefined,
  units: readonly string[],
  fingerprint: boolean | undefined,
): Promise<Result<Probe>> {
  const data = [
    ...(fingerprint ? ["fingerprint"] : []),
    ...units.map((u) => `unit\t${u}`),
    ...wanted.manifest.packages.map((p) => `package\t${p.name}`),
  ]
    .map((l) => `${l}\n`)
    .join("");
  // Any other id makes the machine send its manifest.
  const args = ["--manifest-unless", knownId ?? "none", "--stdin"];
  const answer = await callRemote(transport, machine, "probe", args, { data, timeoutMs: 60_000 });
  if (!answer.ok) return answer;
  const [first] = answer.value.problems;
  const probe = readProbe(answer.value.records, new Set(units));
  if (probe?.notWritable !== undefined) return success(probe);
  if (first && answer.value.done !== "ok") {
    return failure(
      describe({ kind: "remote", machine, verb: "probe", done: answer.value.done, ...first, more: [] }),
    );
  }
  return probe ? success(probe) : failure(describe({ kind: "bad-probe", machine, label: transport.label }));
}

function unfit(probe: Probe, machine: string, label: string) {
  if (probe.systemdVersion === 0) return describe({ kind: "no-systemd", machine, label });
  if (probe.notWritable !== undefined)
    return describe({ kind: "not-writable", machine, label, why: probe.notWritable });
  if (!probe.hasRsync) return describe({ kind: "rsync-missing", machine, label });
  if (probe.undo) return describe({ kind: "undo-waits", machine, ...probe.undo });
  return undefined;
}

/** Where the machine listed only a part of what drifted, everything counts as drifted. */
function driftedPaths(probe: Probe, manifest: Manifest | undefined): Set<string> {
  if (!probe.driftCut) return new Set(probe.drifted);
  return new Set(manifest?.entries.map((e) => e.path));
}

/** Drifted paths that the wanted tree has as before, and whose content nobody has any more. */
function lostPaths(
  drifted: ReadonlySet<string>,
  manifest: Manifest | undefined,
  wanted: WantedTree,
): string[] {
  const { canSend } = wanted;
  if (!canSend || drifted.size === 0) return [];
  const changes = new Set<string>(diffTrees(manifest, wanted.manifest).map((c) => c.path));
  return wanted.manifest.entries
    .filter((e) => e.type !== "dir" && drifted.has(e.path) && !changes.has(e.path) && !canSend(e.path))
    .map((e) => e.path);
}

/** What the machine has at these paths; those that are gone or no text are left out. */
async function fetchTexts(
  transport: Transport,
  machine: string,
  paths: readonly RelPath[],
): Promise<Result<ReadonlyMap<string, string>>> {
  const answer = await callRemote(transport, machine, "read", [], {
    data: paths.map((p) => `${p}\n`).join(""),
  });
  if (!answer.ok) return answer;
  const out = new Map<string, string>();
  for (const record of answer.value.records) {
    const path = record.fields[0];
    if (record.name === "file" && path !== undefined && record.data)
      out.set(path, record.data.toString("utf8"));
  }
  return success(out);
}

function explained(change: FileChange, { cause }: WantedTree, drifted: ReadonlySet<string>): FileChange {
  return cause === undefined || drifted.has(change.path) ? change : { ...change, cause };
}

/** Where a new file or link would take the place of one that labctl did not make. */
async function occupiedPaths(
  transport: Transport,
  machine: string,
  changes: readonly FileChange[],
): Promise<Result<readonly string[]>> {
  const added = changes.filter((c) => c.change === "added" && c.after?.type !== "dir").map((c) => c.path);
  if (added.length === 0) return success([]);
  const answer = await callRemote(transport, machine, "occupied", [], {
    data: added.map((p) => `${p}\n`).join(""),
  });
  if (!answer.ok) return answer;
  return success(
    answer.value.records.flatMap((r) =>
      r.name === "occupied" && r.fields[0] !== undefined ? [r.fields[0]] : [],
    ),
  );
}
