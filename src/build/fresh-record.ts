/**
 * The record that lets a build with nothing to do know it at once: every path that the last answer depended on, with
 * what `lstat` said of it, as numbers, because reading them back must cost next to nothing. A cache: absent, damaged or
 * of another version it means "look properly". Owns the file's format; must not decide anything.
 *
 *     u32 version | u32 count | u32 checksum of the rest | u32 0 | count × 6 f64 | JSON head, then paths, NUL-separated
 */
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import type { GenerationId } from "../paths.ts";
import { ABSENT, type Signature, UNTRUSTED } from "./signature.ts";

const RECORD_VERSION = 3;
const HEAD_BYTES = 16;
/**
 * Size, mtime, ctime, inode, mode, users. The size of an absent path is -1; NaN, which equals nothing, stands where the
 * path can't be trusted and has to be looked at. `users` is a bit for each machine that makes something of the input.
 */
export const NUMBERS_PER_PATH = 6;
/** Index of `users`. */
export const USERS = 5;
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

/** Replaces the record by rename. Throws what `fs` throws. */
export function writeFreshRecord(file: string, { head, paths, numbers }: FreshRecord): void {
  const text = Buffer.from([JSON.stringify(head), ...paths].join("\0"));
  // Padded, so that the checksum can go by words.
  const padding = Buffer.alloc((4 - (text.length % 4)) % 4);
  const body = Buffer.concat([
    Buffer.from(numbers.buffer, numbers.byteOffset, numbers.byteLength),
    text,
    padding,
  ]);
  const start = new Uint32Array([RECORD_VERSION, paths.length, checksum(body), padding.length]);
  const temporary = `${file}.${process.pid}`;
  writeFileSync(temporary, Buffer.concat([Buffer.from(start.buffer), body]));
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
    if (version !== RECORD_VERSION || textAt > data.length || sum !== checksum(data.subarray(HEAD_BYTES)))
      return undefined;
    const numbers = new Float64Array(data.buffer, data.byteOffset + HEAD_BYTES, count * NUMBERS_PER_PATH);
    const [first = "", ...paths] = data.toString("utf8", textAt, data.length - padding).split("\0");
    const head = JSON.parse(first) as FreshHead;
    return head.tool === tool && paths.length === count ? { head, paths, numbers } : undefined;
  } catch {
    return undefined;
  }
}

/** 32-bit FNV-1a by words: against accidents, not against enemies. Length is a multiple of 4. Pure. */
function checksum(data: Buffer): number {
  let hash = 0x811c9dc5;
  const words = new Uint32Array(data.buffer, data.byteOffset, data.length / 4);
  for (let i = 0; i < words.length; i++) hash = Math.imul(hash ^ (words[i] as number), 0x01000193);
  return hash >>> 0;
}
