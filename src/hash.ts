/**
 * BLAKE3, the project's content hash, by hash-wasm (why not npm's `blake3`: docs/decisions/0002-blake3.md).
 * Owns the one hasher of the process; must not know what is hashed.
 */
import { closeSync, openSync, readSync } from "node:fs";
import { createBLAKE3, type IHasher } from "hash-wasm";
import type { FileHash } from "./paths.ts";

/** A ready hasher; synchronous once made. */
export interface Blake3 {
  /** 64 hex digits. Pure. */
  hash(data: Uint8Array | string): FileHash;
  /** The same of all pieces, one after the other. Taking the next piece must not hash anything. */
  hashAll(pieces: Iterable<Uint8Array | string>): FileHash;
  /** Hashes a file in pieces, so that its size does not matter. Throws what `fs` throws. */
  hashFile(path: string): { readonly hash: FileHash; readonly sizeBytes: number };
}

const PIECE_BYTES = 1 << 20;

let ready: Promise<Blake3> | undefined;

/** Loads the WebAssembly module on first use (about 8 ms), then returns the same hasher. */
export function blake3(): Promise<Blake3> {
  ready ??= createBLAKE3().then(wrap);
  return ready;
}

function wrap(hasher: IHasher): Blake3 {
  let piece: Buffer | undefined;
  return {
    hash: (data) => hasher.init().update(data).digest("hex") as FileHash,
    hashAll: (pieces) => {
      hasher.init();
      for (const piece of pieces) hasher.update(piece);
      return hasher.digest("hex") as FileHash;
    },
    hashFile: (path) => {
      piece ??= Buffer.allocUnsafe(PIECE_BYTES);
      const fd = openSync(path, "r");
      try {
        hasher.init();
        let sizeBytes = 0;
        for (;;) {
          const n = readSync(fd, piece, 0, PIECE_BYTES, null);
          if (n === 0) break;
          hasher.update(piece.subarray(0, n));
          sizeBytes += n;
        }
        return { hash: hasher.digest("hex") as FileHash, sizeBytes };
      } finally {
        closeSync(fd);
      }
    },
  };
}
