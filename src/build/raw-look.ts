/**
 * Compares paths with what `lstat` once said of them, thousands at a time. `fs.lstatSync` makes two objects and four dates a
 * call, three quarters of what a build with nothing to do costs above Node.js's start; what is below it gives bare numbers.
 * Owns the use of that undocumented function; must not know what the paths are.
 */
import { lookAt } from "./signature.ts";

/** True if `path` looks as the five numbers from `at` say: size (-1: not there), mtime, ctime, inode, mode. Throws what `fs` throws. */
export type LooksAs = (path: string, numbers: Float64Array, at: number) => boolean;

/** `lstat` of Node.js's own binding; undefined if the path is not there. The array is used again by the next call. */
type RawLstat = (path: string, bigint: false, request: undefined, throwIfNoEntry: false) => unknown;

/** Places in the array: `node::fs::FsStatsOffset` in Node.js's src/node_file.h, the same since Node.js 12. */
const MODE = 1;
const INODE = 7;
const SIZE = 8;
const MTIME = 12;
const CTIME = 14;
const FIELDS = 18;

/** By documented means, slowly. */
export const looksAs: LooksAs = (path, numbers, at) => {
  const stats = lookAt(path);
  if (!stats) return numbers[at] === -1;
  return (
    stats.mtimeMs === numbers[at + 1] &&
    stats.ctimeMs === numbers[at + 2] &&
    stats.size === numbers[at] &&
    stats.ino === numbers[at + 3] &&
    stats.mode === numbers[at + 4]
  );
};

/**
 * The quick comparer where this Node.js has one that says the same as `fs.lstatSync` of `probe`, a file that is there, and
 * of a path that is not; else the slow one.
 */
export function quickLooksAs(probe: string): LooksAs {
  const lstat = rawLstat();
  if (!lstat) return looksAs;
  const quick: LooksAs = (path, numbers, at) => {
    let raw: unknown;
    try {
      raw = lstat(path, false, undefined, false);
    } catch {
      // A folder above it that is a file, a name too long, a circle of links, or a real failure.
      return looksAs(path, numbers, at);
    }
    if (raw === undefined) return numbers[at] === -1;
    const now = raw as Float64Array;
    return (
      milliseconds(now, MTIME) === numbers[at + 1] &&
      milliseconds(now, CTIME) === numbers[at + 2] &&
      now[SIZE] === numbers[at] &&
      now[INODE] === numbers[at + 3] &&
      now[MODE] === numbers[at + 4]
    );
  };
  return agrees(lstat, quick, probe) ? quick : looksAs;
}

function agrees(lstat: RawLstat, quick: LooksAs, probe: string): boolean {
  const stats = lookAt(probe);
  if (!stats) return false;
  try {
    const raw = lstat(probe, false, undefined, false);
    if (!(raw instanceof Float64Array) || raw.length < FIELDS) return false;
    const numbers = Float64Array.of(stats.size, stats.mtimeMs, stats.ctimeMs, stats.ino, stats.mode);
    if (!quick(probe, numbers, 0)) return false;
    // Each number must count: a comparer that always says yes would agree, too.
    for (let i = 0; i < numbers.length; i++) {
      const other = numbers.slice();
      (other[i] as number) += 1;
      if (quick(probe, other, 0)) return false;
    }
    return lstat(`${probe}.none`, false, undefined, false) === undefined;
  } catch {
    return false;
  }
}

/** The same sum as in Node.js's lib/internal/fs/utils.js, since doubles are compared. Pure. */
function milliseconds(raw: Float64Array, at: number): number {
  return (raw[at] as number) * 1000 + (raw[at + 1] as number) / 1_000_000;
}

/** Node.js's option; its process.binding() is DEP0111. */
const WARNS = "--pending-deprecation";

/** Undefined where there is none, or where asking for it prints a warning. */
function rawLstat(): RawLstat | undefined {
  const { NODE_PENDING_DEPRECATION, NODE_OPTIONS = "" } = process.env;
  if (NODE_PENDING_DEPRECATION === "1" || [NODE_OPTIONS, ...process.execArgv].some((o) => o.includes(WARNS)))
    return undefined;
  const { binding } = process as unknown as { binding?: (name: string) => { lstat?: unknown } };
  try {
    const lstat = binding?.("fs").lstat;
    return typeof lstat === "function" ? (lstat as RawLstat) : undefined;
  } catch {
    return undefined;
  }
}
