/**
 * A whole build: read → plan → act, for the machines asked for. Owns the order of phases, the lock and the state;
 * what each phase does stands in its own file. Opens no connection, reads nothing outside the repository, the built-in
 * layers and the cache.
 */
import { lstatSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import type { Diagnostic, Result } from "../diagnostics.ts";
import { failure, sortDiagnostics, success } from "../diagnostics.ts";
import { readFacts } from "../facts/read-facts.ts";
import { type Blake3, blake3 } from "../hash.ts";
import type { AbsPath, GenerationId } from "../paths.ts";
import type { Machine, Project } from "../project/project.ts";
import { readProject } from "../project/read-project.ts";
import { selectMachines } from "../project/select-machines.ts";
import type { BuildRequest, BuildResult, MachineBuild } from "./build-result.ts";
import { type Bundler, bundler } from "./bundle.ts";
import { buildLayout } from "./layout.ts";
import { acquireLock } from "./lock.ts";
import { executeMachine, type PreparedMachine, prepareMachine, type Tools } from "./machine-build.ts";
import { manifestText } from "./manifest.ts";
import { type OutputTree, outputTree, type TwinIndex, twinKey } from "./output-tree.ts";
import { overlay } from "./overlay.ts";
import type { BuildStep } from "./plan.ts";
import { describe } from "./problems.ts";
import { projectDisk } from "./project-disk.ts";
import { treeReader } from "./read-tree.ts";
import { formatReason } from "./reason.ts";
import { type Renderer, renderer } from "./render.ts";
import { ABSENT, isRacy, readSignature, signatureOf } from "./signature.ts";
import { sourceHashes } from "./source-hashes.ts";
import { type BuildState, type MachineState, readState, STATE_VERSION, writeState } from "./state.ts";

/** How long a second build waits for the first. */
const LOCK_PATIENCE_MS = 30_000;

/** Builds; nothing is written if any machine has a problem. */
export async function build(request: BuildRequest): Promise<Result<BuildResult>> {
  const startedAt = performance.now();
  const layout = buildLayout(request.root);
  try {
    mkdirSync(layout.cacheFolder, { recursive: true });
    mkdirSync(layout.treesFolder, { recursive: true });
  } catch (error) {
    return failure(
      describe({ kind: "write-failed", path: layout.cacheFolder, why: (error as Error).message }),
    );
  }
  const lock = await acquireLock(layout.lockFile, LOCK_PATIENCE_MS);
  if (!lock.ok) return lock;
  try {
    return await buildLocked(request, startedAt);
  } catch (error) {
    const e = error as NodeJS.ErrnoException;
    if (e.code === undefined || e.path === undefined) throw error;
    const inside = e.path.startsWith(layout.treesFolder) || e.path.startsWith(layout.cacheFolder);
    if (inside) return failure(describe({ kind: "write-failed", path: e.path, why: e.message }));
    return failure(
      describe({
        kind: "unreadable",
        place: { file: e.path.replace(`${request.root}/`, "") },
        why: e.message,
      }),
    );
  } finally {
    lock.value.release();
  }
}

async function buildLocked(request: BuildRequest, startedAt: number): Promise<Result<BuildResult>> {
  const { root } = request;
  const layout = buildLayout(root);
  const readAtMs = Date.now();
  const phases: Record<string, number> = {};
  let mark = startedAt;
  const phase = (name: string): void => {
    const now = performance.now();
    phases[name] = now - mark;
    mark = now;
  };
  const state = request.fromNothing ? undefined : readState(layout.stateFile, request.tool);
  phase("state");

  const disk = projectDisk();
  const project = readProject(root, request.builtInLayers, disk);
  if (!project.ok) return failure(...sortDiagnostics(project.problems));
  const selected = selectMachines(project.value.machines, request.machines);
  if (!selected.ok) return selected;
  const machines = selected.value;
  const facts = readFacts(root, machines, request.facts, disk);
  phase("project");

  const b3 = await blake3();
  const hashes = sourceHashes(state?.hashes ?? {}, b3);
  const reader = treeReader([root, request.builtInLayers], readAtMs);
  const problems: Diagnostic[] = facts.ok ? [] : [...facts.problems];
  const overlays = machines.map((machine) => {
    const trees = machine.layers.map((l) => reader.read(l.folder, `layers/${l.name}`, l.name));
    trees.push(reader.read(machine.folder, `machines/${machine.name}`, "machine"));
    const laid = overlay(machine, trees);
    problems.push(...laid.problems);
    return { machine, outputs: laid.outputs };
  });
  problems.push(...reader.problems);
  if (problems.length > 0 || !facts.ok) return failure(...unique(sortDiagnostics(problems)));
  phase("read");

  const tools = makeTools(root, project.value, hashes, b3);
  const temporary = join(layout.treesFolder, ".new") as AbsPath;
  rmSync(temporary, { recursive: true, force: true });
  mkdirSync(temporary, { recursive: true });
  const twins: TwinIndex = new Map();
  const prepared: { prepared: PreparedMachine; tree: OutputTree; machine: Machine }[] = [];
  for (const { machine, outputs } of overlays) {
    const before = state?.machines[machine.name];
    const tree = outputTree(layout.tree(machine.name), temporary, twins, b3);
    const machineFacts = facts.value.get(machine.name);
    if (!machineFacts) throw new Error(`no facts were read for ${machine.name}`);
    const p = prepareMachine({ machine, outputs, facts: machineFacts, before }, tree, tools, problems);
    const touched = new Set(p.steps.map((s) => (s.action === "remove" ? s.path : s.output.path)));
    for (const [path, record] of Object.entries(before?.outputs ?? {})) {
      if (record.type === "file" && !touched.has(path as never))
        twins.set(twinKey(record.content, record.mode), join(layout.tree(machine.name), path));
    }
    prepared.push({ prepared: p, tree, machine });
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
        performance.now() - startedAt,
      ),
    );
  }

  const results: MachineBuild[] = [];
  const states: Record<string, MachineState> = { ...state?.machines };
  for (const { prepared: p, tree, machine } of prepared) {
    const t = performance.now();
    const executed = executeMachine(p, tree, tools, problems);
    if (problems.length > 0) return failure(...unique(problems));
    const text = manifestText(executed.manifest);
    const generation = b3.hash(text) as string as GenerationId;
    const file = layout.manifest(machine.name);
    const known = state?.machines[machine.name];
    if (known?.generation !== generation || readSignature(file) !== known.manifestSignature) {
      const temp = join(temporary, `manifest-${machine.name}`);
      writeFileSync(temp, text);
      renameSync(temp, file);
    }
    states[machine.name] = { generation, manifestSignature: readSignature(file), outputs: executed.outputs };
    results.push({
      machine: machine.name,
      generation,
      files: executed.manifest.entries.filter((e) => e.type !== "dir").length,
      written: executed.written,
      removed: executed.removed,
      steps: stepLines(p.steps),
      durationMs: performance.now() - t,
    });
  }
  // A hard link made for a later machine moved the ctime of an earlier one's file.
  for (const { tree, machine } of prepared) states[machine.name] = refreshed(states[machine.name], tree);
  rmSync(temporary, { recursive: true, force: true });
  removeForgotten(layout.treesFolder, project.value, states);
  phase("act");

  const removedMachines = Object.keys(states).filter(
    (name) => !project.value.machines.some((m) => m.name === name),
  );
  for (const name of removedMachines) delete states[name];
  writeState(
    layout.stateFile,
    newState(request, machines, disk, reader.watched, hashes, states, tools.partFile),
  );
  phase("save");
  return success({
    machines: results,
    stats: {
      phasesMs: phases,
      totalMs: performance.now() - startedAt,
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
): BuildResult {
  const machines = prepared.map((p): MachineBuild => {
    const before = state?.machines[p.input.machine.name];
    return {
      machine: p.input.machine.name,
      generation: before?.generation ?? ("" as GenerationId),
      files: p.input.outputs.filter((o) => o.content.kind !== "dir").length,
      written: p.steps.filter((s) => s.action !== "remove").length,
      removed: p.steps.filter((s) => s.action === "remove").length,
      steps: stepLines(p.steps),
      durationMs: 0,
    };
  });
  return { machines, stats: { phasesMs, totalMs, looked: 0, hashed: 0, rendered: 0, written: 0 } };
}

function stepLines(steps: readonly BuildStep[]): MachineBuild["steps"] {
  return steps.map((s) => ({
    path: s.action === "remove" ? s.path : s.output.path,
    action: s.action,
    reason: formatReason(s.reason),
  }));
}

function refreshed(state: MachineState | undefined, tree: OutputTree): MachineState {
  if (!state) throw new Error("a machine was built without a state");
  let changed: Record<string, MachineState["outputs"][string]> | undefined;
  for (const [path, record] of Object.entries(state.outputs)) {
    if (record.type !== "file") continue;
    const now = tree.signature(path as never);
    if (now === record.signature) continue;
    changed ??= { ...state.outputs };
    changed[path] = { ...record, signature: now };
  }
  return changed ? { ...state, outputs: changed } : state;
}

function makeTools(
  root: AbsPath,
  project: Project,
  hashes: ReturnType<typeof sourceHashes>,
  b3: Blake3,
): Tools {
  const layerFolders = new Map(
    project.machines.flatMap((m) => m.layers.map((l) => [l.name as string, l.folder as string])),
  );
  const partialFile = (name: string): string | undefined => {
    const [layer = "", ...rest] = name.split("/");
    const folder = layer === "machine" ? undefined : layerFolders.get(layer);
    const path = rest.join("/");
    if (folder === undefined || path === "" || path.split("/").includes("..")) return undefined;
    return join(folder, "_partials", `${path}.hbs`);
  };
  const partFile = (name: string): string | undefined => (name.startsWith("/") ? name : partialFile(name));
  let rendering: Renderer | undefined;
  let bundling: Bundler | undefined;
  const text = (s: string): string => b3.hash(s);
  return {
    b3,
    hashes,
    renderer: () => {
      rendering ??= renderer((name) => {
        const file = partialFile(name);
        if (file === undefined || readSignature(file) === ABSENT) return undefined;
        return { text: readFileSync(file, "utf8"), file: `layers/${name.replace("/", "/_partials/")}.hbs` };
      }, text);
      return rendering;
    },
    bundler: () => {
      bundling ??= bundler(root);
      return bundling;
    },
    partFile,
    partHash: (name) => {
      const file = partFile(name);
      return file === undefined ? undefined : hashes.ofPath(file);
    },
  };
}

/** A machine that the repository no longer has leaves no tree behind. */
function removeForgotten(
  treesFolder: string,
  project: Project,
  states: Readonly<Record<string, MachineState>>,
): void {
  for (const name of readdirSync(treesFolder)) {
    // Only what an earlier build recorded is labctl's to remove.
    if (states[name] && !project.machines.some((m) => m.name === name))
      rmSync(join(treesFolder, name), { recursive: true, force: true });
  }
}

function newState(
  request: BuildRequest,
  machines: readonly Machine[],
  disk: ReturnType<typeof projectDisk>,
  read: ReadonlyMap<AbsPath, { signature: string; racy: boolean }>,
  hashes: ReturnType<typeof sourceHashes>,
  states: Record<string, MachineState>,
  partFile: (name: string) => string | undefined,
): BuildState {
  const watched: Record<string, string> = {};
  const absent: string[] = [];
  for (const [path, { signature, racy }] of read) watched[path] = racy ? ABSENT : signature;
  for (const [path, { signature, racy }] of disk.watched) {
    if (signature === ABSENT) absent.push(path);
    else watched[path] = racy ? ABSENT : signature;
  }
  // Partials and imports are looked up by name, not walked.
  for (const m of machines) {
    for (const record of Object.values(states[m.name]?.outputs ?? {})) {
      for (const name of Object.keys(record.parts ?? {})) {
        const file = partFile(name);
        if (file === undefined) continue;
        const stats = lstatSync(file, { throwIfNoEntry: false });
        if (!stats) absent.push(file);
        else watched[file] = isRacy(stats, Date.now()) ? ABSENT : signatureOf(stats);
      }
    }
  }
  return {
    version: STATE_VERSION,
    tool: request.tool,
    scope: {
      machines: machines.map((m) => m.name),
      all: request.machines.length === 0,
      args: argsKey(request.facts),
    },
    watched,
    absent,
    hashes: hashes.entries(),
    machines: states,
  };
}

/** `--fact` arguments as one text. Pure. */
export function argsKey(facts: ReadonlyMap<string, string>): string {
  return JSON.stringify([...facts].sort(([a], [b]) => (a < b ? -1 : 1)));
}

function unique(problems: readonly Diagnostic[]): Diagnostic[] {
  const seen = new Set<string>();
  return problems.filter((p) => {
    const key = JSON.stringify(p);
    return seen.has(key) ? false : Boolean(seen.add(key));
  });
}
