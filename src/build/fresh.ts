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
  /** What finding them took, by phase. */
  readonly phasesMs: Readonly<Record<string, number>>;
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
    differences: { record, recordSignature, inputs: [...inputs], outputs: [], asked, phasesMs: {} },
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
  const most = MAX_DIFFERENCES - inputs.length;
  const { found: outputs, seen } = differingOutputs(request, record, asked, same, most);
  if (outputs.length > 0) outputs.push(...differingTwins(request, record, asked, seen, outputs, same));
  if (inputs.length + outputs.length > MAX_DIFFERENCES) return { kind: "unknown" };
  const endedAt = clockMs();
  const phasesMs = { record: recordAt - startedAt, inputs: inputsAt - recordAt, outputs: endedAt - inputsAt };
  if (inputs.length + outputs.length > 0) {
    const differences = { record, recordSignature, inputs, outputs, asked, phasesMs };
    return { kind: "differs", differences };
  }
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
    phasesMs,
    totalMs: endedAt - startedAt,
    looked: asked.reduce((n, { from, to }) => n + to - from, record.head.inputs),
    hashed: 0,
    rendered: 0,
    written: 0,
  };
  return { kind: "fresh", result: { machines, stats } };
}

interface OutputAt {
  readonly machine: FreshMachine;
  readonly index: number;
}

/**
 * Outputs that no longer look as recorded, and which were `seen` at all. One that is a hard link to an output that was seen is
 * left out: which names a folder has for which files, the folder's own time stamps tell.
 */
function differingOutputs(
  request: BuildRequest,
  record: FreshRecord,
  asked: readonly FreshMachine[],
  same: LooksAs,
  most: number,
): { readonly found: OutputAt[]; readonly seen: Uint8Array } {
  const { numbers } = record;
  const seen = new Uint8Array(record.paths.length);
  const found: OutputAt[] = [];
  for (const machine of asked) {
    const { name, from, tree, to } = machine;
    for (let i = from; i < to; i++) {
      if (i === tree) process.chdir(buildLayout(request.root).tree(name));
      const twin = i < tree ? 0 : (numbers[i * NUMBERS_PER_PATH + TWIN] as number);
      if (twin > 0 && seen[twin - 1] === 1) continue;
      seen[i] = 1;
      if (differs(record, i, same)) found.push({ machine, index: i });
    }
    process.chdir(request.root);
    if (found.length > most) break;
  }
  return { found, seen };
}

/**
 * The same for outputs that were left out, as far as what was `found` concerns them: where the output that they are links to
 * differs, or the folder that they lie in, they may have become files of their own.
 */
function differingTwins(
  request: BuildRequest,
  record: FreshRecord,
  asked: readonly FreshMachine[],
  seen: Uint8Array,
  found: readonly OutputAt[],
  same: LooksAs,
): OutputAt[] {
  const { paths, numbers } = record;
  const different = new Uint8Array(paths.length);
  const folders = new Map<FreshMachine, Set<string>>();
  for (const { machine, index } of found) {
    different[index] = 1;
    // What stands there now may be no folder: what was below it counts all the same.
    const path = index < machine.tree ? "." : (paths[index] as string);
    folders.set(machine, (folders.get(machine) ?? new Set()).add(path));
  }
  const more: OutputAt[] = [];
  for (const machine of asked) {
    const changed = folders.get(machine) ?? NONE;
    process.chdir(buildLayout(request.root).tree(machine.name));
    for (let i = machine.tree; i < machine.to; i++) {
      if (seen[i] === 1) continue;
      const twin = numbers[i * NUMBERS_PER_PATH + TWIN] as number;
      const concerned =
        different[twin - 1] === 1 || (changed.size > 0 && changed.has(dirname(paths[i] as string)));
      if (concerned && differs(record, i, same)) more.push({ machine, index: i });
    }
  }
  process.chdir(request.root);
  return more;
}

const NONE: ReadonlySet<string> = new Set();

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
