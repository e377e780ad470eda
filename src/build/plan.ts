/**
 * Decides, from what is wanted and what is known of the last build, which steps a machine's tree needs, each with its
 * reason. Pure: reads nothing; execution has no choice left.
 */

import { compareBytes, type FileHash, type RelPath } from "../paths.ts";
import type { PlannedOutput } from "./overlay.ts";
import type { Reason } from "./reason.ts";
import { type OutputRecord, recordOf } from "./state.ts";
import type { ReadToken } from "./template/scope.ts";

export type BuildStep =
  /** Render or bundle, then write only if the result differs from the record (or `rewrite` says that the output is damaged). */
  | {
      readonly action: "render" | "bundle";
      readonly output: PlannedOutput;
      readonly reason: Reason;
      readonly rewrite: boolean;
    }
  | { readonly action: "copy"; readonly output: PlannedOutput; readonly reason: Reason }
  | { readonly action: "write"; readonly output: PlannedOutput; readonly reason: Reason }
  | { readonly action: "link"; readonly output: PlannedOutput; readonly reason: Reason }
  | { readonly action: "mkdir"; readonly output: PlannedOutput; readonly reason: Reason }
  | { readonly action: "remove"; readonly path: RelPath; readonly reason: Reason };

/** What planning may ask; answers come from memory, filled before. */
export interface Knowledge {
  /** Undefined: no state, or the machine was never built. */
  readonly records: Readonly<Record<string, OutputRecord>> | undefined;
  /** Content hash of a source. */
  sourceHash(output: PlannedOutput): FileHash;
  /** The token that the output's recorded read gives with today's facts. */
  tokenNow(output: PlannedOutput, path: string, before: ReadToken): ReadToken;
  /** Where a fact's value comes from today, for reasons. */
  factOrigin(output: PlannedOutput, path: string): string;
  /** Hash of a text that follows from a setting. */
  textHash(text: string): FileHash;
  /** Hash of a partial or import today; undefined if it is gone. */
  partHash(name: string): FileHash | undefined;
  /** How the output stands on disk against its record. */
  outputCondition(path: RelPath, record: OutputRecord): "clean" | "missing" | "edited";
  /** Paths found on disk that no record covers. */
  readonly strangers: readonly RelPath[];
}

/** Removals first, deepest first; then outputs in path order, so that a folder is made before what it holds. */
export function planBuild(outputs: readonly PlannedOutput[], known: Knowledge): BuildStep[] {
  const steps: BuildStep[] = [];
  const wanted = new Set<string>(outputs.map((o) => o.path));
  const records = known.records ?? {};
  const gone = new Set<RelPath>();
  for (const path of [...(Object.keys(records) as RelPath[]), ...known.strangers])
    if (!wanted.has(path)) gone.add(path);
  for (const path of [...gone].sort(compareBytes).reverse()) {
    steps.push({
      action: "remove",
      path,
      reason: { kind: "not-built", source: recordOf(records, path)?.source },
    });
  }
  for (const output of outputs) {
    const step = planOutput(output, recordOf(records, output.path), known);
    if (step) steps.push(step);
  }
  return steps;
}

function planOutput(
  output: PlannedOutput,
  record: OutputRecord | undefined,
  known: Knowledge,
): BuildStep | undefined {
  const { content } = output;
  const type = content.kind === "link" || content.kind === "dir" ? content.kind : "file";
  let reason: Reason | undefined;
  let rewrite = true;
  if (!record)
    reason = known.records === undefined ? { kind: "no-state" } : { kind: "new", layer: output.layer };
  else if (record.type !== type) reason = { kind: "type-changed", before: record.type, after: type };
  else {
    const condition = known.outputCondition(output.path, record);
    if (condition !== "clean")
      reason = { kind: condition === "missing" ? "output-missing" : "output-edited" };
    else if (record.mode !== output.mode)
      reason = { kind: "mode-changed", before: record.mode, after: output.mode };
    else {
      reason = contentReason(output, record, known);
      rewrite = false;
    }
  }
  if (!reason) return undefined;
  switch (content.kind) {
    case "dir":
      return { action: "mkdir", output, reason };
    case "link":
      return { action: "link", output, reason };
    case "copy":
      return { action: "copy", output, reason };
    case "text":
      return { action: "write", output, reason };
    case "render":
    case "bundle":
      return { action: content.kind, output, reason, rewrite };
  }
}

/** Why an undamaged output's content could differ from its record; undefined if it could not. */
function contentReason(output: PlannedOutput, record: OutputRecord, known: Knowledge): Reason | undefined {
  const { content } = output;
  switch (content.kind) {
    case "dir":
      return undefined;
    case "link":
      return content.target === record.content
        ? undefined
        : { kind: "link-changed", before: record.content, after: content.target };
    case "text": {
      const hash = known.textHash(content.text);
      if (hash === record.content) return undefined;
      return { kind: "setting-changed", file: output.source, before: record.content, after: hash };
    }
    case "copy": {
      // A record with a source hash was rendered or bundled before; then equal bytes are the result, not the source.
      const hash = known.sourceHash(output);
      if (hash === record.content) return undefined;
      if (output.source !== record.source)
        return { kind: "source-moved", before: record.source, after: output.source };
      return { kind: "source-changed", file: output.source, before: record.content, after: hash };
    }
    case "render":
    case "bundle": {
      if (record.sourceHash === undefined || output.source !== record.source) {
        return { kind: "source-moved", before: record.source, after: output.source };
      }
      // A `!` link's target may be the source of two layers, each with partials of its own.
      if (record.layer !== undefined && record.layer !== output.layer)
        return { kind: "layer-changed", before: record.layer, after: output.layer };
      const hash = known.sourceHash(output);
      if (hash !== record.sourceHash)
        return { kind: "source-changed", file: output.source, before: record.sourceHash, after: hash };
      for (const [name, before] of Object.entries(record.parts ?? {})) {
        const after = known.partHash(name);
        if (after !== before) return { kind: "part-changed", part: name, before, after: after ?? "gone" };
      }
      for (const [fact, before] of Object.entries(record.reads ?? {})) {
        const after = known.tokenNow(output, fact, before);
        if (after !== before)
          return { kind: "fact-changed", fact, from: known.factOrigin(output, fact), before, after };
      }
      return undefined;
    }
  }
}
