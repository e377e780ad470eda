/**
 * What the unit rules need to know of a tree, and nothing else. Types only: who reads the disk is the caller's affair.
 * A rule's findings are diagnostics whose place is in the tree; mapping them to sources is the caller's affair, too.
 */
import type { TreeView } from "../unit-set.ts";

export interface PathFacts {
  readonly type: "file" | "link" | "dir";
  /** Permission bits. */
  readonly mode: number;
}

export interface LintTree extends TreeView {
  /** Undefined: the tree has no such path. Folders are known, too. */
  stat(path: string): PathFacts | undefined;
  /** A regular file's first bytes as Latin-1, at least two of them unless it is shorter; empty for anything else. */
  head(path: string): string;
  /** Debian packages that the machine's layers ask for; their units can't be known offline. */
  readonly packages: readonly string[];
}
