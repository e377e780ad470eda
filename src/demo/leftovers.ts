/** Whether the demo left anything on the host. Looks only. */
import { existsSync, readFileSync } from "node:fs";
import type { AbsPath } from "../paths.ts";

/** One line for each mount, child process or folder that should be gone; empty: all clean. */
export function findLeftovers(lab: AbsPath): string[] {
  const mounts = read("/proc/self/mounts")
    .split("\n")
    .filter((line) => line.includes("/labctl-"))
    .map((line) => `mount: ${line}`);
  const children = read(`/proc/self/task/${process.pid}/children`)
    .trim()
    .split(" ")
    .filter((pid) => pid !== "" && !isService(pid))
    .map((pid) => `process ${pid}: ${read(`/proc/${pid}/cmdline`).replaceAll("\0", " ").trim()}`);
  return [...mounts, ...children, ...(existsSync(lab) ? [`folder: ${lab}`] : [])];
}

/** esbuild's helper process compiles this very program, and ends with it. */
function isService(pid: string): boolean {
  return read(`/proc/${pid}/cmdline`).includes("--service=");
}

function read(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}
