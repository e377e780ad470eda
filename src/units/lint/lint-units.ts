/** The unit rules together: what our own reader has to say of one machine's tree. Reads through the view it is given. */
import type { Diagnostic } from "../../diagnostics.ts";
import { unitType } from "../unit-name.ts";
import { classifyPath } from "../unit-path.ts";
import { readUnitSet } from "../unit-set.ts";
import { lintDefinitions } from "./definitions.ts";
import { unitNames } from "./known-names.ts";
import type { LintTree } from "./lint-tree.ts";
import { lintNames } from "./tree-names.ts";
import { lintReferences } from "./unit-references.ts";
import { lintUnitText } from "./unit-text.ts";

/**
 * Findings with places in the tree. `judged` remembers what was said of a text, for machines that share it: same text,
 * same type, same findings.
 */
export function lintUnits(tree: LintTree, judged = new Map<string, readonly Diagnostic[]>()): Diagnostic[] {
  const out: Diagnostic[] = [...lintNames(tree)];
  for (const path of tree.paths) {
    const found = classifyPath(path);
    if (!found || found.kind === "link") continue;
    const text = tree.read(path);
    if (text === undefined || text === "") continue;
    const type =
      found.kind === "unit"
        ? unitType(found.unit)
        : found.applies.kind === "type"
          ? found.applies.type
          : unitType(found.applies.unit);
    const key = `${path}\0${text}`;
    const known = judged.get(key) ?? lintUnitText(path, text, type);
    judged.set(key, known);
    out.push(...known);
  }
  const sets = [readUnitSet(tree, "system"), readUnitSet(tree, "user")];
  for (const set of sets) {
    const names = unitNames(sets, tree.packages);
    out.push(...lintDefinitions(set, names), ...lintReferences(set, tree, names));
  }
  return out;
}
