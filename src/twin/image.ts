/**
 * The cached root file system image of disposable machines: finds it, checks it, or builds it with mmdebstrap.
 * Must not know how machines are booted from it.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { failure, type Result, success } from "../diagnostics.ts";
import { mirrorOf, proxyOptions } from "../images/apt-source.ts";
import { type AbsPath, cacheFolder } from "../paths.ts";
import {
  EXCLUDED_PATHS,
  finishScript,
  IMAGE_SUITE,
  type ImageSuite,
  imageKey,
  imagePackages,
} from "./image-recipe.ts";
import { describeProblem } from "./problems.ts";
import { runProgram } from "./run-program.ts";

export interface ImageOptions {
  /** Debian packages on top of the base set; empty: only the base set. */
  readonly packages: readonly string[];
  /** Undefined: `IMAGE_SUITE`. */
  readonly suite?: ImageSuite;
  /** Undefined: `cacheFolder` of paths.ts. Images lie in its subfolder `images/`. */
  readonly cacheFolder?: AbsPath;
  /** One line per phase, for a person; not called if the image is cached and sound. */
  readonly onProgress?: (line: string) => void;
  /** Writes the image file; undefined: mmdebstrap. Tests put a cheap one here. */
  readonly builder?: ImageBuilder;
  /** File name stem of what `builder` makes; it changes with its recipe. Undefined: follows from the packages. */
  readonly key?: string;
}

export interface Image {
  /** A zstd-compressed tar of the whole root, numeric owners, with extended attributes. */
  readonly file: AbsPath;
  readonly key: string;
  readonly suite: ImageSuite;
  readonly sizeBytes: number;
  /** True if this call built it. */
  readonly built: boolean;
}

/** Creates `file` from `packages`, with scratch space in the existing empty `workFolder`. */
export type ImageBuilder = (
  file: AbsPath,
  packages: readonly string[],
  workFolder: AbsPath,
  onProgress: (line: string) => void,
) => Promise<Result<undefined>>;

/** Written beside the image after it; an image without it, or not matching it, is built again. */
interface Seal {
  readonly sizeBytes: number;
  readonly sha256: string;
}

/**
 * The image with these packages: from the cache if its checksum holds (0.1 s), else built (half a minute, needs root,
 * the Debian mirror and the programs of `packagesNeeded`). Of several callers at once, in several processes, one
 * builds and the others wait. The file never appears half-written under its name.
 */
export async function ensureImage(options: ImageOptions): Promise<Result<Image>> {
  const folder = join(options.cacheFolder ?? cacheFolder(process.env, homedir()), "images") as AbsPath;
  const suite = options.suite ?? IMAGE_SUITE;
  const key = options.key ?? imageKey(options.packages, suite);
  const file = join(folder, `${key}.tar.zst`) as AbsPath;
  const cached = await readSound(file);
  if (cached !== undefined) return success({ file, key, suite, sizeBytes: cached.sizeBytes, built: false });

  const onProgress = options.onProgress ?? (() => {});
  await mkdir(folder, { recursive: true });
  const lock = await takeLock(join(folder, `${key}.lock`) as AbsPath);
  if (!lock.ok) return lock;
  try {
    const builtByAnother = await readSound(file);
    if (builtByAnother)
      return success({ file, key, suite, sizeBytes: builtByAnother.sizeBytes, built: false });
    return await build(file, key, options, onProgress);
  } finally {
    await lock.value.release();
  }
}

/** The image as it was sealed, if it is cached; its bytes are not read, which is for those who read a copy that proves itself. */
export async function findImage(
  options: Pick<ImageOptions, "packages" | "cacheFolder">,
): Promise<Image | undefined> {
  const folder = join(options.cacheFolder ?? cacheFolder(process.env, homedir()), "images");
  const key = imageKey(options.packages);
  const file = join(folder, `${key}.tar.zst`) as AbsPath;
  try {
    const seal = JSON.parse(await readFile(sealFile(file), "utf8")) as Partial<Seal>;
    const { size } = await stat(file);
    return seal.sizeBytes === size
      ? { file, key, suite: IMAGE_SUITE, sizeBytes: size, built: false }
      : undefined;
  } catch {
    return undefined;
  }
}

async function build(
  file: AbsPath,
  key: string,
  options: ImageOptions,
  onProgress: (line: string) => void,
): Promise<Result<Image>> {
  // One name per key is enough: the lock is ours, so whatever lies there was left by a builder that was killed.
  const workFolder = `${file.slice(0, -".tar.zst".length)}.work` as AbsPath;
  await rm(workFolder, { recursive: true, force: true });
  await rm(sealFile(file), { force: true });
  await mkdir(workFolder, { mode: 0o755 });
  try {
    const draft = join(workFolder, "image.tar.zst") as AbsPath;
    const suite = options.suite ?? IMAGE_SUITE;
    const builder = options.builder ?? mmdebstrapOf(suite);
    const done = await builder(draft, imagePackages(options.packages), workFolder, onProgress);
    if (!done.ok) return done;
    const seal: Seal = { sizeBytes: (await stat(draft)).size, sha256: await sha256Of(draft) };
    await rename(draft, file);
    const sealDraft = join(workFolder, "seal.json");
    await writeFile(sealDraft, `${JSON.stringify(seal)}\n`);
    await rename(sealDraft, sealFile(file));
    return success({ file, key, suite, sizeBytes: seal.sizeBytes, built: true });
  } finally {
    await rm(workFolder, { recursive: true, force: true });
  }
}

const mmdebstrapOf =
  (suite: ImageSuite): ImageBuilder =>
  async (file, packages, workFolder, onProgress) => {
    const mirror = mirrorOf(process.env);
    const options = [...proxyOptions(), 'Acquire::Languages "none"'];
    const lines: string[] = [];
    onProgress(`building the ${suite} image from ${mirror} (about half a minute)`);
    const argv = [
      "mmdebstrap",
      "--variant=apt",
      "--mode=root",
      `--include=${packages.join(",")}`,
      ...options.map((line) => `--aptopt=${line}`),
      ...EXCLUDED_PATHS.map((path) => `--dpkgopt=path-exclude=${path}`),
      `--customize-hook=${finishScript()}`,
      suite,
      file,
      mirror,
    ];
    const end = await runProgram(argv, {
      env: { ...process.env, TMPDIR: workFolder, LC_ALL: "C.UTF-8", DEBIAN_FRONTEND: "noninteractive" },
      onStderrLine: (line) => {
        if (lines.push(line) > 15) lines.shift();
        if (line.startsWith("I: ")) onProgress(line.slice(3));
      },
    });
    if (end.status === 0) return success(undefined);
    const lastLines = lines.length > 0 ? lines : [end.stderr.trim() || `ended by ${end.signal}`];
    return failure(describeProblem({ kind: "image-build-failed", suite, mirror, lastLines }));
  };

/** The seal, if the image is there and its bytes are those that were sealed. */
async function readSound(file: AbsPath): Promise<Seal | undefined> {
  try {
    const seal = JSON.parse(await readFile(sealFile(file), "utf8")) as Partial<Seal>;
    const { size } = await stat(file);
    if (seal.sizeBytes !== size || seal.sha256 !== (await sha256Of(file))) return undefined;
    return { sizeBytes: size, sha256: seal.sha256 };
  } catch {
    // Absent or unreadable, either file: the remedy is the same, a new build.
    return undefined;
  }
}

function sealFile(file: AbsPath): AbsPath {
  return `${file}.json` as AbsPath;
}

async function sha256Of(file: AbsPath): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(file, { highWaterMark: 1 << 20 }), hash);
  return hash.digest("hex");
}

/**
 * Waits for the lock. The kernel's lock, held by a small program that lives as long as our end of its pipe: a killed
 * builder releases it at once, and no pid in a file can go stale.
 */
function takeLock(file: AbsPath): Promise<Result<{ release: () => Promise<void> }>> {
  const holder = spawn("flock", [file, "sh", "-c", "echo held; cat >/dev/null"], {
    stdio: ["pipe", "pipe", "pipe"],
  });
  return new Promise((resolve) => {
    let said = "";
    holder.stderr.on("data", (chunk: Buffer) => {
      said += chunk.toString();
    });
    holder.stdout.once("data", () => resolve(success({ release: () => endHolder(holder) })));
    const fail = (output: string) =>
      resolve(failure(describeProblem({ kind: "image-lock-failed", file, output })));
    holder.on("error", (error) => fail(error.message));
    holder.on("close", () => fail(said));
  });
}

function endHolder(holder: ChildProcess): Promise<void> {
  // Ctrl-C ends it too; its end is not told a second time.
  if (holder.exitCode !== null || holder.signalCode !== null) return Promise.resolve();
  return new Promise((resolve) => {
    holder.once("close", () => resolve());
    holder.stdin?.end();
  });
}
