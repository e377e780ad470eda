/**
 * A build in which only contents of known files changed: plain sources, templates, partials, facts. Which paths there are,
 * who wins them and with what attributes is then as it was, so nothing is walked or laid again; only the outputs made of
 * what changed are planned and executed, by the same code as in a full build. Anything else is left to the full build.
 */
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Diagnostic, Result } from "../diagnostics.ts";
import { failure, sortDiagnostics, success } from "../diagnostics.ts";
import { blake3 } from "../hash.ts";
import { type AbsPath, foldersAbove, type GenerationId, type MachineName, type RelPath } from "../paths.ts";
import type { Machine } from "../project/project.ts";
import type { BuildRequest, BuildResult, MachineBuild } from "./build-result.ts";
import { buildTools } from "./build-tools.ts";
import { clockMs, phasesSince } from "./clock.ts";
import type { Differences } from "./fresh.ts";
import { type FreshMachine, setNumbers, writeFreshRecord } from "./fresh-record.ts";
import { contentsOf, textsOfContent } from "./fresh-save.ts";
import { holdingLock } from "./holding-lock.ts";
import { guestOfPath } from "./lay-machine.ts";
import { buildLayout } from "./layout.ts";
import { executeMachine, type PreparedMachine, prepareMachine, stepLines } from "./machine-build.ts";
import { type ManifestLines, manifestLines } from "./manifest.ts";
import { type OutputTree, outputTree } from "./output-tree.ts";
import type { PlannedOutput } from "./overlay.ts";
import type { Parts } from "./parts.ts";
import { type ChangedInputs, concerns, judgeInputs, settleOutputs } from "./quick-judge.ts";
import { ABSENT, isRacy, lastingSignature, lookAt, readSignature, signatureOf } from "./signature.ts";
import { sourceHashes } from "./source-hashes.ts";
import { type MachineLines, type OutputRecord, readMachineLines } from "./state.ts";
import type { TemplateInputs } from "./template/inputs.ts";
import { manifestEntries } from "./tree-manifest.ts";

/** One machine with what its steps start from. */
interface Affected {
  readonly block: FreshMachine;
  readonly state: MachineLines;
  readonly manifest: ManifestLines;
  readonly subset: readonly [RelPath, OutputRecord][];
}

/** The same, holding the build's lock; for whoever has not loaded the full build. */
export async function quickBuildAlone(
  request: BuildRequest,
  differences: Differences,
): Promise<Result<BuildResult> | undefined> {
  return await holdingLock(request.root, () => quickBuild(request, differences));
}

/** Undefined: this is a case for the full build; nothing was changed. The caller holds the build's lock. */
export async function quickBuild(
  request: BuildRequest,
  differences: Differences,
): Promise<Result<BuildResult> | undefined> {
  const startedAt = clockMs();
  const { phases, phase } = phasesSince(startedAt);
  const readAtMs = Date.now();
  const { root } = request;
  const layout = buildLayout(root);
  const { record, asked } = differences;
  if (!record.head.hasUsers || readSignature(layout.freshFile) !== differences.recordSignature)
    return undefined;
  const changed = judgeInputs(root, differences);
  if (!changed) return undefined;

  const wanted = record.head.machines.filter((block, m) => concerns(changed, record.numbers, block.name, m));
  if (wanted.some((block) => !asked.includes(block))) return undefined;
  phase("judge");
  const b3 = await blake3();
  phase("hasher");
  const states = new Map<string, MachineLines>();
  const stateOf = (name: string): MachineLines | undefined => {
    const known = states.get(name) ?? readMachineLines(layout, name, request.tool, b3);
    if (known) states.set(name, known);
    return known;
  };
  const parts: Affected[] = [];
  for (const block of wanted) {
    const part = affectedPart(block, stateOf(block.name), changed, root, layout.manifest(block.name));
    if (!part) return undefined;
    parts.push(part);
  }

  phase("state");
  const hashes = sourceHashes({}, b3);
  const copiesOnly = parts.every(({ subset }) => subset.every(([, r]) => r.sourceHash === undefined));
  let inputs: TemplateInputs | undefined;
  if (!copiesOnly || changed.facts.size > 0) {
    const { readTemplateInputs } = await import("./template/inputs.ts");
    const read = readTemplateInputs(request, wanted, hashes, b3, readAtMs);
    if (!read?.ok) return read;
    inputs = read.value;
  }
  phase("facts");
  const tools = buildTools(request, hashes, inputs?.parts ?? NO_PARTS, b3);

  const temporary = join(layout.treesFolder, ".new") as AbsPath;
  rmSync(temporary, { recursive: true, force: true });
  mkdirSync(temporary, { recursive: true });
  const twins = new Map<string, string>();
  const trees = new Map<string, OutputTree>();
  const treeOf = (name: string): OutputTree => {
    // Folders whose names changed were looked at in `settleOutputs`; there are no strangers.
    const tree = trees.get(name) ?? {
      ...outputTree(layout.tree(name), temporary, twins, b3),
      strangers: () => [],
    };
    trees.set(name, tree);
    return tree;
  };
  const settled = settleOutputs(
    root,
    differences,
    stateOf,
    treeOf,
    (file) => b3.hash(readFileSync(file)),
    layout.manifest,
  );
  if (!settled) return undefined;
  phase("settle");

  const problems: Diagnostic[] = [];
  const prepared: { affected: Affected; prepared: PreparedMachine; tree: OutputTree }[] = [];
  for (const affected of parts) {
    const name = affected.block.name as MachineName;
    const machine = inputs?.machines.find((m) => m.name === name);
    const view = inputs?.views.get(name);
    if (inputs && (!machine || !view)) return undefined;
    const outputs = affected.subset.map(([path, r]) =>
      plannedAgain(path, r, affected.manifest, machine, root, readAtMs),
    );
    if (!outputs.every((o) => o !== undefined)) return undefined;
    const before = { ...affected.state.head, outputs: Object.fromEntries(affected.subset) };
    const tree = treeOf(name);
    prepared.push({
      affected,
      tree,
      prepared: await prepareMachine({ name, outputs, view, before }, tree, tools, problems),
    });
  }
  if (problems.length > 0) return failure(...sortDiagnostics(problems));
  phase("plan");

  const results = new Map<string, MachineBuild>();
  const generations = new Map<string, GenerationId>();
  const touched = new Map<string, Set<string>>();
  for (const { affected, prepared: p, tree } of prepared) {
    const { block, manifest, state } = affected;
    const executed = executeMachine(p, tree, tools, problems);
    if (problems.length > 0) return failure(...problems);
    for (const entry of manifestEntries(p.input.outputs, executed.outputs)) manifest.replace(entry);
    const text = manifest.text();
    const generation = b3.hash(text) as string as GenerationId;
    if (generation !== block.generation) {
      const temp = join(temporary, `manifest-${block.name}`);
      writeFileSync(temp, text);
      renameSync(temp, layout.manifest(block.name));
    }
    generations.set(block.name, generation);
    touched.set(
      block.name,
      new Set(
        p.steps.flatMap((s) =>
          s.action === "remove" ? [] : [s.output.path, ...foldersAbove(s.output.path)],
        ),
      ),
    );
    for (const [path, record] of Object.entries(executed.outputs)) state.replace(path, record);
    results.set(block.name, {
      machine: p.input.name,
      generation,
      files: block.files,
      written: executed.written,
      removed: 0,
      steps: stepLines(p.steps, root),
      durationMs: clockMs() - startedAt,
    });
  }
  rmSync(temporary, { recursive: true, force: true });
  phase("act");
  save(request, differences, changed, generations, touched, states, treeOf);
  await tools.saveTemplates();
  phase("save");
  const machineBuilds = asked.map((block): MachineBuild => results.get(block.name) ?? untouched(block));
  return success({
    machines: machineBuilds,
    stats: {
      phasesMs: { ...differences.phasesMs, ...phases },
      totalMs: clockMs() - startedAt,
      looked: record.paths.length,
      hashed: hashes.counts.hashed,
      rendered: prepared.reduce(
        (n, { prepared: p }) => n + p.steps.filter((s) => s.action === "render").length,
        0,
      ),
      written: machineBuilds.reduce((n, m) => n + m.written, 0),
    },
  });
}

/** For outputs that are made of one file each. */
const NO_PARTS: Parts = {
  partial: () => undefined,
  hash: () => undefined,
  forget: () => {},
  watched: new Map(),
};

/** The outputs of a machine that are made of what changed. */
function affectedPart(
  block: FreshMachine,
  state: MachineLines | undefined,
  changed: ChangedInputs,
  root: AbsPath,
  manifestFile: string,
): Affected | undefined {
  // One that someone took away is the full build's business.
  if (!lookAt(manifestFile)?.isFile()) return undefined;
  const manifest = manifestLines(readFileSync(manifestFile, "utf8"));
  if (!state || !manifest || state.head.generation !== block.generation) return undefined;
  const factsChanged = changed.facts.has("all") || changed.facts.has(block.name);
  const texts = [...changed.files].flatMap((file) => textsOfContent(file, root));
  if (factsChanged) texts.push('"reads":{');
  const subset = state
    .holding(texts)
    .filter(
      ([, r]) =>
        r.type === "file" &&
        ((factsChanged && r.reads !== undefined) ||
          contentsOf(r, root).some((file) => changed.files.has(file))),
    );
  return { block, state, manifest, subset };
}

/** The decision of the last full build about one output; undefined if it can't be had from what is recorded. */
function plannedAgain(
  path: RelPath,
  record: OutputRecord,
  manifest: ManifestLines,
  machine: Machine | undefined,
  root: AbsPath,
  readAtMs: number,
): PlannedOutput | undefined {
  const entry = manifest.entry(path);
  if (entry?.type !== "file") return undefined;
  const rendered = entry.origin.template;
  if (!rendered && record.sourceHash !== undefined) return undefined;
  const { layer, source } = entry.origin;
  const inside = guestOfPath(path);
  const owner = inside ? machine?.guests.find((g) => g.name === inside.guest)?.machine : machine;
  const folder = owner?.layers.find((l) => l.name === layer)?.folder;
  const own = `layers/${layer}/`;
  const file = (
    folder !== undefined && source.startsWith(own)
      ? join(folder, source.slice(own.length))
      : join(root, source)
  ) as AbsPath;
  const stats = lookAt(file);
  if (!stats?.isFile()) return undefined;
  const common = { path, mode: entry.mode, owner: entry.owner, group: entry.group, layer, source };
  const sourceFile = {
    type: "file" as const,
    path,
    file,
    display: source,
    signature: signatureOf(stats),
    racy: isRacy(stats, readAtMs),
    executable: (stats.mode & 0o100) !== 0,
    sizeBytes: stats.size,
  };
  return { ...common, content: { kind: rendered ? "render" : "copy", source: sourceFile } };
}

/** Brings state and record up to what was done; what was just written is not trusted until it has aged. */
function save(
  request: BuildRequest,
  { record, outputs }: Differences,
  changed: ChangedInputs,
  generations: ReadonlyMap<string, GenerationId>,
  touched: ReadonlyMap<string, ReadonlySet<string>>,
  states: ReadonlyMap<string, MachineLines>,
  treeOf: (name: string) => OutputTree,
): void {
  const layout = buildLayout(request.root);
  const nowMs = Date.now();
  const { paths, numbers, head, pathBytes } = record;
  for (const [index, { signature, racy }] of changed.signatures) setNumbers(numbers, index, signature, racy);
  const stale = new Map<string, Set<number>>();
  for (const { machine, index } of outputs)
    stale.set(machine.name, (stale.get(machine.name) ?? new Set()).add(index));
  const machines = head.machines.map((block): FreshMachine => {
    const state = states.get(block.name);
    const done = touched.get(block.name);
    const again = stale.get(block.name);
    if (!state || (!done && !again)) return block;
    const tree = treeOf(block.name);
    for (let i = block.tree; i < block.to; i++) {
      const path = paths[i] as RelPath;
      if (!done?.has(path) && !again?.has(i)) continue;
      const output = state.record(path);
      if (!output) continue;
      const signature = tree.lasting(path, output, nowMs);
      setNumbers(numbers, i, signature);
      state.replace(path, { ...output, signature });
    }
    const above = [
      layout.manifest(block.name),
      tree.root,
      layout.machineFolder(block.name),
      join(tree.root, ".."),
    ];
    for (const [k, file] of above.entries()) {
      const now = lookAt(file);
      // What these should look like was settled before anything was written; only their age is in question.
      setNumbers(numbers, block.from + k, lastingSignature(now, now ? signatureOf(now) : ABSENT, nowMs));
    }
    const generation = generations.get(block.name) ?? block.generation;
    state.write({
      generation,
      manifestSignature: readSignature(layout.manifest(block.name)),
      rootSignature: readSignature(tree.root),
    });
    return { ...block, generation };
  });
  writeFreshRecord(layout.freshFile, {
    head: { ...head, machines },
    paths,
    numbers,
    ...(pathBytes ? { pathBytes } : {}),
  });
}

function untouched(block: FreshMachine): MachineBuild {
  return {
    machine: block.name as MachineBuild["machine"],
    generation: block.generation,
    files: block.files,
    written: 0,
    removed: 0,
    steps: [],
    durationMs: 0,
  };
}
