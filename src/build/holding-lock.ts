/** Runs a build alone in its repository, and words what the file system refuses it. */
import { mkdirSync } from "node:fs";
import type { Result } from "../diagnostics.ts";
import { failure } from "../diagnostics.ts";
import type { AbsPath } from "../paths.ts";
import { buildLayout } from "./layout.ts";
import { acquireLock } from "./lock.ts";
import { describe } from "./problems.ts";

/** How long a second build waits for the first. */
const LOCK_PATIENCE_MS = 30_000;

/** Makes the build's folders, takes the lock and gives it back whatever happens. */
export async function holdingLock<R>(root: AbsPath, run: () => Promise<R>): Promise<R | Result<never>> {
  const layout = buildLayout(root);
  try {
    mkdirSync(layout.cacheFolder, { recursive: true });
    mkdirSync(layout.treesFolder, { recursive: true });
  } catch (error) {
    return failure(
      describe({ kind: "write-failed", path: layout.cacheFolder, why: (error as Error).message }),
    );
  }
  const lock = await acquireLock(layout.lockFile, LOCK_PATIENCE_MS);
  if (!lock.ok) return lock;
  try {
    return await run();
  } catch (error) {
    const e = error as NodeJS.ErrnoException;
    // A write to an open file fails without naming it.
    if (e.syscall === "write" && e.path === undefined)
      return failure(describe({ kind: "write-failed", path: layout.treesFolder, why: e.message }));
    if (e.code === undefined || e.path === undefined) throw error;
    const inside = e.path.startsWith(layout.treesFolder) || e.path.startsWith(layout.cacheFolder);
    if (inside) return failure(describe({ kind: "write-failed", path: e.path, why: e.message }));
    return failure(
      describe({ kind: "unreadable", place: { file: e.path.replace(`${root}/`, "") }, why: e.message }),
    );
  } finally {
    lock.value.release();
  }
}
