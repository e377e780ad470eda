/** The disk as project and facts read it; remembers what was looked at, for the next run to look at again. */
import { lstatSync, readdirSync, readFileSync } from "node:fs";
import type { FactDisk } from "../facts/read-facts.ts";
import type { AbsPath } from "../paths.ts";
import type { ProjectDisk } from "../project/read-project.ts";
import { ABSENT, isRacy, type Signature, signatureOf } from "./signature.ts";

export interface RecordingDisk extends ProjectDisk, FactDisk {
  /** Path → signature; ABSENT where there was nothing. */
  readonly watched: ReadonlyMap<AbsPath, { readonly signature: Signature; readonly racy: boolean }>;
}

/** A fresh recorder over the real disk. */
export function projectDisk(): RecordingDisk {
  const watched = new Map<AbsPath, { signature: Signature; racy: boolean }>();
  const filesRead: AbsPath[] = [];
  const look = (path: string): boolean => {
    const stats = lstatSync(path, { throwIfNoEntry: false });
    watched.set(
      path as AbsPath,
      stats
        ? { signature: signatureOf(stats), racy: isRacy(stats, Date.now()) }
        : { signature: ABSENT, racy: false },
    );
    return stats !== undefined;
  };
  const folders = new Map<string, string[]>();
  return {
    watched,
    filesRead,
    readText: (path) => (look(path) ? readFileSync(path, "utf8") : undefined),
    folders: (path) => {
      const known = folders.get(path);
      if (known) return known;
      const found = look(path)
        ? readdirSync(path, { withFileTypes: true })
            .filter((item) => item.isDirectory() || item.isSymbolicLink())
            .map((item) => item.name)
            .filter((name) => !name.startsWith("."))
            .sort()
        : [];
      folders.set(path, found);
      return found;
    },
  };
}
