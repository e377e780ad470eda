/**
 * The file of a guest's definition: strict reading, and writing. Pure; must not know where it lies.
 */
import type { Diagnostic, Place, Result } from "../diagnostics.ts";
import { failure } from "../diagnostics.ts";
import { readJson } from "../facts/json-reader.ts";
import { checkGuest, type GuestPlaces } from "./check-guest.ts";
import type { Guest } from "./guest.ts";
import { describe } from "./problems.ts";

/**
 * Reads a definition: all its problems at once, each with the place of the outermost name that it lies in. `file` is
 * what problems call it. Pure.
 */
export function parseGuest(text: string, file = "guest.json"): Result<Guest> {
  const source = text.replace(/^\uFEFF/, "");
  const placeAt = (offset: number): Place => {
    const before = source.slice(0, offset);
    return { file, line: before.split("\n").length, column: offset - before.lastIndexOf("\n") };
  };
  const read = readJson(source);
  if (!read.ok) return failure(describe({ kind: "syntax", why: read.message, place: placeAt(read.offset) }));
  const offsets = new Map<string, number>();
  const twice: Diagnostic[] = [];
  for (const { name, offset } of read.names) {
    if (offsets.has(name)) twice.push(describe({ kind: "twice", what: name, place: placeAt(offset) }));
    else offsets.set(name, offset);
  }
  const places: GuestPlaces = {
    place: (path) => placeAt(offsets.get(path.split(/[.[]/)[0] ?? "") ?? 0),
    label: (path) => path,
    example: (path, value) => `"${path}": "${value}"`,
  };
  const checked = checkGuest(read.value, places);
  if (checked.ok && twice.length === 0) return checked;
  return failure(...twice, ...(checked.ok ? [] : checked.problems));
}

/** A definition as its file has it: the same guest gives the same bytes, and `parseGuest` reads it back. Pure. */
export function guestText(guest: Guest): string {
  const { name, kind, image, network, autostart, pinned, ephemeral } = guest;
  const { readySeconds, stopSeconds, resources, mounts, sshKeys, tree, vm } = guest;
  const ordered = {
    ...{ name, kind, image, network, autostart, pinned, ephemeral, readySeconds, stopSeconds },
    ...{ resources, mounts, sshKeys, tree, vm },
  };
  return `${JSON.stringify(ordered, undefined, 2)}\n`;
}

/**
 * What of a definition a guest that runs was started with, as the file on whose change a push restarts it. All else it has
 * without: its unit's limits and times by a reload of systemd, the rest when somebody asks for it. Another image is for
 * another root, and a restart keeps the one that there is. Pure.
 */
export function guestStartText(guest: Guest): string {
  const { name, kind, network, mounts, sshKeys, tree, vm, resources } = guest;
  // Of a container they are limits; QEMU is told them when it begins.
  const own = kind === "vm" ? { memory: resources.memory, disk: resources.disk } : undefined;
  const ordered = { name, kind, network, mounts, sshKeys, tree, vm, resources: own };
  return `${JSON.stringify(ordered, undefined, 2)}\n`;
}
