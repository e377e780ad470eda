/**
 * What lies in a disk image, read without mounting it: a file system from elsewhere is no business of this kernel. qemu-img
 * reads formats, debugfs file systems of the ext family. Must not know where the image comes from.
 */
import {
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
} from "node:fs";
import { join } from "node:path";
import { failure, type Result, success } from "../diagnostics.ts";
import { hostEffects } from "../guests/fork-effects.ts";
import { pickKernel } from "./boot-files.ts";
import { architectureOfDisk, HEAD_BYTES, type Partition, partitionsOf } from "./content.ts";
import { runStep } from "./host.ts";
import { describeImageProblem } from "./problems.ts";
import { place, type Store } from "./store.ts";

type Format = "raw" | "qcow2";

/** Largest number of partitions' file systems that are looked at. */
const MOST_TRIES = 16;

/**
 * The architecture that a disk's partition table tells; undefined: it tells none. Refuses a qcow2 file that refers to other
 * files: those would be read with this machine's rights.
 */
export async function describeDisk(
  name: string,
  disk: string,
  format: Format,
): Promise<Result<string | undefined>> {
  if (format === "qcow2") {
    const asked = await runStep("read the disk image", [
      "qemu-img",
      "info",
      "--output=json",
      "-f",
      "qcow2",
      disk,
    ]);
    if (!asked.ok) return asked;
    const info = JSON.parse(asked.value) as {
      "backing-filename"?: string;
      "format-specific"?: { data?: { "data-file"?: string } };
    };
    const other = info["backing-filename"] ?? info["format-specific"]?.data?.["data-file"];
    if (other !== undefined)
      return failure(
        describeImageProblem({
          kind: "image-content",
          name,
          what: `a qcow2 image on top of another file (${other})`,
          help: "publish it whole: `qemu-img convert -O qcow2 IN OUT`",
        }),
      );
  }
  const head = await diskHead(disk, format);
  return head.ok ? success(architectureOfDisk(partitionsOf(head.value))) : head;
}

async function diskHead(disk: string, format: Format): Promise<Result<Buffer>> {
  let file = disk;
  if (format === "qcow2") {
    file = `${disk}.head.draft`;
    const argv = [
      "qemu-img",
      "dd",
      "-f",
      "qcow2",
      "-O",
      "raw",
      "bs=65536",
      "count=1",
      `if=${disk}`,
      `of=${file}`,
    ];
    const read = await runStep("read the disk's first sectors", argv);
    if (!read.ok) return read;
  }
  const head = Buffer.alloc(HEAD_BYTES);
  const fd = openSync(file, "r");
  const got = readSync(fd, head, 0, HEAD_BYTES, 0);
  closeSync(fd);
  if (file !== disk) rmSync(file);
  return success(head.subarray(0, got));
}

/** Takes the newest kernel and its initrd out of /boot of a disk's root, or of its boot partition. */
export async function takeBootOfDisk(
  name: string,
  store: Store,
  sha256: string,
  format: Format,
): Promise<Result<undefined>> {
  const disk = place.disk(store, sha256, format);
  const head = await diskHead(disk, format);
  if (!head.ok) return head;
  let raw = disk;
  if (format === "qcow2") {
    raw = `${disk}.raw.draft`;
    const argv = ["qemu-img", "convert", "-f", "qcow2", "-O", "raw", disk, raw];
    const made = await runStep("lay the disk out for reading", argv);
    if (!made.ok) {
      rmSync(raw, { force: true });
      return made;
    }
  }
  try {
    const table = partitionsOf(head.value);
    const whole: Partition = { startBytes: 0, lengthBytes: statSync(raw).size, type: "" };
    for (const { startBytes } of (table.length > 0 ? table : [whole]).slice(0, MOST_TRIES)) {
      for (const folder of ["/boot", "/"]) {
        const taken = await takeFrom(`${raw}?offset=${startBytes}`, folder, place.extra(store, sha256, ""));
        if (taken) return success(undefined);
      }
    }
    const why = "no partition of the ext family has a vmlinuz-VERSION in /boot or at its root";
    return failure(describeImageProblem({ kind: "image-boot-missing", name, why }));
  } finally {
    if (raw !== disk) rmSync(raw, { force: true });
  }
}

/** False: this file system has none there, or is of another kind. Names go to debugfs in quotes, so none with quotes does. */
async function takeFrom(device: string, folder: string, extras: string): Promise<boolean> {
  const listed = await hostEffects.run(["debugfs", "-R", `ls -p ${folder}`, device]);
  // /INODE/MODE/UID/GID/NAME/SIZE/ a line; mode 100644 is a file's.
  const names = [...listed.stdout.matchAll(/^\/\d+\/10\d{4}\/\d+\/\d+\/([\w.+~-]+)\/\d*\/$/gm)].map(
    ([, file = ""]) => file,
  );
  const picked = pickKernel(names);
  if (!picked) return false;
  mkdirSync(extras, { recursive: true, mode: 0o755 });
  const wanted = [
    ...(picked.initrd ? [[picked.initrd, "initrd"] as const] : []),
    [picked.kernel, "kernel"] as const,
  ];
  for (const [from, to] of wanted) {
    const draft = join(extras, `${to}.draft`);
    rmSync(draft, { force: true });
    await hostEffects.run(["debugfs", "-R", `dump ${join(folder, from)} ${draft}`, device]);
    // debugfs ends with 0 whatever happens.
    if (statSync(draft, { throwIfNoEntry: false })?.size === undefined || readFileSync(draft).length === 0)
      return false;
    renameSync(draft, join(extras, to));
  }
  return true;
}
