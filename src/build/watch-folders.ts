/**
 * Tells when something below a folder changes, by inotify on every folder. Own code because `fs.watch`'s recursive mode
 * on Node 20 misses names after an atomic rename, and most editors save by renaming.
 */
import { type FSWatcher, lstatSync, readdirSync, watch } from "node:fs";
import { join } from "node:path";

export interface FolderWatch {
  /** Absolute paths that changed since the last call, after they have been quiet for a moment. */
  next(): Promise<readonly string[]>;
  close(): void;
}

/** Editors write a temporary file, rename it and set its mode within about this long. */
const QUIET_MS = 3;

/** `ignore` gets a folder's name and says whether to leave it out. */
export function watchFolders(root: string, ignore: (name: string, parent: string) => boolean): FolderWatch {
  const watchers = new Map<string, FSWatcher>();
  const changed = new Set<string>();
  let wake: (() => void) | undefined;
  let timer: NodeJS.Timeout | undefined;

  const add = (folder: string): void => {
    if (watchers.has(folder)) return;
    let watcher: FSWatcher;
    try {
      watcher = watch(folder, (_event, name) => {
        changed.add(name === null ? folder : join(folder, name));
        if (name !== null) look(join(folder, name), name, folder);
        clearTimeout(timer);
        timer = setTimeout(() => wake?.(), QUIET_MS);
      });
    } catch {
      // Gone between the listing and now; the event of its parent tells.
      return;
    }
    watcher.on("error", () => remove(folder));
    watchers.set(folder, watcher);
    for (const item of readdirSync(folder, { withFileTypes: true })) {
      if (item.isDirectory() && !ignore(item.name, folder)) add(join(folder, item.name));
    }
  };
  const remove = (folder: string): void => {
    for (const [path, watcher] of watchers) {
      if (path !== folder && !path.startsWith(`${folder}/`)) continue;
      watcher.close();
      watchers.delete(path);
    }
  };
  /** A new folder is watched, a removed one no longer. */
  const look = (path: string, name: string, parent: string): void => {
    const isFolder = lstatSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
    if (isFolder && !ignore(name, parent)) {
      try {
        add(path);
      } catch {
        // Removed again while it was being listed.
      }
    } else if (!isFolder && watchers.has(path)) remove(path);
  };
  add(root);
  return {
    next: async () => {
      if (changed.size === 0) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      wake = undefined;
      const out = [...changed];
      changed.clear();
      return out;
    },
    close: () => {
      clearTimeout(timer);
      remove(root);
    },
  };
}
