/** The trees of guests, taken out of their machine's: each is checked like a machine's own. Pure. */

import { guestOfPath, guestTree } from "../build/lay-machine.ts";
import type { ManifestEntry } from "../build/manifest.ts";
import type { AbsPath } from "../paths.ts";
import type { VerifiedMachine } from "./verify.ts";

/** The machine without its guests' trees, then each of these under the name `MACHINE/GUEST`. */
export function apartFromGuests({ machine, manifest, folder }: VerifiedMachine): VerifiedMachine[] {
  const guests = machine.guests.flatMap(({ name, machine: guest }) => (guest ? [{ name, guest }] : []));
  if (guests.length === 0) return [{ machine, manifest, folder }];
  const inside = new Map<string, ManifestEntry[]>();
  const own: ManifestEntry[] = [];
  for (const entry of manifest.entries) {
    const found = guestOfPath(entry.path);
    if (!found) own.push(entry);
    else inside.set(found.guest, [...(inside.get(found.guest) ?? []), { ...entry, path: found.path }]);
  }
  return [
    { machine, manifest: { ...manifest, entries: own }, folder },
    ...guests.map(({ name, guest }) => ({
      machine: guest,
      manifest: {
        version: manifest.version,
        machine: guest.name,
        layers: guest.layers.map((l) => l.name),
        packages: guest.layers.flatMap((l) => l.packages.map((p) => ({ name: p, layer: l.name }))),
        entries: inside.get(name) ?? [],
      },
      folder: `${folder}/${guestTree(name)}` as AbsPath,
    })),
  ];
}
