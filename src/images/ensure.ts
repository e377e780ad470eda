/**
 * An image from its definition to the file that guests' units read: acquired, prepared, told. One run for each digest at a
 * time; others wait and find it there. Must not print.
 */
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { failure, type Result, success } from "../diagnostics.ts";
import { IMAGE_NAME } from "../guests/guest.ts";
import { suggestion } from "../suggestion.ts";
import { type Acquired, acquireFile, knownDigest } from "./acquire.ts";
import { requestBuild } from "./build-request.ts";
import { type Architecture, type ImageDefinition, parseDefinition } from "./definition.ts";
import { type Teller, takeLock, writeWhole } from "./host.ts";
import { acquireOci } from "./oci.ts";
import { prepare } from "./prepare.ts";
import { describeImageProblem } from "./problems.ts";
import { keyOf, type Meta, openStore, place, readMeta, type Store, touchMeta } from "./store.ts";

export interface Machine {
  /** Folders of definitions, the one that wins first; those that are not there are no fault. */
  readonly definitions: readonly string[];
  /** The store's folder. */
  readonly state: string;
  readonly arch: Architecture;
}

/** Debian's name of what this program runs on. */
export function ownArchitecture(): Architecture {
  const names: Readonly<Record<string, Architecture>> = {
    x64: "amd64",
    arm64: "arm64",
    arm: "armhf",
    ia32: "i386",
    ppc64: "ppc64el",
    riscv64: "riscv64",
    s390x: "s390x",
  };
  return names[process.arch] ?? "amd64";
}

/** Reads the definition of an image from the first folder that has one. */
export function readDefinition(machine: Machine, name: string): Result<ImageDefinition> {
  if (!IMAGE_NAME.test(name)) return failure(describeImageProblem({ kind: "image-name", name }));
  const files = machine.definitions.map((folder) => join(folder, `${name}.ini`));
  const file = files.find((one) => existsSync(one));
  if (file) return parseDefinition(readFileSync(file, "utf8"), name, file);
  const near = suggestion(name, definedNames(machine));
  return failure(describeImageProblem({ kind: "image-undefined", name, looked: files, near }));
}

/** Forgets what a signed or built definition led to: the next start asks anew. What is in the store stays. */
export function forgetImage(machine: Machine, name: string): Result<undefined> {
  const read = readDefinition(machine, name);
  if (!read.ok) return read;
  rmSync(place.resolved(openStore(machine.state), keyOf(read.value)), { force: true });
  return success(undefined);
}

/** Names of all definitions, sorted. */
export function definedNames(machine: Machine): readonly string[] {
  const names = machine.definitions
    .filter((folder) => existsSync(folder))
    .flatMap((folder) => readdirSync(folder))
    .filter((file) => file.endsWith(".ini"))
    .map((file) => file.slice(0, -".ini".length));
  return [...new Set(names)].sort();
}

/** Makes an image present and writes NAME.env. A second call does nothing but write it again. */
export async function ensureImage(machine: Machine, name: string, tell: Teller): Promise<Result<Meta>> {
  const read = readDefinition(machine, name);
  if (!read.ok) return read;
  const definition = read.value;
  const store = openStore(machine.state);
  const arch = definition.arch ?? machine.arch;
  const leaveStore = await takeLock(place.lock(store, "store"), "shared", () =>
    tell.line(`${name}: unused images are being removed; waiting`),
  );
  try {
    // Whose digest is not known yet: one source is asked once at a time.
    const source = knownDigest(store, definition) ?? keyOf(definition);
    const acquired = await alone(store, source, name, tell, () => acquire(store, definition, arch, tell));
    if (!acquired.ok) return acquired;
    const { sha256, fresh } = acquired.value;
    // Two names of one digest are one image.
    return await alone(store, sha256, name, tell, async () => {
      const made = await prepare(store, definition, sha256, fresh, arch, tell);
      if (!made.ok) return made;
      touchMeta(store, sha256);
      writeWhole(place.env(store, name), envText(store, name, sha256, made.value, definition.boot));
      return made;
    });
  } catch (error) {
    // A disk that is full or broken shows anywhere.
    const said = (error as Error).message;
    return failure(describeImageProblem({ kind: "image-failed", name, said }));
  } finally {
    leaveStore();
  }
}

async function alone<T>(
  store: Store,
  key: string,
  name: string,
  tell: Teller,
  work: () => Promise<T>,
): Promise<T> {
  const waits = (): void => tell.line(`${name}: another start prepares the same image; waiting`);
  const leave = await takeLock(place.lock(store, key), "exclusive", waits);
  try {
    return await work();
  } finally {
    leave();
  }
}

async function acquire(
  store: Store,
  definition: ImageDefinition,
  arch: string,
  tell: Teller,
): Promise<Result<Acquired>> {
  const { source } = definition;
  const known = knownDigest(store, definition);
  if (known !== undefined && readMeta(store, known)) return success({ sha256: known, fresh: false });
  switch (source.kind) {
    case "web":
      return acquireFile(store, definition, source.url, tell);
    case "file":
      return acquireFile(store, definition, `file://${source.path}`, tell);
    case "build":
      return requestBuild(store, definition, tell);
    case "layout":
    case "registry":
      // The definition's reader lets nothing else pass.
      return acquireOci(store, definition, source, known ?? "", arch, tell);
    default:
      return source satisfies never;
  }
}

/** What units read; every value is free of blanks, quotes and backslashes. */
function envText(store: Store, name: string, sha256: string, meta: Meta, boot: boolean): string {
  const path =
    meta.kind === "tree" ? place.tree(store, sha256) : place.disk(store, sha256, meta.format ?? "raw");
  const extra = (file: string): string => {
    const found = place.extra(store, sha256, file);
    return existsSync(found) ? found : "";
  };
  const lines = [
    `IMAGE_NAME=${name}`,
    `IMAGE_KIND=${meta.kind}`,
    `IMAGE_PATH=${path}`,
    `IMAGE_SHA256=${sha256}`,
    `IMAGE_ARCH=${meta.arch}`,
    `IMAGE_FORMAT=${meta.format ?? ""}`,
    `IMAGE_KERNEL=${boot ? extra("kernel") : ""}`,
    `IMAGE_INITRD=${boot ? extra("initrd") : ""}`,
    `IMAGE_COMMAND=${extra("command.json")}`,
  ];
  return `${lines.join("\n")}\n`;
}
