/**
 * A whole build: read → plan → act, for the machines asked for. Owns the order of phases, the lock and the state;
 * what each phase does stands in its own file. Opens no connection, reads nothing outside the repository, the built-in
 * layers and the cache.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Diagnostic, Result } from "../diagnostics.ts";
import { failure, sortDiagnostics, success } from "../diagnostics.ts";
import { blake3 } from "../hash.ts";
import { type AbsPath, foldersAbove, type GenerationId, type MachineName, type RelPath } from "../paths.ts";
import type { Machine, Project } from "../project/project.ts";
import { readProject } from "../project/read-project.ts";
import { selectMachines } from "../project/select-machines.ts";
import type { BuildRequest, BuildResult, MachineBuild } from "./build-result.ts";
import { buildTools } from "./build-tools.ts";
import { clockMs, phasesSince } from "./clock.ts";
import type { Differences } from "./fresh.ts";
import { inputsLooked, saveFresh } from "./fresh-save.ts";
import { holdingLock } from "./holding-lock.ts";
import { layMachine, templateViews } from "./lay-machine.ts";
import { buildLayout } from "./layout.ts";
import { executeMachine, type PreparedMachine, pathOf, prepareMachine, stepLines } from "./machine-build.ts";
import { readMachineFacts } from "./machine-facts.ts";
import { manifestPieces } from "./manifest.ts";
import { type OutputTree, outputTree, type TwinIndex, twinKey } from "./output-tree.ts";
import { partReader } from "./parts.ts";
import { projectDisk } from "./project-disk.ts";
import { quickBuild } from "./quick-build.ts";
import { treeReader } from "./read-tree.ts";
import { secretEntries, type UnbuiltEntries } from "./secret-entries.ts";
import { ABSENT, lastingSignature, lookAt, readSignature, UNTRUSTED } from "./signature.ts";
import { sourceHashes } from "./source-hashes.ts";
import {
  type BuildState,
  type MachineState,
  type OutputRecord,
  readState,
  recordOf,
  writeState,
} from "./state.ts";
import { manifestOf } from "./tree-manifest.ts";

/**
 * Builds; nothing is written if any machine has a problem. `differences` are what `lookFresh` found: where they are few and
 * plain, only what depends on them is done.
 */
export async function build(request: BuildRequest, differences?: Differences): Promise<Result<BuildResult>> {
  const startedAt = clockMs();
  return await holdingLock(request.root, async () => {
    const quick = differences && !request.dryRun ? await quickBuild(request, differences) : undefined;
    return quick ?? (await buildLocked(request, startedAt));
  });
}

async function buildLocked(request: BuildRequest, startedAt: number): Promise<Result<BuildResult>> {
  const { root } = request;
  const layout = buildLayout(root);
  const readAtMs = Date.now();
  const { phases, phase } = phasesSince(startedAt);
  const b3 = await blake3();
  const state = request.fromNothing ? undefined : readState(layout, request.tool, b3);
  phase("state");

  const disk = projectDisk();
  const project = readProject(root, request.builtInLayers, disk);
  if (!project.ok) return failure(...sortDiagnostics(project.problems));
  const selected = selectMachines(project.value.machines, request.machines);
  if (!selected.ok) return selected;
  const machines = selected.value;
  const facts = readMachineFacts(project.value, machines, request.facts, disk);
  phase("project");

  const hashes = sourceHashes(state?.hashes ?? {}, b3);
  const reader = treeReader([root, request.builtInLayers], readAtMs);
  const problems: Diagnostic[] = facts.ok ? [] : [...facts.problems];
  const overlays = machines.map((machine) => {
    const laid = layMachine(machine, reader);
    const secrets = secretEntries(machine, laid.outputs, root, disk.readText, b3);
    problems.push(...laid.problems, ...secrets.problems);
    return { machine, outputs: laid.outputs, secrets: secrets.entries };
  });
  problems.push(...reader.problems);
  if (problems.length > 0 || !facts.ok) return failure(...unique(sortDiagnostics(problems)));
  phase("read");

  const parts = partReader(project.value, hashes, b3, readAtMs);
  const tools = buildTools(request, hashes, parts, b3);
  const temporary = join(layout.treesFolder, ".new") as AbsPath;
  rmSync(temporary, { recursive: true, force: true });
  mkdirSync(temporary, { recursive: true });
  const twins: TwinIndex = new Map();
  const prepared: {
    prepared: PreparedMachine;
    tree: OutputTree;
    machine: Machine;
    secrets: UnbuiltEntries;
  }[] = [];
  for (const [i, { machine, outputs, secrets }] of overlays.entries()) {
    request.onProgress?.(`planning ${machine.name} (${i + 1} of ${overlays.length})`);
    const before = state?.machines[machine.name];
    const tree = outputTree(layout.tree(machine.name), temporary, twins, b3, request.dryRun);
    const machineFacts = facts.value.get(machine.name);
    if (!machineFacts) throw new Error(`no facts were read for ${machine.name}`);
    const view = templateViews(machine, machineFacts);
    const p = await prepareMachine({ name: machine.name, outputs, view, before }, tree, tools, problems);
    const touched = new Set(p.steps.map(pathOf));
    for (const [path, record] of Object.entries(before?.outputs ?? {})) {
      if (record.type === "file" && !touched.has(path as never))
        twins.set(twinKey(record.content, record.mode), join(layout.tree(machine.name), path));
    }
    prepared.push({ prepared: p, tree, machine, secrets });
  }
  if (problems.length > 0) return failure(...unique(sortDiagnostics(problems)));
  phase("plan");
  if (request.dryRun) {
    rmSync(temporary, { recursive: true, force: true });
    return success(
      dryResult(
        prepared.map((p) => p.prepared),
        state,
        phases,
        clockMs() - startedAt,
        root,
      ),
    );
  }

  const results: MachineBuild[] = [];
  const states: Record<string, MachineState> = { ...state?.machines };
  const acted: {
    readonly name: MachineName;
    readonly tree: OutputTree;
    readonly paths: readonly RelPath[];
  }[] = [];
  for (const [i, { prepared: p, tree, machine, secrets }] of prepared.entries()) {
    request.onProgress?.(`writing ${machine.name} (${i + 1} of ${prepared.length})`);
    const t = clockMs();
    const executed = executeMachine(p, tree, tools, problems);
    if (problems.length > 0) return failure(...unique(problems));
    const manifest = manifestOf(machine, p.input.outputs, executed.outputs, secrets);
    const text = Buffer.concat(Array.from(manifestPieces(manifest), (piece) => Buffer.from(piece)));
    const generation = b3.hash(text) as string as GenerationId;
    const file = layout.manifest(machine.name);
    const known = state?.machines[machine.name];
    const untouched = known?.generation === generation && readSignature(file) === known.manifestSignature;
    if (!untouched && !holds(file, text)) {
      const temp = join(temporary, `manifest-${machine.name}`);
      writeFileSync(temp, text);
      if (lookAt(file)?.isDirectory()) rmSync(file, { recursive: true });
      renameSync(temp, file);
    }
    states[machine.name] = {
      generation,
      manifestSignature: readSignature(file),
      rootSignature: UNTRUSTED,
      outputs: executed.outputs,
    };
    results.push({
      machine: machine.name,
      generation,
      files: Object.values(executed.outputs).filter((r) => r.type !== "dir").length,
      written: executed.written,
      removed: executed.removed,
      steps: stepLines(p.steps, root),
      durationMs: clockMs() - t,
    });
    acted.push({ name: machine.name, tree, paths: p.steps.map(pathOf) });
  }
  // What was planned is most of what a large build holds, and what comes now takes as much again.
  for (const list of [prepared, overlays]) list.length = 0;
  // A hard link made for a later machine moved the ctime of an earlier one's file.
  const twinsTouched = new Set<string>();
  for (const { name, paths } of acted) {
    for (const path of paths) {
      for (const records of [state?.machines[name], states[name]]) {
        const record = recordOf(records?.outputs, path);
        if (record?.type === "file") twinsTouched.add(twinKey(record.content, record.mode));
      }
    }
  }
  for (const { name, tree, paths } of acted) {
    const touched = new Set(paths.flatMap((path) => [path, ...foldersAbove(path)]));
    const isTouched = (path: string, r: OutputRecord): boolean =>
      touched.has(path as RelPath) || (r.type === "file" && twinsTouched.has(twinKey(r.content, r.mode)));
    states[name] = settled(states[name], tree, layout.manifest(name), isTouched);
  }
  rmSync(temporary, { recursive: true, force: true });
  removeForgotten(layout.treesFolder, project.value, states);
  phase("act");

  const removedMachines = Object.keys(states).filter(
    (name) => !project.value.machines.some((m) => m.name === name),
  );
  for (const name of removedMachines) delete states[name];
  writeState(layout, request.tool, { hashes: hashes.entries(), machines: states }, b3);
  const looked = inputsLooked([reader.watched, disk.watched, parts.watched]);
  saveFresh(request, machines, looked, states);
  await tools.saveTemplates();
  phase("save");
  return success({
    machines: results,
    stats: {
      phasesMs: phases,
      totalMs: clockMs() - startedAt,
      looked: reader.watched.size + disk.filesRead.length,
      hashed: hashes.counts.hashed,
      rendered: results.reduce((n, r) => n + r.steps.filter((s) => s.action === "render").length, 0),
      written: results.reduce((n, r) => n + r.written, 0),
    },
  });
}

/** What the steps would do, with the generation that stands; files that a step would render may prove unchanged. */
function dryResult(
  prepared: readonly PreparedMachine[],
  state: BuildState | undefined,
  phasesMs: Record<string, number>,
  totalMs: number,
  root: AbsPath,
): BuildResult {
  const machines = prepared.map((p): MachineBuild => {
    const before = state?.machines[p.input.name];
    return {
      machine: p.input.name,
      generation: before?.generation ?? ("" as GenerationId),
      files: p.input.outputs.filter((o) => o.content.kind !== "dir").length,
      written: p.steps.filter((s) => s.action !== "remove").length,
      removed: p.steps.filter((s) => s.action === "remove").length,
      steps: stepLines(p.steps, root),
      foreseen: foreseen(p),
      durationMs: 0,
    };
  });
  return { machines, stats: { phasesMs, totalMs, looked: 0, hashed: 0, rendered: 0, written: 0 } };
}

/** Contents that would be rendered or bundled anew and differ from the ones that stand. */
function foreseen(p: PreparedMachine): NonNullable<MachineBuild["foreseen"]> {
  const out = new Map<RelPath, Uint8Array>();
  for (const [path, produced] of p.produced) {
    if (p.input.before?.outputs[path]?.content !== produced.hash) out.set(path, produced.data);
  }
  return out;
}

/** The machine's state as the next run may trust it, taken after everything was written. */
function settled(
  state: MachineState | undefined,
  tree: OutputTree,
  manifest: string,
  isTouched: (path: string, record: OutputRecord) => boolean,
): MachineState {
  if (!state) throw new Error("a machine was built without a state");
  const nowMs = Date.now();
  const outputs = new Map<string, OutputRecord>();
  for (const [path, record] of Object.entries(state.outputs)) {
    const signature = isTouched(path, record)
      ? tree.lasting(path as RelPath, record, nowMs)
      : tree.examined(path as RelPath, record);
    outputs.set(path, signature === record.signature ? record : { ...record, signature });
  }
  return {
    ...state,
    manifestSignature: lastingSignature(lookAt(manifest), state.manifestSignature, nowMs),
    rootSignature: lastingSignature(lookAt(tree.root), ABSENT, nowMs),
    outputs: Object.fromEntries(outputs),
  };
}

/** True if a regular file of these very bytes stands there. */
function holds(file: string, text: Buffer): boolean {
  return lookAt(file)?.isFile() === true && readFileSync(file).equals(text);
}

/** A machine that the repository no longer has leaves no tree behind. */
function removeForgotten(
  treesFolder: string,
  project: Project,
  states: Readonly<Record<string, MachineState>>,
): void {
  for (const name of readdirSync(treesFolder)) {
    // Only what a build recorded or wrote is labctl's to remove.
    const ours = states[name] !== undefined || existsSync(join(treesFolder, name, "manifest.json"));
    if (ours && !project.machines.some((m) => m.name === name))
      rmSync(join(treesFolder, name), { recursive: true, force: true });
  }
}

function unique(problems: readonly Diagnostic[]): Diagnostic[] {
  const seen = new Set<string>();
  return problems.filter((p) => {
    const key = JSON.stringify(p);
    return seen.has(key) ? false : Boolean(seen.add(key));
  });
}
