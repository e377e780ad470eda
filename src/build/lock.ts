/** One build at a time in a repository: a lock file that names its holder; a dead holder's lock is taken over. */
import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Result } from "../diagnostics.ts";
import { failure, success } from "../diagnostics.ts";
import { describe } from "./problems.ts";

export interface BuildLock {
  release(): void;
}

const POLL_MS = 50;

/** Waits up to `patienceMs` for another build to end, then says who holds the lock. */
export async function acquireLock(file: string, patienceMs: number): Promise<Result<BuildLock>> {
  const me = `${process.pid} ${startTime(process.pid)} ${hostname()}`;
  const own = `${file}.${process.pid}`;
  const startedAt = Date.now();
  try {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(own, me);
    for (;;) {
      try {
        // A link either appears whole or fails: unlike create-then-write there is no instant with an empty lock.
        linkSync(own, file);
        return success({ release: () => rmSync(file, { force: true }) });
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      }
      const holder = readHolder(file);
      if (holder !== undefined && isGone(holder)) {
        takeAway(file, holder);
        continue;
      }
      const waitedMs = Date.now() - startedAt;
      if (waitedMs >= patienceMs) {
        return failure(
          describe({
            kind: "locked",
            holder: holder ? `process ${holder.split(" ")[0]} on ${holder.split(" ")[2]}` : "unknown",
            waitedMs,
          }),
        );
      }
      await sleep(POLL_MS);
    }
  } catch (error) {
    return failure(describe({ kind: "write-failed", path: file, why: (error as Error).message }));
  } finally {
    rmSync(own, { force: true });
  }
}

function readHolder(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
}

/** True only for a process of this host that no longer runs, or whose number another process has now. */
function isGone(holder: string): boolean {
  const [pid = "", started = "", host = ""] = holder.split(" ");
  if (host !== hostname() || !/^\d+$/.test(pid)) return false;
  try {
    process.kill(Number(pid), 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ESRCH";
  }
  return startTime(Number(pid)) !== started;
}

/** Moves the dead lock aside first: of two processes that see it, only one can. */
function takeAway(file: string, holder: string): void {
  const aside = `${file}.dead.${process.pid}`;
  try {
    renameSync(file, aside);
    if (readHolder(aside) === holder) rmSync(aside, { force: true });
    else renameSync(aside, file);
  } catch {
    // Another process was first; the next turn of the loop sees what it left.
  }
}

/** Field 22 of /proc/PID/stat, clock ticks since boot (proc_pid_stat(5)); `-` where there is no /proc. */
function startTime(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? "-";
  } catch {
    return "-";
  }
}
