/**
 * A file's signature: what `lstat` says of it, as text. An equal signature means "not touched since", so its hash
 * need not be computed again. Owns the rule for when a signature can't be trusted.
 */
import { lstatSync, type Stats } from "node:fs";

/** Size, mtime and ctime with sub-microsecond fraction, inode and mode; empty text: the path does not exist. */
export type Signature = string;

export const ABSENT: Signature = "";

/** Signature of a stat result. Pure. */
export function signatureOf(stats: Stats): Signature {
  return `${stats.size},${stats.mtimeMs},${stats.ctimeMs},${stats.ino},${stats.mode}`;
}

/** Signature of a path, not following a link; ABSENT if it is not there (or a folder above it is no folder). */
export function readSignature(path: string): Signature {
  const stats = lstatSync(path, { throwIfNoEntry: false });
  return stats ? signatureOf(stats) : ABSENT;
}

/** True if two signatures differ in ctime only, as happens to a hard link when a sibling link comes or goes. Pure. */
export function differsInCtimeOnly(a: Signature, b: Signature): boolean {
  const x = a.split(",");
  const y = b.split(",");
  return x.length === 5 && y.length === 5 && x[2] !== y[2] && x.every((part, i) => i === 2 || part === y[i]);
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
