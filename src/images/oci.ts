/**
 * Images in OCI's format: which of several manifests is this machine's, what it weighs, how it gets into the store and
 * becomes a tree. skopeo copies, umoci unpacks: both check each blob against its digest. Must not know what is started from it.
 *
 * Format: OCI image specification 1.0, image-layout, image-index, manifest, config.
 */
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { failure, type Result, success } from "../diagnostics.ts";
import type { Acquired } from "./acquire.ts";
import type { ImageDefinition, ImageSource } from "./definition.ts";
import { freeBytes, runStep, type Teller, writeWhole } from "./host.ts";
import {
  chooseManifest,
  commandOf,
  debianArchitecture,
  type OciConfig,
  type OciManifest,
  parseDocument,
} from "./oci-document.ts";
import { describeImageProblem, size } from "./problems.ts";
import { type Meta, place, type Store } from "./store.ts";
import { settle } from "./tree.ts";

type OciSource = Extract<ImageSource, { kind: "layout" | "registry" }>;

/** Name of the one image in each of the store's layouts. */
const TAG = "image";
/** A file with user names and passwords of registries, as a credential of the unit; containers-auth.json(5). */
const AUTH = "registry-auth.json";

/** Copies an OCI image into the store; blobs that an earlier run copied are not copied again. */
export async function acquireOci(
  store: Store,
  definition: ImageDefinition,
  source: OciSource,
  sha256: string,
  arch: string,
  tell: Teller,
): Promise<Result<Acquired>> {
  if (existsSync(place.layout(store, sha256))) return success({ sha256, fresh: false });
  const { name } = definition;
  const partial = place.partial(store, `${sha256}.oci`);
  const opened = await openSource(store, name, source, sha256);
  if (!opened.ok) return opened;
  const found = await readManifest(name, opened.value, sha256, arch);
  if (!found.ok) return found;
  const { manifest, digest } = found.value;
  const bytes = manifest.layers.reduce((sum, layer) => sum + layer.size, 0);
  const needed = 2 * bytes;
  if (needed > freeBytes(store.root)) {
    const parts = [`layers, compressed: ${size(bytes)}`, `unpacked, at least: ${size(bytes)}`];
    const space = { folder: store.root, neededBytes: needed, freeBytes: freeBytes(store.root), parts };
    return failure(describeImageProblem({ kind: "image-space", ...space }));
  }
  const origin = opened.value;
  const from =
    origin.kind === "registry"
      ? [...origin.copyOptions, `docker://${origin.repository}@sha256:${digest}`]
      : [`oci:${origin.folder}${origin.reference ? `:${origin.reference}` : ""}`];
  const argv = [...skopeo(store, arch), "copy", "--quiet", ...from, `oci:${partial}:${TAG}`];
  const watch = setInterval(
    () => tell.status(`${name}: copied ${size(bytesBelow(partial))} of ${size(bytes)}`),
    1_000,
  );
  const copied = await runStep("copy the OCI image", argv);
  clearInterval(watch);
  if (!copied.ok) {
    // Else what came is kept for the next start.
    if (copied.problems.some((one) => one.notes.some((note) => /no space left/i.test(note))))
      rmSync(partial, { recursive: true, force: true });
    return copied;
  }
  renameSync(partial, place.layout(store, sha256));
  rmSync(place.partial(store, `${sha256}.archive`), { recursive: true, force: true });
  tell.line(`${name}: ${size(bytes)} copied and proved, manifest sha256 ${sha256}`);
  return success({ sha256, fresh: true });
}

/** Makes a tree of an OCI image in the store, and `command.json` beside it. */
export async function prepareOci(
  store: Store,
  definition: ImageDefinition,
  sha256: string,
  wantedArch: string,
  tell: Teller,
): Promise<Result<Meta>> {
  const { name } = definition;
  const layout = place.layout(store, sha256);
  const index = parseDocument(readFileSync(join(layout, "index.json"), "utf8"));
  const digest = index?.kind === "index" ? index.manifests[0]?.digest : undefined;
  const manifest = digest === undefined ? undefined : readBlob(layout, digest);
  const config = manifest?.kind === "manifest" ? readConfig(layout, manifest.config.digest) : undefined;
  if (!config) return damaged(name, "an OCI layout without manifest or configuration");
  writeWhole(place.extra(store, sha256, "command.json"), `${JSON.stringify(commandOf(config), null, 1)}\n`);
  tell.status(`${name}: unpacking its layers`);
  const unpack = (draft: string): Promise<Result<string>> =>
    runStep("unpack the layers", ["umoci", "raw", "unpack", "--image", `${layout}:${TAG}`, draft]);
  const arch = debianArchitecture(config.architecture, config.variant);
  return settle(store, name, sha256, wantedArch, tell, unpack, arch);
}

type Opened =
  | {
      readonly kind: "registry";
      readonly repository: string;
      readonly copyOptions: readonly string[];
      readonly inspect: (digest: string) => Promise<Result<string>>;
    }
  | { readonly kind: "layout"; readonly folder: string; readonly reference: string | undefined };

/** Where manifests can be read; a layout's own index has to lead to the digest that is wanted. */
async function openSource(
  store: Store,
  name: string,
  source: OciSource,
  sha256: string,
): Promise<Result<Opened>> {
  if (source.kind === "registry") {
    const { repository, tls } = source;
    const folder = process.env.CREDENTIALS_DIRECTORY;
    const auth = folder && existsSync(join(folder, AUTH)) ? [`--authfile=${join(folder, AUTH)}`] : [];
    const inspect = (digest: string): Promise<Result<string>> =>
      runStep("read the manifest", [
        ...skopeo(store, ""),
        "inspect",
        "--raw",
        `--tls-verify=${tls}`,
        ...auth,
        `docker://${repository}@sha256:${digest}`,
      ]);
    const copyOptions = [
      `--src-tls-verify=${tls}`,
      ...auth.map((word) => word.replace("--authfile", "--src-authfile")),
    ];
    return success({ kind: "registry", repository, copyOptions, inspect });
  }
  let folder = source.path;
  if (source.archive) {
    folder = place.partial(store, `${sha256}.archive`);
    rmSync(folder, { recursive: true, force: true });
    const made = await runStep("make room for the archive", ["mkdir", "-p", folder]);
    const argv = ["tar", "--extract", "--no-same-owner", "--file", source.path, "--directory", folder];
    const taken = made.ok ? await runStep("unpack the OCI archive", argv) : made;
    if (!taken.ok) return taken;
  }
  const shown = source.path;
  const file = join(folder, "index.json");
  if (!existsSync(file))
    return failure(
      describeImageProblem({
        kind: "image-source-absent",
        source: shown,
        why: "there is no index.json of an OCI layout in it",
      }),
    );
  const index = parseDocument(readFileSync(file, "utf8"));
  if (index?.kind !== "index") return damaged(name, "an OCI layout whose index.json can't be read");
  const entries = index.manifests.filter(
    (entry) => !source.reference || entry.reference === source.reference,
  );
  const entry = entries.find((one) => one.digest === sha256) ?? entries[0];
  if (!entry) {
    const why = `it has no image \`${source.reference ?? ""}\``;
    return failure(describeImageProblem({ kind: "image-source-absent", source: shown, why }));
  }
  if (entry.digest !== sha256) return otherDigest(shown, sha256, entry.digest);
  const blob = join(folder, "blobs/sha256", sha256);
  const bytes = existsSync(blob) ? readFileSync(blob) : Buffer.alloc(0);
  const found = createHash("sha256").update(bytes).digest("hex");
  if (found !== sha256) return otherDigest(shown, sha256, found);
  if (!entry.reference && index.manifests.length > 1)
    return damaged(name, "an OCI layout with several images, of which this one has no name");
  return success({ kind: "layout", folder, reference: entry.reference });
}

/** Follows an index to the manifest for `arch`. */
async function readManifest(
  name: string,
  opened: Opened,
  sha256: string,
  arch: string,
): Promise<Result<{ readonly manifest: OciManifest; readonly digest: string }>> {
  let digest = sha256;
  // An index may hold indexes; nobody nests them deeper.
  for (let depth = 0; depth < 4; depth++) {
    const text =
      opened.kind === "registry"
        ? await opened.inspect(digest)
        : success(readFileSync(join(opened.folder, "blobs/sha256", digest), "utf8"));
    if (!text.ok) return text;
    const document = parseDocument(text.value);
    if (document?.kind === "manifest") return success({ manifest: document, digest });
    if (document?.kind !== "index") return damaged(name, "an OCI image whose manifest can't be read");
    const chosen = chooseManifest(document, arch);
    if ("found" in chosen)
      return failure(
        describeImageProblem({ kind: "image-arch", name, found: chosen.found.join(", "), wanted: arch }),
      );
    digest = chosen.digest;
  }
  return damaged(name, "an OCI image whose manifest lies too deep");
}

/** What lies in a folder that somebody else fills. */
function bytesBelow(folder: string): number {
  if (!existsSync(folder)) return 0;
  return readdirSync(folder, { recursive: true, encoding: "utf8" }).reduce(
    (sum, path) => sum + (statSync(join(folder, path), { throwIfNoEntry: false })?.size ?? 0),
    0,
  );
}

function readBlob(layout: string, digest: string): ReturnType<typeof parseDocument> {
  return parseDocument(readFileSync(join(layout, "blobs/sha256", digest), "utf8"));
}

function readConfig(layout: string, digest: string): OciConfig | undefined {
  try {
    return JSON.parse(readFileSync(join(layout, "blobs/sha256", digest), "utf8")) as OciConfig;
  } catch {
    return undefined;
  }
}

function damaged<T>(name: string, what: string): Result<T> {
  const help = "look at it with `skopeo inspect --raw`, and publish it again";
  return failure(describeImageProblem({ kind: "image-content", name, what, help }));
}

function otherDigest<T>(source: string, wanted: string, found: string): Result<T> {
  return failure(describeImageProblem({ kind: "image-digest", source, algorithm: "sha256", wanted, found }));
}

/** What is copied is known by its digest, so no policy of the machine has a say. */
function skopeo(store: Store, arch: string): readonly string[] {
  const goArch: Readonly<Record<string, string>> = { armhf: "arm", i386: "386", ppc64el: "ppc64le" };
  return [
    "skopeo",
    "--insecure-policy",
    `--tmpdir=${place.partial(store, "")}`,
    ...(arch === "" ? [] : ["--override-os=linux", `--override-arch=${goArch[arch] ?? arch}`]),
  ];
}
