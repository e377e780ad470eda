/**
 * The space that a bed's machines live in: one disk image, unlinked as soon as it is mounted, with the unpacked root
 * file system in it and a cheap writable copy of that per machine. Must run inside private namespaces, so that the
 * mounts, and with them the space, go away with them. Must not know about booting.
 */
import { closeSync, ftruncateSync, mkdirSync, openSync, rmSync } from "node:fs";
import { join } from "node:path";
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
}

export interface Pool {
  readonly kind: PoolKind;
  readonly mountPoint: AbsPath;
}

/** Makes and mounts the pool and unpacks the image into it, 0.8 s. Failure leaves nothing mounted. */
export async function makePool(options: PoolOptions): Promise<Result<Pool>> {
  const { kind, mountPoint } = options;
  const disk = join(options.diskFolder, `labctl-pool-${process.pid}-${Date.now()}.img`);
  const base = baseFolder(mountPoint);
  closeSync(sparseFile(disk));
  mkdirSync(mountPoint, { recursive: true });
  const format =
    kind === "btrfs" ? ["mkfs.btrfs", "-q", disk] : ["mkfs.ext4", "-q", "-E", "lazy_itable_init=1", disk];
  let mounted = await runSteps([
    ["format the pool", format],
    ["mount the pool", ["mount", "-o", "loop,noatime", disk, mountPoint]],
  ]);
  // Unlinked while mounted: the kernel frees it with the last mount, even if this process is killed.
  rmSync(disk, { force: true });
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
