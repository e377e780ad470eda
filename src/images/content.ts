/**
 * What a file is by its first bytes: how it is compressed, whether it is a tar archive or a disk image, and for which
 * architecture. Pure; must not know where bytes come from.
 */
import type { Architecture } from "./definition.ts";

export type Compression = "none" | "gzip" | "xz" | "zstd" | "bzip2";
export type Content = "tar" | "raw" | "qcow2" | "unknown";

/** How many (decompressed) bytes the functions here want to see, where there are as many. */
export const HEAD_BYTES = 34_816;

/** The program that writes the contents of a file to its standard output; `cat` for what is not compressed. */
export const DECOMPRESSORS: Readonly<Record<Compression, readonly string[]>> = {
  none: ["cat"],
  gzip: ["gzip", "-dc"],
  xz: ["xz", "-dc"],
  // As large a window as the format allows: some publishers use it, and it costs memory only where they do.
  zstd: ["zstd", "-dcq", "--long=31"],
  bzip2: ["bzip2", "-dc"],
};

/** How a file is compressed, by its magic. Pure. */
export function compressionOf(head: Buffer): Compression {
  const hex = head.subarray(0, 6).toString("hex");
  if (hex.startsWith("1f8b")) return "gzip";
  if (hex === "fd377a585a00") return "xz";
  if (hex.startsWith("28b52ffd")) return "zstd";
  return hex.startsWith("425a68") ? "bzip2" : "none";
}

/** What a decompressed file is: ustar's magic, qcow2's, or a boot sector's or partition table's signature. Pure. */
export function contentOf(head: Buffer): Content {
  if (head.subarray(257, 262).toString("latin1") === "ustar") return "tar";
  if (head.subarray(0, 4).toString("latin1") === "QFI\xfb") return "qcow2";
  // A whole disk has a signature at the end of its first sector; a bare ext4, btrfs or xfs its own.
  const isDisk = head.length >= 512 && head.readUInt16BE(510) === 0x55aa;
  const isExt = head.length >= 1082 && head.readUInt16LE(1080) === 0xef53;
  return isDisk || isExt ? "raw" : "unknown";
}

/** ELF's e_machine, with class and byte order where one number means two (elf(5)). */
function elfArchitecture(head: Buffer): Architecture | string | undefined {
  if (head.length < 20 || head.toString("latin1", 0, 4) !== "\x7fELF") return undefined;
  const isLittle = head[5] === 1;
  const machine = isLittle ? head.readUInt16LE(18) : head.readUInt16BE(18);
  const known: Readonly<Record<number, Architecture>> = {
    3: "i386",
    22: "s390x",
    40: "armhf",
    62: "amd64",
    183: "arm64",
    243: "riscv64",
  };
  if (machine === 21) return isLittle ? "ppc64el" : "ppc64";
  return known[machine] ?? `ELF machine ${machine}`;
}

/** For which architecture a program or a kernel is: Debian's name where there is one; undefined: neither is seen. Pure. */
export function architectureOf(head: Buffer): Architecture | string | undefined {
  // A compressed x86 kernel (boot protocol) says no more than that; Debian's i386 kernels are rare enough.
  if (head.length > 0x206 && head.toString("latin1", 0x202, 0x206) === "HdrS") return "amd64";
  if (head.length > 0x3c && head.toString("latin1", 0x38, 0x3c) === "ARM\x64") return "arm64";
  return elfArchitecture(head);
}

export interface Partition {
  /** Bytes from the start of the disk. */
  readonly startBytes: number;
  readonly lengthBytes: number;
  /** GUID in lower case, or an MBR type as two digits. */
  readonly type: string;
}

const SECTOR = 512;
/** Types of root partitions in the Discoverable Partitions Specification. */
const ROOT_TYPES: Readonly<Record<string, Architecture>> = {
  "4f68bce3-e8cd-4db1-96e7-fbcaf984b709": "amd64",
  "b921b045-1df0-41c3-af44-4c6f280d3fae": "arm64",
  "69dad710-2ce4-4e3c-b16c-21a1d49abed3": "armhf",
  "44479540-f297-41b2-9af7-d131d5f0458a": "i386",
  "c31c45e6-3f39-412e-80fb-4809c4980599": "ppc64el",
  "72ec70a6-cf74-40e6-bd49-4bda08e8f224": "riscv64",
  "5eead9a9-fe09-4a1e-a1d7-520d00531306": "s390x",
};

/** Architecture that a disk's root partition is marked with; undefined: none is. Pure. */
export function architectureOfDisk(partitions: readonly Partition[]): Architecture | undefined {
  for (const { type } of partitions) if (ROOT_TYPES[type]) return ROOT_TYPES[type];
  return undefined;
}

/** The partitions in the first bytes of a raw disk, GPT (UEFI 2.10, 5.3) or MBR; empty if it has no table. Pure. */
export function partitionsOf(head: Buffer): readonly Partition[] {
  if (head.toString("latin1", SECTOR, SECTOR + 8) === "EFI PART") {
    const first = Number(head.readBigUInt64LE(SECTOR + 72)) * SECTOR;
    const [count, entrySize] = [head.readUInt32LE(SECTOR + 80), head.readUInt32LE(SECTOR + 84)];
    const out: Partition[] = [];
    for (let i = 0; i < Math.min(count, 128) && entrySize >= 128; i++) {
      const at = first + i * entrySize;
      if (at + 128 > head.length) break;
      const type = guid(head.subarray(at, at + 16));
      const [from, to] = [Number(head.readBigUInt64LE(at + 32)), Number(head.readBigUInt64LE(at + 40))];
      if (!/^0+-/.test(type))
        out.push({ startBytes: from * SECTOR, lengthBytes: (to - from + 1) * SECTOR, type });
    }
    return out;
  }
  if (head.length < SECTOR || head.readUInt16BE(510) !== 0x55aa) return [];
  return [0, 1, 2, 3].flatMap((i) => {
    const at = 446 + 16 * i;
    const [type, from, length] = [head[at + 4] ?? 0, head.readUInt32LE(at + 8), head.readUInt32LE(at + 12)];
    if (type === 0 || length === 0) return [];
    return [
      { startBytes: from * SECTOR, lengthBytes: length * SECTOR, type: type.toString(16).padStart(2, "0") },
    ];
  });
}

/** The first three groups are stored with their bytes turned around. */
function guid(bytes: Buffer): string {
  const hex = (from: number, to: number, turned: boolean): string => {
    const part = Buffer.from(bytes.subarray(from, to));
    return (turned ? part.reverse() : part).toString("hex");
  };
  return [hex(0, 4, true), hex(4, 6, true), hex(6, 8, true), hex(8, 10, false), hex(10, 16, false)].join("-");
}
