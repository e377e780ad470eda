/**
 * What the last build knew: signatures, hashes, and what each output was made from. A cache and nothing more: absent,
 * of another version or written by another labctl it means "build from nothing", never a wrong tree. Owns the format: one
 * file a machine, so that an edit need not read or write what concerns the others, and one for all.
 */
import { closeSync, openSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import type { Blake3 } from "../hash.ts";
import type { FileHash, GenerationId, RelPath } from "../paths.ts";
import type { BuildLayout } from "./layout.ts";
import type { Signature } from "./signature.ts";
import type { ReadToken } from "./template/scope.ts";

/** Raise it whenever the meaning of a field, the overlay or the renderer changes: older states are then ignored. */
export const STATE_VERSION = 6;

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
export function readState(layout: BuildLayout, tool: string, b3: Blake3): BuildState | undefined {
  const text = readSealed(layout.stateFile, b3);
  const shared = text === undefined ? undefined : parsed<SharedState>(text, tool);
  if (!shared) return undefined;
  const machines: [string, MachineState][] = [];
  for (const name of shared.machines) {
    const own = readSealed(layout.machineStateFile(name), b3);
    const state = own === undefined ? undefined : parsed<MachineState & Written>(own, tool);
    if (state) machines.push([name, state]);
  }
  return { hashes: shared.hashes, machines: Object.fromEntries(machines) };
}

/** Replaces the files by rename, each machine's own and then the shared one. Throws what `fs` throws. */
export function writeState(layout: BuildLayout, tool: string, state: BuildState, b3: Blake3): void {
  for (const [name, { outputs, ...head }] of Object.entries(state.machines)) {
    const start = headText({ version: STATE_VERSION, tool, ...head });
    writeSealed(layout.machineStateFile(name), machinePieces(start, outputs), b3);
  }
  const { hashes, machines } = state;
  const shared: SharedState = { version: STATE_VERSION, tool, hashes, machines: Object.keys(machines) };
  writeSealed(layout.stateFile, [JSON.stringify(shared)], b3);
}

interface Written {
  readonly version: number;
  readonly tool: string;
}

interface SharedState extends Written {
  readonly hashes: BuildState["hashes"];
  readonly machines: readonly string[];
}

/** What a machine's file says besides its outputs. */
export type MachineHead = Omit<MachineState, "outputs">;

/** One machine's state as the lines of its file, for a build that concerns few of its outputs: the others are not parsed. */
export interface MachineLines {
  readonly head: MachineHead;
  has(path: string): boolean;
  record(path: string): OutputRecord | undefined;
  /** Outputs whose line holds one of these texts; more than are meant, but none fewer. */
  holding(texts: readonly string[]): [RelPath, OutputRecord][];
  /** Of an output that is there. */
  replace(path: string, record: OutputRecord): void;
  /** Replaces the file by rename. Throws what `fs` throws. */
  write(head: MachineHead): void;
}

/** Undefined: this version can't trust it. */
export function readMachineLines(
  layout: BuildLayout,
  machine: string,
  tool: string,
  b3: Blake3,
): MachineLines | undefined {
  const file = layout.machineStateFile(machine);
  const lines = readSealed(file, b3)?.split("\n");
  if (lines === undefined || lines.pop() !== MACHINE_END) return undefined;
  const first = lines.shift() ?? "";
  const head = parsed<MachineHead & Written>(`${first}${MACHINE_END}`, tool);
  if (!head) return undefined;
  const at = new Map<string, number>();
  for (const [i, line] of lines.entries()) at.set(quotedPath(line), i);
  const parse = (line: string): [RelPath, OutputRecord] => {
    const entries = Object.entries(JSON.parse(`{${line.endsWith(",") ? line.slice(0, -1) : line}}`));
    return entries[0] as [RelPath, OutputRecord];
  };
  return {
    head,
    has: (path) => at.has(JSON.stringify(path)),
    record: (path) => {
      const line = lines[at.get(JSON.stringify(path)) ?? -1];
      return line === undefined ? undefined : parse(line)[1];
    },
    holding: (texts) => lines.filter((line) => texts.some((text) => line.includes(text))).map(parse),
    replace: (path, record) => {
      const i = at.get(JSON.stringify(path));
      if (i === undefined) throw new Error(`${path} is not in the state`);
      lines[i] = `${recordLine(path, record)}${lines[i]?.endsWith(",") ? "," : ""}`;
    },
    write: ({ generation, manifestSignature, rootSignature }) => {
      const start = headText({ version: STATE_VERSION, tool, generation, manifestSignature, rootSignature });
      writeSealed(file, [[start, ...lines, MACHINE_END].join("\n")], b3);
    },
  };
}

/** So many characters are written at once: a large machine's file is never in memory whole. */
const PIECE_CHARACTERS = 1 << 18;

/** One JSON document, an output a line. */
function* machinePieces(start: string, outputs: MachineState["outputs"]): Generator<string> {
  let piece = start;
  let separator = "\n";
  for (const path of Object.keys(outputs)) {
    piece += separator + recordLine(path, outputs[path] as OutputRecord);
    separator = ",\n";
    if (piece.length < PIECE_CHARACTERS) continue;
    yield piece;
    piece = "";
  }
  yield `${piece}\n${MACHINE_END}`;
}

function headText(head: MachineHead & Written): string {
  return `${JSON.stringify(head).slice(0, -1)},"outputs":{`;
}

const MACHINE_END = "}}";
/** Between a line's path and its record. A path can end with the same but for the first quote, which is escaped there. */
const RECORD_START = `":{"`;

/** A line's path as JSON has it. Pure. */
function quotedPath(line: string): string {
  let end = line.indexOf(RECORD_START);
  while (isEscaped(line, end)) end = line.indexOf(RECORD_START, end + 1);
  return line.slice(0, end + 1);
}

function isEscaped(line: string, at: number): boolean {
  let from = at;
  while (line[from - 1] === "\\") from--;
  return (at - from) % 2 === 1;
}

function recordLine(path: string, record: OutputRecord): string {
  return `${JSON.stringify(path)}:${JSON.stringify(record)}`;
}

function parsed<T extends Written>(text: string, tool: string): T | undefined {
  try {
    const read = JSON.parse(text) as T;
    return read.version === STATE_VERSION && read.tool === tool ? read : undefined;
  } catch {
    return undefined;
  }
}

/** A file's text. Its last line holds a checksum: a state that a full disk cut short, or that lost a bit, is no state. */
function readSealed(file: string, b3: Blake3): string | undefined {
  let data: Buffer;
  try {
    data = readFileSync(file);
  } catch {
    return undefined;
  }
  const end = data.lastIndexOf("\n#");
  if (end < 0 || data.toString("latin1", end + 2) !== b3.hash(data.subarray(0, end))) return undefined;
  return data.toString("utf8", 0, end);
}

function writeSealed(file: string, pieces: Iterable<string>, b3: Blake3): void {
  const temporary = `${file}.${process.pid}`;
  const fd = openSync(temporary, "w");
  try {
    writeFileSync(fd, `\n#${b3.hashAll(written(fd, pieces))}`);
  } finally {
    closeSync(fd);
  }
  renameSync(temporary, file);
}

/** The pieces as bytes, each written where the one before it ends. */
function* written(fd: number, pieces: Iterable<string>): Generator<Uint8Array> {
  for (const piece of pieces) {
    const data = Buffer.from(piece);
    writeFileSync(fd, data);
    yield data;
  }
}
