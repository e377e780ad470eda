/** Manifests in memory for tests of planners. */
import type { DirEntry, FileEntry, LinkEntry, Manifest, ManifestEntry } from "../../src/build/manifest.ts";
import {
  compareBytes,
  type FileHash,
  type LayerName,
  type MachineName,
  type RelPath,
} from "../../src/paths.ts";

type Rest = Partial<Omit<ManifestEntry, "origin">> & { readonly origin?: Partial<ManifestEntry["origin"]> };

function base(path: string, rest: Rest) {
  const origin = {
    layer: "web" as LayerName,
    source: `layers/web/${path}`,
    template: false,
    facts: {},
    ...rest.origin,
  };
  return { path: path as RelPath, mode: 0o644, owner: "root", group: "root", ...rest, origin };
}

/** `content` is one hex digit or more; equal ones are equal contents. */
export function file(path: string, content: string, rest: Rest = {}): FileEntry {
  return {
    ...base(path, rest),
    type: "file",
    sizeBytes: 1,
    hash: content.repeat(64).slice(0, 64) as FileHash,
  };
}

export function dir(path: string, rest: Rest = {}): DirEntry {
  return { ...base(path, { mode: 0o755, ...rest }), type: "dir" };
}

export function link(path: string, target: string, rest: Rest = {}): LinkEntry {
  return { ...base(path, { mode: 0o777, ...rest }), type: "link", target };
}

export function manifestOf(entries: readonly ManifestEntry[]): Manifest {
  const sorted = [...entries].sort((a, b) => compareBytes(a.path, b.path));
  return {
    version: 1,
    machine: "gw" as MachineName,
    layers: ["web" as LayerName],
    packages: [],
    entries: sorted,
  };
}
