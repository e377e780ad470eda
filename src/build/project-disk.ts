/** The disk as project and facts read it; remembers what was looked at, for the next run to look at again. */
import { readdirSync, readFileSync, realpathSync, statSync } from "node:fs";
import { join } from "node:path";
import type { FactDisk } from "../facts/read-facts.ts";
import type { AbsPath } from "../paths.ts";
import type { ProjectDisk } from "../project/read-project.ts";
import { linksOnTheWay } from "./link-chain.ts";
import { ABSENT, isRacy, lookAt, signatureOf, type Watched, type WatchedPath } from "./signature.ts";

export interface RecordingDisk extends ProjectDisk, FactDisk {
  /** Path → signature; ABSENT where there was nothing. */
  readonly watched: Watched;
}

/** A fresh recorder over the real disk. */
export function projectDisk(): RecordingDisk {
  const watched = new Map<AbsPath, WatchedPath>();
  const filesRead: AbsPath[] = [];
  const look = (path: string, behind = false): boolean => {
    const stats = lookAt(path);
    const byLink = behind || watched.get(path as AbsPath)?.byLink === true;
    watched.set(path as AbsPath, {
      signature: stats ? signatureOf(stats) : ABSENT,
      racy: stats !== undefined && isRacy(stats, Date.now()),
      ...(byLink ? { byLink } : {}),
    });
    if (stats?.isSymbolicLink()) {
      // What is read is the end of the chain: each link of it, and the file itself, decide the content.
      for (const link of linksOnTheWay(path)) if (link !== path) look(link);
      try {
        look(realpathSync(path), true);
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
