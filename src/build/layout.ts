/** Where a build keeps things below the repository's `var/`. Pure. */
import { join } from "node:path";
import type { AbsPath } from "../paths.ts";

export interface BuildLayout {
  /** `var/tree/<machine>`: holds `usr/local/` and `manifest.json`. */
  machineFolder(machine: string): AbsPath;
  /** `var/tree/<machine>/usr/local`. */
  tree(machine: string): AbsPath;
  manifest(machine: string): AbsPath;
  readonly treesFolder: AbsPath;
  readonly cacheFolder: AbsPath;
  readonly stateFile: AbsPath;
  machineStateFile(machine: string): AbsPath;
  readonly freshFile: AbsPath;
  readonly lockFile: AbsPath;
}

/** `root` is the repository. */
export function buildLayout(root: AbsPath): BuildLayout {
  const trees = join(root, "var", "tree");
  const cache = join(root, "var", "cache");
  return {
    machineFolder: (machine) => join(trees, machine) as AbsPath,
    tree: (machine) => join(trees, machine, "usr", "local") as AbsPath,
    manifest: (machine) => join(trees, machine, "manifest.json") as AbsPath,
    treesFolder: trees as AbsPath,
    cacheFolder: cache as AbsPath,
    stateFile: join(cache, "build-state.json") as AbsPath,
    machineStateFile: (machine) => join(cache, `build-state-${machine}.json`) as AbsPath,
    freshFile: join(cache, "build-fresh") as AbsPath,
    lockFile: join(cache, "build-lock") as AbsPath,
  };
}
