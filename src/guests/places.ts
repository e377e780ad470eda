/**
 * Where guests lie on a machine, and what files of theirs are called. Also bundled into programs that machines run. Owns
 * the reading of a definition by a guest's name; must not know what is done with it.
 */
import { lstatSync, readFileSync } from "node:fs";
import type { Diagnostic, Result } from "../diagnostics.ts";
import { failure, problem, success } from "../diagnostics.ts";
import type { Guest } from "./guest.ts";
import { parseGuest } from "./parse-guest.ts";

/** Definitions that the build wrote. */
export const DECLARED_GUESTS = "/usr/local/etc/guests";
/** A folder a guest: its root or disk, its host key, and its definition if it was made by hand. */
export const GUEST_STATE = "/var/lib/local/guests";
/** A folder and an environment file a guest that runs; the addresses that are taken. */
export const GUEST_RUN = "/run/local/guests";
/** A folder a network; in it a link from each address that a guest has to the guest's name. */
export const CLAIMS = `${GUEST_RUN}/claims`;
/** What the layer `images` says of each image, as NAME.env. */
export const IMAGE_STATE = "/var/lib/local/images";
/** All networks of the machine, as the build wrote them. */
export const NETWORKS = "/usr/local/etc/network/networks.json";
/** The addresses of each network that is up, as NAME.env. */
export const NETWORK_LEASES = "/run/local/ip";
/** Of each network that is up: its shape, NAME.env; and NAME.hosts/ and NAME.dhcp/, which its dnsmasq watches. */
export const NETWORK_RUN = "/run/local/bridge";

/** The file of a guest that was made by hand. Pure. */
export function handMadeFile(name: string): string {
  return `${GUEST_STATE}/${name}/guest.json`;
}

/** The file of a declared guest. Pure. */
export function declaredFile(name: string): string {
  return `${DECLARED_GUESTS}/${name}.json`;
}

export interface FoundGuest {
  readonly guest: Guest;
  /** False: made by hand. */
  readonly declared: boolean;
}

/** The guest of this name on this machine: the declared one, else the one made by hand. Reads the disk. */
export function findGuest(name: string): Result<FoundGuest> {
  const named = parseGuest(JSON.stringify({ name, kind: "container", image: "any" }), name);
  if (!named.ok) return named;
  const strange = folderProblem(name);
  if (strange) return failure(strange);
  for (const [file, declared] of [
    [declaredFile(name), true],
    [handMadeFile(name), false],
  ] as const) {
    const text = readIfThere(file);
    if (text === undefined) continue;
    const read = parseGuest(text, file);
    if (!read.ok) return read;
    if (read.value.name !== name)
      return failure(
        problem("guest-name", `${file} defines guest \`${read.value.name}\``, {
          help: `call the file ${read.value.name}.json, or the guest \`${name}\``,
        }),
      );
    return success({ guest: read.value, declared });
  }
  return failure(
    problem("guest-unknown", `this machine has no guest \`${name}\``, {
      notes: [`looked for ${declaredFile(name)} and ${handMadeFile(name)}`],
      help: "declare it in machine.ini and push, or make it with `labctl guest start MACHINE NAME --image IMAGE`",
    }),
  );
}

/** What stands where the folder of a guest should be, or would lead elsewhere; undefined: nothing does. Reads the disk. */
export function folderProblem(name: string): Diagnostic | undefined {
  const folder = `${GUEST_STATE}/${name}`;
  const found = lstatSync(folder, { throwIfNoEntry: false });
  if (!found || found.isDirectory()) return undefined;
  return problem("guest-folder", `${folder} is ${found.isSymbolicLink() ? "a link" : "no folder"}`, {
    notes: ["it was left as it is; guest folders are emptied when a guest is removed"],
    help: `move it away; to have guests on another disk, mount that at ${GUEST_STATE}`,
  });
}

/** `NAME=value` lines of an environment file; undefined: there is none. Reads the disk. */
export function readEnv(file: string): ReadonlyMap<string, string> | undefined {
  const text = readIfThere(file);
  if (text === undefined) return undefined;
  return new Map(
    text
      .split("\n")
      .filter((line) => /^[A-Z]/.test(line))
      .map((line) => line.split(/=(.*)/s).slice(0, 2) as [string, string]),
  );
}

function readIfThere(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
