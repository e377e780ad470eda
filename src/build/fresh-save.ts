/** Gathers what a finished build depended on and made into the record that `fresh.ts` compares. */
import { dirname } from "node:path";
import type { AbsPath } from "../paths.ts";
import type { Machine } from "../project/project.ts";
import type { BuildRequest } from "./build-result.ts";
import { argsKey } from "./fresh.ts";
import {
  type FreshMachine,
  MAX_USERS,
  NUMBERS_PER_PATH,
  setNumbers,
  USERS,
  USERS_UNKNOWN,
  writeFreshRecord,
} from "./fresh-record.ts";
import { buildLayout } from "./layout.ts";
import { SHARED_FILE } from "./parts.ts";
import {
  lastingSignature,
  lookAt,
  type Signature,
  UNTRUSTED,
  type Watched,
  type WatchedPath,
} from "./signature.ts";
import type { MachineState, OutputRecord } from "./state.ts";

/** All that a build looked at, as one. Pure. */
export function inputsLooked(watched: readonly Watched[]): Watched {
  const out = new Map<AbsPath, WatchedPath>();
  for (const [path, seen] of watched.flatMap((w) => [...w]))
    out.set(path, out.get(path)?.byLink ? { ...seen, byLink: true } : seen);
  return out;
}

/** Writes the record; `states` hold the outputs as they stand now. Throws what `fs` throws. */
export function saveFresh(
  request: BuildRequest,
  machines: readonly Machine[],
  inputs: Watched,
  states: Readonly<Record<string, MachineState>>,
): void {
  const layout = buildLayout(request.root);
  const here = `${request.root}/`;
  const short = (path: string): string => (path.startsWith(here) ? path.slice(here.length) : path);
  const looked = [...inputs].map(([path, { signature }]): [string, Signature] => [short(path), signature]);
  const young = [...inputs.values()].map(({ racy }) => racy);
  const blocks: FreshMachine[] = [];
  for (const { name } of machines) {
    const state = states[name];
    if (!state) throw new Error(`${name} was built without a state`);
    const from = looked.length;
    const root = layout.tree(name);
    looked.push([short(layout.manifest(name)), state.manifestSignature], [short(root), state.rootSignature]);
    // A tree that was moved away and linked keeps its root's signature, not that of the folders above.
    for (const folder of [layout.machineFolder(name), dirname(root)])
      looked.push([short(folder), lastingSignature(lookAt(folder), UNTRUSTED, Date.now())]);
    const tree = looked.length;
    let files = 0;
    for (const [path, record] of Object.entries(state.outputs)) {
      looked.push([path, record.signature]);
      if (record.type !== "dir") files++;
    }
    blocks.push({ name, generation: state.generation, files, from, tree, to: looked.length });
  }
  const numbers = new Float64Array(looked.length * NUMBERS_PER_PATH);
  for (const [i, [, signature]] of looked.entries()) setNumbers(numbers, i, signature, young[i]);
  if (machines.length <= MAX_USERS) markUsers(numbers, machines, inputs, states, request);
  const scope = { all: request.machines.length === 0, args: argsKey(request.facts) };
  const head = {
    tool: request.tool,
    scope,
    inputs: inputs.size,
    machines: blocks,
    hasUsers: machines.length <= MAX_USERS,
  };
  writeFreshRecord(layout.freshFile, { head, paths: looked.map(([path]) => path), numbers });
}

/**
 * Notes for each input which machines make something of its content; of those that outputs know by another name, that this
 * is not known: what a link led to, and built-in layers inside the repository, which call themselves `layers/…`.
 */
function markUsers(
  numbers: Float64Array,
  machines: readonly Machine[],
  inputs: Watched,
  states: Readonly<Record<string, MachineState>>,
  { root, builtInLayers }: BuildRequest,
): void {
  const index = new Map<string, number>([...inputs.keys()].map((path, i) => [path, i]));
  for (const [m, machine] of machines.entries()) {
    const used = new Set<number>();
    for (const record of Object.values(states[machine.name]?.outputs ?? {})) {
      for (const file of contentsOf(record, root)) {
        const i = index.get(file);
        if (i !== undefined) used.add(i);
      }
    }
    for (const i of used) (numbers[i * NUMBERS_PER_PATH + USERS] as number) += 2 ** m;
  }
  const renamed = builtInLayers === `${root}/layers` ? undefined : `${builtInLayers}/`;
  for (const [i, [path, { byLink }]] of [...inputs].entries())
    if (byLink || (renamed !== undefined && path.startsWith(renamed)))
      numbers[i * NUMBERS_PER_PATH + USERS] = USERS_UNKNOWN;
}

/** Absolute paths of the repository's files whose contents an output is made of, besides facts. Pure. */
export function contentsOf(record: OutputRecord, root: AbsPath): string[] {
  const out = [`${root}/${record.source}`];
  for (const name of Object.keys(record.parts ?? {})) out.push(partPath(name, root));
  return out;
}

/** Texts of which at least one stands in the state's line of every output whose `contentsOf` has `file`. Pure. */
export function textsOfContent(file: string, root: AbsPath): string[] {
  const inside = file.startsWith(`${root}/`) ? file.slice(root.length + 1) : file;
  const names = [file, inside, SHARED_FILE + inside];
  const partial = /^layers\/([^/]+)\/_partials\/(.+)\.hbs$/.exec(inside);
  if (partial) names.push(`${partial[1]}/${partial[2]}`);
  return names.map((name) => JSON.stringify(name));
}

function partPath(name: string, root: AbsPath): string {
  if (name.startsWith("/")) return name;
  if (name.startsWith(SHARED_FILE)) return `${root}/${name.slice(SHARED_FILE.length)}`;
  return `${root}/layers/${name.replace("/", "/_partials/")}.hbs`;
}
