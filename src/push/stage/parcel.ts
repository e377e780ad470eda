/**
 * A small change set as one stream: what `commit` needs staged, in a tar archive that travels on the same channel as
 * the operations. Decides what is small, and checks what it sends against the manifest. Must not know how it travels.
 */
import { createHash } from "node:crypto";
import { readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { type Diagnostic, failure, type Result, success } from "../../diagnostics.ts";
import type { Blake3 } from "../../hash.ts";
import { type AbsPath, hasControlCharacter } from "../../paths.ts";
import { describe } from "../problems.ts";
import type { FileChange } from "../tree-diff.ts";

/** Beyond either, rsync's deltas are worth its start (docs/decisions/0014-small-change-sets-as-one-stream.md). */
const MAX_FILES = 200;
const MAX_BYTES = 256 * 1024;

export interface Parcel {
  readonly files: number;
  /** A tar archive: `manifest.json`, and `tree/PATH` for each file and link. */
  readonly bytes: Buffer;
  /** Of `bytes`, 64 hex digits; SHA-256, since every machine has a program for it. */
  readonly sha256: string;
}

/** True if files and links with these contents are sent as a parcel; else by rsync. Pure. */
export function isSmall(staged: readonly FileChange[], manifestBytes: number): boolean {
  if (staged.length > MAX_FILES || manifestBytes > MAX_BYTES) return false;
  let sizeBytes = 0;
  for (const { after } of staged) if (after?.type === "file") sizeBytes += after.sizeBytes;
  return sizeBytes <= MAX_BYTES;
}

/**
 * Packs files and links of the tree at `folder`; folders are left out, the operations make them. Effects: reads the
 * tree. Problem: `tree-changed`, where a file is no longer what the manifest says.
 */
export function packParcel(
  machine: string,
  folder: AbsPath,
  staged: readonly FileChange[],
  manifestText: string,
  b3: Blake3,
): Result<Parcel> {
  const pieces: Buffer[] = [...tarMember("manifest.json", 0o600, Buffer.from(manifestText))];
  const problems: Diagnostic[] = [];
  for (const { path, after } of staged) {
    const file = join(folder, path);
    const refuse = (): void => void problems.push(describe({ kind: "tree-changed", machine, path }));
    if (path.startsWith("/") || path.split("/").includes("..") || hasControlCharacter(path)) refuse();
    else if (after?.type === "link") {
      if (readUnlessGone(() => readlinkSync(file)) === after.target)
        pieces.push(...tarLink(`tree/${path}`, after.target));
      else refuse();
    } else if (after?.type === "file") {
      const content = readUnlessGone(() => readFileSync(file));
      if (content !== undefined && b3.hash(content) === after.hash)
        pieces.push(...tarMember(`tree/${path}`, after.mode, content));
      else refuse();
    }
  }
  if (problems.length > 0) return failure(...problems);
  const bytes = Buffer.concat([...pieces, Buffer.alloc(2 * BLOCK)]);
  return success({
    files: staged.length,
    bytes,
    sha256: createHash("sha256").update(bytes).digest("hex"),
  });
}

function readUnlessGone<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}

const BLOCK = 512;
/** A header's field for a name; what is longer goes before it as a member of its own (GNU tar's manual, "Basic Tar Format"). */
const NAME_BYTES = 100;
const LONG_NAME = "L";
const LONG_TARGET = "K";

function tarMember(name: string, mode: number, content: Buffer): Buffer[] {
  return [
    ...longText(LONG_NAME, name),
    header({ name, mode, sizeBytes: content.length, type: "0" }),
    ...padded(content),
  ];
}

function tarLink(name: string, target: string): Buffer[] {
  return [
    ...longText(LONG_NAME, name),
    ...longText(LONG_TARGET, target),
    header({ name, mode: 0o777, sizeBytes: 0, type: "2", target }),
  ];
}

/** Empty where the text fits into a header. */
function longText(type: string, text: string): Buffer[] {
  const content = Buffer.from(`${text}\0`);
  if (content.length <= NAME_BYTES) return [];
  return [header({ name: "././@LongLink", mode: 0, sizeBytes: content.length, type }), ...padded(content)];
}

function padded(content: Buffer): Buffer[] {
  const over = content.length % BLOCK;
  return over === 0 ? [content] : [content, Buffer.alloc(BLOCK - over)];
}

interface Header {
  readonly name: string;
  readonly mode: number;
  readonly sizeBytes: number;
  readonly type: string;
  readonly target?: string;
}

/** Owner and time are left at 0: what is staged belongs to the receiving user, and gets the time of its arrival. */
function header({ name, mode, sizeBytes, type, target = "" }: Header): Buffer {
  const block = Buffer.alloc(BLOCK);
  const octal = (value: number, at: number, digits: number): void =>
    void block.write(value.toString(8).padStart(digits, "0"), at, "latin1");
  Buffer.from(name).copy(block, 0, 0, NAME_BYTES);
  octal(mode, 100, 7);
  octal(0, 108, 7);
  octal(0, 116, 7);
  octal(sizeBytes, 124, 11);
  octal(0, 136, 11);
  // The sum is taken with its own field blank.
  block.fill(" ", 148, 156);
  block.write(type, 156, "latin1");
  Buffer.from(target).copy(block, 157, 0, NAME_BYTES);
  block.write("ustar  \0", 257, "latin1");
  let sum = 0;
  for (const byte of block) sum += byte;
  octal(sum, 148, 6);
  block[154] = 0;
  return block;
}
