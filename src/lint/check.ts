/**
 * What a check is: jobs over all trees of a run, each with findings whose places are in a tree. A check decides what it
 * looks at and what counts once across machines; who runs the jobs, and how many at a time, is `run-checks.ts`.
 */
import type { Diagnostic } from "../diagnostics.ts";
import type { AbsPath } from "../paths.ts";
import type { MachineTree } from "./machine-tree.ts";

/** A finding in one machine's tree; `diagnostic.place.file` is relative to `/usr/local`. */
export interface Found {
  readonly tree: MachineTree;
  readonly diagnostic: Diagnostic;
}

/** `skipped`: why the check could not be made here, e.g. a missing permission; not a finding. */
export interface JobResult {
  readonly found: readonly Found[];
  readonly skipped?: string;
}

export interface JobTools {
  /** An empty folder of the job's own, gone after the run. */
  scratch(): AbsPath;
  /** Where a program is installed; undefined if it is not. */
  find(program: string): string | undefined;
}

export type Job = (tools: JobTools) => Promise<JobResult>;

export interface Check {
  /** As the closing line names it, e.g. `nginx -t`. */
  readonly name: string;
  /** Without it the check is skipped, and said so; undefined for what we read ourselves. */
  readonly program?: string;
  /** No jobs: the trees have nothing of the kind. */
  plan(trees: readonly MachineTree[]): readonly Job[];
}

/** The first tree that has each content at each path: equal files at equal paths have equal findings. Pure. */
export function uniqueFiles(
  trees: readonly MachineTree[],
  wanted: (path: string, tree: MachineTree) => boolean,
): { readonly tree: MachineTree; readonly path: string }[] {
  const seen = new Set<string>();
  const out: { tree: MachineTree; path: string }[] = [];
  for (const tree of trees) {
    for (const entry of tree.files) {
      const key = `${entry.hash}\0${entry.path}\0${entry.origin.source}`;
      if (seen.has(key) || !wanted(entry.path, tree)) continue;
      seen.add(key);
      out.push({ tree, path: entry.path });
    }
  }
  return out;
}
