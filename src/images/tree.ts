/**
 * A tree on its way into the store: filled under a name for drafts, looked at, named, sealed. And what a tree or a disk has to
 * be for this machine: of its architecture, and not too large. Must not know what it is filled from.
 */
import { closeSync, openSync, readdirSync, readSync } from "node:fs";
import { join } from "node:path";
import { failure, type Result, success } from "../diagnostics.ts";
import { makeTree, removeFork, sealTree, settleTree } from "../guests/fork.ts";
import { hostEffects } from "../guests/fork-effects.ts";
import { isLinked } from "./boot-files.ts";
import { architectureOf } from "./content.ts";
import { freeBytes, type Teller } from "./host.ts";
import { describeImageProblem } from "./problems.ts";
import { type Meta, place, type Store } from "./store.ts";

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

/** Refuses an image for another architecture than the one that is wanted. Pure. */
export function checkArch(name: string, found: string, wanted: string): Result<undefined> {
  if (found === wanted) return success(undefined);
  return failure(describeImageProblem({ kind: "image-arch", name, found, wanted }));
}

/** Refuses what will not fit into the store; `part` says what the bytes are for. Effects: looks. */
export function checkRoom(store: Store, neededBytes: number, part: string): Result<undefined> {
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
