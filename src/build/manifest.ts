/**
 * The manifest: a tree's table of contents, the only thing besides the tree that push takes from build.
 * Canonical: sorted by path bytes, fixed key order, one entry a line; its BLAKE3 is the generation id.
 * Pure; must not read or write files.
 */
import type { FileHash, LayerName, MachineName, RelPath } from "../paths.ts";

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
export type ManifestEntry = FileEntry | LinkEntry | DirEntry;

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
