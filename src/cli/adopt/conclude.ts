/** The end of every adoption: shows the difference, says who else gets it, asks, and writes the source in one instant. */
import { chmodSync, lstatSync, mkdirSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import type { ManifestEntry } from "../../build/manifest.ts";
import { printable } from "../../diagnostics.ts";
import type { Blake3 } from "../../hash.ts";
import { type RelPath, TREE_ROOT } from "../../paths.ts";
import { describeAdopt } from "../../push/adopt/problems.ts";
import { compareSides, diffJson, secretPaths, sideOf } from "../../push/diff/file-diff.ts";
import { EXIT } from "../exit.ts";
import { paint, printErr, printJson } from "../print.ts";
import { diffLines } from "../show-diff.ts";
import { type AdoptJob, refuseWith } from "./job.ts";

export interface Adoption {
  /** What is built from the source now; undefined: nothing, the source is new. */
  readonly entry: ManifestEntry | undefined;
  /** Absolute. */
  readonly file: string;
  /** Repository-relative. */
  readonly source: string;
  readonly before: Buffer | undefined;
  readonly after: Buffer;
  /** For a new source. */
  readonly executable?: boolean;
  /** What is not adopted. */
  readonly note: string | undefined;
  /** Other machines that build from the source. */
  readonly alsoFor: readonly string[];
  /** What to do afterwards. */
  readonly next: string;
}

/** Returns the exit code. */
export async function concludeAdoption(job: AdoptJob, adoption: Adoption, b3: Blake3): Promise<number> {
  const { args, built, start } = job;
  const machine = built.machine.name;
  const path = job.path as RelPath;
  const isSecret = secretPaths(built.wanted.manifest)(path);
  const diff = compareSides(
    path,
    { side: adoption.before ? sideOf(adoption.before, isSecret) : { kind: "absent" } },
    { side: sideOf(adoption.after, isSecret) },
  );
  const { source, alsoFor } = adoption;
  const say = (text: string): void => {
    if (!args.flag("quiet")) printErr(text);
  };
  if (diff) {
    say(paint("bold", `--- ${adoption.before ? printable(source) : "/dev/null"}`));
    say(paint("bold", `+++ ${machine}:${TREE_ROOT}/${printable(path)}`));
    for (const line of diffLines([diff], paint).slice(2)) say(line);
  }
  if (adoption.note !== undefined) say(`note: ${printable(adoption.note)}`);
  if (alsoFor.length > 0)
    say(`note: ${alsoFor.join(", ")} ${alsoFor.length === 1 ? "gets" : "get"} it with the next push, too`);
  const report = (adopted: boolean): void => {
    if (!args.flag("json")) return;
    const layer = adoption.entry?.origin.layer ?? null;
    printJson({
      machine,
      path,
      source,
      layer,
      alsoFor,
      adopted,
      diff: diff ? diffJson(diff) : null,
      problems: [],
    });
  };
  if (args.flag("dry-run")) {
    report(false);
    return EXIT.changes;
  }
  if (!args.flag("yes") && !(await start.options.confirm?.(`write this into ${source}?`))) {
    report(false);
    say("nothing was changed");
    return EXIT.failed;
  }
  const at = { machine, path, source };
  // What was shown and agreed to must be what is replaced.
  if (!replaces(adoption, b3)) return refuseWith(job, describeAdopt({ kind: "source-moved", ...at }));
  writeAtOnce(adoption);
  report(true);
  say(`${machine}: ${paint("green", "adopted")} into ${printable(source)}; ${adoption.next}`);
  return EXIT.done;
}

function replaces({ entry, file }: Adoption, b3: Blake3): boolean {
  const stats = lstatSync(file, { throwIfNoEntry: false });
  if (entry === undefined) return stats === undefined;
  return stats?.isFile() === true && entry.type === "file" && b3.hashFile(file).hash === entry.hash;
}

/** A reader sees the old content or the new one; builds take no notice of the name used meanwhile. */
function writeAtOnce({ file, after, executable }: Adoption): void {
  mkdirSync(dirname(file), { recursive: true });
  const stats = statSync(file, { throwIfNoEntry: false });
  const temporary = join(dirname(file), `.#${basename(file).slice(0, 200)}.${process.pid}`);
  try {
    writeFileSync(temporary, after, { flag: "wx", flush: true });
    if (stats) chmodSync(temporary, stats.mode & 0o7777);
    else if (executable)
      chmodSync(temporary, statSync(temporary).mode | ((statSync(temporary).mode & 0o444) >> 2));
    renameSync(temporary, file);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}
