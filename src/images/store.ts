/**
 * The folders of a machine's image store, and the small files in it. Everything is named by SHA-256, so what is there is
 * right: nothing has its name before it is whole. Must not know how anything gets there.
 *
 *     store/SHA256          what was fetched, as it was fetched; an OCI image is a folder, SHA256.oci
 *     trees/SHA256          a root file system, unpacked; read-only where the file system can
 *     disks/SHA256.FORMAT   a disk image, decompressed; a second name of the store's file where that was not compressed
 *     extras/SHA256/        meta.json, kernel, initrd, command.json
 *     partial/KEY           on its way
 *     resolved/KEY          which SHA-256 a signed or built definition led to
 *     locks/                one a key, and `store`, which the removal of unused images takes alone
 *     NAME.env, NAME.ini    what an image is for whoever uses it; definitions that were made on the machine
 */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, utimesSync } from "node:fs";
import { join } from "node:path";
import type { ImageDefinition, ImageKind } from "./definition.ts";
import { writeWhole } from "./host.ts";

export interface Store {
  /** Absolute; all else lies in it. */
  readonly root: string;
}

/** What is known of a prepared image without looking at it. */
export interface Meta {
  readonly kind: ImageKind;
  readonly arch: string;
  /** Of a disk. */
  readonly format?: "raw" | "qcow2";
}

/** Makes the folders. Trees hold set-user-id programs, so only root gets there; a guest's process reads disks and kernels. */
export function openStore(root: string): Store {
  for (const folder of ["store", "trees", "resolved", "locks"])
    mkdirSync(join(root, folder), { recursive: true, mode: 0o700 });
  for (const folder of ["disks", "extras"]) mkdirSync(join(root, folder), { recursive: true, mode: 0o755 });
  // apt has a user of its own for what it fetches.
  mkdirSync(join(root, "partial"), { recursive: true, mode: 0o711 });
  return { root };
}

/** Where things lie. Pure. */
export const place = {
  content: (store: Store, sha256: string): string => join(store.root, "store", sha256),
  layout: (store: Store, sha256: string): string => join(store.root, "store", `${sha256}.oci`),
  tree: (store: Store, sha256: string): string => join(store.root, "trees", sha256),
  disk: (store: Store, sha256: string, format: string): string =>
    join(store.root, "disks", `${sha256}.${format}`),
  extra: (store: Store, sha256: string, name: string): string => join(store.root, "extras", sha256, name),
  partial: (store: Store, key: string): string => join(store.root, "partial", key),
  resolved: (store: Store, key: string): string => join(store.root, "resolved", key),
  lock: (store: Store, key: string): string => join(store.root, "locks", key),
  env: (store: Store, name: string): string => join(store.root, `${name}.env`),
} as const;

/** Name of what a definition leads to before its digest is known: the same source and proof, the same key. Pure. */
export function keyOf(definition: Pick<ImageDefinition, "source" | "proof">): string {
  const { source, proof } = definition;
  return createHash("sha256")
    .update(JSON.stringify([source, proof]))
    .digest("hex");
}

/** What an earlier start found out; undefined: nothing yet. */
export function readResolved(store: Store, key: string): string | undefined {
  const file = place.resolved(store, key);
  const text = existsSync(file) ? readFileSync(file, "utf8").trim() : "";
  return /^[0-9a-f]{64}$/.test(text) ? text : undefined;
}

/** Kept until it is removed: a second start neither asks nor fetches. */
export function writeResolved(store: Store, key: string, sha256: string): void {
  writeWhole(place.resolved(store, key), `${sha256}\n`);
}

/** Undefined: not prepared, or not to its end. */
export function readMeta(store: Store, sha256: string): Meta | undefined {
  try {
    const meta = JSON.parse(readFileSync(place.extra(store, sha256, "meta.json"), "utf8")) as Meta;
    const path =
      meta.kind === "tree" ? place.tree(store, sha256) : place.disk(store, sha256, meta.format ?? "");
    return existsSync(path) ? meta : undefined;
  } catch {
    // Absent or damaged: it is prepared anew.
    return undefined;
  }
}

/** The last step of a preparation. */
export function writeMeta(store: Store, sha256: string, meta: Meta): void {
  writeWhole(place.extra(store, sha256, "meta.json"), `${JSON.stringify(meta)}\n`);
}

/** Keeps the time of an image's last use, which its removal goes by. */
export function touchMeta(store: Store, sha256: string): void {
  const now = new Date();
  utimesSync(place.extra(store, sha256, "meta.json"), now, now);
}
