/**
 * What `fork.ts` does to a host, as an interface, and the real one. Must not know when or why something is copied.
 */
import { spawn } from "node:child_process";
import {
  constants,
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statfsSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";

export interface ForkEnd {
  /** Exit status; null if a signal ended it; 127 if it could not be started. */
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Mount {
  readonly mountPoint: string;
  /** `btrfs`, `xfs` … */
  readonly fileSystem: string;
  /** A device, where there is one. */
  readonly source: string;
  /** Of the file system, with commas between them. */
  readonly options: string;
}

export interface ForkEffects {
  /** Runs a program to its end, never through a shell; never rejects. */
  run(argv: readonly string[]): Promise<ForkEnd>;
  /** `btrfs`, `xfs`, `zfs` …, or `type 0x…`; the path exists. */
  fileSystem(path: string): string;
  /** True if two files of an existing folder can share blocks: tried, for xfs may be made without. */
  canReflink(folder: string): boolean;
  /** Undefined: nothing is there. A link is `other`. */
  kindOf(path: string): "folder" | "subvolume" | "file" | "other" | undefined;
  /** Subvolumes in a tree, without itself; an outer one stands before those in it. */
  subvolumesBelow(path: string): readonly string[];
  /** Mount points at or below a path, as this process sees them. */
  mountsBelow(path: string): readonly string[];
  /** The mount that a path lies on, which exists. */
  mountOf(path: string): Mount;
  /** How a btrfs counts: `qgroup`, `squota`; undefined: not at all, or nobody says. */
  quotaMode(path: string): string | undefined;
  inodeOf(path: string): number;
  /** Mode 0755; no fault if it is there. */
  makeFolder(path: string): void;
  rename(from: string, to: string): void;
}

/** statfs(2); bcachefs from its own source, for the man page lacks it. */
const MAGIC: ReadonlyMap<number, string> = new Map([
  [0x9123683e, "btrfs"],
  [0x58465342, "xfs"],
  [0x2fc12fc1, "zfs"],
  [0xca451a4e, "bcachefs"],
  [0xef53, "ext4"],
  [0x01021994, "tmpfs"],
  [0x794c7630, "overlayfs"],
  [0xf2f52010, "f2fs"],
]);

/** The root of a btrfs subvolume has this inode number (BTRFS_FIRST_FREE_OBJECTID); nothing else has it. */
const SUBVOLUME_INODE = 256;

/** Room is left for one more name, of 255 bytes at most. */
const LONGEST_PATH_BYTES = 4095 - 256;

/** The host's own disk and programs. */
export const hostEffects: ForkEffects = {
  run,
  fileSystem: typeOf,
  canReflink,
  kindOf,
  subvolumesBelow: (path) => subvolumesIn(path),
  mountsBelow: (path) =>
    parseMountPoints(readFileSync("/proc/self/mountinfo", "utf8")).filter(
      (mount) => mount === path || mount.startsWith(`${path}/`),
    ),
  mountOf: (path) => mountOf(readFileSync("/proc/self/mountinfo", "utf8"), path),
  quotaMode,
  inodeOf: (path) => lstatSync(path).ino,
  makeFolder: (path) => mkdirSync(path, { recursive: true, mode: 0o755 }),
  rename: renameSync,
};

/** Mount points of /proc/PID/mountinfo; the format is in proc_pid_mountinfo(5). Pure. */
export function parseMountPoints(text: string): string[] {
  return parseMounts(text).map((mount) => mount.mountPoint);
}

/** The mount of `text`, a mountinfo, that an absolute path lies on. Pure. */
export function mountOf(text: string, path: string): Mount {
  const above = parseMounts(text).filter(
    ({ mountPoint: at }) => at === "/" || at === path || path.startsWith(`${at}/`),
  );
  // Of two at one place the later lies on top.
  const found = above.reduce(
    (best, each) => (each.mountPoint.length >= best.mountPoint.length ? each : best),
    {
      mountPoint: "/",
      fileSystem: "",
      source: "",
      options: "",
    },
  );
  return found;
}

function parseMounts(text: string): Mount[] {
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => {
      const [own = "", rest = ""] = line.split(" - ");
      const [fileSystem = "", source = "", options = ""] = rest.split(" ");
      return {
        mountPoint: unescaped(own.split(" ")[4] ?? ""),
        fileSystem,
        source: unescaped(source),
        options,
      };
    });
}

function unescaped(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
}

/** In sysfs file systems are listed by their ids, with their devices' names (Linux 6.7, Documentation/ABI/testing/sysfs-fs-btrfs). */
function quotaMode(path: string): string | undefined {
  try {
    const { source } = hostEffects.mountOf(path);
    const device = basename(realpathSync(source));
    const all = "/sys/fs/btrfs";
    const id = readdirSync(all).find((name) => existsSync(join(all, name, "devices", device)));
    return id === undefined ? undefined : readFileSync(join(all, id, "qgroups/mode"), "utf8").trim();
  } catch {
    return undefined;
  }
}

function run(argv: readonly string[]): Promise<ForkEnd> {
  const [program = "", ...args] = argv;
  return new Promise((resolve) => {
    // The messages are judged, so they must be in one language.
    const env = { ...process.env, LC_ALL: "C" };
    const child = spawn(program, args, { env, stdio: ["ignore", "pipe", "pipe"] });
    let stdout = "";
    let stderr = "";
    child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
      stdout += chunk;
    });
    // cp says one line for each of ten thousand files.
    child.stderr.setEncoding("utf8").on("data", (chunk: string) => {
      if (stderr.length < 65_536) stderr += chunk;
    });
    child.on("error", (error) =>
      resolve({ status: 127, stdout: "", stderr: `${program}: ${error.message}` }),
    );
    child.on("close", (status) => resolve({ status, stdout, stderr }));
  });
}

function typeOf(path: string): string {
  const type = statfsSync(path).type;
  return MAGIC.get(type) ?? `type 0x${type.toString(16)}`;
}

function canReflink(folder: string): boolean {
  const from = join(folder, `.reflink-${process.pid}`);
  const to = `${from}-copy`;
  try {
    // A whole block: some file systems keep smaller contents beside the name, where nothing can be shared.
    writeFileSync(from, Buffer.alloc(65_536, 1));
    copyFileSync(from, to, constants.COPYFILE_FICLONE_FORCE);
    return true;
  } catch {
    return false;
  } finally {
    rmSync(from, { force: true });
    rmSync(to, { force: true });
  }
}

function kindOf(path: string): ReturnType<ForkEffects["kindOf"]> {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return undefined;
  if (found.isFile()) return "file";
  if (!found.isDirectory()) return "other";
  return found.ino === SUBVOLUME_INODE && typeOf(path) === "btrfs" ? "subvolume" : "folder";
}

function subvolumesIn(path: string): string[] {
  // What a guest has made deeper than any path leads must not keep its tree from being removed (PATH_MAX).
  if (Buffer.byteLength(path) > LONGEST_PATH_BYTES) return [];
  return readdirSync(path, { withFileTypes: true }).flatMap((entry) => {
    if (!entry.isDirectory()) return [];
    const inner = join(path, entry.name);
    const isVolume = lstatSync(inner).ino === SUBVOLUME_INODE;
    return isVolume ? [inner, ...subvolumesIn(inner)] : subvolumesIn(inner);
  });
}
