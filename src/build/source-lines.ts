/**
 * From a line of a built file to the line of its source: equal for a copied file; for a template by rendering it again
 * with marks. Reads sources; writes nothing. Only what is asked about is rendered again.
 */
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Place } from "../diagnostics.ts";
import type { MachineFacts } from "../facts/read-facts.ts";
import type { Blake3 } from "../hash.ts";
import type { AbsPath } from "../paths.ts";
import type { Machine, Project } from "../project/project.ts";
import { ownerOf } from "./lay-machine.ts";
import type { ManifestEntry } from "./manifest.ts";
import { partReader } from "./parts.ts";
import { sourceHashes } from "./source-hashes.ts";
import { compiledAtOnce } from "./template/compile.ts";
import { renderer } from "./template/render.ts";
import { templateFacts } from "./template/view.ts";

export interface SourceLines {
  /**
   * Where a built file's line and column stand in the sources, repository-relative. Without a line where none is given,
   * and where the source has none: a link, a folder, a bundled program.
   */
  placeOf(machine: Machine, entry: ManifestEntry, at: { line?: number; column?: number }): Place;
}

/** `built` gives the text of an entry as it was built, to be compared with what is rendered here. */
export function sourceLines(
  project: Project,
  builtInLayers: AbsPath,
  facts: ReadonlyMap<string, MachineFacts>,
  b3: Blake3,
  built: (machine: Machine, entry: ManifestEntry) => string | undefined,
): SourceLines {
  const parts = partReader(project, sourceHashes({}, b3), b3, Date.now());
  const marking = renderer(parts.partial, (text) => b3.hash(text), compiledAtOnce("marking"), "marking");
  const known = new Map<string, readonly (Place | undefined)[] | undefined>();

  /** `machine` may be a guest, with entries of its own tree. */
  const ownerOfEntry = (machine: Machine, entry: ManifestEntry) => {
    const [host = "", guest] = machine.name.split("/");
    const ofHost = facts.get(host);
    const own = guest === undefined ? ofHost : ofHost?.guests?.get(guest);
    return own && ownerOf(machine, own, entry.path);
  };

  const placesOf = (machine: Machine, entry: ManifestEntry): readonly (Place | undefined)[] | undefined => {
    const owner = ownerOfEntry(machine, entry);
    const file = sourceFile(project.root, builtInLayers, owner?.machine ?? machine, entry.origin.source);
    if (!owner || file === undefined) return undefined;
    const rendering = marking.render({
      template: { text: readFileSync(file, "utf8"), file: entry.origin.source },
      layer: entry.origin.layer,
      machine: owner.machine.name,
      facts: templateFacts(owner.machine, owner.facts),
      searched: owner.facts.searched,
    });
    // A source that was edited since the build has other lines than the tree that was checked.
    return rendering?.ok && rendering.text === built(machine, entry) ? rendering.places : undefined;
  };

  return {
    placeOf: (machine, entry, { line, column }) => {
      const { source, template } = entry.origin;
      const whole: Place = { file: source };
      if (line === undefined || entry.type !== "file") return whole;
      // What follows from a setting has lines of its own.
      if (source.endsWith("/machine.ini")) return whole;
      if (!template) {
        // A program's bundle has lines of its own, which nobody edits.
        if (source.endsWith(".ts") && entry.path.endsWith(".mjs")) return whole;
        return { ...whole, line, ...(column === undefined ? {} : { column }) };
      }
      const key = `${machine.name}\0${entry.path}`;
      if (!known.has(key)) known.set(key, placesOf(machine, entry));
      // What is put in moves the columns behind it.
      return known.get(key)?.[line - 1] ?? whole;
    },
  };
}

/** A source's place on disk; undefined if it went away. */
function sourceFile(
  root: AbsPath,
  builtInLayers: AbsPath,
  machine: Machine,
  source: string,
): string | undefined {
  const [top, name, ...rest] = source.split("/");
  const layer = top === "layers" ? machine.layers.find((l) => l.name === name) : undefined;
  return [
    ...(layer ? [join(layer.folder, ...rest)] : []),
    join(root, source),
    join(dirname(builtInLayers), source),
  ].find((file) => existsSync(file));
}
