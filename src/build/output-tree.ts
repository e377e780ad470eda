/**
 * A machine's output tree on disk: looks at what is there and replaces outputs by rename. Equal contents share an inode.
 * The only part of a build that writes below `var/tree`; must not know why it writes.
 */
import {
  chmodSync,
  constants,
  copyFileSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmSync,
  type Stats,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import type { Blake3 } from "../hash.ts";
import { type AbsPath, compareBytes, foldersAbove, type RelPath } from "../paths.ts";
import { lastingSignature, lookAt, readSignature, type Signature, signatureOf } from "./signature.ts";
import { type OutputRecord, recordOf } from "./state.ts";

/** Output of one content and mode that others may be hard links of. */
export type TwinIndex = Map<string, string>;

/** Index key of an output that others may be hard links of. Pure. */
export function twinKey(content: string, mode: number): string {
  return `${content}:${mode}`;
}

export interface OutputTree {
  /** Absolute. */
  readonly root: AbsPath;
  /** Against its record; looks at the bytes where the signature alone can't tell. */
  condition(path: RelPath, record: OutputRecord): "clean" | "missing" | "edited";
  /** Paths on disk that `records` does not have, in folders that changed since; everything if `records` is undefined. */
  strangers(records: Readonly<Record<string, OutputRecord>> | undefined): RelPath[];
  writeFile(path: RelPath, data: Uint8Array, mode: number, content: string): void;
  /** `data` stays in the source file; for contents too large to hold. */
  copyFile(path: RelPath, from: string, mode: number, content: string): void;
  writeLink(path: RelPath, target: string): void;
  writeFolder(path: RelPath, mode: number): void;
  remove(path: RelPath): void;
  /** Right after a write. */
  signature(path: RelPath): Signature;
  /** What to keep for the next run; `record` is what the output was found or made to be. */
  lasting(path: RelPath, record: OutputRecord, nowMs: number): Signature;
  /** The same for an output that nothing touched since it was examined. */
  examined(path: RelPath, record: OutputRecord): Signature;
}

/**
 * `temporary` must be on the file system of `root`. `twins` is shared by all trees of a run. Puts folders at and above the
 * root where something else stands, unless it is only to be looked at: then such a tree counts as not there.
 */
export function outputTree(
  root: AbsPath,
  temporary: AbsPath,
  twins: TwinIndex,
  b3: Blake3,
  lookOnly = false,
): OutputTree {
  let absent = false;
  for (const folder of [dirname(dirname(root)), dirname(root), root]) {
    const there = lookAt(folder);
    if (lookOnly) {
      absent ||= !there?.isDirectory();
      continue;
    }
    if (there && !there.isDirectory()) rmSync(folder);
    if (!there?.isDirectory()) mkdirSync(folder);
  }
  const at = (path: string): string => (path === "" ? root : `${root}/${path}`);
  // Folders of the tree that something else stands in for: what lies "below" a link is not the tree's.
  const badFolders = new Set<string>();
  // Signatures of outputs whose bytes were looked at and found right.
  const seen = new Map<string, Signature>();
  // Folders are looked at twice before anything is written: for strangers, and for themselves.
  const folderStats = new Map<string, Stats | undefined>();
  /** A folder's time stamps move whenever a name in it comes or goes; only type and mode are its own. */
  const looksLike = (file: string, stats: Stats, record: OutputRecord): boolean => {
    const mode = stats.mode & 0o777;
    switch (record.type) {
      case "dir":
        return stats.isDirectory() && mode === folderOnDisk(record.mode);
      case "link":
        return stats.isSymbolicLink() && readlinkSync(file) === record.content;
      case "file":
        return (
          stats.isFile() &&
          mode === onDisk(record.mode) &&
          stats.size === record.sizeBytes &&
          b3.hashFile(file).hash === record.content
        );
    }
  };
  let counter = 0;
  const fresh = (): string => join(temporary, `${process.pid}-${counter++}`);

  /** Renames into place; whatever of another type stands there goes first. */
  const install = (from: string, path: RelPath): void => {
    const to = at(path);
    try {
      renameSync(from, to);
    } catch (error) {
      if (!lookAt(to)?.isDirectory()) throw error;
      rmSync(to, { recursive: true });
      renameSync(from, to);
    }
  };
  const linkTwin = (path: RelPath, mode: number, content: string): boolean => {
    const twin = twins.get(twinKey(content, mode));
    if (twin === undefined || twin === at(path)) return false;
    const temp = fresh();
    try {
      linkSync(twin, temp);
    } catch {
      // The twin went away or has as many links as the file system allows: write the content instead.
      return false;
    }
    install(temp, path);
    // rename(2) does nothing when both names are one inode already, and leaves the temporary name behind.
    rmSync(temp, { force: true });
    return true;
  };
  const finishFile = (temp: string, path: RelPath, mode: number, content: string): void => {
    chmodSync(temp, onDisk(mode));
    install(temp, path);
    twins.set(twinKey(content, mode), at(path));
  };

  return {
    root,
    condition: (path, record) => {
      if (absent) return "missing";
      if (badFolders.size > 0 && foldersAbove(path).some((f) => badFolders.has(f))) return "missing";
      const stats = folderStats.has(path) ? folderStats.get(path) : lookAt(at(path));
      if (!stats) {
        if (record.type === "dir") badFolders.add(path);
        return "missing";
      }
      const signature = signatureOf(stats);
      if (signature === record.signature || signature === seen.get(path)) return "clean";
      if (record.type === "dir" && !stats.isDirectory()) badFolders.add(path);
      if (!looksLike(at(path), stats, record)) return "edited";
      seen.set(path, signature);
      return "clean";
    },
    strangers: (records) => {
      const out: RelPath[] = [];
      if (absent) return out;
      const walk = (folder: string): void => {
        for (const item of readdirSync(at(folder), { withFileTypes: true })) {
          const path = folder === "" ? item.name : `${folder}/${item.name}`;
          const record = recordOf(records, path);
          if (!record) out.push(path as RelPath);
          if (item.isDirectory() && record?.type !== "dir") walk(path);
        }
      };
      if (!records) {
        walk("");
        return out;
      }
      walk("");
      const folders = Object.keys(records).filter((path) => records[path]?.type === "dir");
      for (const path of folders.sort(compareBytes)) {
        if (foldersAbove(path).some((f) => badFolders.has(f))) continue;
        const now = lookAt(at(path));
        folderStats.set(path, now);
        if (!now?.isDirectory()) badFolders.add(path);
        else if (signatureOf(now) !== records[path]?.signature) walk(path);
      }
      return out;
    },
    writeFile: (path, data, mode, content) => {
      if (linkTwin(path, mode, content)) return;
      const temp = fresh();
      writeFileSync(temp, data, { flag: "wx" });
      finishFile(temp, path, mode, content);
    },
    copyFile: (path, from, mode, content) => {
      if (linkTwin(path, mode, content)) return;
      const temp = fresh();
      copyFileSync(from, temp, constants.COPYFILE_FICLONE | constants.COPYFILE_EXCL);
      finishFile(temp, path, mode, content);
    },
    writeLink: (path, target) => {
      const temp = fresh();
      symlinkSync(target, temp);
      install(temp, path);
    },
    writeFolder: (path, mode) => {
      const there = lookAt(at(path));
      if (there && !there.isDirectory()) rmSync(at(path));
      if (!there?.isDirectory()) mkdirSync(at(path));
      chmodSync(at(path), folderOnDisk(mode));
    },
    remove: (path) => {
      // Below a link there is nothing of the tree, and what is there belongs to someone else.
      if (foldersAbove(path).some((f) => !lookAt(at(f))?.isDirectory())) return;
      if (path.includes("\ufffd")) removeUndecodable(at(path));
      else rmSync(at(path), { recursive: true, force: true });
    },
    signature: (path) => readSignature(at(path)),
    examined: (path, record) => seen.get(path) ?? record.signature,
    lasting: (path, record, nowMs) =>
      lastingSignature(lookAt(at(path)), seen.get(path) ?? record.signature, nowMs),
  };
}

/** A name that is no UTF-8 can only be named by its bytes; every name that reads alike goes. */
function removeUndecodable(path: string): void {
  const folder = dirname(path);
  for (const name of readdirSync(folder, { encoding: "buffer" })) {
    if (join(folder, name.toString()) === path)
      rmSync(Buffer.concat([Buffer.from(`${folder}/`), name]), { recursive: true, force: true });
  }
}

/** The user who builds must be able to work in a folder whatever its mode on the machine. */
function folderOnDisk(mode: number): number {
  return onDisk(mode) | 0o700;
}

/** Set-id and sticky bits are for the machine only: a copy here would be a set-id file of the user who builds. */
function onDisk(mode: number): number {
  return mode & 0o777;
}
