/** What `adopt` must know of sources: changes that Git has not got yet, lines of templates. Reads; writes nothing. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { basename, dirname } from "node:path";
import { readMachineFacts } from "../../build/machine-facts.ts";
import type { ManifestEntry } from "../../build/manifest.ts";
import { projectDisk } from "../../build/project-disk.ts";
import { sourceLines } from "../../build/source-lines.ts";
import { formatPlace } from "../../diagnostics.ts";
import type { Blake3 } from "../../hash.ts";
import type { Contents } from "../../push/adopt/adoption.ts";
import { diffHunks } from "../../push/diff/line-diff.ts";
import type { AdoptJob } from "./job.ts";

/** A file's bytes. Throws what `fs` throws. */
export function readBytes(file: string): Buffer {
  return readFileSync(file);
}

/**
 * How a file differs from what Git has, as lines of a diff or one line that says that Git has never seen it. Undefined:
 * it does not, or no Git looks after it.
 */
export function uncommittedLines(file: string): string[] | undefined {
  const git = (...args: string[]): string | undefined => {
    const ended = spawnSync("git", ["--no-optional-locks", ...args, "--", basename(file)], {
      cwd: dirname(file),
      encoding: "utf8",
      maxBuffer: 64 << 20,
    });
    return ended.status === 0 ? ended.stdout : undefined;
  };
  const status = git("status", "--porcelain", "--untracked-files=all", "--ignored");
  if (status === undefined || status.trim() === "") return undefined;
  if (/^(\?\?|!!)/.test(status)) return ["it was never committed"];
  const diff = git("diff", "--no-color", "--no-ext-diff", "HEAD") ?? "";
  // The header names what the message names already.
  return diff
    .split("\n")
    .filter((line) => /^[-+@ ]/.test(line) && !/^(---|\+\+\+) /.test(line))
    .slice(0, 100);
}

/** One line for each place of a template that gave a line which the machine has no longer. Renders it once more. */
export function templateLines(job: AdoptJob, entry: ManifestEntry, contents: Contents, b3: Blake3): string[] {
  const { machine } = job.built;
  const text = contents.built.toString("utf8");
  const overrides = new Map<string, string>();
  const facts = readMachineFacts(job.project, [machine], overrides, projectDisk());
  if (!facts.ok) return [];
  const lines = sourceLines(job.project, job.builtInLayers, facts.value, b3, () => text);
  const out = new Set<string>();
  for (const hunk of diffHunks(text, contents.live.toString("utf8"))) {
    let line = hunk.oldStart;
    let removed = false;
    for (const { kind } of hunk.lines) {
      // A line that was only added belongs to where it was put.
      if (kind === "-" || (kind === "+" && !removed)) {
        const at = Math.max(1, kind === "-" ? line : line - 1);
        out.add(`line ${at} comes from ${formatPlace(lines.placeOf(machine, entry, { line: at }))}`);
      }
      removed = kind === "-" || (removed && kind === "+");
      if (kind !== "+") line++;
    }
  }
  return [...out];
}
