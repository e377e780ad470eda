/**
 * The space that a bed's machines live in: one disk image, unlinked as soon as it is mounted, with the unpacked root
 * file system in it and a cheap writable copy of that per machine. Must run inside private namespaces, so that the
 * mounts, and with them the space, go away with them. Must not know about booting.
 */
import { randomBytes } from "node:crypto";
import {
  closeSync,
  existsSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { type Result, success } from "../diagnostics.ts";
import type { AbsPath } from "../paths.ts";
import type { PoolKind } from "./host-support.ts";
import { runSteps } from "./run-program.ts";

/** Sparse: it costs what is written. */
const POOL_BYTES = 8 * 1024 ** 3;

export interface PoolOptions {
  readonly kind: PoolKind;
  /** The compressed root file system. */
  readonly imageFile: AbsPath;
  /** Existing folder with disk space; the disk image has a name there for an instant only. */
  readonly diskFolder: AbsPath;
  /** Not yet existing; the pool is mounted there. */
  readonly mountPoint: AbsPath;
  /**
   * A pool with the image in it and nothing else, to be copied: from the second time on that is a quarter of a second
   * instead of a whole one. Made if it is not there; btrfs only. Undefined: the image is unpacked each time.
   */
  readonly cacheFile?: AbsPath;
}

export interface Pool {
  readonly kind: PoolKind;
  readonly mountPoint: AbsPath;
}

/** Makes and mounts the pool and unpacks the image into it, 1 s, or 0.2 s from its cache. Failure leaves nothing mounted. */
export async function makePool(options: PoolOptions): Promise<Result<Pool>> {
  const { kind, mountPoint, cacheFile } = options;
  const disk = join(options.diskFolder, `labctl-pool-${uniqueWord()}.img`) as AbsPath;
  mkdirSync(mountPoint, { recursive: true });
  if (kind !== "btrfs" || cacheFile === undefined) return fillPool(options, disk);
  if (!existsSync(cacheFile)) {
    removeStale(cacheFile);
    // Beside its final name: it must not appear there half-written.
    const draft = `${cacheFile}.${uniqueWord()}-${Date.now()}` as AbsPath;
    const filled = await fillPool(options, draft, true);
    const left = filled.ok ? await closePool(filled.value) : filled;
    if (!left.ok) {
      rmSync(draft, { force: true });
      return left;
    }
    renameSync(draft, cacheFile);
  }
  const copied = await copyPool(options, cacheFile, disk);
  if (copied.ok) return copied;
  // Whatever is wrong with a cache, it can be made anew.
  rmSync(cacheFile, { force: true });
  return fillPool(options, disk);
}

/** Drafts of processes that were killed, once nobody can be at work on them, and caches of this image as it was before. */
function removeStale(cacheFile: AbsPath): void {
  const own = basename(cacheFile);
  const key = own.slice(0, own.lastIndexOf("-") + 1);
  for (const name of readdirSync(dirname(cacheFile))) {
    const startedAt = Number(name.split("-").at(-1));
    const isOldDraft = name.startsWith(`${own}.`) && Date.now() - startedAt > DRAFT_MS;
    const isFormer = name.startsWith(key) && name.endsWith(".pool") && name !== own;
    if (isOldDraft || isFormer) rmSync(join(dirname(cacheFile), name), { force: true });
  }
}

const DRAFT_MS = 600_000;

/** Not the process's number: in namespaces of their own two processes that start together have the same one. */
function uniqueWord(): string {
  return randomBytes(8).toString("hex");
}

/** `keepsName`: the disk stays where it is; else its space goes with the last mount. */
async function fillPool(options: PoolOptions, disk: AbsPath, keepsName = false): Promise<Result<Pool>> {
  const { kind, mountPoint } = options;
  const base = baseFolder(mountPoint);
  closeSync(sparseFile(disk));
  const format =
    kind === "btrfs" ? ["mkfs.btrfs", "-q", disk] : ["mkfs.ext4", "-q", "-E", "lazy_itable_init=1", disk];
  // What is kept is copied each time: the smaller the better.
  const how = keepsName ? "loop,noatime,compress=zstd:1" : "loop,noatime";
  let mounted = await runSteps([
    ["format the pool", format],
    ["mount the pool", ["mount", "-o", how, disk, mountPoint]],
  ]);
  // Unlinked while mounted: the kernel frees it with the last mount, even if this process is killed.
  if (!keepsName) rmSync(disk, { force: true });
  if (!mounted.ok) return mounted;
  if (kind === "btrfs") {
    mounted = await runSteps([["create the base volume", ["btrfs", "-q", "subvolume", "create", base]]]);
  } else mkdirSync(base);
  const tar = [
    "tar",
    "--zstd",
    "--numeric-owner",
    "--xattrs",
    "--xattrs-include=*",
    "-xpf",
    options.imageFile,
  ];
  if (mounted.ok) mounted = await runSteps([["unpack the image", [...tar, "-C", base]]]);
  if (mounted.ok) return success({ kind, mountPoint });
  await closePool({ kind, mountPoint });
  return mounted;
}

async function copyPool(options: PoolOptions, from: AbsPath, disk: AbsPath): Promise<Result<Pool>> {
  const { kind, mountPoint } = options;
  const copied = await runSteps([
    ["copy the pool", ["cp", "--sparse=always", "--reflink=auto", "--", from, disk]],
    // Two file systems of one id can't be mounted at once before Linux 6.7, which gives the second another one.
    ...(existsSync(TEMPORARY_IDS) ? [] : [["give the pool an id", ["btrfstune", "-f", "-m", disk]] as const]),
    ["mount the pool", ["mount", "-o", THROWAWAY, disk, mountPoint]],
  ]);
  rmSync(disk, { force: true });
  return copied.ok ? success({ kind, mountPoint }) : copied;
}

/** Nothing here outlives a power failure, so nothing has to reach the disk before something else does (btrfs(5)). */
const THROWAWAY = "loop,noatime,nobarrier,commit=300";
const TEMPORARY_IDS = "/sys/fs/btrfs/features/temp_fsid";

/** A machine's writable root, a copy of the image in 10 ms; `name` is new in this pool. */
export async function cloneRoot(pool: Pool, name: string): Promise<Result<AbsPath>> {
  const base = baseFolder(pool.mountPoint);
  const root = join(pool.mountPoint, name) as AbsPath;
  if (pool.kind === "btrfs") {
    const snapshot = ["btrfs", "-q", "subvolume", "snapshot", base, root];
    const made = await runSteps([["snapshot the image", snapshot]]);
    return made.ok ? success(root) : made;
  }
  const upper = join(pool.mountPoint, `.${name}.upper`);
  const work = join(pool.mountPoint, `.${name}.work`);
  for (const folder of [root, upper, work]) mkdirSync(folder, { mode: 0o755 });
  const layers = `lowerdir=${base},upperdir=${upper},workdir=${work}`;
  const made = await runSteps([
    ["lay an overlay", ["mount", "-t", "overlay", "overlay", "-o", layers, root]],
  ]);
  return made.ok ? success(root) : made;
}

/** Unmounts the pool with all clones; its space is free at once. Call it after all machines have ended. */
export async function closePool(pool: Pool): Promise<Result<undefined>> {
  return runSteps([["unmount the pool", ["umount", "-R", pool.mountPoint]]]);
}

function baseFolder(mountPoint: AbsPath): AbsPath {
  return join(mountPoint, ".image") as AbsPath;
}

function sparseFile(path: string): number {
  const file = openSync(path, "wx", 0o600);
  ftruncateSync(file, POOL_BYTES);
  return file;
}
