/**
 * Which paths of a tree are not as they were pushed, from the manifest and what the machine says of the paths whose
 * fingerprint differs. Pure; must not know units, nor how contents were compared.
 */
import type { FileEntry, Manifest, ManifestEntry } from "../../build/manifest.ts";
import { foldersAbove } from "../../paths.ts";
import { shortVersion } from "../../secrets/age-file.ts";
import type { ExtraDrift, FileDrift, Rewritten } from "./drift.ts";
import type { LiveAnswer, LivePath } from "./live-answer.ts";

/** Whether a file that may have been written has the content that was pushed. `unknown`: it was not compared, with why. */
export type ContentVerdict = "same" | "other" | { readonly unknown: string };

export interface FileFindings {
  /** Sorted by path. */
  readonly drifts: readonly FileDrift[];
  readonly extras: readonly ExtraDrift[];
  readonly rewritten: readonly Rewritten[];
  /** Paths that were written or had attributes set, and are as pushed again. */
  readonly touched: readonly string[];
}

const TYPE: Readonly<Record<ManifestEntry["type"], string>> = {
  file: "f",
  dir: "d",
  link: "l",
  secret: "f",
};

const TYPE_WORDS: Readonly<Record<string, string>> = {
  f: "a file",
  d: "a folder",
  l: "a link",
  s: "a socket",
  p: "a pipe",
  c: "a character device",
  b: "a block device",
};

/** `a file`, `a folder` … for find's letter. Pure. */
export function typeWord(letter: string): string {
  return TYPE_WORDS[letter] ?? "something else";
}

/** Files whose content must be read to be judged: touched since, and of the pushed size. Pure. */
export function pathsToCompare(manifest: Manifest, answer: LiveAnswer): FileEntry[] {
  return manifest.entries.flatMap((entry) => {
    const live = answer.differing.get(entry.path);
    return entry.type === "file" && live?.type === "f" && live.sizeBytes === entry.sizeBytes ? [entry] : [];
  });
}

/** `verdicts` has every path of `pathsToCompare`. Pure. */
export function findFileDrift(
  manifest: Manifest,
  answer: LiveAnswer,
  verdicts: ReadonlyMap<string, ContentVerdict>,
): FileFindings {
  const drifts = new Map<string, FileDrift>();
  const more: FileDrift[] = [];
  const rewritten: Rewritten[] = [];
  const touched: string[] = [];
  /** Folders that are gone or no folders any more: what lay below is not worth a finding each. */
  const lost = new Map<string, { below: number }>();
  const folders = new Map<string, ManifestEntry>();

  for (const entry of manifest.entries) {
    if (entry.type === "dir") folders.set(entry.path, entry);
    if (!answer.differing.has(entry.path)) continue;
    const live = answer.differing.get(entry.path);
    const above = foldersAbove(entry.path).find((folder) => lost.has(folder));
    const counted = above === undefined ? undefined : lost.get(above);
    if (counted) {
      counted.below++;
      continue;
    }
    const found = judge(entry, live, verdicts.get(entry.path));
    const [first, ...others] = found;
    if (first) drifts.set(entry.path, first);
    more.push(...others);
    if (entry.type === "dir" && (first?.kind === "missing" || first?.kind === "type"))
      lost.set(entry.path, { below: 0 });
    if (live && !found.some((d) => d.kind === "content" || d.kind === "type" || d.kind === "target")) {
      if (live.written && entry.type !== "dir") rewritten.push({ entry, changedAtS: live.changedAtS });
      if (found.length === 0) touched.push(entry.path);
    }
  }
  const counted = [...drifts.values(), ...more].map((d) => {
    const below = lost.get(d.entry.path)?.below ?? 0;
    return below > 0 ? { ...d, below } : d;
  });
  return {
    drifts: counted.sort((a, b) => order(a) - order(b)),
    extras: extrasOf(answer, folders, lost),
    rewritten,
    touched,
  };

  function order(d: FileDrift): number {
    return manifest.entries.indexOf(d.entry);
  }
}

function judge(
  entry: ManifestEntry,
  live: LivePath | undefined,
  verdict: ContentVerdict | undefined,
): FileDrift[] {
  const say = (kind: FileDrift["kind"], expected: string, found: string): FileDrift => ({
    kind,
    entry,
    expected,
    found,
    below: 0,
  });
  if (!live) return [say("missing", typeWord(TYPE[entry.type]), "nothing")];
  if (live.type !== TYPE[entry.type]) return [say("type", typeWord(TYPE[entry.type]), typeWord(live.type))];
  const out: FileDrift[] = [];
  if (entry.type === "file") {
    const expected = `${entry.sizeBytes} bytes, BLAKE3 ${entry.hash.slice(0, 16)}…`;
    if (live.sizeBytes !== entry.sizeBytes) out.push(say("content", expected, `${live.sizeBytes} bytes`));
    else if (verdict === "other") out.push(say("content", expected, "other bytes, as many"));
    else if (verdict !== undefined && verdict !== "same")
      out.push(say("content", expected, `as many bytes, written by someone else; ${verdict.unknown}`));
  }
  // What the machine encrypted is its own: that someone wrote the file is all that can be told.
  if (entry.type === "secret" && live.written)
    out.push(
      say(
        "content",
        `secret ${entry.secret}, version ${shortVersion(entry.version)}`,
        "written by someone else",
      ),
    );
  // The machine sends blanks for tabs and newlines.
  if (entry.type === "link" && live.target !== entry.target.replace(/[\t\n\r]/g, " "))
    out.push(say("target", entry.target, live.target));
  if (entry.type !== "link" && live.mode !== entry.mode)
    out.push(say("mode", modeText(entry.mode), modeText(live.mode)));
  if (live.owner !== entry.owner || live.group !== entry.group)
    out.push(say("owner", `${entry.owner}:${entry.group}`, `${live.owner}:${live.group}`));
  return out;
}

function modeText(mode: number): string {
  return mode.toString(8).padStart(4, "0");
}

/** Only in folders of the tree: an administrator may keep what he likes in all others. */
function extrasOf(
  answer: LiveAnswer,
  folders: ReadonlyMap<string, ManifestEntry>,
  lost: ReadonlyMap<string, unknown>,
): ExtraDrift[] {
  return answer.extras.flatMap(({ path, type }) => {
    const folder = folders.get(path.slice(0, Math.max(0, path.lastIndexOf("/"))));
    const gone = foldersAbove(path).some((above) => lost.has(above));
    return folder && !gone ? [{ kind: "extra" as const, path, type, folder }] : [];
  });
}
