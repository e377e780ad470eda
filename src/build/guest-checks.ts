/**
 * What the tree of a machine must have so that its guests can be, and what the tree of a guest can't have. Pure; must not
 * know contents.
 */
import type { Diagnostic, Place } from "../diagnostics.ts";
import type { DeclaredGuest } from "../guests/declared.ts";
import type { Guest } from "../guests/guest.ts";
import type { Machine } from "../project/project.ts";
import type { PlannedOutput } from "./overlay.ts";
import { describe } from "./problems.ts";

const IMAGES = /^etc\/images\/([^/]+)\.ini$/;
/** The unit that a kind of guest is an instance of, and the layer that ships it. */
const TEMPLATES = {
  container: ["lib/systemd/system/container@.service", "nspawn"],
  vm: ["lib/systemd/system/vm@.service", "qemu"],
} as const;
const NETWORK_TEMPLATE = "lib/systemd/system/bridge@.service";
/** What needs a kernel of its own, which containers have not. */
const OF_A_KERNEL: readonly (readonly [RegExp, string])[] = [
  [/^lib\/modules-load\.d\/./, "loads modules into the kernel"],
  [/^lib\/modprobe\.d\/./, "says how the kernel's modules are loaded"],
  [/^lib\/udev\/(rules|hwdb)\.d\/./, "has rules for devices"],
];

/** Images, template units and networks that the machine's guests need. Adds to `problems`. */
export function checkHost(
  machine: Machine,
  guests: readonly DeclaredGuest[],
  outputs: readonly PlannedOutput[],
  problems: Diagnostic[],
): void {
  if (guests.length === 0) return;
  const paths = new Set<string>(outputs.flatMap((o) => (o.content.kind === "dir" ? [] : [o.path])));
  const images = [...paths].flatMap((path) => IMAGES.exec(path)?.[1] ?? []);
  const missing = new Set<string>();
  const want = (path: string, layer: string, guest: string, place: Place): void => {
    if (paths.has(path) || missing.has(path)) return;
    missing.add(path);
    problems.push(
      describe({ kind: "guest-layer-missing", guest, machine: machine.name, path, layer, place }),
    );
  };
  for (const { guest, section, mode } of guests) {
    const [template, layer] = TEMPLATES[guest.kind];
    want(template, layer, guest.name, section.place);
    if (mode !== undefined && mode !== "host")
      want(NETWORK_TEMPLATE, "network", guest.name, section.settings.get("network")?.place ?? section.place);
    if (!images.includes(guest.image))
      problems.push(
        describe({
          kind: "guest-image",
          guest: guest.name,
          image: guest.image,
          machine: machine.name,
          known: images,
          place: section.settings.get("image")?.place ?? section.place,
        }),
      );
  }
}

/** What only a machine can have. Adds to `problems`. */
export function checkGuestTree(
  guest: Guest,
  machine: Machine,
  outputs: readonly PlannedOutput[],
  problems: Diagnostic[],
): void {
  const refuse = (layer: string, why: string, place: Place): void => {
    problems.push(describe({ kind: "guest-unfit", guest: machine.name, layer, why, place }));
  };
  for (const { name, credentials } of machine.layers)
    for (const { credential, place } of credentials)
      refuse(
        name,
        `wants the credential \`${credential}\`, and a machine encrypts credentials for itself alone`,
        place,
      );
  for (const { path, layer, source, owner, group, content } of outputs) {
    const place = { file: source };
    const who = owner === "root" ? group : owner;
    if (who !== "root")
      refuse(
        layer,
        `gives \`${path}\` to \`${who}\`, whom the machine that holds the tree need not know`,
        place,
      );
    if (guest.kind !== "container" || content.kind === "dir") continue;
    const [, why] = OF_A_KERNEL.find(([form]) => form.test(path)) ?? [];
    if (why !== undefined) refuse(layer, `${why}: \`${path}\`; a container has the machine's kernel`, place);
  }
}
