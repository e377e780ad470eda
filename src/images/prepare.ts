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
  readSync,
  renameSync,
  rmSync,
  statSync,
} from "node:fs";
import { failure, type Result, success } from "../diagnostics.ts";
import { takeBootOfTree } from "./boot-files.ts";
import { compressionOf, contentOf } from "./content.ts";
import type { ImageDefinition, ImageKind } from "./definition.ts";
import { describeDisk, takeBootOfDisk } from "./disk.ts";
import type { Teller } from "./host.ts";
import { prepareOci } from "./oci.ts";
import { describeImageProblem, size } from "./problems.ts";
import { type Meta, place, readMeta, type Store, writeMeta } from "./store.ts";
import { checkArch, checkRoom, settle } from "./tree.ts";
import { decompress, hashFile, readHead, surveyTar, treeBytes, unpackTar } from "./unpack.ts";

/** What the image `sha256` in the store is once it is prepared. `fresh`: its bytes were proved in this run. */
export async function prepare(
  store: Store,
  definition: ImageDefinition,
  sha256: string,
  fresh: boolean,
  wantedArch: string,
  tell: Teller,
): Promise<Result<Meta>> {
  const { name, source } = definition;
  const isOci = source.kind === "layout" || source.kind === "registry";
  let meta = readMeta(store, sha256);
  if (meta === undefined) {
    const made = isOci
      ? await prepareOci(store, definition, sha256, wantedArch, tell)
      : await prepareFile(store, definition, sha256, fresh, wantedArch, tell);
    if (!made.ok) return made;
    meta = made.value;
    writeMeta(store, sha256, meta);
  }
  const fits = checkKind(definition, meta.kind);
  const runs = fits.ok ? checkArch(name, meta.arch, wantedArch) : fits;
  if (!runs.ok) return runs;
  if (definition.boot && !existsSync(place.extra(store, sha256, "kernel"))) {
    const taken =
      meta.kind === "tree"
        ? takeBootOfTree(name, place.tree(store, sha256), place.extra(store, sha256, ""))
        : await takeBootOfDisk(name, store, sha256, meta.format ?? "raw");
    if (!taken.ok) return taken;
  }
  return success(meta);
}

async function prepareFile(
  store: Store,
  definition: ImageDefinition,
  sha256: string,
  fresh: boolean,
  wantedArch: string,
  tell: Teller,
): Promise<Result<Meta>> {
  const { name } = definition;
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
  const content = contentOf(await readHead(file));
  if (content === "unknown")
    return failure(
      describeImageProblem({
        kind: "image-content",
        name,
        what: "neither a tar archive nor a disk image (raw or qcow2)",
        help: "they may be compressed by gzip, xz, zstd or bzip2; an OCI image is named by `oci:`, `oci-archive:` or `docker://`",
      }),
    );
  const fits = checkKind(definition, content === "tar" ? "tree" : "disk");
  if (!fits.ok) return fits;
  return content === "tar"
    ? unpackTree(store, name, sha256, wantedArch, tell)
    : unpackDisk(store, name, sha256, content, wantedArch, tell);
}

function checkKind({ name, imageKind }: ImageDefinition, found: ImageKind): Result<undefined> {
  if (imageKind === undefined || imageKind === found) return success(undefined);
  return failure(
    describeImageProblem({
      kind: "image-content",
      name,
      what: `a ${found}, by what it holds, and its definition says ${imageKind}`,
      help: `set \`kind = ${found}\`, or leave it out`,
    }),
  );
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
