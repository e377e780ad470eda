/**
 * The manifest: a tree's table of contents, the only thing besides the tree that push takes from build.
 * Canonical: sorted by path bytes, fixed key order, one entry a line; its BLAKE3 is the generation id.
 * Pure; must not read or write files.
 */
import {
  type FileHash,
  isName,
  type LayerName,
  type MachineName,
  pathFault,
  type RelPath,
} from "../paths.ts";

export const MANIFEST_VERSION = 1;

/** Where an entry came from; enough to explain it without the sources at hand. */
export interface Origin {
  /** `machine` stands for the machine's own files. */
  readonly layer: LayerName | "machine";
  /** Source path relative to the repository; for a built-in layer `layers/<layer>/…` too. */
  readonly source: string;
  /** True if `source` was rendered. */
  readonly template: boolean;
  /**
   * Facts that rendering read, by name; the value is 16 hex digits of the fact value's BLAKE3, `null` where the
   * template asked for a fact that is unset. Empty: it read none.
   */
  readonly facts: Readonly<Record<string, string | null>>;
}

interface EntryBase {
  readonly path: RelPath;
  /** Permission bits, 0 to 0o7777. Links have 0o777. */
  readonly mode: number;
  /** User and group names, not numbers: a machine's numbers are its own. */
  readonly owner: string;
  readonly group: string;
  readonly origin: Origin;
}

export interface FileEntry extends EntryBase {
  readonly type: "file";
  readonly sizeBytes: number;
  readonly hash: FileHash;
}
export interface LinkEntry extends EntryBase {
  readonly type: "link";
  /** As written in the link; may dangle here, since it is meant for the machine. */
  readonly target: string;
}
export interface DirEntry extends EntryBase {
  readonly type: "dir";
}
/**
 * A credential that the machine encrypts for itself while it is pushed: the tree here has no file for it, and nothing
 * about its content is known but that it differs from other versions.
 */
export interface SecretEntry extends EntryBase {
  readonly type: "secret";
  /** Name of the secret in the repository. */
  readonly secret: string;
  /** Hash of the encrypted content (`versionOf`), so that it is known while the secrets are locked. */
  readonly version: FileHash;
}
export type ManifestEntry = FileEntry | LinkEntry | DirEntry | SecretEntry;

export interface Manifest {
  readonly version: typeof MANIFEST_VERSION;
  readonly machine: MachineName;
  /** Layers in the order in which they were laid, `needs` resolved. */
  readonly layers: readonly LayerName[];
  /** Debian packages that the layers need, sorted, each with the first layer that asked. */
  readonly packages: readonly { readonly name: string; readonly layer: LayerName }[];
  /** Sorted by path bytes; folders are listed too, before what they hold. */
  readonly entries: readonly ManifestEntry[];
}

/** Canonical text: fixed key order, one entry a line, newline at the end; equal manifests have equal bytes. Pure. */
export function manifestText(m: Manifest): string {
  return [...manifestPieces(m)].join("");
}

/** So many entries a piece. */
const PIECE_ENTRIES = 1000;

/** The same in pieces: all lines of a large tree at once take ten times the room of their text. Pure. */
export function* manifestPieces(m: Manifest): Generator<string> {
  const head = { version: m.version, machine: m.machine, layers: m.layers, packages: m.packages };
  yield `${JSON.stringify(head).slice(0, -1)},"entries":[\n`;
  for (let from = 0; from < m.entries.length; from += PIECE_ENTRIES) {
    const lines = m.entries.slice(from, from + PIECE_ENTRIES).map((e) => `  ${entryText(e)}`);
    yield (from === 0 ? "" : ",\n") + lines.join(",\n");
  }
  yield "\n]}\n";
}

/** A manifest as its lines, for whoever changes few of many entries. */
export interface ManifestLines {
  /** Undefined if there is no such entry. */
  entry(path: string): ManifestEntry | undefined;
  /** Changes an entry that is there. */
  replace(entry: ManifestEntry): void;
  text(): string;
}

/** `text` is one that `manifestText` made, known to be untouched; undefined if it can't be. */
export function manifestLines(text: string): ManifestLines | undefined {
  const lines = text.split("\n");
  if (lines[0]?.endsWith(',"entries":[') !== true || lines.at(-2) !== "]}") return undefined;
  const at = new Map<string, number>();
  const start = `  {"path":`;
  for (let i = 1; i < lines.length - 2; i++) {
    const line = lines[i] as string;
    const end = line.indexOf('","type":"');
    if (!line.startsWith(start) || end < 0) return undefined;
    at.set(line.slice(start.length, end + 1), i);
  }
  return {
    entry: (path) => {
      const line = lines[at.get(quote(path)) ?? -1];
      return line === undefined ? undefined : parseEntry(JSON.parse(line.replace(/,$/, "")));
    },
    replace: (entry) => {
      const i = at.get(quote(entry.path));
      if (i === undefined) throw new Error(`${entry.path} is not in the manifest`);
      lines[i] = `  ${entryText(entry)}${lines[i]?.endsWith(",") ? "," : ""}`;
    },
    text: () => lines.join("\n"),
  };
}

/** Put together by hand: thousands of entries are written by every build that changes one of them. */
function entryText(e: ManifestEntry): string {
  const { layer, source, template, facts } = e.origin;
  const names = Object.keys(facts).sort();
  const read = names.map((name) => `${quote(name)}:${quote(facts[name] ?? null)}`);
  const own =
    e.type === "file"
      ? `,"size":${e.sizeBytes},"hash":${quote(e.hash)}`
      : e.type === "link"
        ? `,"target":${quote(e.target)}`
        : e.type === "secret"
          ? `,"secret":${quote(e.secret)},"version":${quote(e.version)}`
          : "";
  const mode = e.mode.toString(8).padStart(4, "0");
  return (
    `{"path":${quote(e.path)},"type":"${e.type}","mode":"${mode}"` +
    `,"owner":${quote(e.owner)},"group":${quote(e.group)}${own}` +
    `,"origin":{"layer":${quote(layer)},"source":${quote(source)},"template":${template},"facts":{${read.join(",")}}}}`
  );
}

function quote(value: string | null): string {
  return JSON.stringify(value);
}

/**
 * Reads a manifest's text back, e.g. one that a machine sent: every field is checked, because a machine's answer is
 * untrusted. Undefined if it is none, or of another version. Pure.
 */
export function parseManifest(text: string): Manifest | undefined {
  let raw: unknown;
  try {
    raw = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!isObject(raw) || raw.version !== MANIFEST_VERSION || typeof raw.machine !== "string") return undefined;
  if (!isStrings(raw.layers) || !Array.isArray(raw.packages) || !Array.isArray(raw.entries)) return undefined;
  const packages = [];
  for (const p of raw.packages as unknown[]) {
    if (!isObject(p) || typeof p.name !== "string" || typeof p.layer !== "string") return undefined;
    packages.push({ name: p.name, layer: p.layer as LayerName });
  }
  const entries: ManifestEntry[] = [];
  for (const e of raw.entries as unknown[]) {
    const entry = parseEntry(e);
    if (!entry) return undefined;
    entries.push(entry);
  }
  return {
    version: MANIFEST_VERSION,
    machine: raw.machine as MachineName,
    layers: raw.layers as LayerName[],
    packages,
    entries,
  };
}

function parseEntry(e: unknown): ManifestEntry | undefined {
  if (!isObject(e) || typeof e.path !== "string" || pathFault(e.path) !== undefined) return undefined;
  if (typeof e.mode !== "string" || !/^[0-7]{4}$/.test(e.mode)) return undefined;
  if (typeof e.owner !== "string" || typeof e.group !== "string" || !isObject(e.origin)) return undefined;
  const o = e.origin;
  if (typeof o.layer !== "string" || typeof o.source !== "string" || !isObject(o.facts)) return undefined;
  const base = {
    path: e.path as RelPath,
    mode: Number.parseInt(e.mode, 8),
    owner: e.owner,
    group: e.group,
    origin: {
      layer: o.layer as LayerName,
      source: o.source,
      template: o.template === true,
      facts: o.facts as Origin["facts"],
    },
  };
  if (e.type === "dir") return { ...base, type: "dir" };
  if (e.type === "link" && typeof e.target === "string") return { ...base, type: "link", target: e.target };
  if (
    e.type === "secret" &&
    typeof e.secret === "string" &&
    isName(e.secret) &&
    typeof e.version === "string" &&
    /^[0-9a-f]{64}$/.test(e.version)
  ) {
    return { ...base, type: "secret", secret: e.secret, version: e.version as FileHash };
  }
  if (
    e.type === "file" &&
    typeof e.size === "number" &&
    typeof e.hash === "string" &&
    /^[0-9a-f]{64}$/.test(e.hash)
  ) {
    return { ...base, type: "file", sizeBytes: e.size, hash: e.hash as FileHash };
  }
  return undefined;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

function isStrings(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((v) => typeof v === "string");
}
