/** What `build --watch` and `watch` share: waiting for edits. */
import { relative } from "node:path";
import { watchFolders } from "../build/watch-folders.ts";
import type { AbsPath } from "../paths.ts";

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
