/**
 * Kits: what a start of a guest writes, made before that start, with the hash of everything that it was made from. A short
 * shell script lays a kit out in a few milliseconds where nothing of that has changed; else the program that makes it runs,
 * whose own start takes longer than all it does. Owns a kit's form and place; must not know what is in one.
 *
 * `layers/guests/libexec/guests/kit` reads them.
 */
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";

/** A folder a guest. A cache: without it starts take longer. */
export const GUEST_CACHE = "/var/cache/local/guests";
/** Stands in a kit's texts for the IPv4 address, which is taken at the start. */
export const ADDRESS_MARK = "@IP4@";

/** One file that a start writes. */
export interface KitFile {
  /** Absolute; its folder is there, or named with the kit. */
  readonly file: string;
  readonly mode: "600" | "644" | "400";
  /** Without NUL, which no shell can hold. */
  readonly text: string;
  /** True: the guest's address stands in it. */
  readonly isAddressed?: boolean;
}

/** What the programs that lay a kit out are about: the guest's addresses and names, or QEMU's start. */
export type KitName = "net" | "vm";

/**
 * What a kit was made from, as sha256sum(1) prints it: a line each for those of `files` that are there. Reads the disk; empty
 * for none.
 */
export function hashInputs(files: readonly string[]): string {
  return files
    .flatMap((file) => {
      try {
        return [`${createHash("sha256").update(readFileSync(file)).digest("hex")}  ${file}`];
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
        throw error;
      }
    })
    .join("\n");
}

/** A kit's last field: one that was cut short, as by a loss of power, has none. */
const END = "end";

/** A kit's fields in its file, each ended by a NUL. Undefined: a field has one in it. Pure. */
export function kitText(
  inputs: readonly string[],
  hashes: string,
  fields: readonly string[],
): string | undefined {
  const all = [`${inputs.length}`, ...inputs, hashes, ...fields, END];
  return all.some((field) => field.includes("\0")) ? undefined : all.map((field) => `${field}\0`).join("");
}

/** Fields of files: name, mode and text of each. Undefined: a text would be taken for one with an address. Pure. */
export function fileFields(files: readonly KitFile[]): string[] | undefined {
  if (files.some((f) => !f.isAddressed && f.text.includes(ADDRESS_MARK))) return undefined;
  return files.flatMap(({ file, mode, text }) => [file, mode, text]);
}

/** Where a guest's kit lies. Pure. */
export function kitFile(guest: string, kit: KitName): string {
  return `${GUEST_CACHE}/${guest}/${kit}.kit`;
}

/**
 * Keeps what `make` makes of files that did not change meanwhile; undefined from it: there is no kit, and what was kept goes.
 * `inputs` are absolute and may be missing, which is remembered, too.
 */
export function keepKit(
  guest: string,
  kit: KitName,
  inputs: readonly string[],
  make: () => readonly string[] | undefined,
): void {
  const file = kitFile(guest, kit);
  const hashes = hashInputs(inputs);
  const fields = make();
  const text = fields && kitText(inputs, hashes, fields);
  if (text === undefined || hashInputs(inputs) !== hashes) {
    rmSync(file, { force: true });
    return;
  }
  // Node.js gives the mode to all folders that it makes, and the one above is others', too.
  mkdirSync(dirname(GUEST_CACHE), { recursive: true, mode: 0o755 });
  // Keys and credentials stand in it.
  mkdirSync(`${GUEST_CACHE}/${guest}`, { recursive: true, mode: 0o700 });
  writeFileSync(`${file}.draft`, text, { mode: 0o600 });
  renameSync(`${file}.draft`, file);
}

/** True if the kit is there, and nothing of what it was made from has changed. Reads the disk. */
export function isKept(guest: string, kit: KitName, inputs: readonly string[]): boolean {
  try {
    const fields = readFileSync(kitFile(guest, kit), "utf8").split("\0");
    return (
      fields[0] === `${inputs.length}` &&
      fields.slice(-2).join() === `${END},` &&
      fields[inputs.length + 1] === hashInputs(inputs)
    );
  } catch {
    return false;
  }
}

/** Forgets all kits of a guest that is removed; none is no fault. */
export function forgetKits(guest: string): void {
  rmSync(`${GUEST_CACHE}/${guest}`, { recursive: true, force: true });
}
