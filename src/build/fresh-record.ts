/**
 * The record that lets a build with nothing to do know it at once: every path that the last answer depended on, with
 * what `lstat` said of it, as numbers, because reading them back must cost next to nothing. A cache: absent, damaged or
 * of another version it means "look properly". Owns the file's format; must not decide anything.
 *
 *     u32 version | u32 count | u32 checksum of the rest | u32 0 | count × 5 f64 | JSON head, then paths, NUL-separated
 */
import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import type { GenerationId } from "../paths.ts";
import { ABSENT, type Signature, UNTRUSTED } from "./signature.ts";

const RECORD_VERSION = 1;
const HEAD_BYTES = 16;
/** Size, mtime, ctime, inode, mode; the size of an absent path is -1. */
export const NUMBERS_PER_PATH = 5;

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
  readonly machines: readonly FreshMachine[];
}

export interface FreshRecord {
  readonly head: FreshHead;
  readonly paths: readonly string[];
  readonly numbers: Float64Array;
}

/** Replaces the record by rename; an untrusted signature among them means that there is no use for one, and removes it. */
export function writeFreshRecord(
  file: string,
  head: FreshHead,
  looked: readonly (readonly [path: string, signature: Signature])[],
): void {
  if (looked.some(([, signature]) => signature === UNTRUSTED)) {
    rmSync(file, { force: true });
    return;
  }
  const numbers = new Float64Array(looked.length * NUMBERS_PER_PATH);
  for (const [i, [, signature]] of looked.entries()) {
    if (signature === ABSENT) numbers[i * NUMBERS_PER_PATH] = -1;
    else numbers.set(signature.split(",").map(Number), i * NUMBERS_PER_PATH);
  }
  const text = Buffer.from([JSON.stringify(head), ...looked.map(([path]) => path)].join("\0"));
  // Padded, so that the checksum can go by words.
  const padding = Buffer.alloc((4 - (text.length % 4)) % 4);
  const body = Buffer.concat([Buffer.from(numbers.buffer), text, padding]);
  const start = new Uint32Array([RECORD_VERSION, looked.length, checksum(body), padding.length]);
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
