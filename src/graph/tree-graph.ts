/** The flow of one machine as a graph: layer → file → unit, with how each file reaches its unit. Pure. */
import type { Manifest } from "../build/manifest.ts";
import { matchReference, type ReferenceKind, readReferences } from "../units/references.ts";
import { isTemplate } from "../units/unit-name.ts";
import { classifyPath } from "../units/unit-path.ts";
import type { UnitSet } from "../units/unit-set.ts";

/** How a file reaches a unit: it is a part of its definition, or the definition refers to it. */
export type EdgeKind = "defines" | "pulls in" | ReferenceKind;

export interface TreeGraph {
  readonly machine: string;
  /** In the order in which they are laid; `machine` for the machine's own files, last. */
  readonly layers: readonly string[];
  /** Files and links, by layer in that order, then by path. */
  readonly files: readonly {
    readonly path: string;
    readonly layer: string;
    readonly template: boolean;
    readonly link: boolean;
  }[];
  readonly units: readonly string[];
  readonly edges: readonly { readonly file: string; readonly unit: string; readonly kind: EdgeKind }[];
}

/** Pure but for reads through the set's view. */
export function treeGraph(manifest: Manifest, units: UnitSet): TreeGraph {
  const layers = [...manifest.layers, "machine"].filter((layer) =>
    manifest.entries.some((e) => e.type !== "dir" && e.origin.layer === layer),
  );
  const files = manifest.entries
    .filter((e) => e.type !== "dir")
    .map((e) => ({
      path: e.path as string,
      layer: e.origin.layer as string,
      template: e.origin.template,
      link: e.type === "link",
    }))
    .sort((a, b) => layers.indexOf(a.layer) - layers.indexOf(b.layer));
  const edges = new Map<string, TreeGraph["edges"][number]>();
  const add = (file: string, unit: string, kind: EdgeKind): void => {
    const key = `${file}\0${unit}`;
    if (!edges.has(key)) edges.set(key, { file, unit, kind });
  };
  for (const entry of manifest.entries) {
    if (entry.type === "dir") continue;
    const place = classifyPath(entry.path);
    if (place?.kind === "unit") add(entry.path, place.unit, "defines");
    else if (place?.kind === "link") add(entry.path, place.unit, "pulls in");
    else if (place?.kind === "drop-in")
      add(
        entry.path,
        "unit" in place.applies ? place.applies.unit : `every ${typeName(entry.path)}`,
        "defines",
      );
  }
  for (const name of units.names) {
    const { references } = readReferences(units.unit(name));
    for (const reference of references) {
      for (const file of files) {
        const match = matchReference(reference, file.path);
        if (match === "at" || match === "below") add(file.path, name, reference.how);
      }
    }
  }
  const named = new Set([...edges.values()].map((e) => e.unit));
  // A template whose instance is in the graph says nothing of its own.
  const shown = [...named]
    .filter(
      (u) =>
        !(
          isTemplate(u as never) &&
          [...named].some((o) => o !== u && o.startsWith(u.slice(0, u.indexOf("@") + 1)))
        ),
    )
    .sort();
  return {
    machine: manifest.machine,
    layers,
    files,
    units: shown,
    edges: [...edges.values()].filter((e) => shown.includes(e.unit)),
  };
}

/** `lib/systemd/system/service.d/…` concerns every service. */
function typeName(path: string): string {
  return path.split("/").at(-2)?.replace(/\.d$/, "") ?? "unit";
}
