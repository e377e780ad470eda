/** What `build --watch` and `watch` share: waiting for edits, and which machines an edit concerns. */
import { relative } from "node:path";
import { watchFolders } from "../build/watch-folders.ts";
import type { AbsPath } from "../paths.ts";
import type { Machine } from "../project/project.ts";

/** Folders at the repository's root that no build reads. */
const IGNORED = new Set(["var", ".git", "node_modules"]);

/** Runs `onEdit` with the paths that changed, relative to the repository, one edit after another, until the process ends. */
export async function onEveryEdit(
  root: AbsPath,
  onEdit: (paths: readonly string[]) => Promise<void>,
): Promise<never> {
  const watcher = watchFolders(root, (name, parent) => parent === root && IGNORED.has(name));
  for (;;) {
    const paths = (await watcher.next())
      .map((p) => relative(root, p))
      .filter((p) => !IGNORED.has(p.split("/")[0] ?? ""));
    if (paths.length > 0) await onEdit(paths);
  }
}

/** Machines that could depend on the paths; all of them for a path whose reach is not plain from its name. Pure. */
export function concerned(paths: readonly string[], machines: readonly Machine[]): readonly Machine[] {
  const out = new Set<Machine>();
  for (const path of paths) {
    const [top = "", name = ""] = path.split("/");
    for (const machine of machines) {
      const by =
        top === "machines"
          ? name === machine.name
          : top === "layers"
            ? machine.layers.some((l) => l.name === name)
            : top === "facts" && !/^(all\.|probed$)/.test(name)
              ? name.startsWith(`${machine.name}.`)
              : true;
      if (by) out.add(machine);
    }
  }
  return machines.filter((m) => out.has(m));
}
