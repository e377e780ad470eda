/**
 * What this host remembers of trees it pushed: manifests by generation id and unit files by content hash, so that a
 * plan usually needs one round trip. A cache: everything in it is checked against its hash, and can be fetched anew.
 */
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Manifest, parseManifest } from "../build/manifest.ts";
import type { Blake3 } from "../hash.ts";
import type { AbsPath, FileHash, GenerationId } from "../paths.ts";

export interface KnownTrees {
  /** The generation that a machine was seen with last; a belief, which the probe confirms or not. */
  lastSeen(machine: string): GenerationId | undefined;
  rememberSeen(machine: string, id: GenerationId): void;
  manifest(id: GenerationId): Manifest | undefined;
  /** Stores a manifest's bytes under their own hash. */
  rememberManifest(text: string): void;
  /** What a machine said when it was last looked at, as `rememberLook` got it; a belief, too. */
  look(machine: string): string | undefined;
  /** Undefined: nothing of it holds any more. */
  rememberLook(machine: string, text: string | undefined): void;
  text(hash: FileHash): string | undefined;
  rememberText(text: string): void;
}

/** `cacheFolder` is the repository's `var/cache`. */
export function knownTrees(cacheFolder: AbsPath, b3: Blake3): KnownTrees {
  const folder = join(cacheFolder, "known");
  const read = (name: string): string | undefined => {
    try {
      return readFileSync(join(folder, name), "utf8");
    } catch {
      return undefined;
    }
  };
  const write = (name: string, text: string): void => {
    try {
      mkdirSync(folder, { recursive: true });
      const temp = join(folder, `.${name}.${process.pid}`);
      writeFileSync(temp, text);
      renameSync(temp, join(folder, name));
    } catch {
      // A cache that can't be written only costs a round trip next time.
    }
  };
  // Machines of one run have most unit files in common: each is read and checked once. Manifests are too large to keep.
  const texts = new Map<string, string>();
  const checked = (hash: string): string | undefined => {
    const text = read(hash);
    return text !== undefined && b3.hash(text) === hash ? text : undefined;
  };
  const unlessThere = (name: string, text: string): void => {
    if (read(name) !== text) write(name, text);
  };
  return {
    lastSeen: (machine) => {
      const id = read(`seen-${machine}`)?.trim();
      return id && /^[0-9a-f]{64}$/.test(id) ? (id as GenerationId) : undefined;
    },
    rememberSeen: (machine, id) => unlessThere(`seen-${machine}`, `${id}\n`),
    look: (machine) => read(`look-${machine}`),
    rememberLook: (machine, text) => {
      if (text !== undefined) return unlessThere(`look-${machine}`, text);
      try {
        rmSync(join(folder, `look-${machine}`), { force: true, recursive: true });
      } catch {
        // A belief that can't be taken back is one that the machine refuses.
      }
    },
    manifest: (id) => {
      const text = checked(id);
      return text === undefined ? undefined : parseManifest(text);
    },
    rememberManifest: (text) => unlessThere(b3.hash(text), text),
    text: (hash) => {
      const text = texts.get(hash) ?? checked(hash);
      if (text !== undefined) texts.set(hash, text);
      return text;
    },
    rememberText: (text) => {
      const hash = b3.hash(text);
      if (texts.has(hash)) return;
      texts.set(hash, text);
      unlessThere(hash, text);
    },
  };
}
