/**
 * A machine's output tree on disk: looks at what is there and replaces outputs by rename. Equal contents share an inode.
 * The only part of a build that writes below `var/tree`; must not know why it writes.
 */
import {
  chmodSync,
  constants,
  copyFileSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import type { Blake3 } from "../hash.ts";
import { type AbsPath, foldersAbove, type RelPath } from "../paths.ts";
import { readSignature, type Signature, signatureOf } from "./signature.ts";
import type { OutputRecord } from "./state.ts";

/** Output of one content and mode that others may be hard links of. */
export type TwinIndex = Map<string, string>;

export function twinKey(content: string, mode: number): string {
  return `${content}:${mode}`;
}

export interface OutputTree {
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
  signature(path: RelPath): Signature;
}

/** `temporary` must be on the file system of `root`. `twins` is shared by all trees of a run. */
export function outputTree(root: AbsPath, temporary: AbsPath, twins: TwinIndex, b3: Blake3): OutputTree {
  mkdirSync(root, { recursive: true });
  const at = (path: string): string => join(root, path);
  const badFolders = new Set<string>();
  let counter = 0;
  const fresh = (): string => join(temporary, `${process.pid}-${counter++}`);

  /** Renames into place; whatever of another type stands there goes first. */
  const install = (from: string, path: RelPath): void => {
    const to = at(path);
    const there = lstatSync(to, { throwIfNoEntry: false });
    if (there?.isDirectory()) rmSync(to, { recursive: true });
    renameSync(from, to);
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
    condition: (path, record) => {
      if (foldersAbove(path).some((f) => badFolders.has(f))) return "missing";
      const stats = lstatSync(at(path), { throwIfNoEntry: false });
      if (!stats) {
        if (record.type === "dir") badFolders.add(path);
        return "missing";
      }
      if (signatureOf(stats) === record.signature) return "clean";
      const mode = stats.mode & 0o777;
      switch (record.type) {
        case "dir": {
          // A folder's time stamps move whenever a name in it comes or goes; only type and mode are its own.
          if (stats.isDirectory()) return mode === onDisk(record.mode) ? "clean" : "edited";
          badFolders.add(path);
          return "edited";
        }
        case "link":
          return stats.isSymbolicLink() && readlinkSync(at(path)) === record.content ? "clean" : "edited";
        case "file":
          return stats.isFile() &&
            mode === record.mode &&
            stats.size === record.sizeBytes &&
            b3.hashFile(at(path)).hash === record.content
            ? "clean"
            : "edited";
      }
    },
    strangers: (records) => {
      const out: RelPath[] = [];
      const walk = (folder: string): void => {
        for (const item of readdirSync(at(folder), { withFileTypes: true })) {
          const path = folder === "" ? item.name : `${folder}/${item.name}`;
          const record = records?.[path];
          if (!record) out.push(path as RelPath);
          if (item.isDirectory() && record?.type !== "dir") walk(path);
        }
      };
      if (!records) {
        walk("");
        return out;
      }
      walk("");
      for (const [path, record] of Object.entries(records)) {
        if (record.type !== "dir") continue;
        const now = lstatSync(at(path), { throwIfNoEntry: false });
        if (now?.isDirectory() && signatureOf(now) !== record.signature) walk(path);
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
      const there = lstatSync(at(path), { throwIfNoEntry: false });
      if (there && !there.isDirectory()) rmSync(at(path));
      if (!there?.isDirectory()) mkdirSync(at(path));
      chmodSync(at(path), onDisk(mode));
    },
    remove: (path) => rmSync(at(path), { recursive: true, force: true }),
    signature: (path) => readSignature(at(path)),
  };
}

/** Set-id and sticky bits are for the machine only: a copy here would be a set-id file of the user who builds. */
function onDisk(mode: number): number {
  return mode & 0o777;
}
