/** What was found in the folders that a build reads. Types only. */
import type { AbsPath, LayerName } from "../paths.ts";
import type { Signature } from "./signature.ts";

interface SourceBase {
  /** Relative to the layer's or machine's folder, `/`-separated, marker characters still in it. */
  readonly path: string;
  readonly file: AbsPath;
  /** Repository-relative for messages and the manifest. */
  readonly display: string;
  readonly signature: Signature;
  /** The file changed so recently that its signature must not be stored. */
  readonly racy: boolean;
}

export interface SourceFile extends SourceBase {
  readonly type: "file";
  readonly executable: boolean;
  readonly sizeBytes: number;
}
export interface SourceLink extends SourceBase {
  readonly type: "link";
  readonly target: string;
}
export interface SourceFolder extends SourceBase {
  readonly type: "dir";
}
/** A socket, device or pipe: can't be part of a tree. */
export interface SourceOther extends SourceBase {
  readonly type: "other";
}
export type SourceEntry = SourceFile | SourceLink | SourceFolder | SourceOther;

/** One layer's, or the machine's own, files. */
export interface SourceTree {
  readonly layer: LayerName | "machine";
  /** Sorted by path bytes, so that an answer never depends on the order a file system lists names in. */
  readonly entries: readonly SourceEntry[];
}
