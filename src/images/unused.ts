/**
 * Which images of the store nothing uses, and their removal. In use is what a definition or a guest names, what a guest's disk
 * lies on, and what was used within the days of grace: a rollback shall not have to fetch. Must not know how guests run.
 */
import {
  closeSync,
  existsSync,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
} from "node:fs";
import { basename, join } from "node:path";
import type { Diagnostic } from "../diagnostics.ts";
import { removeFork } from "../guests/fork.ts";
import { hostEffects } from "../guests/fork-effects.ts";
import { parseGuest } from "../guests/parse-guest.ts";
import { knownDigest } from "./acquire.ts";
import { definedNames, type Machine, readDefinition } from "./ensure.ts";
import { takeLock } from "./host.ts";
import { keyOf, openStore, place, type Store } from "./store.ts";

export interface GuestFolders {
  /** Of declared guests: NAME.json. */
  readonly declared: string;
  /** Of all guests: NAME/guest.json of those made on the machine, NAME/disk.qcow2 of virtual machines. */
  readonly state: string;
}

/** Something that goes, or would go. */
export interface Unused {
  /** Absolute. */
  readonly path: string;
  readonly bytes: number;
  readonly why: string;
}

export interface Removal {
  readonly unused: readonly Unused[];
  /** Those that could not go; the others did. */
  readonly problems: readonly Diagnostic[];
  /** A definition of a guest or an image that can't be read: nothing was removed, for what it names is not known. */
  readonly unreadable: readonly Diagnostic[];
}

const DAY_MS = 86_400_000;

/** Removes what nothing uses, or only lists it. Waits until no image is being prepared, and none begins meanwhile. */
export async function removeUnused(
  machine: Machine,
  guests: GuestFolders,
  graceDays: number,
  dryRun: boolean,
): Promise<Removal> {
  const store = openStore(machine.state);
  const leave = await takeLock(place.lock(store, "store"), "exclusive");
  try {
    const used = readUsed(machine, store, guests);
    if (used.unreadable.length > 0) return { unused: [], problems: [], unreadable: used.unreadable };
    const unused = findUnused(store, used, Date.now() - graceDays * DAY_MS);
    const problems: Diagnostic[] = [];
    for (const { path } of dryRun ? [] : unused) {
      const isTree = path.startsWith(join(store.root, "trees/"));
      const gone = isTree ? await removeFork(hostEffects, path.replace(/\.(draft|gone)$/, "")) : remove(path);
      if (gone && !gone.ok) problems.push(...gone.problems);
    }
    return { unused, problems, unreadable: [] };
  } finally {
    leave();
  }
}

interface Used {
  readonly digests: ReadonlySet<string>;
  /** Of definitions. */
  readonly keys: ReadonlySet<string>;
  /** Of images that a definition or a guest names. */
  readonly names: ReadonlySet<string>;
  /** Disks that others lie on. */
  readonly disks: ReadonlySet<string>;
  readonly unreadable: readonly Diagnostic[];
}

function readUsed(machine: Machine, store: Store, guests: GuestFolders): Used {
  const unreadable: Diagnostic[] = [];
  const [digests, keys, names, disks] = [1, 2, 3, 4].map(() => new Set<string>()) as [
    Set<string>,
    Set<string>,
    Set<string>,
    Set<string>,
  ];
  for (const name of definedNames(machine)) {
    const read = readDefinition(machine, name);
    if (!read.ok) {
      unreadable.push(...read.problems);
      continue;
    }
    names.add(name);
    keys.add(keyOf(read.value));
    const digest = knownDigest(store, read.value);
    if (digest) digests.add(digest);
  }
  for (const file of guestFiles(guests)) {
    const read = parseGuest(readFileSync(file, "utf8"), file);
    if (read.ok) names.add(read.value.image);
    else unreadable.push(...read.problems);
  }
  // What is running was told this, whatever a definition says by now.
  for (const name of names) {
    const env = place.env(store, name);
    const told = existsSync(env)
      ? /^IMAGE_SHA256=([0-9a-f]{64})$/m.exec(readFileSync(env, "utf8"))?.[1]
      : undefined;
    if (told) digests.add(told);
  }
  for (const name of existsSync(guests.state) ? readdirSync(guests.state) : []) {
    const disk = join(guests.state, name, "disk.qcow2");
    const below = existsSync(disk) ? backingFile(disk) : undefined;
    if (below) disks.add(below);
  }
  return { digests, keys, names, disks, unreadable };
}

function guestFiles({ declared, state }: GuestFolders): readonly string[] {
  const list = (folder: string): string[] => (existsSync(folder) ? readdirSync(folder).sort() : []);
  return [
    ...list(declared)
      .filter((name) => name.endsWith(".json"))
      .map((name) => join(declared, name)),
    ...list(state)
      .map((name) => join(state, name, "guest.json"))
      .filter((file) => existsSync(file)),
  ];
}

/** The file that a qcow2 file lies on, from its header (docs/interop/qcow2 of QEMU); undefined: none. */
export function backingFile(disk: string): string | undefined {
  const fd = openSync(disk, "r");
  try {
    const head = Buffer.alloc(20);
    if (readSync(fd, head, 0, 20, 0) < 20 || head.toString("latin1", 0, 4) !== "QFI\xfb") return undefined;
    const [at, length] = [Number(head.readBigUInt64BE(8)), head.readUInt32BE(16)];
    if (at === 0 || length === 0 || length > 1023) return undefined;
    const name = Buffer.alloc(length);
    readSync(fd, name, 0, length, at);
    return name.toString("utf8");
  } finally {
    closeSync(fd);
  }
}

/** All that goes, in the order of its paths. Effects: looks. */
function findUnused(store: Store, used: Used, before: number): Unused[] {
  const out: Unused[] = [];
  const consider = (folder: string, isUsed: (name: string) => boolean, why: string): void => {
    for (const name of readdirSync(join(store.root, folder)).sort()) {
      const path = join(store.root, folder, name);
      if (isUsed(name) || lastUse(store, path) > before) continue;
      out.push({ path, bytes: bytesOf(path), why });
    }
  };
  const hasDigest = (name: string): boolean => used.digests.has(name.slice(0, 64));
  const isDraft = (name: string): boolean => /\.(draft|gone)$/.test(name);
  const nobody = "no definition and no guest names it";
  consider(
    "disks",
    (name) => used.disks.has(join(store.root, "disks", name)) || (hasDigest(name) && !isDraft(name)),
    nobody,
  );
  consider(
    "extras",
    (name) => hasDigest(name) || [...used.disks].some((disk) => basename(disk).startsWith(name)),
    nobody,
  );
  consider("store", hasDigest, nobody);
  consider("trees", (name) => hasDigest(name) && !isDraft(name), nobody);
  consider(
    "partial",
    (name) => hasDigest(name) || used.keys.has(name.slice(0, 64)),
    "no definition asks for it any more",
  );
  consider("resolved", (name) => used.keys.has(name), "no definition asks for it any more");
  consider(
    "locks",
    (name) => name === "store" || hasDigest(name) || used.keys.has(name),
    "no definition asks for it any more",
  );
  for (const name of readdirSync(store.root).filter((one) => one.endsWith(".env"))) {
    const path = join(store.root, name);
    if (used.names.has(name.slice(0, -".env".length)) || statSync(path).ctimeMs > before) continue;
    out.push({ path, bytes: statSync(path).size, why: nobody });
  }
  return out;
}

/** Milliseconds since 1970: when an image was last made ready, else when the path last changed. */
function lastUse(store: Store, path: string): number {
  const meta = statSync(place.extra(store, basename(path).slice(0, 64), "meta.json"), {
    throwIfNoEntry: false,
  });
  return meta?.mtimeMs ?? lstatSync(path).ctimeMs;
}

/** What a path takes on the disk, shared blocks counted as its own. */
function bytesOf(path: string): number {
  const found = lstatSync(path);
  if (!found.isDirectory()) return found.blocks * 512;
  return readdirSync(path).reduce((sum, name) => sum + bytesOf(join(path, name)), 0);
}

function remove(path: string): undefined {
  rmSync(path, { recursive: true, force: true });
}
