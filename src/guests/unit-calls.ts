/**
 * What the guests' program asks of systemd, and of the journal. Also bundled into programs that machines run. Must not know
 * what a guest is.
 */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { parseShow, type UnitProperties } from "./phases.ts";

export interface Ended {
  readonly ok: boolean;
  /** Both streams, trimmed. */
  readonly said: string;
}

/** Runs `systemctl` with these words to its end. */
export function systemctl(...words: readonly string[]): Ended {
  return ran("systemctl", words);
}

/** Properties of units, in the order asked for; loads those that are not loaded. */
export function showUnits(units: readonly string[], properties: readonly string[]): UnitProperties[] {
  if (units.length === 0) return [];
  const words = ["show", `--property=${["Id", ...properties].join(",")}`, "--", ...units];
  const done = spawnSync("systemctl", words, { encoding: "utf8", maxBuffer: 1 << 26 });
  return parseShow(done.stdout ?? "");
}

/** The last lines that a unit said in its last run, oldest first; until `untilUnix`, in seconds as text, if it is given. */
export function lastLines(
  unit: string,
  invocation: string | undefined,
  count: number,
  untilUnix?: string,
): string[] {
  // What was said a moment ago may not be written yet.
  spawnSync("journalctl", ["--sync"], { timeout: 5000 });
  const match = invocation ? [`_SYSTEMD_INVOCATION_ID=${invocation}`] : ["-u", unit];
  const until = untilUnix === undefined ? [] : [`--until=@${untilUnix}`];
  return journal(["-o", "cat", "-n", String(count), ...until, ...match]);
}

/** When systemd's patience with a unit's start ended in this run, as `lastLines` takes it; undefined: it did not. */
export function timedOutAt(invocation: string): string | undefined {
  const said = journal(["-o", "short-unix", "_PID=1", `INVOCATION_ID=${invocation}`]);
  return said.find((line) => line.includes("operation timed out"))?.split(" ")[0];
}

function journal(words: readonly string[]): string[] {
  const done = spawnSync("journalctl", ["-q", "--no-pager", ...words], {
    encoding: "utf8",
    maxBuffer: 1 << 24,
  });
  return (done.stdout ?? "").split("\n").filter((line) => line.trim() !== "");
}

/** The monotonic clock as systemd's timestamps count it, in microseconds. */
export function nowUs(): number {
  // Both are CLOCK_MONOTONIC.
  return Number(process.hrtime.bigint() / 1000n);
}

/** When a process began, on the same clock, in steps of 10 ms; undefined: it is gone (proc_pid_stat(5)). */
export function bornUs(pid: number): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const ticks = Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19]);
    const [uptime = ""] = readFileSync("/proc/uptime", "utf8").split(" ");
    // starttime counts from boot, CLOCK_BOOTTIME; the difference is the time that the machine slept.
    const asleepUs = Number(uptime) * 1e6 - nowUs();
    const drift = Math.abs(asleepUs) > 1e6 ? asleepUs : 0;
    return ticks * 10_000 - drift;
  } catch {
    return undefined;
  }
}

/** The child of systemd-nspawn that is number 1 in the guest; undefined: there is none (proc_pid_status(5), `NSpid`). */
export function leaderOf(pid: number): number | undefined {
  const read = (file: string): string => {
    try {
      return readFileSync(file, "utf8");
    } catch {
      return "";
    }
  };
  const children = read(`/proc/${pid}/task/${pid}/children`).trim().split(" ").filter(Boolean).map(Number);
  return children.find((child) => /^NSpid:.*\s1$/m.test(read(`/proc/${child}/status`)));
}

function ran(program: string, words: readonly string[]): Ended {
  const done = spawnSync(program, words, { encoding: "utf8", maxBuffer: 1 << 26 });
  const said = `${done.stdout ?? ""}${done.stderr ?? ""}${done.error ? String(done.error) : ""}`.trim();
  return { ok: done.status === 0, said };
}
