/**
 * The cheap answer to "is there anything to do?": every path that the last answer depended on, and every output, still
 * looks as it did. Must stay light: it is all that a build with nothing to do loads.
 */
import { performance } from "node:perf_hooks";
import type { MachineName } from "../paths.ts";
import type { BuildRequest, BuildResult, MachineBuild } from "./build-result.ts";
import { type FreshMachine, type FreshRecord, NUMBERS_PER_PATH, readFreshRecord } from "./fresh-record.ts";
import { buildLayout } from "./layout.ts";
import { lookAt } from "./signature.ts";

/** Undefined: something may have changed, or the last build did not cover what is asked now. Reads; writes nothing. */
export function checkFresh(request: BuildRequest): BuildResult | undefined {
  const startedAt = performance.now();
  if (request.fromNothing) return undefined;
  const record = readFreshRecord(buildLayout(request.root).freshFile, request.tool);
  if (record?.head.scope.args !== argsKey(request.facts)) return undefined;
  const asked = machinesAsked(request, record);
  if (!asked) return undefined;
  const recordAt = performance.now();
  // Looking at a short relative path takes two thirds of the time. Nothing else runs meanwhile: all of this is synchronous.
  const home = process.cwd();
  try {
    process.chdir(request.root);
    return compare(request, record, asked, startedAt, recordAt);
  } finally {
    process.chdir(home);
  }
}

function compare(
  request: BuildRequest,
  record: FreshRecord,
  asked: readonly FreshMachine[],
  startedAt: number,
  recordAt: number,
): BuildResult | undefined {
  if (!unchanged(record, 0, record.head.inputs)) return undefined;
  const inputsAt = performance.now();
  let looked = record.head.inputs;
  const machines: MachineBuild[] = [];
  for (const { name, generation, files, from, tree, to } of asked) {
    if (!unchanged(record, from, tree)) return undefined;
    process.chdir(buildLayout(request.root).tree(name));
    if (!unchanged(record, tree, to)) return undefined;
    process.chdir(request.root);
    looked += to - from;
    machines.push({
      machine: name as MachineName,
      generation,
      files,
      written: 0,
      removed: 0,
      steps: [],
      durationMs: performance.now() - startedAt,
    });
  }
  const endedAt = performance.now();
  return {
    machines,
    stats: {
      phasesMs: { record: recordAt - startedAt, inputs: inputsAt - recordAt, outputs: endedAt - inputsAt },
      totalMs: endedAt - startedAt,
      looked,
      hashed: 0,
      rendered: 0,
      written: 0,
    },
  };
}

/** `--fact` arguments as one text. Pure. */
export function argsKey(facts: ReadonlyMap<string, string>): string {
  return JSON.stringify([...facts].sort(([a], [b]) => (a < b ? -1 : 1)));
}

function unchanged({ paths, numbers }: FreshRecord, from: number, to: number): boolean {
  for (let i = from; i < to; i++) {
    const stats = lookAt(paths[i] as string);
    const at = i * NUMBERS_PER_PATH;
    if (stats === undefined) {
      if (numbers[at] !== -1) return false;
    } else if (
      stats.mtimeMs !== numbers[at + 1] ||
      stats.ctimeMs !== numbers[at + 2] ||
      stats.size !== numbers[at] ||
      stats.ino !== numbers[at + 3] ||
      stats.mode !== numbers[at + 4]
    )
      return false;
  }
  return true;
}

/** The machines asked for; undefined if the record does not cover them all. */
function machinesAsked(request: BuildRequest, { head }: FreshRecord): readonly FreshMachine[] | undefined {
  if (request.machines.length === 0) return head.scope.all ? head.machines : undefined;
  // Globs and tags need the machine files, which only a full read looks at.
  const asked = [...new Set(request.machines)].map((name) => head.machines.find((m) => m.name === name));
  return asked.every((m) => m !== undefined) ? asked : undefined;
}
