/**
 * What another value of a fact would change: files by machine, and what that would do to their units. Offline, from
 * built trees. Reads trees and manifests; writes nothing.
 */
import { readFileSync } from "node:fs";
import type { BuildResult } from "../build/build-result.ts";
import { buildLayout } from "../build/layout.ts";
import { type Manifest, parseManifest } from "../build/manifest.ts";
import { readBuiltTexts, treeView } from "../build/tree-view.ts";
import type { AbsPath, MachineName, RelPath } from "../paths.ts";
import { forecastActions } from "../units/forecast.ts";
import type { UnitAction } from "../units/unit-change.ts";
import { readUnitSet } from "../units/unit-set.ts";

export interface MachineImpact {
  readonly machine: MachineName;
  readonly files: readonly { readonly path: RelPath; readonly source: string }[];
  readonly units: readonly UnitAction[];
}

/** `foreseen` is a dry run with the other value. Machines that nothing changes on are left out. */
export function impactOf(root: AbsPath, fact: string, foreseen: BuildResult): MachineImpact[] {
  const layout = buildLayout(root);
  const out: MachineImpact[] = [];
  for (const m of foreseen.machines) {
    const contents = m.foreseen ?? new Map<RelPath, Uint8Array>();
    const manifest = parseManifest(readFileSync(layout.manifest(m.machine), "utf8"));
    if (contents.size === 0 || !manifest) continue;
    const texts = readBuiltTexts(manifest, layout.tree(m.machine));
    const newTexts = new Map(texts);
    for (const [path, data] of contents)
      if (newTexts.has(path)) newTexts.set(path, Buffer.from(data).toString("utf8"));
    const changed = [...contents.keys()].map((path) => ({
      path,
      change: "changed" as const,
      cause: `fact ${fact}`,
    }));
    out.push({
      machine: m.machine,
      files: [...contents.keys()].map((path) => ({ path, source: sourceOf(manifest, path) })),
      units: forecastActions(
        readUnitSet(treeView(manifest, texts)),
        readUnitSet(treeView(manifest, newTexts)),
        changed,
      ),
    });
  }
  return out;
}

function sourceOf(manifest: Manifest, path: RelPath): string {
  return manifest.entries.find((e) => e.path === path)?.origin.source ?? "";
}
