/**
 * How much a guest's root may hold, by whatever way its file system offers: a group of btrfs quotas, a project of xfs. Where
 * it offers none, that is said aloud. Must not know how roots are made, nor whose they are.
 *
 * Sources: btrfs-qgroup(8), btrfs-quota(8), xfs_quota(8), chattr(1), xfs(5) `prjquota`.
 */
import { type Diagnostic, failure, type Result, success, warning } from "../diagnostics.ts";
import type { ForkEffects } from "./fork-effects.ts";
import { describeForkProblem } from "./fork-problems.ts";

/** Level of the groups that are ours (any but 0 can be made): nobody else's are looked at. */
const LEVEL = 1006;

/**
 * Holds the tree `root` to `bytes` from now on; undefined: to nothing any more. A failure: it could be held, and was not. A
 * warning: it can't be. Again: does nothing. Effects: quotas of a btrfs that has none are switched on, if it knows simple
 * ones, which cost next to nothing; the others slow down a whole file system, so they are its owner's to choose.
 */
export async function limitTree(
  effects: ForkEffects,
  root: string,
  bytes: number | undefined,
): Promise<Result<undefined>> {
  const mount = effects.mountOf(root);
  if (mount.fileSystem === "btrfs" && effects.kindOf(root) === "subvolume")
    return limitSubvolume(effects, root, bytes);
  if (mount.fileSystem === "xfs" && /(^|,)(prjquota|pquota)(,|$)/.test(mount.options))
    return limitProject(effects, root, bytes, mount.mountPoint);
  return bytes === undefined ? success(undefined) : success(undefined, [unlimited(root, mount.fileSystem)]);
}

/** Takes away groups of subvolumes that are gone; the kernel keeps each until it has freed the last block. */
export async function sweepLimits(effects: ForkEffects, folder: string): Promise<void> {
  if (effects.fileSystem(folder) !== "btrfs") return;
  const groups = await groupsOf(effects, folder);
  for (const [group, line] of groups ?? []) {
    const [level, id] = group.split("/");
    const own = groups?.get(`0/${id}`);
    if (level !== String(LEVEL) || (own !== undefined && !/<(stale|squota)/.test(own))) continue;
    // The line is that of a group which the kernel still holds: then it refuses, and the next sweep has it.
    if (own !== undefined) await effects.run(["btrfs", "qgroup", "destroy", `0/${id}`, folder]);
    if (line !== "") await effects.run(["btrfs", "qgroup", "destroy", group, folder]);
  }
}

async function limitSubvolume(
  effects: ForkEffects,
  root: string,
  bytes: number | undefined,
): Promise<Result<undefined>> {
  let groups = await groupsOf(effects, root);
  if (!groups && bytes === undefined) return success(undefined);
  let simple = effects.quotaMode(root) === "squota";
  if (!groups) {
    const enabled = await effects.run(["btrfs", "quota", "enable", "--simple", root]);
    if (enabled.status !== 0) return success(undefined, [unlimited(root, "btrfs")]);
    simple = true;
    groups = (await groupsOf(effects, root)) ?? new Map();
  }
  const found = await effects.run(["btrfs", "inspect-internal", "rootid", root]);
  const id = found.stdout.trim();
  const own = `0/${id}`;
  const group = `${LEVEL}/${id}`;
  const limit = (...which: readonly string[]): readonly string[] => [
    ...["btrfs", "qgroup", "limit"],
    ...which.slice(0, -1),
    bytes === undefined ? "none" : String(bytes),
    ...which.slice(-1),
    root,
  ];
  // Simple quotas put subvolumes that the guest makes in its root into the groups of that; full ones would be read anew.
  // A group that is there was made where it was known how the file system counts.
  // What it shares with its image counts with neither.
  if (!simple && !groups.has(group)) return steps(effects, [limit("-e", own)]);
  const made = groups.has(group)
    ? []
    : [
        ["btrfs", "qgroup", "create", group, root],
        ["btrfs", "qgroup", "assign", own, group, root],
      ];
  return steps(effects, [...made, limit(group)]);
}

/** The groups of a file system by their names, each with its line; undefined: it has no quotas. */
async function groupsOf(effects: ForkEffects, path: string): Promise<Map<string, string> | undefined> {
  const shown = await effects.run(["btrfs", "qgroup", "show", "--raw", path]);
  if (shown.status !== 0) return undefined;
  const lines = shown.stdout.split("\n").map((line) => line.trim());
  return new Map(
    lines.flatMap((line) => {
      const name = /^\d+\/\d+/.exec(line)?.[0];
      return name === undefined ? [] : [[name, line] as const];
    }),
  );
}

async function limitProject(
  effects: ForkEffects,
  root: string,
  bytes: number | undefined,
  mountPoint: string,
): Promise<Result<undefined>> {
  const id = projectOf(effects.inodeOf(root));
  const size = bytes === undefined ? 0 : bytes;
  const limit = ["xfs_quota", "-x", "-c", `limit -p bhard=${size} ${id}`, mountPoint];
  if (bytes === undefined) return steps(effects, [limit]);
  const marked = await effects.run(["lsattr", "-p", "-d", root]);
  // From the outermost folder on, new files are the project's by themselves.
  const isMarked = marked.stdout.trim().split(/\s+/)[0] === String(id);
  return steps(effects, [...(isMarked ? [] : [["chattr", "-R", "-f", "-p", String(id), "+P", root]]), limit]);
}

/** A number that no other tree of the file system has while this one is there. Pure. */
function projectOf(inode: number): number {
  return (inode % 0x7fff_fffe) + 1;
}

async function steps(effects: ForkEffects, all: readonly (readonly string[])[]): Promise<Result<undefined>> {
  for (const argv of all) {
    const end = await effects.run(argv);
    // chattr counts links and devices, which have no such mark, as failures.
    if (end.status === 0 || argv[0] === "chattr") continue;
    const step = "hold it to its size";
    return failure(describeForkProblem({ kind: "fork-step-failed", step, argv, output: end.stderr }));
  }
  return success(undefined);
}

function unlimited(root: string, fileSystem: string): Diagnostic {
  const why = fileSystem === "btrfs" ? "btrfs without quotas" : `${fileSystem} without project quotas`;
  return warning("disk-unlimited", `nothing holds ${root} to the size that its guest's \`disk\` says`, {
    notes: [
      `it lies on ${fileSystem === "btrfs" || fileSystem === "xfs" ? why : fileSystem}, and can fill it`,
    ],
    help:
      fileSystem === "btrfs"
        ? `\`btrfs quota enable ${root}\`; simple quotas, which cost less, want Linux 6.7 and btrfs-progs 6.7`
        : "put /var/lib/local on btrfs, or on xfs that is mounted with prjquota",
  });
}
