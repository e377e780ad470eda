/**
 * Asks the machine what really stands at the paths that a plan changes, so that a diff shows an edit by hand, too; and
 * reads the new side from the tree that was built here, or from the machine's older generations. Changes nothing.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Manifest, ManifestEntry } from "../../build/manifest.ts";
import { type Result, success } from "../../diagnostics.ts";
import type { AbsPath, RelPath } from "../../paths.ts";
import { callRemote } from "../session.ts";
import type { Survey } from "../survey.ts";
import type { Transport } from "../transport.ts";
import type { FileChange } from "../tree-diff.ts";
import {
  type Attributes,
  compareSides,
  type FileDiff,
  MOST_TEXT_BYTES,
  type Opaque,
  type Side,
  type Standing,
  secretPaths,
  sideOf,
} from "./file-diff.ts";

/** All texts of one answer together; what comes after is hashed instead. */
const MOST_ANSWER_BYTES = 64 << 20;

export interface DiffSources {
  /** The tree that was planned from, where this host knows it, and the one that is wanted. */
  readonly manifests: readonly (Manifest | undefined)[];
  /** Where the new content of a path lies here; undefined: not here. */
  readonly folder: (path: RelPath) => AbsPath | undefined;
  /** The machine's generation whose replaced files have it, where it is not here. */
  readonly keptIn?: ReadonlyMap<string, number>;
}

const ABSENT: Standing = { side: { kind: "absent" } };

/** Every change but new and removed folders, in the plan's order; what the machine has already is left out. */
export async function diffContents(
  transport: Transport,
  machine: string,
  changes: readonly FileChange[],
  sources: DiffSources,
): Promise<Result<readonly FileDiff[]>> {
  const isSecret = secretPaths(...sources.manifests);
  const isDir = (e: ManifestEntry | undefined): boolean => e === undefined || e.type === "dir";
  const files = changes.filter((c) => c.change === "attributes" || !isDir(c.before) || !isDir(c.after));
  if (files.length === 0) return success([]);
  const lines: string[] = [];
  const keptOf = (c: FileChange): number | undefined =>
    c.after?.type === "file" && sources.folder(c.path) === undefined
      ? sources.keptIn?.get(c.path)
      : undefined;
  for (const c of files) {
    const how = isSecret(c.path) || sizeOf(c.after) > MOST_TEXT_BYTES ? "sum" : "show";
    lines.push(`${how}\t0\t${c.path}\n`);
    const kept = keptOf(c);
    if (kept !== undefined) lines.push(`${how}\t${kept}\t${c.path}\n`);
  }
  const args = [String(MOST_TEXT_BYTES), String(MOST_ANSWER_BYTES)];
  const answer = await callRemote(transport, machine, "contents", args, {
    data: lines.join(""),
    timeoutMs: 120_000,
  });
  if (!answer.ok) return answer;
  const found = readContents(answer.value.records, isSecret);
  return success(
    files.flatMap((c) => {
      const side = newSide(c, keptOf(c), found, sources, isSecret);
      const diff = compareSides(c.path, oldStanding(c, found(0, c.path)), {
        side,
        ...(c.after ? { attributes: c.after } : {}),
      });
      return diff ? [diff] : [];
    }),
  );
}

/** The same for a tree that was built here. */
export function diffBuilt(
  transport: Transport,
  machine: string,
  { plan, before }: Survey,
  wanted: { readonly manifest: Manifest; readonly folder: AbsPath },
): Promise<Result<readonly FileDiff[]>> {
  const manifests = [before, wanted.manifest];
  return diffContents(transport, machine, plan.files, { manifests, folder: () => wanted.folder });
}

function sizeOf(entry: ManifestEntry | undefined): number {
  return entry?.type === "file" ? entry.sizeBytes : 0;
}

function newSide(
  change: FileChange,
  kept: number | undefined,
  found: (n: number, path: string) => Standing,
  sources: DiffSources,
  isSecret: (path: string) => boolean,
): Side {
  const { after, path } = change;
  if (!after) return ABSENT.side;
  if (after.type === "dir") return { kind: "dir" };
  if (after.type === "link") return { kind: "link", target: after.target };
  if (after.type === "secret") return versionSide(after.version);
  if (kept !== undefined) return found(kept, path).side;
  const folder = sources.folder(path);
  // Its content is live already: only attributes change, or it lies nowhere.
  if (folder === undefined) return found(0, path).side;
  return sideOf(readFileSync(join(folder, path)), isSecret(path));
}

/** What the machine encrypted differs each time; of a secret that was rotated, its versions are what can be compared. */
function oldStanding({ before, after }: FileChange, found: Standing): Standing {
  return before?.type === "secret" && after?.type === "secret" && before.version !== after.version
    ? { ...found, side: versionSide(before.version) }
    : found;
}

function versionSide(version: string): Side {
  return { kind: "opaque", why: "secret", sizeBytes: 0, hash: `version:${version}` };
}

/** The machine's answer, which is untrusted: what makes no sense counts as absent. */
function readContents(
  records: Iterable<{ readonly name: string; readonly fields: readonly string[]; readonly data?: Buffer }>,
  isSecret: (path: string) => boolean,
): (n: number, path: string) => Standing {
  const stats = new Map<string, { kind: string; sizeBytes: number; attributes: Attributes }>();
  const sides = new Map<string, Side>();
  for (const { name, fields, data } of records) {
    const [n = "", path = "", a = "", b = "", c = "", d = "", e = ""] = fields;
    const key = `${n}\t${path}`;
    if (name === "stat") {
      const attributes = { mode: Number.parseInt(b, 8) || 0, owner: c, group: d };
      stats.set(key, { kind: a, sizeBytes: Number(e) || 0, attributes });
    } else if (name === "link") sides.set(key, { kind: "link", target: a });
    else if (name === "file" && data) sides.set(key, sideOf(data, isSecret(path)));
    else if (name === "sum" && /^[0-9a-f]{64}$/.test(a)) {
      const sizeBytes = stats.get(key)?.sizeBytes ?? 0;
      const closed = ((stats.get(key)?.attributes.mode ?? 0) & 0o004) === 0;
      const why: Opaque =
        isSecret(path) || closed ? "secret" : sizeBytes > MOST_TEXT_BYTES ? "big" : "binary";
      sides.set(key, { kind: "opaque", why, sizeBytes, hash: `sha256:${a}` });
    }
  }
  return (n, path) => {
    const stat = stats.get(`${n}\t${path}`);
    if (!stat) return ABSENT;
    const side: Side | undefined = stat.kind === "dir" ? { kind: "dir" } : sides.get(`${n}\t${path}`);
    return side ? { side, attributes: stat.attributes } : ABSENT;
  };
}
