/** Content hashes of sources, computed only for files whose signature is new. Owns the part of the state that holds them. */
import type { Blake3 } from "../hash.ts";
import type { FileHash } from "../paths.ts";
import { readSignature, type Signature, UNTRUSTED } from "./signature.ts";

export interface Hashable {
  readonly file: string;
  readonly signature: Signature;
  readonly racy: boolean;
}

export interface SourceHashes {
  /** Throws what `fs` throws for a file that can't be read. */
  of(source: Hashable): FileHash;
  /** False if the file changed after it was hashed. */
  stillTrue(source: Hashable): boolean;
  /** The next question reads the file again, whatever its signature. */
  forget(file: string): void;
  /** What to keep for the next run. */
  entries(): Record<string, readonly [Signature, FileHash]>;
  readonly counts: { hashed: number };
}

/** `known` comes from the last run. */
export function sourceHashes(
  known: Readonly<Record<string, readonly [Signature, FileHash]>>,
  b3: Blake3,
): SourceHashes {
  const current = new Map<string, readonly [Signature, FileHash]>();
  const forgotten = new Set<string>();
  const counts = { hashed: 0 };
  const hash = (file: string, signature: Signature, racy: boolean): FileHash => {
    const fresh = current.get(file);
    if (fresh) return fresh[1];
    const before = forgotten.has(file) || !Object.hasOwn(known, file) ? undefined : known[file];
    if (before && before[0] === signature && !racy) {
      current.set(file, before);
      return before[1];
    }
    const result = b3.hashFile(file).hash;
    counts.hashed++;
    current.set(file, [racy ? UNTRUSTED : signature, result]);
    return result;
  };
  return {
    of: (source) => hash(source.file, source.signature, source.racy),
    stillTrue: (source) => readSignature(source.file) === source.signature,
    forget: (file) => {
      current.delete(file);
      forgotten.add(file);
    },
    entries: () => Object.fromEntries(current),
    counts,
  };
}
