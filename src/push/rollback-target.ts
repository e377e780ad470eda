/**
 * Which generation to go back to, and where each of its files still lies: live, in what later generations replaced on
 * the machine, or in a tree that was built here. Must not know how a rollback is carried out.
 */
import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { type Manifest, type ManifestEntry, parseManifest } from "../build/manifest.ts";
import type { Result } from "../diagnostics.ts";
import { failure, success } from "../diagnostics.ts";
import type { Blake3 } from "../hash.ts";
import type { AbsPath, FileHash, GenerationId, RelPath } from "../paths.ts";
import { type Generation, listGenerations } from "./generations.ts";
import { describe } from "./problems.ts";
import { callRemote } from "./session.ts";
import type { Transport } from "./transport.ts";

/** A tree that was built here, perhaps of another commit: equal hashes are equal contents. */
export interface LocalTree {
  readonly folder: AbsPath;
  readonly manifestFile: AbsPath;
}

/** A generation to go back to, with all that lies between. */
export interface RollbackTarget {
  readonly number: number;
  readonly id: GenerationId;
  /** The repository whose tree it is; undefined: unknown. */
  readonly repository: string | undefined;
  readonly manifest: Manifest;
  readonly manifestText: string;
  /** For a path of the target: the later generation that holds its content; absent: it is live. */
  readonly keptIn: ReadonlyMap<string, number>;
  /** Paths that come back as someone had changed them on the machine, for want of anything better. */
  readonly doubtful: readonly string[];
  /** Folder here that has this path's content, checked against the hash; undefined: none. Reads the file. */
  readonly localFolder: (path: RelPath) => AbsPath | undefined;
  /** True if a text is what the target has at this path. Pure. */
  readonly isContent: (path: string, text: string) => boolean;
}

/** Finds the target and what it takes to get there; `wanted` undefined means the one before the current. Changes nothing. */
export async function findTarget(
  transport: Transport,
  machine: string,
  wanted: number | undefined,
  b3: Blake3,
  local?: LocalTree,
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
  const hashes = hashesOf(found.manifest);
  const localFolder = local ? localContents(found.manifest, local, b3) : () => undefined;
  const doubtful: string[] = [];
  for (const [path, n] of keptIn) {
    if (!listed.value.find((g) => g.number === n)?.drifted.has(path)) continue;
    // What was replaced then was not what the target has: someone had changed it on the machine.
    if (localFolder(path as RelPath) === undefined) doubtful.push(path);
    else keptIn.delete(path);
  }
  return success({
    number: target.number,
    id: target.id,
    repository: target.repository,
    manifest: found.manifest,
    manifestText: found.text,
    keptIn,
    localFolder,
    doubtful,
    isContent: (path, text) => hashes.get(path) === b3.hash(text),
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
  const wanted = entriesOf(manifest(target));
  let before = wanted;
  for (let n = target + 1; n <= current; n++) {
    const after = entriesOf(manifest(n));
    for (const [path, was] of before) {
      if (wanted.has(path) && !out.has(path) && was.type !== "dir" && !sameContent(was, after.get(path)))
        out.set(path, n);
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
  if (a.type === "secret" && b.type === "secret") return a.version === b.version;
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

function localContents(
  wanted: Manifest,
  local: LocalTree,
  b3: Blake3,
): (path: RelPath) => AbsPath | undefined {
  let built: Manifest | undefined;
  try {
    built = parseManifest(readFileSync(local.manifestFile, "utf8"));
  } catch {
    // Nothing was built here yet.
  }
  const hashes = hashesOf(wanted);
  const here = hashesOf(built);
  return (path) => {
    const hash = hashes.get(path);
    if (hash === undefined || here.get(path) !== hash) return undefined;
    try {
      return b3.hashFile(`${local.folder}/${path}`).hash === hash ? local.folder : undefined;
    } catch {
      return undefined;
    }
  };
}

function hashesOf(manifest: Manifest | undefined): Map<string, FileHash> {
  return new Map(
    (manifest?.entries ?? []).flatMap((e) => (e.type === "file" ? [[e.path, e.hash] as const] : [])),
  );
}
