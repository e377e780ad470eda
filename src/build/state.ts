/**
 * What the last build knew: signatures, hashes, and what each output was made from. A cache and nothing more: absent,
 * of another version or damaged it means "build from nothing", never a wrong tree. Owns the file's format.
 */
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import type { FileHash, GenerationId } from "../paths.ts";
import type { Signature } from "./signature.ts";
import type { ReadToken } from "./template-scope.ts";

/** Raise it whenever the meaning of a field, the overlay or the renderer changes: older states are then ignored. */
export const STATE_VERSION = 2;

/** What an output was made from, and what it became. */
export interface OutputRecord {
  /** Signature of the output when it was last known to be right; UNTRUSTED: look at its bytes. */
  readonly signature: Signature;
  readonly type: "file" | "link" | "dir";
  readonly mode: number;
  /** Hash of a file's content, the target of a link, empty for a folder. */
  readonly content: string;
  readonly sizeBytes: number;
  /** Repository-relative. */
  readonly source: string;
  /** Hash of the source's bytes; for a rendered or bundled output only. */
  readonly sourceHash?: FileHash;
  /** For rendered outputs: each fact path read, and what the read depended on. */
  readonly reads?: Readonly<Record<string, ReadToken>>;
  /** For rendered outputs: partials by name; for bundled ones: imported files. Each with its hash. */
  readonly parts?: Readonly<Record<string, FileHash>>;
}

export interface MachineState {
  readonly generation: GenerationId;
  readonly manifestSignature: Signature;
  /** Of the tree's root, which is no output: it shows names that came or went there. */
  readonly rootSignature: Signature;
  readonly outputs: Readonly<Record<string, OutputRecord>>;
}

export interface BuildState {
  readonly version: number;
  /** Which labctl wrote it: another version may build differently. */
  readonly tool: string;
  /** Content hashes by path with the signature they hold for. */
  readonly hashes: Readonly<Record<string, readonly [Signature, FileHash]>>;
  readonly machines: Readonly<Record<string, MachineState>>;
}

/** The record of a path; a file may well be called `constructor`. Pure. */
export function recordOf(
  records: Readonly<Record<string, OutputRecord>> | undefined,
  path: string,
): OutputRecord | undefined {
  return records && Object.hasOwn(records, path) ? records[path] : undefined;
}

/** Undefined if there is no state that this version can trust. */
export function readState(file: string, tool: string): BuildState | undefined {
  let data: Buffer;
  try {
    data = readFileSync(file);
  } catch {
    return undefined;
  }
  try {
    // The last line holds a checksum: a state that a full disk cut short, or that lost a bit, is no state.
    const end = data.lastIndexOf("\n#");
    if (end < 0 || data.toString("latin1", end + 2) !== checksum(data.subarray(0, end))) return undefined;
    const state = JSON.parse(data.toString("utf8", 0, end)) as BuildState;
    return state.version === STATE_VERSION && state.tool === tool ? state : undefined;
  } catch {
    return undefined;
  }
}

/** Replaces the state by rename. Throws what `fs` throws. */
export function writeState(file: string, state: BuildState): void {
  const body = Buffer.from(JSON.stringify(state));
  const temporary = `${file}.${process.pid}`;
  writeFileSync(temporary, Buffer.concat([body, Buffer.from(`\n#${checksum(body)}`)]));
  renameSync(temporary, file);
}

/** Length and 32-bit FNV-1a: against accidents, not against enemies, and quick enough for every start. Pure. */
function checksum(data: Buffer): string {
  let hash = 0x811c9dc5;
  for (let i = 0; i < data.length; i++) hash = Math.imul(hash ^ (data[i] as number), 0x01000193);
  return `${data.length}-${(hash >>> 0).toString(16)}`;
}
