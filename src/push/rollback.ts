/**
 * Goes back to an earlier generation: the same survey, plan and commit as a push, but the files come from what later
 * generations replaced on the machine itself. The result is a new generation with the old one's tree.
 */
import { performance } from "node:perf_hooks";
import { gunzipSync } from "node:zlib";
import { type Manifest, type ManifestEntry, parseManifest } from "../build/manifest.ts";
import { isUnitText } from "../build/tree-view.ts";
import type { Result } from "../diagnostics.ts";
import { failure, success } from "../diagnostics.ts";
import type { Blake3 } from "../hash.ts";
import type { FileHash, GenerationId } from "../paths.ts";
import { type Generation, listGenerations } from "./generations.ts";
import type { KnownTrees } from "./known-trees.ts";
import { describe } from "./problems.ts";
import { carryOut, type PushSettings, type StageFiles } from "./push.ts";
import type { OnPushEvent, PushOutcome } from "./push-event.ts";
import { callRemote } from "./session.ts";
import { type Survey, surveyMachine } from "./survey.ts";
import type { Transport } from "./transport.ts";

/** A generation to go back to, with all that lies between. */
export interface RollbackTarget {
  readonly number: number;
  readonly id: GenerationId;
  readonly manifest: Manifest;
  readonly manifestText: string;
  /** For a path of the target: the later generation that holds its content; absent: it is live. */
  readonly keptIn: ReadonlyMap<string, number>;
}

/** Finds the target and what it takes to get there; `wanted` undefined means the one before the current. Changes nothing. */
export async function findTarget(
  transport: Transport,
  machine: string,
  wanted: number | undefined,
  b3: Blake3,
): Promise<Result<RollbackTarget>> {
  const listed = await listGenerations(transport, machine);
  if (!listed.ok) return listed;
  const current = listed.value.at(-1);
  if (!current) return failure(describe({ kind: "never-pushed", machine }));
  const target = chooseTarget(listed.value, wanted);
  if (!target) {
    const kept = listed.value.slice(0, -1).map((g) => g.number);
    return failure(describe({ kind: "no-generation", machine, wanted, kept, current: current.number }));
  }
  const answer = await callRemote(transport, machine, "manifests", [
    String(target.number),
    String(current.number),
  ]);
  if (!answer.ok) return answer;
  const manifests = new Map<number, { manifest: Manifest; text: string }>();
  for (const record of answer.value.records) {
    const number = Number(/^manifest\.(\d+)$/.exec(record.fields[0] ?? "")?.[1]);
    if (record.name !== "data" || !record.data || !number) continue;
    const text = unpack(record.data);
    const manifest = text === undefined ? undefined : parseManifest(text);
    if (manifest && text !== undefined) manifests.set(number, { manifest, text });
  }
  const found = manifests.get(target.number);
  if (!found || b3.hash(found.text) !== (target.id as string)) {
    return failure(describe({ kind: "bad-probe", machine, label: transport.label }));
  }
  const keptIn = findContents(target.number, current.number, (n) => manifests.get(n)?.manifest);
  return success({
    number: target.number,
    id: target.id,
    manifest: found.manifest,
    manifestText: found.text,
    keptIn,
  });
}

/** The generation asked for, or the newest before the current whose tree differs. Pure. */
export function chooseTarget(
  generations: readonly Generation[],
  wanted: number | undefined,
): Generation | undefined {
  const current = generations.at(-1);
  const earlier = generations.slice(0, -1);
  if (wanted !== undefined) return earlier.find((g) => g.number === wanted);
  // After a rollback the current tree is an old one; going "back" once more must not bounce to what was rolled back from.
  const origin = current?.rollbackTo;
  const before = origin === undefined ? earlier : earlier.filter((g) => g.number < origin);
  return before.findLast((g) => g.id !== current?.id);
}

/**
 * For each path of generation `target`, the first later generation that replaced or removed its content; that
 * generation's `replaced/` has it. Pure.
 */
export function findContents(
  target: number,
  current: number,
  manifest: (n: number) => Manifest | undefined,
): Map<string, number> {
  const out = new Map<string, number>();
  let before = entriesOf(manifest(target));
  for (let n = target + 1; n <= current; n++) {
    const after = entriesOf(manifest(n));
    for (const [path, was] of before) {
      if (!out.has(path) && was.type !== "dir" && !sameContent(was, after.get(path))) out.set(path, n);
    }
    before = after;
  }
  return out;
}

function entriesOf(manifest: Manifest | undefined): Map<string, ManifestEntry> {
  return new Map((manifest?.entries ?? []).map((e) => [e.path, e]));
}

function sameContent(a: ManifestEntry, b: ManifestEntry | undefined): boolean {
  if (!b || a.type !== b.type) return false;
  if (a.type === "file" && b.type === "file") return a.hash === b.hash;
  return a.type === "link" && b.type === "link" && a.target === b.target;
}

function unpack(packed: Buffer): string | undefined {
  try {
    return gunzipSync(Buffer.from(packed.toString("latin1"), "base64"), {
      maxOutputLength: 256 << 20,
    }).toString("utf8");
  } catch {
    return undefined;
  }
}

/** What going back would do. */
export async function planRollback(
  transport: Transport,
  machine: string,
  target: RollbackTarget,
  known: KnownTrees,
  onEvent: OnPushEvent,
): Promise<Result<Survey>> {
  const texts = await oldTexts(transport, machine, target, known);
  if (!texts.ok) return texts;
  return surveyMachine(
    transport,
    machine,
    { manifest: target.manifest, id: target.id, texts: texts.value },
    known,
    onEvent,
  );
}

/** Carries a planned rollback out. */
export async function rollBack(
  transport: Transport,
  machine: string,
  target: RollbackTarget,
  survey: Survey,
  known: KnownTrees,
  settings: PushSettings,
  onEvent: OnPushEvent,
  startedAt: number = performance.now(),
): Promise<Result<PushOutcome>> {
  const stage: StageFiles = async (_plan, session, paths) => {
    const lines: string[] = [];
    for (const path of paths) {
      const n = target.keptIn.get(path);
      if (n === undefined) {
        // Only drift leads here: the path is the same in both trees, and someone changed it on the machine.
        return failure(
          describe({
            kind: "remote",
            machine,
            verb: "rollback",
            done: "failed-unchanged",
            code: "not-kept",
            detail: path,
            more: [],
          }),
        );
      }
      lines.push(`${n}\t${path}\n`);
    }
    const copied = await callRemote(transport, machine, "stage-from-generations", [session], {
      data: lines.join(""),
    });
    if (!copied.ok) return copied;
    const [first] = copied.value.problems;
    if (copied.value.done !== "ok") {
      return failure(
        describe({
          kind: "remote",
          machine,
          verb: "rollback",
          done: copied.value.done,
          code: first?.code ?? "",
          detail: first?.detail ?? "",
          more: [],
        }),
      );
    }
    const manifest = await callRemote(transport, machine, "stage-manifest", [session, String(target.number)]);
    if (!manifest.ok) return manifest;
    return success({ bytes: 0 });
  };
  const outcome = await carryOut(transport, machine, survey, stage, settings, onEvent, startedAt);
  if (outcome.ok) {
    known.rememberManifest(target.manifestText);
    known.rememberSeen(machine, target.id);
  }
  return outcome;
}

/** Unit files of the target: from memory, else from the machine, live or kept. */
async function oldTexts(
  transport: Transport,
  machine: string,
  target: RollbackTarget,
  known: KnownTrees,
): Promise<Result<Map<string, string>>> {
  const out = new Map<string, string>();
  const ask: string[] = [];
  for (const entry of target.manifest.entries) {
    if (!isUnitText(entry)) continue;
    const text = known.text(entry.hash as FileHash);
    if (text !== undefined) out.set(entry.path, text);
    else
      ask.push(
        target.keptIn.has(entry.path) ? `${target.keptIn.get(entry.path)}\t${entry.path}` : entry.path,
      );
  }
  if (ask.length === 0) return success(out);
  const answer = await callRemote(transport, machine, "read", [], {
    data: ask.map((l) => `${l}\n`).join(""),
  });
  if (!answer.ok) return answer;
  for (const record of answer.value.records) {
    if (record.name === "file" && record.fields[0] !== undefined && record.data)
      out.set(record.fields[0], record.data.toString("utf8"));
  }
  return success(out);
}
