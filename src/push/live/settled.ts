/**
 * Drifted files that have the wanted content all the same: a hand edit that was adopted, or one that was taken back.
 * They stay where they are, and of the units that depend on them only those are acted upon that have not read them since.
 * Asks the machine; changes nothing.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { FileEntry } from "../../build/manifest.ts";
import { type Result, success } from "../../diagnostics.ts";
import type { AbsPath, RelPath, UnitName } from "../../paths.ts";
import { callRemote } from "../session.ts";
import type { Transport } from "../transport.ts";
import type { FileChange } from "../tree-diff.ts";
import { fetchContents } from "./contents.ts";
import { type LiveService, readLiveAnswer } from "./live-answer.ts";

export interface Settled {
  /** When each was written, in seconds since 1970 by the machine's clock; 0 where only its attributes changed. */
  readonly changedAtS: ReadonlyMap<RelPath, number>;
  /** Those of them that have other attributes than wanted. */
  readonly attributes: ReadonlySet<RelPath>;
  readonly services: ReadonlyMap<UnitName, LiveService>;
}

const TIMEOUT_MS = 60_000;
export const NOTHING_SETTLED: Settled = { changedAtS: new Map(), attributes: new Set(), services: new Map() };

/** `folder` is the wanted tree here; `units` are those that the plan asks about. */
export async function readSettled(
  transport: Transport,
  machine: string,
  changes: readonly FileChange[],
  drifted: ReadonlySet<string>,
  folder: AbsPath | undefined,
  units: readonly string[],
): Promise<Result<Settled>> {
  const candidates = changes.flatMap(({ path, change, before, after }) =>
    change === "changed" && drifted.has(path) && before?.type === "file" && after?.type === "file"
      ? [after]
      : [],
  );
  if (folder === undefined || candidates.length === 0) return success(NOTHING_SETTLED);
  const called = await callRemote(transport, machine, "verify", ["--stdin"], {
    data: units.map((u) => `unit\t${u}\n`).join(""),
    timeoutMs: TIMEOUT_MS,
  });
  if (!called.ok) return called;
  const answer = readLiveAnswer(called.value.records);
  // Whatever can't be told is replaced, as drift always was.
  if (!answer || answer.busy) return success(NOTHING_SETTLED);
  const changedAtS = new Map<RelPath, number>();
  const attributes = new Set<RelPath>();
  const compared: FileEntry[] = candidates.filter((entry) => {
    const live = answer.differing.get(entry.path);
    return live?.type === "f" && live.sizeBytes === entry.sizeBytes;
  });
  const fetched = await fetchContents(transport, machine, compared, (entry, data) => {
    const live = answer.differing.get(entry.path);
    if (!live || !data?.equals(readFileSync(join(folder, entry.path)))) return;
    changedAtS.set(entry.path, live.written ? live.changedAtS : 0);
    if (live.mode !== entry.mode || live.owner !== entry.owner || live.group !== entry.group)
      attributes.add(entry.path);
  });
  return fetched.ok ? success({ changedAtS, attributes, services: answer.units }) : fetched;
}
