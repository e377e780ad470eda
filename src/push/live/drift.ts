/** How a machine can differ from what was pushed to it. Types only; `describe-drift.ts` words them. */
import type { ManifestEntry } from "../../build/manifest.ts";
import type { UnitName } from "../../paths.ts";

/** A path that labctl put there and that someone else changed. */
export interface FileDrift {
  readonly kind: "content" | "mode" | "owner" | "target" | "type" | "missing";
  readonly entry: ManifestEntry;
  readonly expected: string;
  readonly found: string;
  /** Paths below it that are affected as well and have no drift of their own listed. */
  readonly below: number;
}

/** Something that labctl did not put there, in a folder that it made. */
export interface ExtraDrift {
  readonly kind: "extra";
  /** Relative to /usr/local; may hold any character. */
  readonly path: string;
  readonly type: string;
  /** The folder that it lies in. */
  readonly folder: ManifestEntry;
}

export interface UnitDrift {
  readonly kind:
    | "failed"
    | "masked"
    | "shadowed"
    | "not-running"
    | "stale-bind"
    | "daemon-reload"
    | "older-configuration";
  readonly unit: UnitName;
  /** Others of which the same is true, for the same reason; `daemon-reload` only. */
  readonly more: readonly UnitName[];
  readonly expected: string;
  readonly found: string;
  /** What the tree has for it; undefined: the unit is not the tree's. */
  readonly entry: ManifestEntry | undefined;
  /** The next push puts it right. */
  readonly pushRepairs: boolean;
}

/** Of the machine as a whole. */
export interface MachineDrift {
  readonly kind: "interrupted" | "pending" | "records-lost" | "many-differ";
  readonly found: string;
}

export type Drift = FileDrift | ExtraDrift | UnitDrift | MachineDrift;

/** A file whose content is as pushed, though someone else wrote it; what ran before may have read something else. */
export interface Rewritten {
  readonly entry: ManifestEntry;
  readonly changedAtS: number;
}

export interface LiveReport {
  readonly drifts: readonly Drift[];
  /** Worth saying, and no drift. */
  readonly notes: readonly string[];
}
