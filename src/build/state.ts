/**
 * What the last build knew: signatures, hashes, and what each output was made from. A cache and nothing more: absent,
 * of another version or written by another labctl it means "build from nothing", never a wrong tree. Owns the format: one
 * file a machine, so that an edit need not read or write what concerns the others, and one for all.
 */
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import type { FileHash, GenerationId } from "../paths.ts";
import type { BuildLayout } from "./layout.ts";
import type { Signature } from "./signature.ts";
import type { ReadToken } from "./template/scope.ts";

/** Raise it whenever the meaning of a field, the overlay or the renderer changes: older states are then ignored. */
export const STATE_VERSION = 5;

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
  /** For rendered outputs: whose partials a bare name meant. */
  readonly layer?: string;
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

/** Undefined if there is no state that this version can trust. A machine whose own file is damaged counts as never built. */
export function readState(layout: BuildLayout, tool: string): BuildState | undefined {
  const shared = readChecked<{ hashes: BuildState["hashes"]; machines: readonly string[] }>(
    layout.stateFile,
    tool,
  );
  if (!shared) return undefined;
  const machines: [string, MachineState][] = [];
  for (const name of shared.machines) {
    const state = readMachineState(layout, name, tool);
    if (state) machines.push([name, state]);
  }
  return { hashes: shared.hashes, machines: Object.fromEntries(machines) };
}

/** One machine's part alone, for a build that concerns no other. */
export function readMachineState(
  layout: BuildLayout,
  machine: string,
  tool: string,
): MachineState | undefined {
  return readChecked<{ state: MachineState }>(layout.machineStateFile(machine), tool)?.state;
}

/** Replaces the files by rename, each machine's own and then the shared one. Throws what `fs` throws. */
export function writeState(layout: BuildLayout, tool: string, state: BuildState): void {
  for (const [name, machine] of Object.entries(state.machines))
    writeMachineState(layout, tool, name, machine);
  writeChecked(layout.stateFile, {
    version: STATE_VERSION,
    tool,
    hashes: state.hashes,
    machines: Object.keys(state.machines),
  });
}

/** Replaces one machine's file by rename. Throws what `fs` throws. */
export function writeMachineState(
  layout: BuildLayout,
  tool: string,
  machine: string,
  state: MachineState,
): void {
  writeChecked(layout.machineStateFile(machine), { version: STATE_VERSION, tool, state });
}

function readChecked<T>(file: string, tool: string): T | undefined {
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
    const read = JSON.parse(data.toString("utf8", 0, end)) as T & { version: number; tool: string };
    return read.version === STATE_VERSION && read.tool === tool ? read : undefined;
  } catch {
    return undefined;
  }
}

function writeChecked(file: string, value: object): void {
  const body = Buffer.from(JSON.stringify(value));
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
