/**
 * The cheap answer to "is there anything to do?": every path that the last answer depended on, and every output, still
 * has its signature. Must stay light: it is all that a build with nothing to do loads.
 */

import { dirname, join } from "node:path";
import { performance } from "node:perf_hooks";
import type { MachineName } from "../paths.ts";
import type { BuildRequest, BuildResult, MachineBuild } from "./build-result.ts";
import { buildLayout } from "./layout.ts";
import { ABSENT, lookAt, readSignature } from "./signature.ts";
import { type BuildState, readState } from "./state.ts";

/** Undefined: something may have changed, or the last build did not cover what is asked now. Reads; writes nothing. */
export function checkFresh(request: BuildRequest): BuildResult | undefined {
  const startedAt = performance.now();
  if (request.fromNothing) return undefined;
  const layout = buildLayout(request.root);
  const state = readState(layout.stateFile, request.tool);
  const stateAt = performance.now();
  if (!state || state.scope.args !== JSON.stringify([...request.facts].sort(([a], [b]) => (a < b ? -1 : 1))))
    return undefined;
  const names = coveredMachines(request, state);
  if (!names) return undefined;
  let looked = 0;
  for (const path in state.watched) {
    looked++;
    if (readSignature(path) !== state.watched[path]) return undefined;
  }
  for (const path of state.absent) {
    looked++;
    if (readSignature(path) !== ABSENT) return undefined;
  }
  const inputsAt = performance.now();
  const machines: MachineBuild[] = [];
  for (const name of names) {
    const machine = state.machines[name];
    if (!machine || readSignature(layout.manifest(name)) !== machine.manifestSignature) return undefined;
    const root = layout.tree(name);
    if (readSignature(root) !== machine.rootSignature) return undefined;
    // A tree that was moved away and linked keeps its root's signature.
    if (![dirname(root), layout.machineFolder(name)].every((f) => lookAt(f)?.isDirectory())) return undefined;
    let files = 0;
    for (const path in machine.outputs) {
      const record = machine.outputs[path];
      if (!record) continue;
      looked++;
      if (readSignature(join(root, path)) !== record.signature) return undefined;
      if (record.type !== "dir") files++;
    }
    machines.push({
      machine: name as MachineName,
      generation: machine.generation,
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
      phasesMs: { state: stateAt - startedAt, inputs: inputsAt - stateAt, outputs: endedAt - inputsAt },
      totalMs: endedAt - startedAt,
      looked,
      hashed: 0,
      rendered: 0,
      written: 0,
    },
  };
}

/** The machines asked for, in the order of the last build; undefined if it did not cover them all. */
function coveredMachines(request: BuildRequest, state: BuildState): readonly string[] | undefined {
  if (request.machines.length === 0) return state.scope.all ? state.scope.machines : undefined;
  // Globs and tags need the machine files, which only a full read looks at.
  return request.machines.every((m) => state.scope.machines.includes(m)) ? request.machines : undefined;
}
