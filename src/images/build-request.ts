/**
 * Images that this machine builds itself, by mmdebstrap: the request, and the work. The work needs more rights than fetching
 * does, so it is another unit's, image-build@NAME.service. Must not know what becomes of the archive.
 */
import { chmodSync, existsSync, mkdirSync, renameSync, rmSync, statSync } from "node:fs";
import { failure, type Result, success } from "../diagnostics.ts";
import type { Acquired } from "./acquire.ts";
import { proxyOptions } from "./apt-source.ts";
import type { ImageDefinition, ImageSource } from "./definition.ts";
import { runStep, stream, type Teller } from "./host.ts";
import { describeImageProblem, size } from "./problems.ts";
import { keyOf, openStore, place, readResolved, type Store, writeResolved } from "./store.ts";
import { hashFile } from "./unpack.ts";

type BuildSource = Extract<ImageSource, { kind: "build" }>;

/** Has the unit build what is not in the store yet. The caller holds the definition's lock. */
export async function requestBuild(
  store: Store,
  definition: ImageDefinition,
  tell: Teller,
): Promise<Result<Acquired>> {
  const { name } = definition;
  const built = (): string | undefined => {
    const sha256 = readResolved(store, keyOf(definition));
    return sha256 !== undefined && existsSync(place.content(store, sha256)) ? sha256 : undefined;
  };
  const before = built();
  if (before !== undefined) return success({ sha256: before, fresh: false });
  tell.line(`${name}: building; see journalctl -u image-build@${name}`);
  const ran = await runStep("build the image", ["systemctl", "start", `image-build@${name}.service`]);
  if (!ran.ok) return ran;
  const sha256 = built();
  if (sha256 !== undefined) return success({ sha256, fresh: true });
  const what = "not what was asked for: its definition changed while it was built";
  return failure(describeImageProblem({ kind: "image-content", name, what, help: "start its unit again" }));
}

/** Builds an image into the store: packages are checked by apt, against its keyrings, before they are unpacked. */
export async function buildImage(
  root: string,
  definition: ImageDefinition,
  arch: string,
  tell: Teller,
): Promise<Result<Acquired>> {
  const { name, source } = definition;
  if (source.kind !== "build") {
    const help = `start image@${name} instead`;
    return failure(describeImageProblem({ kind: "image-content", name, what: "fetched, not built", help }));
  }
  const store = openStore(root);
  const key = keyOf(definition);
  // One at a time for each definition, by its unit: whatever has these names was left by one that was killed.
  const work = place.partial(store, `${key}.work`);
  const draft = place.partial(store, `${key}.tar.zst`);
  rmSync(work, { recursive: true, force: true });
  rmSync(draft, { force: true });
  // 0755: the chroot in it has to be reached by the users that apt and packages use.
  mkdirSync(work, { mode: 0o755 });
  try {
    const argv = [
      "env",
      `TMPDIR=${work}`,
      "DEBIAN_FRONTEND=noninteractive",
      ...mmdebstrap(source, arch, draft, proxyOptions()),
    ];
    const building = stream(argv);
    building.child.stderr?.on("data", (chunk: Buffer) => {
      const last = chunk.toString("utf8").trimEnd().split("\n").at(-1);
      if (last) tell.status(`${name}: ${last}`);
    });
    for await (const chunk of building.chunks) void chunk;
    const { status, stderr } = await building.end;
    if (status !== 0)
      return failure(
        describeImageProblem({ kind: "image-step-failed", step: "build the image", argv, output: stderr }),
      );
    const sha256 = await hashFile(draft);
    chmodSync(draft, 0o444);
    const bytes = statSync(draft).size;
    renameSync(draft, place.content(store, sha256));
    writeResolved(store, key, sha256);
    tell.line(`${name}: built, ${size(bytes)}, sha256 ${sha256}`);
    return success({ sha256, fresh: true });
  } finally {
    rmSync(work, { recursive: true, force: true });
    rmSync(draft, { force: true });
  }
}

/**
 * The command line, by mmdebstrap(1); `proxies` are apt's options for its way to an archive. Manuals and other languages are
 * left out. Pure.
 */
export function mmdebstrap(
  source: BuildSource,
  arch: string,
  target: string,
  proxies: readonly string[],
): readonly string[] {
  const { suite, packages, variant, components, mirror, keyring } = source;
  return [
    "mmdebstrap",
    "--mode=root",
    `--variant=${variant}`,
    `--architectures=${arch}`,
    `--components=${components.join(",")}`,
    ...(packages.length > 0 ? [`--include=${packages.join(",")}`] : []),
    ...(keyring ? [`--keyring=${keyring}`] : []),
    '--aptopt=Acquire::Languages "none"',
    ...proxies.map((line) => `--aptopt=${line}`),
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-include=/usr/share/doc/*/copyright",
    // The machine's own name and way to its resolver do not belong in an image.
    '--customize-hook=rm -f "$1/etc/hostname" "$1/etc/resolv.conf"',
    '--customize-hook=: >"$1/etc/machine-id"',
    suite,
    target,
    // A chroot can't see packages that lie outside of it.
    ...(mirror ? [mirror.replace(/^file:/, "copy:")] : []),
  ];
}
