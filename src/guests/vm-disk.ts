/**
 * What the first bytes of a disk say: whether anything is on it, and where its root file system lies. Must not know which
 * guest it belongs to.
 *
 * Sources: QEMU's docs/interop/qcow2.rst; the boot signature of a partitioned disk, UEFI specification 2.10, 5.2.1.
 */

/** Reads `length` bytes at `offset`; fewer at the end. */
export type ReadAt = (offset: number, length: number) => Buffer;

const QCOW2_MAGIC = 0x514649fb;
/** Where boot sector, partition table and the first file system's superblock would be. */
const LOOKED_AT_BYTES = 1 << 20;
const BOOT_SIGNATURE_OFFSET = 510;

/** True if nothing was ever written where a system would begin: an installer has not done its work yet. Pure but for `read`. */
export function isBlankDisk(format: "raw" | "qcow2", read: ReadAt): boolean {
  if (format === "raw") return read(0, LOOKED_AT_BYTES).every((byte) => byte === 0);
  const header = read(0, 72);
  if (header.length < 72 || header.readUInt32BE(0) !== QCOW2_MAGIC) return false;
  // What lies below shows through.
  if (header.readBigUInt64BE(8) !== 0n) return false;
  const entries = header.readUInt32BE(36);
  return read(Number(header.readBigUInt64BE(40)), entries * 8).every((byte) => byte === 0);
}

/** Bytes that the guest sees; undefined: no such file. Pure but for `read`. */
export function diskSizeBytes(format: "raw" | "qcow2", fileBytes: number, read: ReadAt): number {
  return format === "raw" ? fileBytes : Number(read(0, 72).readBigUInt64BE(24));
}

/**
 * The kernel's name for the root file system: the first partition, or the whole disk where there are none. What a qcow2 holds
 * can't be told from its first bytes; images of that form have partitions. Pure but for `read`.
 */
export function rootDevice(format: "raw" | "qcow2", read: ReadAt): "/dev/vda" | "/dev/vda1" {
  if (format === "qcow2") return "/dev/vda1";
  const signature = read(BOOT_SIGNATURE_OFFSET, 2);
  return signature.length === 2 && signature.readUInt16BE(0) === 0x55aa ? "/dev/vda1" : "/dev/vda";
}
