/**
 * The record that lets a build with nothing to do know it at once: every path that the last answer depended on, with
 * what `lstat` said of it, as numbers, because reading them back must cost next to nothing. A cache: absent, damaged or
 * of another version it means "look properly". Owns the file's format; must not decide anything.
 *
 *     u32 version | u32 count | u32 checksum | u32 padding | count × 6 f64 | JSON head, then paths, NUL-separated
 *
 * The checksum covers what a comparison with the disk would not find damaged: the head and each path's last number.
 */
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import type { GenerationId } from "../paths.ts";
import { ABSENT, type Signature, UNTRUSTED } from "./signature.ts";

const RECORD_VERSION = 4;
const HEAD_BYTES = 16;
/**
 * Size, mtime, ctime, inode, mode, and `users` or `twin`. The size of an absent path is -1; NaN, which equals nothing, stands
 * where the path can't be trusted and has to be looked at.
 */
export const NUMBERS_PER_PATH = 6;
/** Index of `users`, of an input: a bit for each machine that makes something of it. */
export const USERS = 5;
/** Index of `twin`, of an output: one more than the index of the first output that is a hard link to the same file; or 0. */
export const TWIN = 5;
/** Value of `users` where it can't be told who makes something of the input. */
export const USERS_UNKNOWN = -1;
/** A double holds so many bits exactly. */
export const MAX_USERS = 52;

/** `from` and `to` count paths. */
export interface FreshMachine {
  readonly name: string;
  readonly generation: GenerationId;
  /** Files and links in the tree. */
  readonly files: number;
  readonly from: number;
  /** Before it: paths relative to the repository; from here: relative to the machine's tree. */
  readonly tree: number;
  readonly to: number;
}

export interface FreshHead {
  /** Which labctl wrote it. */
  readonly tool: string;
  readonly scope: { readonly all: boolean; readonly args: string };
  /** The first so many paths are inputs, which hold for all machines; relative to the repository where inside it. */
  readonly inputs: number;
  /** In the order of the bits of `users`. */
  readonly machines: readonly FreshMachine[];
  /** False: there are too many machines for `users`, which is then 0 everywhere. */
  readonly hasUsers: boolean;
}

export interface FreshRecord {
  readonly head: FreshHead;
  readonly paths: readonly string[];
  readonly numbers: Float64Array;
  /** Of a record that was read: the paths as they stand in it. */
  readonly pathBytes?: Uint8Array;
}

/**
 * What `lstat` said, in the record's numbers; `users` stays. A path that is too young to be trusted keeps what is known of it
 * but its time. Pure but for the array it fills.
 */
export function setNumbers(
  numbers: Float64Array,
  index: number,
  signature: Signature,
  tooYoung = false,
): void {
  const at = index * NUMBERS_PER_PATH;
  if (signature === ABSENT) numbers.fill(0, at, at + USERS)[at] = -1;
  else if (signature === UNTRUSTED) numbers.fill(Number.NaN, at, at + USERS);
  else numbers.set(signature.split(",").map(Number), at);
  if (tooYoung) numbers[at + 1] = Number.NaN;
}

/** Marks twins anew in the numbers it is given, and replaces the record by rename. Throws what `fs` throws. */
export function writeFreshRecord(file: string, { head, paths, numbers, pathBytes }: FreshRecord): void {
  markTwins(head, numbers);
  const first = JSON.stringify(head);
  const text = pathBytes ?? Buffer.from(paths.join("\0"));
  const headBytes = Buffer.from(`${first}\0`);
  // Padded, so that a reader can take the whole by words.
  const padding = Buffer.alloc((4 - ((headBytes.length + text.length) % 4)) % 4);
  const start = new Uint32Array([RECORD_VERSION, paths.length, checksum(first, numbers), padding.length]);
  const table = Buffer.from(numbers.buffer, numbers.byteOffset, numbers.byteLength);
  const temporary = `${file}.${process.pid}`;
  writeFileSync(temporary, Buffer.concat([Buffer.from(start.buffer), table, headBytes, text, padding]));
  renameSync(temporary, file);
}

/** Undefined if there is no record that can be trusted. */
export function readFreshRecord(file: string, tool: string): FreshRecord | undefined {
  try {
    const read = readFileSync(file);
    // A copy of its own is aligned as the arrays need it.
    const data = read.byteOffset % 8 === 0 ? read : Buffer.from(new Uint8Array(read));
    if (data.length < HEAD_BYTES || data.length % 4 !== 0) return undefined;
    const [version, count = 0, sum, padding = 0] = new Uint32Array(data.buffer, data.byteOffset, 4);
    const textAt = HEAD_BYTES + count * NUMBERS_PER_PATH * 8;
    if (version !== RECORD_VERSION || textAt > data.length) return undefined;
    const numbers = new Float64Array(data.buffer, data.byteOffset + HEAD_BYTES, count * NUMBERS_PER_PATH);
    const [first = "", ...paths] = data.toString("utf8", textAt, data.length - padding).split("\0");
    if (paths.length !== count || sum !== checksum(first, numbers)) return undefined;
    const head = JSON.parse(first) as FreshHead;
    if (head.tool !== tool) return undefined;
    const pathBytes = data.subarray(textAt + Buffer.byteLength(first) + 1, data.length - padding);
    return { head, paths, numbers, pathBytes };
  } catch {
    return undefined;
  }
}

/** 32-bit FNV-1a: against accidents, not against enemies. Pure. */
function checksum(head: string, numbers: Float64Array): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < head.length; i++) hash = Math.imul(hash ^ head.charCodeAt(i), 0x01000193);
  for (let i = USERS; i < numbers.length; i += NUMBERS_PER_PATH) {
    const n = numbers[i] as number;
    hash = Math.imul(hash ^ n, 0x01000193);
    hash = Math.imul(hash ^ (n / 2 ** 32), 0x01000193);
  }
  return hash >>> 0;
}

/** Outputs that are one file under several names look all the same or all different, as long as the folders do. */
function markTwins({ machines }: FreshHead, numbers: Float64Array): void {
  const firsts = new Map<number, number>();
  for (const { tree, to } of machines) {
    for (let i = tree; i < to; i++) {
      const at = i * NUMBERS_PER_PATH;
      const first = firsts.get(numbers[at + 3] as number);
      if (first === undefined) firsts.set(numbers[at + 3] as number, i);
      numbers[at + TWIN] =
        first !== undefined && sameLook(numbers, at, first * NUMBERS_PER_PATH) ? first + 1 : 0;
    }
  }
}

function sameLook(numbers: Float64Array, a: number, b: number): boolean {
  for (let k = 0; k < TWIN; k++) if (numbers[a + k] !== numbers[b + k]) return false;
  return true;
}
