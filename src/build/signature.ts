/**
 * A file's signature: what `lstat` says of it, as text. An equal signature means "not touched since", so its hash
 * need not be computed again. Owns the rule for when a signature can't be trusted.
 */
import { lstatSync, type Stats } from "node:fs";
import type { AbsPath } from "../paths.ts";

/** Size, mtime and ctime with sub-microsecond fraction, inode and mode; empty text: the path does not exist. */
export type Signature = string;

/** What was seen of a path. */
export interface WatchedPath {
  readonly signature: Signature;
  /** Too young to be trusted. */
  readonly racy: boolean;
  /** Read under another name, that of a link which leads here: who uses it does not show from its own name. */
  readonly byLink?: boolean;
}

/** Paths that an answer depended on. */
export type Watched = ReadonlyMap<AbsPath, WatchedPath>;

export const ABSENT: Signature = "";
/** Kept instead of a signature that can't be trusted; equals no signature that a path can have. */
export const UNTRUSTED: Signature = "?";

/** Signature of a stat result. Pure. */
export function signatureOf(stats: Stats): Signature {
  return `${stats.size},${stats.mtimeMs},${stats.ctimeMs},${stats.ino},${stats.mode}`;
}

const QUIET = { throwIfNoEntry: false } as const;
const NOT_THERE = new Set(["ENOENT", "ENOTDIR", "ELOOP", "ENAMETOOLONG"]);

/** `lstat`; undefined if the path is not there, also because a folder above it is no folder. Throws what else `fs` throws. */
export function lookAt(path: string): Stats | undefined {
  try {
    return lstatSync(path, QUIET);
  } catch (error) {
    if (NOT_THERE.has((error as NodeJS.ErrnoException).code ?? "")) return undefined;
    throw error;
  }
}

/** Signature of a path, not following a link; ABSENT if it is not there. */
export function readSignature(path: string): Signature {
  const stats = lookAt(path);
  return stats ? signatureOf(stats) : ABSENT;
}

/** Kernels before 6.13 stamp files with the clock tick (up to 10 ms); the margin is generous. */
const RACY_MARGIN_MS = 50;

/**
 * True if the file changed so shortly before `readAtMs` that a second change could bear the same time stamps.
 * Such a signature must not be stored (Git calls such entries racy). Pure.
 */
export function isRacy(stats: Stats, readAtMs: number): boolean {
  return stats.mtimeMs > readAtMs - RACY_MARGIN_MS || stats.ctimeMs > readAtMs - RACY_MARGIN_MS;
}

/** Clock ticks are at most 10 ms (HZ=100). */
const TICK_MARGIN_MS = 20;

/**
 * The signature to keep for an output that was `expected` to look so when it was last examined or written. UNTRUSTED, which
 * makes the next run look at the bytes, where it looks otherwise, or changed within the clock tick. A hard link's ctime
 * moves when a sibling comes or goes, a folder's time stamps with every name in it: that is no difference. Pure.
 */
export function lastingSignature(stats: Stats | undefined, expected: Signature, nowMs: number): Signature {
  if (!stats || Math.max(stats.ctimeMs, stats.mtimeMs) > nowMs - TICK_MARGIN_MS) return UNTRUSTED;
  const now = signatureOf(stats);
  return stats.isDirectory() || now === expected || differsInCtimeOnly(now, expected) ? now : UNTRUSTED;
}

function differsInCtimeOnly(a: Signature, b: Signature): boolean {
  const x = a.split(",");
  const y = b.split(",");
  return x.length === 5 && y.length === 5 && x.every((part, i) => i === 2 || part === y[i]);
}
