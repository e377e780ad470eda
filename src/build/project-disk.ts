/** The disk as project and facts read it; remembers what was looked at, for the next run to look at again. */
import { readdirSync, readFileSync, realpathSync, statSync } from "node:fs";
import { join } from "node:path";
import type { FactDisk } from "../facts/read-facts.ts";
import type { AbsPath } from "../paths.ts";
import type { ProjectDisk } from "../project/read-project.ts";
import { linksOnTheWay } from "./link-chain.ts";
import { ABSENT, isRacy, lookAt, type Signature, signatureOf } from "./signature.ts";

export interface RecordingDisk extends ProjectDisk, FactDisk {
  /** Path → signature; ABSENT where there was nothing. */
  readonly watched: ReadonlyMap<AbsPath, { readonly signature: Signature; readonly racy: boolean }>;
}

/** A fresh recorder over the real disk. */
export function projectDisk(): RecordingDisk {
  const watched = new Map<AbsPath, { signature: Signature; racy: boolean }>();
  const filesRead: AbsPath[] = [];
  const look = (path: string): boolean => {
    const stats = lookAt(path);
    watched.set(
      path as AbsPath,
      stats
        ? { signature: signatureOf(stats), racy: isRacy(stats, Date.now()) }
        : { signature: ABSENT, racy: false },
    );
    if (stats?.isSymbolicLink()) {
      // What is read is the end of the chain: each link of it, and the file itself, decide the content.
      for (const link of linksOnTheWay(path)) if (link !== path) look(link);
      try {
        look(realpathSync(path));
      } catch {
        return true;
      }
    }
    return stats !== undefined;
  };
  const leadsToFolder = (path: string): boolean => {
    look(path);
    return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
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
            .filter((item) => !item.name.startsWith("."))
            .filter(
              (item) => item.isDirectory() || (item.isSymbolicLink() && leadsToFolder(join(path, item.name))),
            )
            .map((item) => item.name)
            .sort()
        : [];
      folders.set(path, found);
      return found;
    },
  };
}
