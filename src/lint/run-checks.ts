/**
 * Runs the checks' jobs, as many at a time as there are processors, in folders that are gone afterwards. Says which
 * checks could not be made. Must not know any check.
 */
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import pLimit from "p-limit";
import type { AbsPath } from "../paths.ts";
import type { Check, Found, JobTools } from "./check.ts";
import type { MachineTree } from "./machine-tree.ts";
import { findProgram } from "./program.ts";

export interface SkippedCheck {
  readonly check: string;
  readonly reason: string;
}

export interface ChecksResult {
  readonly found: readonly Found[];
  /** In the order of the checks; only those that had something to look at. */
  readonly skipped: readonly SkippedCheck[];
}

/** Never throws for a program's failure; throws for a temporary folder that can't be made. */
export async function runChecks(
  checks: readonly Check[],
  trees: readonly MachineTree[],
): Promise<ChecksResult> {
  // Some checks run as nobody, who has to read what is put there.
  const umask = process.umask(0o022);
  const scratchRoot = mkdtempSync(join(tmpdir(), "labctl-"));
  chmodSync(scratchRoot, 0o755);
  const limit = pLimit(availableParallelism());
  const programs = new Map<string, string | undefined>();
  const find = (name: string): string | undefined => {
    if (!programs.has(name)) programs.set(name, findProgram(name));
    return programs.get(name);
  };
  let count = 0;
  const tools: JobTools = {
    find,
    scratch: () => {
      // Short: the path of a socket may have 107 bytes.
      const folder = join(scratchRoot, String(count++));
      mkdirSync(folder);
      return folder as AbsPath;
    },
  };
  try {
    const skipped: SkippedCheck[] = [];
    const work = checks.flatMap((check) => {
      const jobs = check.plan(trees);
      if (jobs.length === 0) return [];
      if (check.program !== undefined && find(check.program) === undefined) {
        skipped.push({ check: check.name, reason: `${check.program} is not installed` });
        return [];
      }
      return jobs.map((job) => limit(async () => ({ check: check.name, ...(await job(tools)) })));
    });
    const results = await Promise.all(work);
    for (const { check, skipped: reason } of results)
      if (reason !== undefined && !skipped.some((s) => s.check === check)) skipped.push({ check, reason });
    return { found: results.flatMap((r) => r.found), skipped };
  } finally {
    rmSync(scratchRoot, { recursive: true, force: true });
    process.umask(umask);
  }
}
