/** What a build is asked and what it answers. Types only. */
import type { AbsPath, GenerationId, MachineName, RelPath } from "../paths.ts";

export interface BuildRequest {
  readonly root: AbsPath;
  /** Folder of the layers that ship with labctl. */
  readonly builtInLayers: AbsPath;
  /** Names, globs, `tag:NAME`; empty: all machines. */
  readonly machines: readonly string[];
  /** `--fact K=V`. */
  readonly facts: ReadonlyMap<string, string>;
  /** labctl's own version and build: another one does not trust this one's state. */
  readonly tool: string;
  /** Folder of the user's own for compiled templates; undefined: none are kept. */
  readonly templateCache?: AbsPath;
  /** Ignore what is known from earlier builds. */
  readonly fromNothing: boolean;
  /** Plan only: nothing is written, and the generation printed is the one that stands. */
  readonly dryRun?: boolean;
  /** Told now and then what is being done; for whoever shows it. */
  readonly onProgress?: (what: string) => void;
}

export interface MachineBuild {
  readonly machine: MachineName;
  readonly generation: GenerationId;
  /** Files and links in the tree; folders are not counted. */
  readonly files: number;
  readonly written: number;
  readonly removed: number;
  readonly steps: readonly { readonly path: string; readonly action: string; readonly reason: string }[];
  readonly durationMs: number;
  /** A dry run's rendered or bundled contents that differ from those that stand; undefined otherwise. */
  readonly foreseen?: ReadonlyMap<RelPath, Uint8Array>;
}

export interface BuildStats {
  readonly phasesMs: Readonly<Record<string, number>>;
  readonly totalMs: number;
  /** Paths that `lstat` was called for. */
  readonly looked: number;
  readonly hashed: number;
  readonly rendered: number;
  readonly written: number;
}

export interface BuildResult {
  readonly machines: readonly MachineBuild[];
  readonly stats: BuildStats;
}
