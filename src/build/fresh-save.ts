/** Gathers what a finished build depended on and made into the record that `fresh.ts` compares. */
import { dirname } from "node:path";
import type { AbsPath } from "../paths.ts";
import type { Machine } from "../project/project.ts";
import type { BuildRequest } from "./build-result.ts";
import { argsKey } from "./fresh.ts";
import { type FreshMachine, writeFreshRecord } from "./fresh-record.ts";
import { buildLayout } from "./layout.ts";
import { lastingSignature, lookAt, type Signature, UNTRUSTED } from "./signature.ts";
import type { MachineState } from "./state.ts";

type Watched = ReadonlyMap<AbsPath, { readonly signature: Signature; readonly racy: boolean }>;

/** Input paths with the signatures that the next run may go by. */
export function inputsLooked(watched: readonly Watched[]): Map<string, Signature> {
  const out = new Map<string, Signature>();
  for (const [path, { signature, racy }] of watched.flatMap((w) => [...w]))
    out.set(path, racy ? UNTRUSTED : signature);
  return out;
}

/** Writes the record; `states` hold the outputs as they stand now. Throws what `fs` throws. */
export function saveFresh(
  request: BuildRequest,
  machines: readonly Machine[],
  inputs: ReadonlyMap<string, Signature>,
  states: Readonly<Record<string, MachineState>>,
): void {
  const layout = buildLayout(request.root);
  const here = `${request.root}/`;
  const short = (path: string): string => (path.startsWith(here) ? path.slice(here.length) : path);
  const looked = [...inputs].map(([path, signature]): [string, Signature] => [short(path), signature]);
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
  const scope = { all: request.machines.length === 0, args: argsKey(request.facts) };
  const head = { tool: request.tool, scope, inputs: inputs.size, machines: blocks };
  writeFreshRecord(layout.freshFile, head, looked);
}
