/**
 * An editor on a secret: its file lies in memory, in a folder that nobody else can enter and that goes however this ends.
 * Owns that folder; must not know what is edited.
 */
import { spawn } from "node:child_process";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statfsSync,
  writeFileSync,
} from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { failure, type Result, success } from "../../diagnostics.ts";
import { describe } from "../../secrets/problems.ts";

/** tmpfs and ramfs (statfs(2)). */
const IN_MEMORY: ReadonlySet<number> = new Set([0x01021994, 0x858458f6]);
const PREFIX = "labctl-secret-";
/** How an editor's terminal tells of a break is the editor's affair; these end us, and it. */
const ENDING = ["SIGTERM", "SIGHUP", "SIGQUIT"] as const;

/**
 * What `$VISUAL`, `$EDITOR` or vi makes of `before`; its exit status must be 0. Problems: `no-memory-folder`,
 * `editor-failed`.
 */
export async function editInMemory(name: string, before: Uint8Array): Promise<Result<Uint8Array>> {
  const parent = memoryFolder(process.env);
  if (parent === undefined) return failure(describe({ kind: "no-memory-folder" }));
  removeLeftovers(parent);
  const folder = mkdtempSync(join(parent, `${PREFIX}${process.pid}-`));
  const remove = (): void => rmSync(folder, { recursive: true, force: true });
  process.on("exit", remove);
  try {
    const file = join(folder, name);
    writeFileSync(file, before, { mode: 0o600, flag: "wx" });
    const editor = process.env.VISUAL || process.env.EDITOR || "vi";
    const why = await runEditor(editor, file);
    if (why !== undefined) return failure(describe({ kind: "editor-failed", editor, why }));
    try {
      return success(readFileSync(file));
    } catch {
      return failure(describe({ kind: "editor-failed", editor, why: "the file is gone" }));
    }
  } finally {
    remove();
    process.off("exit", remove);
  }
}

/** Undefined: it ended well. The words of `$EDITOR` are a shell's, as everywhere. */
function runEditor(editor: string, file: string): Promise<string | undefined> {
  const child = spawn("sh", ["-c", `${editor} "$1"`, "sh", file], { stdio: "inherit" });
  const end = (signal: NodeJS.Signals): void => {
    child.kill(signal);
    // The folder goes by the handler of `exit`.
    process.exit(128 + constants.signals[signal]);
  };
  const ignore = (): void => {};
  // Ctrl-C reaches the editor as well, which knows what to make of it.
  process.on("SIGINT", ignore);
  for (const signal of ENDING) process.on(signal, end);
  return new Promise<string | undefined>((resolve) => {
    child.on("error", (error) => resolve(error.message));
    child.on("close", (status, signal) =>
      resolve(status === 0 ? undefined : signal ? `ended by ${signal}` : `exit status ${status}`),
    );
  }).finally(() => {
    process.off("SIGINT", ignore);
    for (const signal of ENDING) process.off(signal, end);
  });
}

/** The first folder that is ours to write in and lies in memory. */
function memoryFolder(env: NodeJS.ProcessEnv): string | undefined {
  return [env.XDG_RUNTIME_DIR, "/dev/shm", "/run/shm"].find((folder) => {
    if (!folder) return false;
    try {
      if (!IN_MEMORY.has(statfsSync(folder).type)) return false;
      const probe = join(folder, `${PREFIX}${process.pid}`);
      mkdirSync(probe, { mode: 0o700 });
      rmSync(probe, { recursive: true });
      return true;
    } catch {
      return false;
    }
  });
}

/** What a run that was killed outright has left. */
function removeLeftovers(parent: string): void {
  for (const name of readdirSync(parent)) {
    const pid = new RegExp(`^${PREFIX}(\\d+)-`).exec(name)?.[1];
    if (pid === undefined) continue;
    try {
      process.kill(Number(pid), 0);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ESRCH") continue;
      try {
        rmSync(join(parent, name), { recursive: true, force: true });
      } catch {
        // Another user's.
      }
    }
  }
}
