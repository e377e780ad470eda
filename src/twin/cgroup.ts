/**
 * The cgroups of runs and machines: `labctl/<run>/<machine>` in the cgroup2 hierarchy. Makes and removes them; must
 * not know how processes get in.
 */
import { mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { AbsPath } from "../paths.ts";

/** Every run's cgroups lie under this folder of the cgroup2 hierarchy. */
const TOP = "labctl";
/** Another run's empty cgroups are left alone for this long. */
const FOREIGN_RUN_MS = 600_000;

/** Unique on this host; says when and by which process the run was started, for the cleaning up. */
export function newRunName(): string {
  return `labctl-${process.pid}-${Date.now().toString(36)}`;
}

/**
 * Makes the run's cgroup, and hands down every controller that the host offers, so that a machine's own limits hold.
 * A host that offers none (controllers in the v1 hierarchies) leaves limits unenforced; that is no error.
 */
export function makeRunCgroup(run: string): AbsPath {
  const top = join("/sys/fs/cgroup", TOP);
  const folder = join(top, run) as AbsPath;
  mkdirSync(folder, { recursive: true });
  for (const level of [top, folder]) {
    for (const controller of readFileSync(join(level, "cgroup.controllers"), "utf8").split(/\s+/)) {
      if (controller === "") continue;
      try {
        writeFileSync(join(level, "cgroup.subtree_control"), `+${controller}`);
      } catch {
        // Some can't be handed down on some hosts (cpu with real-time processes, for one).
      }
    }
  }
  return folder;
}

/**
 * Empty cgroup folders are all that outlives a run; this removes those of runs whose process is gone, and this run's.
 * Best effort: without a cgroup2 mount on the host there is nothing to reach them by.
 */
export function removeEmptyCgroups(): void {
  for (const mountPoint of cgroup2Mounts()) {
    const top = join(mountPoint, TOP);
    for (const run of foldersIn(top)) {
      const [, pid = "", started = ""] = run.split("-");
      // A young run's process may be alive without being visible from this pid namespace.
      const isOld = Date.now() - Number.parseInt(started, 36) > FOREIGN_RUN_MS;
      if (Number(pid) === process.pid || (isOld && !isAlive(Number(pid)))) removeCgroup(join(top, run));
    }
  }
}

function cgroup2Mounts(): string[] {
  try {
    const lines = readFileSync("/proc/self/mounts", "utf8").split("\n");
    return lines.filter((line) => line.split(" ")[2] === "cgroup2").map((line) => line.split(" ")[1] ?? "");
  } catch {
    return [];
  }
}

/** Removes a cgroup with those in it, innermost first; the kernel refuses one with processes, so nothing is lost. */
export function removeCgroup(folder: string): void {
  for (const name of foldersIn(folder)) removeCgroup(join(folder, name));
  try {
    rmdirSync(folder);
  } catch {
    // In use, or removed by another run.
  }
}

function foldersIn(folder: string): string[] {
  try {
    const entries = readdirSync(folder, { withFileTypes: true });
    return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
  } catch {
    return [];
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
