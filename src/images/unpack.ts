/**
 * Unpacks archives of root file systems and compressed disks: looked through before, whole or not at all. What an archive may
 * hold: no member outside of its tree, no device but in /dev, which is left out (a guest gets its own). Must not know where
 * archives come from.
 */
import { createHash } from "node:crypto";
import {
  closeSync,
  createReadStream,
  fsyncSync,
  ftruncateSync,
  openSync,
  readSync,
  rmSync,
  writeSync,
} from "node:fs";
import { failure, type Result, success } from "../diagnostics.ts";
import { compressionOf, DECOMPRESSORS, HEAD_BYTES } from "./content.ts";
import { runStep, stream } from "./host.ts";
import { describeImageProblem } from "./problems.ts";

/** The first decompressed bytes of a file, at most HEAD_BYTES. */
export async function readHead(file: string): Promise<Buffer> {
  const fd = openSync(file, "r");
  const plain = Buffer.alloc(HEAD_BYTES);
  const got = readSync(fd, plain, 0, HEAD_BYTES, 0);
  closeSync(fd);
  const compression = compressionOf(plain.subarray(0, got));
  if (compression === "none") return plain.subarray(0, got);
  const reading = stream([...DECOMPRESSORS[compression], file]);
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of reading.chunks) {
    chunks.push(chunk);
    length += chunk.length;
    if (length >= HEAD_BYTES) break;
  }
  reading.child.kill("SIGKILL");
  await reading.end;
  return Buffer.concat(chunks).subarray(0, HEAD_BYTES);
}

/** SHA-256 of a file, lower-case hexadecimal. */
export async function hashFile(file: string, algorithm: "sha256" | "sha512" = "sha256"): Promise<string> {
  const hash = createHash(algorithm);
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 })) hash.update(chunk as Buffer);
  return hash.digest("hex");
}

export interface Survey {
  /** Sum of the members' sizes, which a file system with compression or holes may undercut. */
  readonly contentBytes: number;
  readonly members: number;
  /** Members that may not be there, as tar shows them, at most ten. */
  readonly unsafe: readonly string[];
}

/** A block a member: what small files and folders take. */
const MEMBER_BYTES = 4096;

/** Bytes that an unpacked archive takes, about. Pure. */
export function treeBytes(survey: Survey): number {
  return survey.contentBytes + survey.members * MEMBER_BYTES;
}

/** Judges the lines of `tar --list --verbose --numeric-owner --quoting-style=escape`. Pure. */
export function surveyLine(line: string): { readonly bytes: number; readonly isUnsafe: boolean } {
  const [, type = "?", bytes = "0", rest = ""] =
    /^(.)\S+ +\S+ +(\d+(?:,\d+)?) +\S+ +\S+ (.*)$/.exec(line) ?? [];
  const [name = "", target] = type === "h" ? rest.split(" link to ") : [rest.split(" -> ")[0]];
  const isOutside = [name, target ?? ""].some(
    (path) => path.startsWith("/") || path.split("/").includes(".."),
  );
  const isDevice = (type === "b" || type === "c") && !/^(\.\/)?dev\//.test(name);
  const isKnown = "-dlhpbcsSC".includes(type);
  return { bytes: /^\d+$/.test(bytes) ? Number(bytes) : 0, isUnsafe: isOutside || isDevice || !isKnown };
}

/** Looks an archive through. A damaged one fails with what tar says. */
export async function surveyTar(file: string): Promise<Result<Survey>> {
  const argv = [
    "tar",
    "--list",
    "--verbose",
    "--numeric-owner",
    "--quoting-style=escape",
    "-P",
    "--file",
    file,
  ];
  const listing = stream(argv);
  let [contentBytes, members] = [0, 0];
  const unsafe: string[] = [];
  const look = (line: string): void => {
    const { bytes, isUnsafe } = surveyLine(line);
    contentBytes += bytes;
    members += 1;
    if (isUnsafe && unsafe.length < 10) unsafe.push(line);
  };
  let partial = "";
  for await (const chunk of listing.chunks) {
    const lines = (partial + chunk.toString("utf8")).split("\n");
    partial = lines.pop() ?? "";
    for (const line of lines) look(line);
  }
  const { status, stderr } = await listing.end;
  if (status !== 0)
    return failure(
      describeImageProblem({ kind: "image-step-failed", step: "read the archive", argv, output: stderr }),
    );
  return success({ contentBytes, members, unsafe });
}

/** Unpacks a surveyed archive into an existing empty folder, with owners, modes, capabilities and user attributes. */
export async function unpackTar(file: string, folder: string): Promise<Result<undefined>> {
  const done = await runStep("unpack the archive", [
    "tar",
    "--extract",
    "--file",
    file,
    "--directory",
    folder,
    "--numeric-owner",
    "--same-owner",
    "--preserve-permissions",
    "--xattrs",
    "--xattrs-include=user.*",
    "--xattrs-include=security.capability",
    "--anchored",
    "--exclude=./dev/*",
    "--exclude=dev/*",
  ]);
  return done.ok ? success(undefined) : done;
}

/** Holes of a disk are kept as such in steps of this size. */
const HOLE_BYTES = 65_536;

/** Writes a file's decompressed contents to `target`, with holes where there are only zeros; a failure leaves nothing. */
export async function decompress(
  file: string,
  target: string,
  onProgress: (done: number) => void,
): Promise<Result<undefined>> {
  const fd = openSync(file, "r");
  const magic = Buffer.alloc(6);
  readSync(fd, magic, 0, 6, 0);
  closeSync(fd);
  const argv = [...DECOMPRESSORS[compressionOf(magic)], file];
  const reading = stream(argv);
  const out = openSync(target, "w", 0o600);
  const fail = (output: string): Result<undefined> => {
    rmSync(target, { force: true });
    return failure(
      describeImageProblem({ kind: "image-step-failed", step: "decompress the disk", argv, output }),
    );
  };
  const zeros = Buffer.alloc(HOLE_BYTES);
  let at = 0;
  try {
    for await (const chunk of reading.chunks) {
      for (let from = 0; from < chunk.length; from += HOLE_BYTES) {
        const piece = chunk.subarray(from, from + HOLE_BYTES);
        if (!piece.equals(zeros.subarray(0, piece.length))) writeAll(out, piece, at + from);
      }
      at += chunk.length;
      onProgress(at);
    }
    ftruncateSync(out, at);
    fsyncSync(out);
  } catch (error) {
    reading.child.kill("SIGKILL");
    return fail((error as Error).message);
  } finally {
    closeSync(out);
  }
  const { status, stderr } = await reading.end;
  return status === 0 ? success(undefined) : fail(stderr);
}

function writeAll(fd: number, bytes: Buffer, position: number): void {
  for (let done = 0; done < bytes.length; )
    done += writeSync(fd, bytes, done, bytes.length - done, position + done);
}
