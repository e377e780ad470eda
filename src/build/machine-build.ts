/**
 * Builds one machine's tree from a decided overlay: plan, produce contents, execute, manifest.
 * Contents of all templates are produced before the first output changes, so a broken template changes nothing.
 */
import { readFileSync } from "node:fs";
import { parse } from "node:path";
import { type Diagnostic, failure, type Result, success } from "../diagnostics.ts";
import type { Blake3 } from "../hash.ts";
import type { AbsPath, FileHash, MachineName, RelPath } from "../paths.ts";
import type { MachineBuild } from "./build-result.ts";
import type { Bundler } from "./bundle.ts";
import type { OutputTree } from "./output-tree.ts";
import type { PlannedOutput } from "./overlay.ts";
import type { Parts } from "./parts.ts";
import { type BuildStep, planBuild } from "./plan.ts";
import { describe } from "./problems.ts";
import { formatReason } from "./reason.ts";
import { isRacy, lookAt } from "./signature.ts";
import type { SourceHashes } from "./source-hashes.ts";
import { type MachineState, type OutputRecord, recordOf } from "./state.ts";
import type { CompiledTemplates } from "./template/compiled.ts";
import type { Renderer } from "./template/render.ts";
import { type ReadToken, tokenNow } from "./template/scope.ts";
import type { TemplateView } from "./template/view.ts";

/** Files up to this size are read whole, and checked against their planned hash while they are copied. */
const READ_WHOLE_BYTES = 8 << 20;

export interface MachineInput {
  readonly name: MachineName;
  readonly outputs: readonly PlannedOutput[];
  /** What the template of a path sees; undefined where all outputs are copies. */
  readonly view: ((path: RelPath) => TemplateView) | undefined;
  readonly before: MachineState | undefined;
}

export interface Tools {
  readonly b3: Blake3;
  readonly hashes: SourceHashes;
  /** A template's text with the hash of its bytes; read once a run, for all machines. Throws what `fs` throws. */
  readonly template: (file: AbsPath) => { readonly text: string; readonly hash: FileHash };
  /** Loaded only when a step needs it. */
  readonly rendering: () => Promise<{ readonly renderer: Renderer; readonly templates: CompiledTemplates }>;
  /** Keeps what was compiled for the next run. */
  readonly saveTemplates: () => Promise<void>;
  readonly bundler: () => Promise<Bundler>;
  readonly parts: Parts;
}

/** What a template or program became. */
interface Produced {
  readonly data: Uint8Array;
  readonly hash: FileHash;
  readonly sourceHash: FileHash;
  readonly reads?: Readonly<Record<string, ReadToken>>;
  readonly parts: Readonly<Record<string, FileHash>>;
}

export interface PreparedMachine {
  readonly input: MachineInput;
  readonly steps: readonly BuildStep[];
  readonly produced: ReadonlyMap<RelPath, Produced>;
}

export interface ExecutedMachine {
  readonly outputs: Readonly<Record<string, OutputRecord>>;
  /** Outputs whose bytes, mode or type were really replaced. */
  readonly written: number;
  readonly removed: number;
}

/** Plans the machine and produces what its steps need; changes nothing on disk. */
export async function prepareMachine(
  input: MachineInput,
  tree: OutputTree,
  tools: Tools,
  problems: Diagnostic[],
): Promise<PreparedMachine> {
  const view = ({ path }: PlannedOutput): TemplateView => {
    if (!input.view) throw new Error(`${input.name} has an output that reads facts, and none were read`);
    return input.view(path);
  };
  const hashText = (text: string): string => tools.b3.hash(text).slice(0, 16);
  const records = input.before?.outputs;
  // Many templates read the same facts.
  const tokens = new Map<string, ReadToken>();
  const steps = planBuild(input.outputs, {
    records,
    sourceHash: (output) => tools.hashes.of(sourceFile(output)),
    tokenNow: (output, path, before) => {
      const { machine, facts } = view(output);
      const shape = before === "object" || before === "list";
      const key = `${machine}\0${path}${shape ? "\0" : ""}`;
      const known = tokens.get(key) ?? tokenNow(facts, path, before, hashText);
      tokens.set(key, known);
      return known;
    },
    factOrigin: (output, path) => view(output).originOf(path),
    textHash: (text) => tools.b3.hash(text),
    partHash: tools.parts.hash,
    outputCondition: (path, record) => tree.condition(path, record),
    strangers: tree.strangers(records),
  });
  const produced = new Map<RelPath, Produced>();
  for (const step of steps) {
    if (step.action === "render") {
      const { renderer, templates } = await tools.rendering();
      let result = produceRendering(step.output, view(step.output), tools, renderer);
      if (!result) {
        await templates.loadCompiler();
        result = produceRendering(step.output, view(step.output), tools, renderer);
      }
      if (!result) throw new Error(`${step.output.path} was not compiled by the compiler`);
      if ("code" in result) problems.push(result);
      else produced.set(step.output.path, result);
    } else if (step.action === "bundle") {
      const result = produceBundle(step.output, tools, await tools.bundler());
      if (result.ok) produced.set(step.output.path, result.value);
      else problems.push(...result.problems);
    }
  }
  return { input, steps, produced };
}

/** A bundle is right only if no input changed while it was made: their hashes before and after must agree. */
const BUNDLE_ATTEMPTS = 5;

function produceBundle(output: PlannedOutput, tools: Tools, bundler: Bundler): Result<Produced> {
  const source = sourceFile(output);
  let before: Readonly<Record<string, FileHash>> | undefined;
  for (let attempt = 0; attempt < BUNDLE_ATTEMPTS; attempt++) {
    const startedAtMs = Date.now();
    const bundled = bundler.bundle(source);
    if (!bundled.ok) return bundled;
    const { data, inputs, links } = bundled.value;
    const names = [...inputs, ...links, ...new Set([source.file, ...inputs].flatMap(rivalsOf))];
    for (const file of [source.file, ...inputs, ...links]) tools.parts.forget(file);
    const parts = Object.fromEntries(names.map((name) => [name, hashOfPart(tools, name)]));
    const sourceHash = hashOfPart(tools, source.file);
    const now = { ...parts, [source.file]: sourceHash };
    const calm = [source.file, ...inputs].every((file) => {
      const stats = lookAt(file);
      return stats !== undefined && !isRacy(stats, startedAtMs);
    });
    if (calm || (before && JSON.stringify(before) === JSON.stringify(now)))
      return success({ data, hash: tools.b3.hash(data), sourceHash, parts });
    before = now;
  }
  return failure(describe({ kind: "changed-while-read", place: { file: output.source } }));
}

/** Parts that list what an import could have meant instead: `x.ts` beside `x.js`, `x/index.ts` beside `x.ts`. */
function rivalsOf(file: string): string[] {
  const { dir, name } = parse(file);
  return name === "index" ? [`${dir}/index.*`, `${dir}.*`] : [`${dir}/${name}.*`];
}

function hashOfPart(tools: Tools, name: string): FileHash {
  return tools.parts.hash(name) ?? ("" as FileHash);
}

/** Undefined: the compiler is wanted first. */
function produceRendering(
  output: PlannedOutput,
  { machine, facts, searched }: TemplateView,
  tools: Tools,
  renderer: Renderer,
): Produced | Diagnostic | undefined {
  const { text, hash: sourceHash } = tools.template(sourceFile(output).file);
  const rendering = renderer.render({
    template: { text, file: output.source },
    layer: output.layer,
    machine,
    facts,
    searched,
  });
  if (!rendering) return undefined;
  if (!rendering.ok) return rendering.problem;
  const data = Buffer.from(rendering.text);
  const parts = Object.fromEntries(rendering.partials.map((name) => [name, hashOfPart(tools, name)]));
  return {
    data,
    hash: tools.b3.hash(data),
    sourceHash,
    reads: Object.fromEntries(rendering.reads),
    parts,
  };
}

/** Carries the steps out; a failed write is thrown, and the old state then no longer covers the tree. */
export function executeMachine(
  prepared: PreparedMachine,
  tree: OutputTree,
  tools: Tools,
  problems: Diagnostic[],
): ExecutedMachine {
  const { input, steps, produced } = prepared;
  const outputs = new Map(Object.entries(input.before?.outputs ?? {}));
  let written = 0;
  let removed = 0;
  for (const step of steps) {
    if (step.action === "remove") {
      tree.remove(step.path);
      outputs.delete(step.path);
      removed++;
      continue;
    }
    const { output } = step;
    const path = output.path;
    const base = { mode: output.mode, source: output.source, signature: "" };
    const record = recordOf(input.before?.outputs, path);
    switch (step.action) {
      case "mkdir":
        tree.writeFolder(path, output.mode);
        outputs.set(path, { ...base, type: "dir", content: "", sizeBytes: 0 });
        written++;
        break;
      case "link": {
        const target = output.content.kind === "link" ? output.content.target : "";
        tree.writeLink(path, target);
        outputs.set(path, {
          ...base,
          type: "link",
          content: target,
          sizeBytes: 0,
          signature: tree.signature(path),
        });
        written++;
        break;
      }
      case "write": {
        const data = Buffer.from(output.content.kind === "text" ? output.content.text : "");
        const content = tools.b3.hash(data);
        tree.writeFile(path, data, output.mode, content);
        outputs.set(path, {
          ...base,
          type: "file",
          content,
          sizeBytes: data.length,
          signature: tree.signature(path),
        });
        written++;
        break;
      }
      case "copy": {
        const copied = copySource(output, tree, tools);
        if ("code" in copied) {
          problems.push(copied);
          break;
        }
        outputs.set(path, {
          ...base,
          type: "file",
          content: copied.hash,
          sizeBytes: copied.sizeBytes,
          signature: tree.signature(path),
        });
        written++;
        break;
      }
      case "render":
      case "bundle": {
        const result = produced.get(path);
        if (!result) break;
        const same =
          !step.rewrite &&
          record?.type === "file" &&
          record.content === result.hash &&
          record.mode === output.mode;
        if (!same) {
          tree.writeFile(path, result.data, output.mode, result.hash);
          written++;
        }
        outputs.set(path, {
          ...base,
          type: "file",
          content: result.hash,
          sizeBytes: result.data.length,
          sourceHash: result.sourceHash,
          ...(result.reads ? { reads: result.reads, layer: output.layer } : {}),
          parts: result.parts,
          signature: tree.signature(path),
        });
        break;
      }
    }
  }
  // An output that needed no step may still come from elsewhere: equal bytes, copied where they were rendered.
  for (const { path, content, source } of input.outputs) {
    const record = outputs.get(path);
    if (!record || content.kind === "render" || content.kind === "bundle") continue;
    if (record.source === source && record.sourceHash === undefined) continue;
    const { type, mode, content: bytes, sizeBytes, signature } = record;
    outputs.set(path, { type, mode, content: bytes, sizeBytes, signature, source });
  }
  return { outputs: Object.fromEntries(outputs), written, removed };
}

function copySource(
  output: PlannedOutput,
  tree: OutputTree,
  tools: Tools,
): { hash: FileHash; sizeBytes: number } | Diagnostic {
  const source = sourceFile(output);
  const hash = tools.hashes.of(source);
  const changed = (): Diagnostic => describe({ kind: "changed-while-read", place: { file: output.source } });
  if (source.sizeBytes <= READ_WHOLE_BYTES) {
    const data = readFileSync(source.file);
    if (tools.b3.hash(data) !== hash) return changed();
    tree.writeFile(output.path, data, output.mode, hash);
    return { hash, sizeBytes: data.length };
  }
  tree.copyFile(output.path, source.file, output.mode, hash);
  if (!tools.hashes.stillTrue(source)) return changed();
  return { hash, sizeBytes: source.sizeBytes };
}

function sourceFile(output: PlannedOutput) {
  const { content } = output;
  if (!("source" in content)) throw new Error(`${output.path} has no source file`);
  return content.source;
}

/** Where a step acts. Pure. */
export function pathOf(step: BuildStep): RelPath {
  return step.action === "remove" ? step.path : step.output.path;
}

/** Steps as a build reports them; paths in reasons are made relative to the repository. Pure. */
export function stepLines(steps: readonly BuildStep[], root: AbsPath): MachineBuild["steps"] {
  return steps.map((s) => ({
    path: pathOf(s),
    action: s.action,
    reason: formatReason(s.reason).replaceAll(`${root}/`, ""),
  }));
}
