/**
 * Kernel and initrd among the files of a /boot, and their way out of a tree. Must not know where a tree or a disk comes from.
 */
import { copyFileSync, lstatSync, mkdirSync, readdirSync, renameSync } from "node:fs";
import { join } from "node:path";
import { failure, type Result, success } from "../diagnostics.ts";
import { describeImageProblem } from "./problems.ts";

/** True if some part of the way from a tree to a path in it is no folder: links may lead out of it. Effects: looks. */
export function isLinked(tree: string, path: string): boolean {
  const parts = path.split("/").filter((part) => part !== "");
  return parts.some((_, i) => {
    const found = lstatSync(join(tree, ...parts.slice(0, i + 1)), { throwIfNoEntry: false });
    return !found?.isDirectory();
  });
}

/** The newest kernel in a folder's names, and the initrd that belongs to it. Pure. */
export function pickKernel(
  names: readonly string[],
): { readonly kernel: string; readonly initrd: string | undefined } | undefined {
  const byVersion = new Intl.Collator("en", { numeric: true });
  const kernel = names
    .filter((name) => /^vmlinuz-./.test(name))
    .sort(byVersion.compare)
    .at(-1);
  if (kernel === undefined) return undefined;
  const version = kernel.slice("vmlinuz-".length);
  const initrd = [`initrd.img-${version}`, `initramfs-${version}.img`].find((name) => names.includes(name));
  return { kernel, initrd };
}

/** Copies the newest kernel and its initrd out of a tree's /boot, as `kernel` and `initrd` in `extras`. */
export function takeBootOfTree(name: string, tree: string, extras: string): Result<undefined> {
  const missing = (why: string): Result<undefined> =>
    failure(describeImageProblem({ kind: "image-boot-missing", name, why }));
  if (isLinked(tree, "boot")) return missing("it has no folder /boot");
  const files = readdirSync(join(tree, "boot"), { withFileTypes: true }).filter((entry) => entry.isFile());
  const picked = pickKernel(files.map((entry) => entry.name));
  if (!picked) return missing("/boot has no vmlinuz-VERSION");
  mkdirSync(extras, { recursive: true, mode: 0o755 });
  const take = (from: string, to: string): void => {
    copyFileSync(join(tree, "boot", from), join(extras, `${to}.draft`));
    renameSync(join(extras, `${to}.draft`), join(extras, to));
  };
  // The kernel last: it says that both are there.
  if (picked.initrd) take(picked.initrd, "initrd");
  take(picked.kernel, "kernel");
  return success(undefined);
}
