/**
 * Copies of root file systems and disk images that share blocks with their source, by whatever way the file system
 * offers: a snapshot of a btrfs subvolume, a clone of a zfs dataset, reflinks (btrfs, xfs, bcachefs, zfs from 2.2), an
 * overlay of a disk image, else a plain copy, which is said aloud. Whoever is killed in the middle leaves nothing under
 * the name that was asked for. Must not know what images or guests are, nor where they lie.
 *
 * Sources: btrfs-subvolume(8), btrfs-property(8), zfs-clone(8), cp(1), ioctl_ficlone(2), qemu-img(1).
 */
import { dirname } from "node:path";
import { type Diagnostic, failure, type Result, success } from "../diagnostics.ts";
import { sweepLimits } from "./disk-limit.ts";
import type { ForkEffects } from "./fork-effects.ts";
import { describeForkProblem, plainCopyWarning } from "./fork-problems.ts";

/**
 * `snapshot`: btrfs subvolumes; `zfs`: datasets; `reflink`: each file shares its blocks; `overlay`: a qcow2 file that
 * refers to its source, which has to stay (disks only); `copy`: nothing is shared.
 */
export type ForkWay = "snapshot" | "zfs" | "reflink" | "overlay" | "copy";

export interface TreeFork {
  /** How it was made. */
  readonly way: ForkWay;
}

export interface DiskFork {
  readonly way: ForkWay;
  /** Absolute; the asked-for stem with `.raw` or `.qcow2`. */
  readonly file: string;
  readonly format: "raw" | "qcow2";
}

/** Name of the snapshot that each sealed zfs dataset has. */
const SEAL = "sealed";

/**
 * Makes an empty tree to be filled, in an existing folder: a subvolume, a dataset, or a folder, mode 0755. What a killed
 * run left under this very name is removed first.
 */
export async function makeTree(effects: ForkEffects, path: string): Promise<Result<undefined>> {
  const cleared = await removeFork(effects, path);
  if (!cleared.ok) return cleared;
  const fileSystem = effects.fileSystem(dirname(path));
  if (fileSystem === "btrfs")
    return step(effects, "make a subvolume", ["btrfs", "-q", "subvolume", "create", path]);
  if (fileSystem === "zfs" && (await zfsDataset(effects, dirname(path)))) {
    const dataset = await zfsName(effects, path);
    return step(effects, "make a dataset", ["zfs", "create", "-o", `mountpoint=${path}`, dataset]);
  }
  effects.makeFolder(path);
  return success(undefined);
}

/** Makes a filled tree read-only where the file system can: later forks of it are alike. Again: does nothing. */
export async function sealTree(effects: ForkEffects, path: string): Promise<Result<undefined>> {
  if (effects.kindOf(path) === "subvolume")
    return step(effects, "seal the subvolume", ["btrfs", "property", "set", "-ts", path, "ro", "true"]);
  const dataset = effects.fileSystem(path) === "zfs" ? await zfsDataset(effects, path, true) : undefined;
  if (dataset === undefined) return success(undefined);
  if ((await effects.run(["zfs", "list", "-H", "-t", "snapshot", `${dataset}@${SEAL}`])).status === 0)
    return success(undefined);
  const taken = await step(effects, "take a snapshot", ["zfs", "snapshot", `${dataset}@${SEAL}`]);
  return taken.ok ? step(effects, "seal the dataset", ["zfs", "set", "readonly=on", dataset]) : taken;
}

/** Gives a filled draft of `makeTree` its name in the same folder, at once. Nothing may have that name. */
export async function settleTree(
  effects: ForkEffects,
  draft: string,
  path: string,
): Promise<Result<undefined>> {
  const dataset = effects.fileSystem(draft) === "zfs" ? await zfsDataset(effects, draft, true) : undefined;
  if (dataset === undefined) {
    effects.rename(draft, path);
    return success(undefined);
  }
  const name = await zfsName(effects, path);
  const named = await step(effects, "name the dataset", ["zfs", "rename", dataset, name]);
  if (!named.ok) return named;
  return step(effects, "mount the dataset", ["zfs", "set", `mountpoint=${path}`, name]);
}

/**
 * A writable copy of the tree `source` at `target`, whose folder exists. Refuses a target that is there. Appears whole
 * or not at all; what a killed run left on its way is removed. A plain copy succeeds with a warning.
 */
export async function forkTree(
  effects: ForkEffects,
  source: string,
  target: string,
): Promise<Result<TreeFork>> {
  const kind = effects.kindOf(source);
  if (kind !== "folder" && kind !== "subvolume")
    return failure(describeForkProblem({ kind: "fork-source-missing", source, wanted: "folder" }));
  if (effects.kindOf(target) !== undefined)
    return failure(describeForkProblem({ kind: "fork-target-taken", target }));
  const folder = dirname(target);
  const sameBtrfs = kind === "subvolume" && effects.fileSystem(folder) === "btrfs";
  if (sameBtrfs) {
    const argv = ["btrfs", "-q", "subvolume", "snapshot", source, target];
    const taken = await step(effects, "take a snapshot", argv);
    if (taken.ok) return success({ way: "snapshot" });
    // Another btrfs: snapshots stay on their own.
    if (effects.kindOf(target) !== undefined || !isElsewhere(taken)) return taken;
  }
  const dataset = effects.fileSystem(source) === "zfs" ? await zfsDataset(effects, source, true) : undefined;
  if (dataset !== undefined && effects.fileSystem(folder) === "zfs") {
    const argv = [
      "zfs",
      "clone",
      "-o",
      `mountpoint=${target}`,
      "-o",
      "readonly=off",
      `${dataset}@${SEAL}`,
      await zfsName(effects, target),
    ];
    const cloned = await step(effects, "clone the dataset", argv);
    return cloned.ok ? success({ way: "zfs" }) : cloned;
  }
  return copyTree(effects, source, target);
}

async function copyTree(effects: ForkEffects, source: string, target: string): Promise<Result<TreeFork>> {
  const draft = draftOf(target);
  const cleared = await removeFork(effects, draft);
  if (!cleared.ok) return cleared;
  effects.makeFolder(draft);
  // In the draft: what a killed trial leaves goes with it.
  const tries = effects.canReflink(draft) ? (["reflink", "copy"] as const) : (["copy"] as const);
  for (const way of tries) {
    const reflink = way === "reflink" ? "always" : "never";
    const argv = ["cp", "-a", `--reflink=${reflink}`, "--", `${source}/.`, draft];
    const copied = await step(effects, "copy the tree", argv);
    // Blocks can't be shared with another file system, even one of the same kind.
    if (!copied.ok && way === "reflink" && isElsewhere(copied)) continue;
    if (!copied.ok) {
      await removeFork(effects, draft);
      return copied;
    }
    effects.rename(draft, target);
    return success({ way }, way === "copy" ? [plainCopy(effects, target)] : []);
  }
  // `copy` always returns from the loop.
  return failure(describeForkProblem({ kind: "fork-source-missing", source, wanted: "folder" }));
}

/**
 * A writable copy of the disk image `source` as `stem` with `.raw` or `.qcow2`: by reflink, else as a qcow2 overlay
 * where qemu-img is installed, else a plain copy with a warning. Refuses a target that is there. Whole or not at all.
 */
export async function forkDisk(
  effects: ForkEffects,
  source: { readonly file: string; readonly format: "raw" | "qcow2" },
  stem: string,
): Promise<Result<DiskFork>> {
  if (effects.kindOf(source.file) !== "file")
    return failure(describeForkProblem({ kind: "fork-source-missing", source: source.file, wanted: "file" }));
  for (const taken of [`${stem}.raw`, `${stem}.qcow2`])
    if (effects.kindOf(taken) !== undefined)
      return failure(describeForkProblem({ kind: "fork-target-taken", target: taken }));
  const { format } = source;
  const plain = `${stem}.${format}`;
  const cleared = await removeFork(effects, draftOf(plain));
  if (!cleared.ok) return cleared;
  const finish = (way: ForkWay, file: string, form: "raw" | "qcow2", draft: string): Result<DiskFork> => {
    effects.rename(draft, file);
    return success({ way, file, format: form }, way === "copy" ? [plainCopy(effects, file)] : []);
  };
  const copy = (reflink: "always" | "never"): Promise<Result<undefined>> =>
    step(effects, "copy the disk", [
      "cp",
      "--sparse=auto",
      `--reflink=${reflink}`,
      "--",
      source.file,
      draftOf(plain),
    ]);
  const cloned = await copy("always");
  if (cloned.ok) return finish("reflink", plain, format, draftOf(plain));
  const halfway = await removeFork(effects, plain);
  if (!isElsewhere(cloned)) return cloned;
  if (!halfway.ok) return halfway;
  const overlay = draftOf(`${stem}.qcow2`);
  const argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", source.file, "-F", format, overlay];
  const laid = await effects.run(argv);
  if (laid.status === 0) return finish("overlay", `${stem}.qcow2`, "qcow2", overlay);
  const copied = await copy("never");
  if (copied.ok) return finish("copy", plain, format, draftOf(plain));
  await removeFork(effects, plain);
  return copied;
}

/**
 * Removes a tree with all subvolumes in it, a dataset, or a disk image, and what killed runs left of it. What is not
 * there is no fault. Refuses a tree in which something is mounted: what is mounted is not the fork's. Killed in the
 * middle, the name is free and the next call removes the rest.
 */
export async function removeFork(effects: ForkEffects, path: string): Promise<Result<undefined>> {
  const mounts = effects.mountsBelow(path);
  const dataset = mounts.includes(path) ? await zfsDataset(effects, path, true) : undefined;
  const foreign = mounts.filter((mount) => dataset === undefined || mount !== path);
  if (foreign.length > 0)
    return failure(describeForkProblem({ kind: "fork-mounted", path, mounts: foreign }));
  if (dataset !== undefined) {
    const gone = await step(effects, "remove the dataset", ["zfs", "destroy", "-r", dataset]);
    if (!gone.ok) return gone;
  }
  const doomed = `${path}.gone`;
  for (const left of [doomed, draftOf(path)]) {
    const gone = await erase(effects, left);
    if (!gone.ok) return gone;
  }
  if (effects.kindOf(path) === undefined) return success(undefined);
  // Half a tree must not have the name of a whole one.
  effects.rename(path, doomed);
  const erased = await erase(effects, doomed);
  await sweepLimits(effects, dirname(path));
  return erased;
}

async function erase(effects: ForkEffects, path: string): Promise<Result<undefined>> {
  const kind = effects.kindOf(path);
  if (kind === undefined) return success(undefined);
  if (kind === "folder" || kind === "subvolume") {
    const inner = effects.fileSystem(path) === "btrfs" ? effects.subvolumesBelow(path) : [];
    const volumes = kind === "subvolume" ? [path, ...inner] : inner;
    // From outside inwards: what lies in a read-only one can't go.
    for (const one of volumes)
      await effects.run(["btrfs", "property", "set", "-f", "-ts", one, "ro", "false"]);
    for (const one of [...volumes].reverse()) {
      // Without CAP_SYS_ADMIN it is refused; rm, below, can do it, file by file.
      const gone = await effects.run(["btrfs", "-q", "subvolume", "delete", one]);
      if (gone.status !== 0) break;
    }
  }
  return step(effects, `remove ${path}`, ["rm", "-rf", "--", path]);
}

function plainCopy(effects: ForkEffects, target: string): Diagnostic {
  const folder = dirname(target);
  return plainCopyWarning(folder, effects.fileSystem(folder));
}

/** Where something stands until it is whole; `removeFork` knows it. Pure. */
function draftOf(path: string): string {
  return `${path}.draft`;
}

async function step(effects: ForkEffects, what: string, argv: readonly string[]): Promise<Result<undefined>> {
  const end = await effects.run(argv);
  if (end.status === 0) return success(undefined);
  return failure(describeForkProblem({ kind: "fork-step-failed", step: what, argv, output: end.stderr }));
}

/** True if a step failed because source and target lie on different file systems (EXDEV), or can't share (EOPNOTSUPP). Pure. */
function isElsewhere(failed: Result<unknown>): boolean {
  if (failed.ok) return false;
  const said = failed.problems.flatMap((p) => p.notes).join("\n");
  return /Invalid cross-device link|Operation not supported|failed to clone/i.test(said);
}

/** The dataset that a path lies on; with `exactly`, only if it is mounted there. Undefined: none, or no zfs. */
async function zfsDataset(effects: ForkEffects, path: string, exactly = false): Promise<string | undefined> {
  const end = await effects.run(["zfs", "list", "-H", "-o", "name,mountpoint", path]);
  const [name, mountpoint] = end.status === 0 ? end.stdout.trim().split("\t") : [];
  return exactly && mountpoint !== path ? undefined : name;
}

/** A dataset for a path, right below that of its folder: one between them would hide what lies in the folders. */
async function zfsName(effects: ForkEffects, path: string): Promise<string> {
  const parent = (await zfsDataset(effects, dirname(path))) ?? "";
  return `${parent}/${path.replace(/^\//, "").replaceAll("/", ":")}`;
}
