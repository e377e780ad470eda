/** Who builds from a source: machines and paths, by the same rules as a build. Reads names of sources; writes nothing. */
import type { AbsPath, RelPath } from "../paths.ts";
import type { Machine } from "../project/project.ts";
import { layMachine } from "./lay-machine.ts";
import { treeReader } from "./read-tree.ts";
import type { SourceFile } from "./source.ts";

export interface SourceUser {
  readonly machine: string;
  readonly path: RelPath;
}

export interface FoundSource {
  /** The file itself, past all links. Undefined: no file stands behind the path. */
  readonly source: SourceFile | undefined;
  /** All of them, by machine and path. */
  readonly users: readonly SourceUser[];
}

/** The file that `display` names (repository-relative), and every path of `machines` that is made from it. */
export function findSource(
  root: AbsPath,
  builtInLayers: AbsPath,
  machines: readonly Machine[],
  display: string,
): FoundSource {
  let source: SourceFile | undefined;
  const users: SourceUser[] = [];
  const reader = treeReader([root, builtInLayers], Date.now());
  for (const machine of machines) {
    for (const { path, content, source: from } of layMachine(machine, reader).outputs) {
      if (from !== display || !("source" in content)) continue;
      source ??= content.source;
      users.push({ machine: machine.name, path });
    }
  }
  return { source, users };
}
