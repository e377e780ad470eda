/** What the process outside of a twin's namespaces tells the one inside, and by which way. Types and names only. */
import type { AbsPath, MachineName } from "../../paths.ts";
import type { PoolKind } from "../../twin/host-support.ts";
import type { Image } from "../../twin/image.ts";

/** Environment variable that holds a `Handover` as JSON. */
export const HANDOVER = "LABCTL_TWIN";

/** In the namespaces' own `/run`: what it takes to reach a twin that is kept; written when it is up. */
export const KEPT_FILE = "/run/labctl-twin.json";

export interface Handover {
  /** The repository's. */
  readonly root: AbsPath;
  readonly machine: MachineName;
  readonly keepGenerations: number;
  readonly image: Image;
  readonly poolKind: PoolKind;
  /** 32 hex digits. */
  readonly machineId: string;
  readonly who: string;
  /** Commit and so on, for the generation. */
  readonly meta: Readonly<Record<string, string>>;
  /** Undefined: the repository has no identity. */
  readonly repository?: string;
  /** Milliseconds since 1970: when the command was given. */
  readonly startedAt: number;
  /** Phases before the namespaces, ms. */
  readonly phases: Readonly<Record<string, number>>;
}

/** What is needed to reach a kept twin from outside. */
export interface Kept {
  /** In its own network. */
  readonly address: string;
  readonly hostKey: string;
  /** Absolute, as the namespaces see it. */
  readonly identityFile: string;
}
