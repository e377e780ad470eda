/**
 * Compares a machine with what was pushed to it, over an open connection: asks, reads the contents that need to be
 * compared, and hands all to the pure parts. Two round trips where this host knows the machine's generation and nothing
 * was written by others. Changes nothing.
 */
import { type Manifest, parseManifest } from "../../build/manifest.ts";
import { readBuiltTexts, recallTexts, treeView, type UnitTexts } from "../../build/tree-view.ts";
import { failure, type Result, success } from "../../diagnostics.ts";
import type { Blake3 } from "../../hash.ts";
import type { AbsPath, GenerationId } from "../../paths.ts";
import { readUnitSet } from "../../units/unit-set.ts";
import type { KnownTrees } from "../known-trees.ts";
import { describe } from "../problems.ts";
import { callRemote, refusalOf } from "../session.ts";
import type { Transport } from "../transport.ts";
import { fetchContents } from "./contents.ts";
import type { Drift, LiveReport } from "./drift.ts";
import { type ContentVerdict, findFileDrift, pathsToCompare } from "./file-drift.ts";
import { type LiveAnswer, readLiveAnswer } from "./live-answer.ts";
import { findUnitDrift, unitsToVerify } from "./unit-drift.ts";

const TIMEOUT_MS = 60_000;

/** A tree that was built here, whatever the machine has. */
export interface BuiltTree {
  readonly id: GenerationId;
  readonly manifest: Manifest;
  readonly folder: AbsPath;
}

export interface LiveLook extends LiveReport {
  readonly generation: { readonly number: number; readonly id: GenerationId };
  readonly answer: LiveAnswer;
  /** Undefined while a push is half-way or the records are lost. */
  readonly manifest: Manifest | undefined;
}

/** Problems: `never-pushed`, `other-machine`, `lock-held`, `bad-answer`, and those of the transport. */
export async function verifyLive(
  transport: Transport,
  machine: string,
  known: KnownTrees,
  built: BuiltTree | undefined,
  b3: Blake3,
): Promise<Result<LiveLook>> {
  const nonsense = () => failure<LiveLook>(describe({ kind: "bad-probe", machine, label: transport.label }));
  const remembered = (id: GenerationId | undefined): Manifest | undefined =>
    id === undefined ? undefined : id === built?.id ? built.manifest : known.manifest(id);

  const believed = known.lastSeen(machine) ?? built?.id;
  let manifest = remembered(believed);
  const first = await ask(transport, machine, manifest && believed, manifest);
  if (!first.ok) return first;
  let answer = first.value;
  if (answer.busy?.why === "push") {
    return failure(
      describe({
        kind: "remote",
        machine,
        verb: "verify",
        done: "failed-unchanged",
        code: "lock-held",
        detail: answer.busy.holder,
        more: [],
      }),
    );
  }
  const { generation } = answer;
  const bare = (drift: Drift): Result<LiveLook> =>
    generation
      ? success({ generation, answer, manifest: undefined, drifts: [drift], notes: [] })
      : failure(describe({ kind: "never-pushed", machine }));
  if (answer.busy) return bare({ kind: "interrupted", found: "a journal of a push that did not end" });
  if (!generation) return failure(describe({ kind: "never-pushed", machine }));
  if (answer.recordsLost) return bare({ kind: "records-lost", found: "no list of what labctl put there" });

  if (generation.id !== believed || !manifest) {
    manifest = remembered(generation.id);
    if (!manifest && answer.manifestText !== undefined) {
      // Damaged or made up: then nothing says what should be there.
      if (b3.hash(answer.manifestText) !== (generation.id as string))
        return bare({ kind: "records-lost", found: "a manifest that is not its generation's" });
      manifest = parseManifest(answer.manifestText);
      known.rememberManifest(answer.manifestText);
    }
    if (!manifest) return nonsense();
    const again = await ask(transport, machine, generation.id, manifest);
    if (!again.ok) return again;
    if (again.value.generation?.id !== generation.id) return nonsense();
    answer = again.value;
  }
  if (manifest.machine !== machine)
    return failure(
      describe({ kind: "other-machine", machine, label: transport.label, other: manifest.machine }),
    );
  known.rememberSeen(machine, generation.id);

  const verdicts = await compareContents(transport, machine, manifest, answer, b3);
  if (!verdicts.ok) return verdicts;
  const files = findFileDrift(manifest, answer, verdicts.value);
  const texts = await textsOf(transport, machine, manifest, answer, known, built);
  if (!texts.ok) return texts;
  const units = findUnitDrift(manifest, readUnitSet(treeView(manifest, texts.value)), answer, files);
  const whole: Drift[] = [
    ...(answer.pending
      ? [{ kind: "pending", found: "unit actions that an interrupted push left undone" } as const]
      : []),
    ...(answer.differingCut > 0
      ? [{ kind: "many-differ", found: `${answer.differingCut} more` } as const]
      : []),
  ];
  const notes = [...units.notes];
  if (files.touched.length > 0) notes.push(touchedNote(files.touched));
  if (answer.unconfirmed !== undefined)
    notes.push(`generation ${answer.unconfirmed} waits for its confirmation`);
  return success({
    generation,
    answer,
    manifest,
    drifts: [...whole, ...files.drifts, ...files.extras, ...units.drifts],
    notes,
  });
}

function touchedNote(touched: readonly string[]): string {
  const more = touched.length > 1 ? ` and ${touched.length - 1} more` : "";
  return `${touched[0]}${more}: written or touched by someone else, and as pushed all the same`;
}

async function ask(
  transport: Transport,
  machine: string,
  knownId: GenerationId | undefined,
  manifest: Manifest | undefined,
): Promise<Result<LiveAnswer>> {
  // Names follow from paths alone.
  const units = manifest ? unitsToVerify(readUnitSet(treeView(manifest, new Map()))) : [];
  const called = await callRemote(
    transport,
    machine,
    "verify",
    ["--manifest-unless", knownId ?? "none", "--stdin"],
    {
      data: units.map((u) => `unit\t${u}\n`).join(""),
      timeoutMs: TIMEOUT_MS,
    },
  );
  if (!called.ok) return called;
  if (called.value.done !== "ok") return failure(refusalOf(machine, "verify", called.value));
  const answer = readLiveAnswer(called.value.records);
  return answer ? success(answer) : failure(describe({ kind: "bad-probe", machine, label: transport.label }));
}

/** Hashes what was fetched here: a machine need not have BLAKE3. */
async function compareContents(
  transport: Transport,
  machine: string,
  manifest: Manifest,
  answer: LiveAnswer,
  b3: Blake3,
): Promise<Result<ReadonlyMap<string, ContentVerdict>>> {
  const out = new Map<string, ContentVerdict>();
  const fetched = await fetchContents(transport, machine, pathsToCompare(manifest, answer), (entry, data) => {
    if (data) out.set(entry.path, b3.hash(data) === entry.hash ? "same" : "other");
    else out.set(entry.path, { unknown: "it could not be read, or is too big to be compared" });
  });
  return fetched.ok ? success(out) : fetched;
}

/** Unit texts as they were pushed: from memory, from what was built here, else from the machine where it has them still. */
async function textsOf(
  transport: Transport,
  machine: string,
  manifest: Manifest,
  answer: LiveAnswer,
  known: KnownTrees,
  built: BuiltTree | undefined,
): Promise<Result<UnitTexts>> {
  const here = built && { manifest: built.manifest, texts: readBuiltTexts(built.manifest, built.folder) };
  const { texts, missing } = recallTexts(manifest, here, (hash) => known.text(hash), new Set());
  const fetched = missing.filter((path) => !answer.differing.has(path));
  if (fetched.length === 0) return success(texts);
  const called = await callRemote(transport, machine, "read", [], {
    data: fetched.map((p) => `${p}\n`).join(""),
    timeoutMs: TIMEOUT_MS,
  });
  if (!called.ok) return called;
  for (const record of called.value.records) {
    const path = fetched.find((p) => p === record.fields[0]);
    if (record.name !== "file" || path === undefined || !record.data) continue;
    const text = record.data.toString("utf8");
    known.rememberText(text);
    texts.set(path, text);
  }
  return success(texts);
}
