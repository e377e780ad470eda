/**
 * The cheap answer to "is there anything to do?": every path that the last answer depended on, and every output, still
 * looks as it did. Must stay light: it is all that a build with nothing to do loads.
 */
import { dirname, join } from "node:path";
import type { MachineName } from "../paths.ts";
import type { BuildRequest, BuildResult, MachineBuild } from "./build-result.ts";
import { clockMs } from "./clock.ts";
import {
  type FreshMachine,
  type FreshRecord,
  NUMBERS_PER_PATH,
  readFreshRecord,
  TWIN,
} from "./fresh-record.ts";
import { buildLayout } from "./layout.ts";
import { type LooksAs, looksAs, quickLooksAs } from "./raw-look.ts";
import { readSignature, type Signature } from "./signature.ts";

/** What differs from the record, by index into its paths. */
export interface Differences {
  readonly record: FreshRecord;
  /** Of the record's file when it was read: another build may replace it meanwhile. */
  readonly recordSignature: Signature;
  readonly inputs: readonly number[];
  readonly outputs: readonly { readonly machine: FreshMachine; readonly index: number }[];
  readonly asked: readonly FreshMachine[];
}

export type Look =
  | { readonly kind: "fresh"; readonly result: BuildResult }
  /** Few paths differ. */
  | { readonly kind: "differs"; readonly differences: Differences }
  /** The last build did not cover what is asked now, or much differs. */
  | { readonly kind: "unknown" };

/** More differences than this are not worth listing: a full look costs no more. */
const MAX_DIFFERENCES = 500;

/** Reads; writes nothing. */
export function lookFresh(request: BuildRequest): Look {
  const startedAt = clockMs();
  if (request.fromNothing) return { kind: "unknown" };
  const file = buildLayout(request.root).freshFile;
  const recordSignature = readSignature(file);
  const record = readFreshRecord(file, request.tool);
  if (record?.head.scope.args !== argsKey(request.facts)) return { kind: "unknown" };
  const asked = machinesAsked(request, record);
  if (!asked) return { kind: "unknown" };
  const recordAt = clockMs();
  // Looking at a short relative path takes two thirds of the time. Nothing else runs meanwhile: all of this is synchronous.
  const home = process.cwd();
  try {
    process.chdir(request.root);
    return compare(request, record, recordSignature, asked, startedAt, recordAt);
  } catch (error) {
    // A tree that is gone can't be entered.
    if ((error as NodeJS.ErrnoException).syscall === "chdir") return { kind: "unknown" };
    throw error;
  } finally {
    process.chdir(home);
  }
}

/**
 * The same for paths that are known to have changed, relative to the repository, and the folders that hold them; all else is
 * taken to be as recorded. For whoever is told of every change, and looks at everything later all the same.
 */
export function lookAtPaths(request: BuildRequest, changed: readonly string[]): Look {
  const file = buildLayout(request.root).freshFile;
  const recordSignature = readSignature(file);
  const record = readFreshRecord(file, request.tool);
  const asked =
    record?.head.scope.args === argsKey(request.facts) ? machinesAsked(request, record) : undefined;
  if (!record || !asked) return { kind: "unknown" };
  const inputs = new Set<number>();
  for (const path of new Set(changed.flatMap((p) => [p, dirname(p)]))) {
    const index = record.paths.indexOf(path);
    // A name that is not recorded may be new, or an editor's that came and went: then its folder tells.
    if (index < 0 || index >= record.head.inputs) continue;
    const at = index * NUMBERS_PER_PATH;
    if (!looksAs(join(request.root, path), record.numbers, at)) inputs.add(index);
  }
  if (inputs.size === 0) return { kind: "unknown" };
  return {
    kind: "differs",
    differences: { record, recordSignature, inputs: [...inputs], outputs: [], asked },
  };
}

function compare(
  request: BuildRequest,
  record: FreshRecord,
  recordSignature: Signature,
  asked: readonly FreshMachine[],
  startedAt: number,
  recordAt: number,
): Look {
  const same = quickLooksAs(buildLayout(request.root).freshFile);
  const inputs: number[] = [];
  for (let i = 0; i < record.head.inputs; i++) if (differs(record, i, same)) inputs.push(i);
  const inputsAt = clockMs();
  const seen = new Uint8Array(record.paths.length);
  const outputs = differingOutputs(request, record, asked, seen, same, MAX_DIFFERENCES - inputs.length);
  // A name whose folder or other name changed may have become a file of its own.
  if (outputs.length > 0)
    outputs.push(...differingOutputs(request, record, asked, seen, same, MAX_DIFFERENCES - inputs.length));
  if (inputs.length + outputs.length > MAX_DIFFERENCES) return { kind: "unknown" };
  if (inputs.length + outputs.length > 0)
    return { kind: "differs", differences: { record, recordSignature, inputs, outputs, asked } };
  const endedAt = clockMs();
  const machines = asked.map(
    ({ name, generation, files }): MachineBuild => ({
      machine: name as MachineName,
      generation,
      files,
      written: 0,
      removed: 0,
      steps: [],
      durationMs: endedAt - startedAt,
    }),
  );
  const stats = {
    phasesMs: { record: recordAt - startedAt, inputs: inputsAt - recordAt, outputs: endedAt - inputsAt },
    totalMs: endedAt - startedAt,
    looked: asked.reduce((n, { from, to }) => n + to - from, record.head.inputs),
    hashed: 0,
    rendered: 0,
    written: 0,
  };
  return { kind: "fresh", result: { machines, stats } };
}

/**
 * Outputs that were not `seen` yet and no longer look as recorded, which then count as seen. One that is a hard link to an
 * output that was seen is left out: which names a folder has for which files, the folder's own time stamps tell.
 */
function differingOutputs(
  request: BuildRequest,
  record: FreshRecord,
  asked: readonly FreshMachine[],
  seen: Uint8Array,
  same: LooksAs,
  most: number,
): { readonly machine: FreshMachine; readonly index: number }[] {
  const { numbers } = record;
  const all = seen.includes(1);
  const found: { machine: FreshMachine; index: number }[] = [];
  for (const machine of asked) {
    const { name, from, tree, to } = machine;
    for (let i = from; i < to; i++) {
      if (i === tree) process.chdir(buildLayout(request.root).tree(name));
      const twin = i < tree ? 0 : (numbers[i * NUMBERS_PER_PATH + TWIN] as number);
      if (seen[i] === 1 || (!all && twin > 0 && seen[twin - 1] === 1)) continue;
      seen[i] = 1;
      if (differs(record, i, same)) found.push({ machine, index: i });
    }
    process.chdir(request.root);
    if (found.length > most) break;
  }
  return found;
}

function differs({ paths, numbers }: FreshRecord, index: number, same: LooksAs): boolean {
  return !same(paths[index] as string, numbers, index * NUMBERS_PER_PATH);
}

/** `--fact` arguments as one text. Pure. */
export function argsKey(facts: ReadonlyMap<string, string>): string {
  return JSON.stringify([...facts].sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** The machines asked for; undefined if the record does not cover them all. */
function machinesAsked(request: BuildRequest, { head }: FreshRecord): readonly FreshMachine[] | undefined {
  if (request.machines.length === 0) return head.scope.all ? head.machines : undefined;
  // Globs and tags need the machine files, which only a full read looks at.
  const asked = [...new Set(request.machines)].map((name) => head.machines.find((m) => m.name === name));
  return asked.every((m) => m !== undefined) ? asked : undefined;
}
