/**
 * Whether this host can boot machines, and what is missing, each with its fix. Facts are read by one function and
 * judged by another, so that the wording is tested without breaking a host. Must not install or change anything.
 */
import { spawnSync } from "node:child_process";
import { accessSync, constants, existsSync, readFileSync, statfsSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { type Diagnostic, failure, type Result, success } from "../diagnostics.ts";
import { describeProblem, overlayWarning, type TwinProblem } from "./problems.ts";

/** How machines share one root file system: btrfs snapshots, or overlayfs on ext4. */
export type PoolKind = "btrfs" | "overlay";

export interface HostSupport {
  readonly poolKind: PoolKind;
  /** Where pools are created, with this much space free. */
  readonly poolFolder: string;
  readonly freeBytes: number;
}

/** What was found on the host; plain data. */
export interface HostFacts {
  readonly platform: string;
  readonly uid: number;
  /** Programs that are not on the path. */
  readonly programsMissing: readonly string[];
  /** Undefined: it worked. Else what the attempt said. Also undefined if it could not be tried (no root). */
  readonly namespacesRefused: string | undefined;
  readonly cgroup2Refused: string | undefined;
  readonly loopControl: boolean;
  /** Kernel file system types, after trying to load btrfs and overlay. */
  readonly filesystems: readonly string[];
  readonly poolFolder: string;
  readonly freeBytes: number;
}

/** One pool, the unpacked image and a few machines' changes fit into this. */
const NEEDED_DISK_BYTES = 2e9;

/** Program to Debian package; `mkfs.btrfs` is judged apart because overlayfs can stand in for it. */
const PROGRAMS: Readonly<Record<string, string>> = {
  unshare: "util-linux",
  nsenter: "util-linux",
  setpriv: "util-linux",
  flock: "util-linux",
  mount: "mount",
  tar: "tar",
  ip: "iproute2",
  "mkfs.ext4": "e2fsprogs",
  mmdebstrap: "mmdebstrap",
  "systemd-nspawn": "systemd-container",
  socat: "socat",
  ssh: "openssh-client",
  "ssh-keygen": "openssh-client",
  zstd: "zstd",
};

/** Debian packages that a host needs to boot machines, sorted; holds for bookworm and trixie. Pure. */
export function packagesNeeded(): string[] {
  // The keyring and btrfs-progs have no program in the table above.
  return [...new Set([...Object.values(PROGRAMS), "btrfs-progs", "debian-archive-keyring", "kmod"])].sort();
}

/** Those of `packagesNeeded()` that dpkg does not list as installed. Effects: runs dpkg-query. */
export function missingPackages(): string[] {
  const needed = packagesNeeded();
  const format = "$" + "{Package} $" + "{db:Status-Status}\n";
  const asked = spawnSync("dpkg-query", ["-W", "-f", format, ...needed], { encoding: "utf8" });
  const installed = new Set(
    (asked.stdout ?? "")
      .split("\n")
      .filter((line) => line.endsWith(" installed"))
      .map((line) => line.split(" ")[0]),
  );
  return needed.filter((name) => !installed.has(name));
}

/** Judges the host: all that is missing at once, not the first thing only. Effects: those of `readHostFacts`. */
export function checkHost(): Result<HostSupport> {
  return judgeHost(readHostFacts());
}

/** Says whether machines can boot on a host with these facts. A fallback comes as a warning. Pure. */
export function judgeHost(facts: HostFacts): Result<HostSupport> {
  if (facts.platform !== "linux") {
    return failure(describeProblem({ kind: "host-not-linux", platform: facts.platform }));
  }
  const problems: TwinProblem[] = [];
  if (facts.uid !== 0) problems.push({ kind: "host-not-root", uid: facts.uid });
  for (const program of facts.programsMissing) {
    const debianPackage = PROGRAMS[program];
    if (debianPackage) problems.push({ kind: "host-program-missing", program, debianPackage });
  }
  if (facts.namespacesRefused !== undefined) {
    problems.push({ kind: "host-namespaces-refused", output: facts.namespacesRefused });
  } else if (facts.cgroup2Refused !== undefined) {
    problems.push({ kind: "host-cgroup2-refused", output: facts.cgroup2Refused });
  }
  if (!facts.loopControl) problems.push({ kind: "host-loop-missing" });
  const btrfs = facts.filesystems.includes("btrfs") && !facts.programsMissing.includes("mkfs.btrfs");
  if (!btrfs && !facts.filesystems.includes("overlay")) problems.push({ kind: "host-copy-on-write-missing" });
  if (facts.freeBytes < NEEDED_DISK_BYTES) {
    problems.push({
      kind: "host-disk-short",
      folder: facts.poolFolder,
      freeBytes: facts.freeBytes,
      neededBytes: NEEDED_DISK_BYTES,
    });
  }
  if (problems.length > 0) return failure(...problems.map(describeProblem));
  const warnings: Diagnostic[] = btrfs ? [] : [overlayWarning()];
  const { poolFolder, freeBytes } = facts;
  return success({ poolKind: btrfs ? "btrfs" : "overlay", poolFolder, freeBytes }, warnings);
}

/**
 * Looks at the host. Effects: loads kernel modules where root may, and starts two short-lived namespaces; leaves
 * nothing behind.
 */
export function readHostFacts(): HostFacts {
  const uid = process.getuid?.() ?? -1;
  const poolFolder = tmpdir();
  const disk = existsSync(poolFolder) ? statfsSync(poolFolder) : undefined;
  const isRoot = process.platform === "linux" && uid === 0;
  return {
    platform: process.platform,
    uid,
    programsMissing: [...Object.keys(PROGRAMS), "mkfs.btrfs"].filter((name) => !isOnPath(name)),
    namespacesRefused: isRoot ? tryInNamespaces(["true"]) : undefined,
    cgroup2Refused: isRoot ? tryInNamespaces(["mount", "-t", "cgroup2", "cgroup2", "/mnt"]) : undefined,
    loopControl: hasLoopControl(isRoot),
    filesystems: process.platform === "linux" ? readFilesystems(isRoot) : [],
    poolFolder,
    freeBytes: disk ? disk.bavail * disk.bsize : 0,
  };
}

/** Undefined: it worked. Else what was said. */
function tryInNamespaces(argv: readonly string[]): string | undefined {
  const flags = ["--pid", "--fork", "--kill-child=KILL", "--mount-proc", "--net", "--mount"];
  const tried = spawnSync("unshare", [...flags, ...argv], {
    encoding: "utf8",
    timeout: 10_000,
    stdio: "pipe",
  });
  if (tried.status === 0) return undefined;
  return (
    tried.stderr?.trim() || tried.error?.message || `ended by ${tried.signal ?? `status ${tried.status}`}`
  );
}

function hasLoopControl(mayLoadModules: boolean): boolean {
  if (mayLoadModules && !existsSync("/dev/loop-control")) spawnSync("modprobe", ["loop"]);
  return existsSync("/dev/loop-control");
}

function readFilesystems(mayLoadModules: boolean): string[] {
  const read = () =>
    readFileSync("/proc/filesystems", "utf8")
      .split("\n")
      .map((line) => line.split("\t")[1] ?? "");
  let found = read();
  for (const name of ["btrfs", "overlay"]) {
    if (!mayLoadModules || found.includes(name)) continue;
    spawnSync("modprobe", [name]);
    found = read();
  }
  return found;
}

/** Root's usual folders count too: a user's path often leaves them out. */
function isOnPath(program: string): boolean {
  const folders = [...(process.env.PATH ?? "").split(delimiter), "/usr/sbin", "/sbin"];
  return folders.some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}
