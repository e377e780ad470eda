/**
 * Runs a command in private pid, network, mount and cgroup2 views, so that whatever way it ends, the kernel takes
 * away its processes, mounts, loop devices and links. Must not know that machines boot there.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync, readlinkSync, statSync } from "node:fs";
import { constants } from "node:os";
import { failure, type Result, success } from "../diagnostics.ts";
import type { AbsPath } from "../paths.ts";
import { newRunName, removeEmptyCgroups } from "./cgroup.ts";
import { describeProblem } from "./problems.ts";

/** Set inside: the run's name, a colon, and the outer network namespace, e.g. `labctl-812:net:[4026531840]`. */
const MARK = "LABCTL_NAMESPACE";
/** How long the command may take to end by itself after the first signal. */
const END_TIMEOUT_MS = 3000;
/** timeout(1) and terminals signal a process and its group, so that one request can arrive twice. */
const SAME_SIGNAL_MS = 500;

/**
 * PID 1 of the namespace. A shell, not the command itself: it reaps orphans, and a PID 1 without a handler would
 * ignore SIGTERM. `/sys/fs/cgroup` may be absent or several file systems deep, so only the last mount must work.
 * `<&3` because a shell gives background commands an empty standard input, some before they look at `<&0`.
 */
const INIT = `
set -eu
umount -R /sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs -o mode=755,nosuid,nodev tmpfs /run
mkdir -p /run/lock
ip link set lo up
end() { kill -TERM "$child" 2>/dev/null || true; wait "$child" 2>/dev/null || true; exit "$1"; }
exec 3<&0
"$@" <&3 3<&- &
child=$!
trap 'end 143' TERM
trap 'end 130' INT
trap 'end 129' HUP
set +e
wait "$child"
exit $?
`;

export interface NamespaceOptions {
  /** Added to this process's environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** Undefined: this process's. */
  readonly cwd?: AbsPath;
  /** Told how to find the namespaces' first process, as this side numbers it, once there is one. */
  readonly onStart?: (firstPid: () => number | undefined) => void;
}

/** True in a process that `runInNamespaces` started, and in its descendants: the mark alone is not believed. */
export function isInNamespaces(): boolean {
  const outerNet = process.env[MARK]?.split(":").slice(1).join(":");
  return outerNet !== undefined && outerNet !== "" && outerNet !== networkNamespace();
}

/** The name of this process's run, also the name of its cgroup; undefined outside. */
export function runName(): string | undefined {
  return isInNamespaces() ? process.env[MARK]?.split(":")[0] : undefined;
}

/**
 * Runs `argv` in new namespaces with this process's standard streams, and answers its exit status (128 + n where
 * signal n ended it). Inside, `/run` is empty and new, there is one network link (`lo`), and the host's files are
 * all there. SIGINT, SIGTERM and SIGHUP to this process end the command (SIGTERM, after 3 s or a second signal SIGKILL).
 * SIGKILL to this process ends everything at once. Failure: `/dev/null` was damaged meanwhile.
 */
export async function runInNamespaces(
  argv: readonly string[],
  options: NamespaceOptions = {},
): Promise<Result<number>> {
  const run = newRunName();
  // setpriv: unshare must not outlive this process, however this process ends.
  const launcher = ["--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"];
  const child = spawn(
    "setpriv",
    [...launcher, "--net", "--mount", "sh", "-c", INIT, "labctl-init", ...argv],
    {
      stdio: "inherit",
      env: { ...process.env, ...options.env, [MARK]: `${run}:${networkNamespace()}` },
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    },
  );
  options.onStart?.(() => initProcess(child.pid));
  const status = await endOf(child);
  removeEmptyCgroups();
  if (!isNullDevice()) return failure(describeProblem({ kind: "host-null-damaged" }));
  return success(status);
}

/** Waits for the namespace's end and hands signals on meanwhile. */
function endOf(child: ChildProcess): Promise<number> {
  let askedAt: number | undefined;
  let timer: NodeJS.Timeout | undefined;
  // PID 1's end ends all others first, so when unshare has seen it, all are gone.
  const endHard = () => trySignal(initProcess(child.pid) ?? child.pid, "SIGKILL");
  const onSignal = (signal: NodeJS.Signals) => {
    if (askedAt === undefined) {
      askedAt = Date.now();
      timer = setTimeout(endHard, END_TIMEOUT_MS);
      trySignal(initProcess(child.pid), signal);
    } else if (Date.now() - askedAt > SAME_SIGNAL_MS) endHard();
  };
  const signals: readonly NodeJS.Signals[] = ["SIGINT", "SIGTERM", "SIGHUP"];
  for (const signal of signals) process.on(signal, onSignal);
  return new Promise((resolve) => {
    const finish = (status: number) => {
      clearTimeout(timer);
      for (const signal of signals) process.off(signal, onSignal);
      resolve(status);
    };
    child.on("error", () => finish(127));
    child.on("exit", (status, signal) => finish(status ?? 128 + (signal ? constants.signals[signal] : 0)));
  });
}

/** The namespace's PID 1 as this side numbers it: unshare's only child. */
function initProcess(unsharePid: number | undefined): number | undefined {
  try {
    const children = readFileSync(`/proc/${unsharePid}/task/${unsharePid}/children`, "utf8").trim();
    return children === "" ? undefined : Number(children.split(" ")[0]);
  } catch {
    return undefined;
  }
}

function trySignal(pid: number | undefined, signal: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(pid, signal);
  } catch {
    // Already gone, which is what was wanted.
  }
}

function networkNamespace(): string {
  try {
    return readlinkSync("/proc/self/ns/net");
  } catch {
    return "";
  }
}

/** Device 1:3, see Linux's Documentation/admin-guide/devices.txt. */
function isNullDevice(): boolean {
  try {
    const stat = statSync("/dev/null");
    return stat.isCharacterDevice() && stat.rdev === 0x103;
  } catch {
    return false;
  }
}
