/**
 * A machine whose guests are containers: the layers pushed, and the image that its guests are forked from at hand. Must not
 * know what is done with guests.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import type { Bed } from "../../src/twin/bed.ts";
import { ensureImage, type Image } from "../../src/twin/image.ts";
import type { Machine } from "../../src/twin/machine.ts";
import { unwrap } from "./bed-fixture.ts";
import { bootMachine, inside, type Lab, labFor } from "./push-fixture.ts";

/** Where the image's archive lies in the machine. */
const ARCHIVE = "/srv/debian.tar.zst";

/** What guests are forked from: a small Debian with systemd, networkd and sshd. Builds outside the namespaces only. */
export async function guestImage(): Promise<Image> {
  return unwrap(await ensureImage({ packages: [], onProgress: (line) => console.error(line) }));
}

/**
 * Boots a machine, pushes the layer `nspawn` and the image `debian` to it; `sections` are appended to its machine.ini.
 * `other` is forked instead of the small image.
 */
export async function guestMachine(
  bed: Bed,
  sections = "",
  other?: Image,
): Promise<{ lab: Lab; machine: Machine }> {
  const image = other ?? (await guestImage());
  const machine = await bootMachine(bed, { nspawnArguments: [`--bind-ro=${image.file}:${ARCHIVE}`] });
  const lab = labFor(bed, machine.name);
  // What fetching and other forms of archives need is not at hand here.
  const packages = /^packages = .*$/m.exec(lab.read("layers/images/layer.ini"))?.[0] ?? "";
  lab.edit("layers/images/layer.ini", packages, "packages = nodejs, tar, zstd, btrfs-progs");
  lab.edit("machines/demo/machine.ini", "layers = web", "layers = nspawn");
  const sha256 = createHash("sha256").update(readFileSync(image.file)).digest("hex");
  lab.write({
    "machines/demo/machine.ini": `${lab.read("machines/demo/machine.ini")}\n${sections}`,
    "machines/demo/etc/images/debian.ini": `[image]\nsource = file://${ARCHIVE}\nsha256 = ${sha256}\n`,
  });
  await lab.expect(0, ["facts", "probe", "demo"]);
  if (/^\[network /m.test(sections)) await lab.expect(0, ["ip", "plan", "--write"]);
  await lab.expect(0, ["push", "demo"]);
  await inside(machine, "systemctl start image@debian");
  return { lab, machine };
}
