/** Finds the repository: the nearest folder upward that holds `lab.ini`. */
import { existsSync, realpathSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import type { Result } from "../diagnostics.ts";
import { failure, success } from "../diagnostics.ts";
import type { AbsPath } from "../paths.ts";
import { describe } from "./problems.ts";

/** `start` may be relative to the working folder. Reads the disk; the result has no symbolic link in it. */
export function findRoot(start: string): Result<AbsPath> {
  const from = resolve(start);
  for (let folder = from; ; folder = dirname(folder)) {
    if (existsSync(join(folder, "lab.ini"))) return success(realpathSync(folder) as AbsPath);
    if (folder === dirname(folder)) return failure(describe({ kind: "no-root", start: from }));
  }
}
