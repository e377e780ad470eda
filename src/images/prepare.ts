/**
 * Makes of what is in the store what guests are forked from: a tree or a disk, with kernel and initrd beside it where they are
 * asked for. Once for each digest; a run that is killed leaves only drafts, which the next removes. Must not know where an
 * image comes from.
 */
import {
  chmodSync,
  closeSync,
  existsSync,
  linkSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
} from "node:fs";
import { join } from "node:path";
import { failure, type Result, success } from "../diagnostics.ts";
import { makeTree, removeFork, sealTree, settleTree } from "../guests/fork.ts";
import { hostEffects } from "../guests/fork-effects.ts";
import { isLinked, takeBootOfTree } from "./boot-files.ts";
import { architectureOf, compressionOf, contentOf } from "./content.ts";
import type { ImageDefinition } from "./definition.ts";
import { describeDisk, takeBootOfDisk } from "./disk.ts";
import { freeBytes, type Teller } from "./host.ts";
import { describeImageProblem, size } from "./problems.ts";
import { type Meta, place, readMeta, type Store, writeMeta } from "./store.ts";
import { decompress, hashFile, readHead, surveyTar, treeBytes, unpackTar } from "./unpack.ts";

/** What the store's content `sha256` is once it is prepared. `fresh`: its bytes were proved in this run. */
export async function prepareFile(
  store: Store,
  definition: ImageDefinition,
  sha256: string,
  fresh: boolean,
  wantedArch: string,
  tell: Teller,
): Promise<Result<Meta>> {
  const { name } = definition;
  let meta = readMeta(store, sha256);
  if (meta === undefined) {
    const file = place.content(store, sha256);
    if (!fresh) {
      tell.status(`${name}: proving what is in the store`);
      const found = await hashFile(file);
      if (found !== sha256) {
        rmSync(file);
        const wanted = { algorithm: "sha256", wanted: sha256, found } as const;
        return failure(describeImageProblem({ kind: "image-digest", source: file, ...wanted }));
      }
    }
    const head = await readHead(file);
    const content = contentOf(head);
    if (content === "unknown")
      return failure(
        describeImageProblem({
          kind: "image-content",
          name,
          what: "neither a tar archive nor a disk image (raw or qcow2)",
          help: "they may be compressed by gzip, xz, zstd or bzip2; an OCI image is named by `oci:`, `oci-archive:` or `docker://`",
        }),
      );
    const kind = content === "tar" ? "tree" : "disk";
    if (definition.imageKind && definition.imageKind !== kind)
      return failure(
        describeImageProblem({
          kind: "image-content",
          name,
          what: `a ${kind}, by what it holds, and its definition says ${definition.imageKind}`,
          help: `set \`kind = ${kind}\`, or leave it out`,
        }),
      );
    const made =
      content === "tar"
        ? await unpackTree(store, name, sha256, wantedArch, tell)
        : await unpackDisk(store, name, sha256, content, wantedArch, tell);
    if (!made.ok) return made;
    meta = made.value;
    writeMeta(store, sha256, meta);
  }
  const fits = checkArch(name, meta.arch, wantedArch);
  if (!fits.ok) return fits;
  if (definition.boot && !existsSync(place.extra(store, sha256, "kernel"))) {
    const taken =
      meta.kind === "tree"
        ? takeBootOfTree(name, place.tree(store, sha256), place.extra(store, sha256, ""))
        : await takeBootOfDisk(name, store, sha256, meta.format ?? "raw");
    if (!taken.ok) return taken;
  }
  return success(meta);
}

async function unpackTree(
  store: Store,
  name: string,
  sha256: string,
  wantedArch: string,
  tell: Teller,
): Promise<Result<Meta>> {
  const file = place.content(store, sha256);
  tell.status(`${name}: looking through the archive`);
  const survey = await surveyTar(file);
  if (!survey.ok) return survey;
  if (survey.value.unsafe.length > 0)
    return failure(describeImageProblem({ kind: "image-unsafe", name, members: survey.value.unsafe }));
  const needed = treeBytes(survey.value);
  const room = checkRoom(store, needed, `unpacked, ${survey.value.members} files: ${size(needed)}`);
  if (!room.ok) return room;
  tell.status(`${name}: unpacking ${survey.value.members} files, ${size(needed)}`);
  return settle(store, name, sha256, wantedArch, tell, (draft) => unpackTar(file, draft));
}

/** Fills a draft and gives it its name; a failure leaves no draft. `arch` undefined: as its programs show. */
export async function settle(
  store: Store,
  name: string,
  sha256: string,
  wantedArch: string,
  tell: Teller,
  fill: (draft: string) => Promise<Result<unknown>>,
  arch?: string,
): Promise<Result<Meta>> {
  const tree = place.tree(store, sha256);
  const draft = `${tree}.draft`;
  const startedAt = Date.now();
  if (hostEffects.kindOf(tree) !== undefined) {
    // Whole, for it has its name; the run that made it was killed before it said so.
    const sealed = await sealTree(hostEffects, tree);
    return sealed.ok ? success({ kind: "tree", arch: arch ?? treeArchitecture(tree) ?? wantedArch }) : sealed;
  }
  const begun = await makeTree(hostEffects, draft);
  if (!begun.ok) return begun;
  const filled = await fill(draft);
  const found = arch ?? treeArchitecture(draft) ?? wantedArch;
  const checked = filled.ok ? checkArch(name, found, wantedArch) : filled;
  const settled = checked.ok ? await settleTree(hostEffects, draft, tree) : checked;
  if (!settled.ok) {
    await removeFork(hostEffects, draft);
    return settled as Result<never>;
  }
  const sealed = await sealTree(hostEffects, tree);
  if (!sealed.ok) return sealed;
  tell.line(`${name}: unpacked in ${((Date.now() - startedAt) / 1000).toFixed(1)} s`);
  return success({ kind: "tree", arch: found });
}

async function unpackDisk(
  store: Store,
  name: string,
  sha256: string,
  format: "raw" | "qcow2",
  wantedArch: string,
  tell: Teller,
): Promise<Result<Meta>> {
  const file = place.content(store, sha256);
  const disk = place.disk(store, sha256, format);
  const draft = `${disk}.draft`;
  rmSync(draft, { force: true });
  const fd = openSync(file, "r");
  const magic = Buffer.alloc(6);
  readSync(fd, magic, 0, 6, 0);
  closeSync(fd);
  if (compressionOf(magic) === "none") {
    // The same file by a second name: nothing writes to either.
    if (!existsSync(disk)) linkSync(file, disk);
  } else {
    const least = statSync(file).size;
    const room = checkRoom(store, least, `decompressed, at least: ${size(least)}`);
    if (!room.ok) return room;
    const done = await decompress(file, draft, (bytes) =>
      tell.status(`${name}: decompressed ${size(bytes)}`),
    );
    if (!done.ok) return done;
    chmodSync(draft, 0o444);
    renameSync(draft, disk);
  }
  const described = await describeDisk(name, disk, format);
  const checked = described.ok ? checkArch(name, described.value ?? wantedArch, wantedArch) : described;
  if (!checked.ok) {
    rmSync(disk, { force: true });
    return checked;
  }
  const arch = (described.ok ? described.value : undefined) ?? wantedArch;
  return success({ kind: "disk", arch, format });
}

function checkArch(name: string, found: string, wanted: string): Result<undefined> {
  if (found === wanted) return success(undefined);
  return failure(describeImageProblem({ kind: "image-arch", name, found, wanted }));
}

function checkRoom(store: Store, neededBytes: number, part: string): Result<undefined> {
  const free = freeBytes(store.root);
  if (neededBytes <= free) return success(undefined);
  const space = { folder: store.root, neededBytes, freeBytes: free, parts: [part] };
  return failure(describeImageProblem({ kind: "image-space", ...space }));
}

/** Of the first program in a tree that is one; undefined: there is none. Links are not followed: they may lead out. */
function treeArchitecture(tree: string): string | undefined {
  for (const folder of ["usr/bin", "bin", "usr/sbin", "sbin", "usr/lib", "lib", ""]) {
    if (isLinked(tree, folder)) continue;
    for (const entry of readdirSync(join(tree, folder), { withFileTypes: true })) {
      if (!entry.isFile()) continue;
      const fd = openSync(join(tree, folder, entry.name), "r");
      const head = Buffer.alloc(64);
      const got = readSync(fd, head, 0, 64, 0);
      closeSync(fd);
      const arch = architectureOf(head.subarray(0, got));
      if (arch) return arch;
    }
  }
  return undefined;
}
