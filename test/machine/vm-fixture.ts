/**
 * A machine whose guests are virtual machines: the layer qemu pushed, and the disk that its guests are forked from at hand.
 * Must not know what is done with guests.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import type { Bed } from "../../src/twin/bed.ts";
import type { Machine } from "../../src/twin/machine.ts";
import { bootMachine, inside, type Lab, labFor } from "./push-fixture.ts";
import { vmImage } from "./vm-image.ts";

/** Where the image's archive lies in the machine. */
const DISK = "/srv/guest.raw.zst";

/** Words for a guest's kernel: emulated, its hook for security modules alone would take five seconds. */
export const FAST_KERNEL = "quiet lsm=capability audit=0 mitigations=off nokaslr";

/**
 * Boots a machine, and pushes the layer `qemu` and the image `tiny` to it; `sections` are appended to its machine.ini. Its
 * network is `lan`, which runs afterwards; no guest does.
 */
export async function vmMachine(bed: Bed, sections: string): Promise<{ lab: Lab; machine: Machine }> {
  const image = await vmImage();
  const machine = await bootMachine(bed, { nspawnArguments: [`--bind-ro=${image.file}:${DISK}`] });
  // Devices of its own: what is bound from the host, udev would change there.
  await inside(
    machine,
    "mkdir -p /dev/net; [ -e /dev/net/tun ] || mknod -m 666 /dev/net/tun c 10 200; [ -e /dev/kvm ] || mknod -m 660 /dev/kvm c 10 232; chgrp kvm /dev/kvm",
  );
  const lab = labFor(bed, machine.name);
  const sha256 = createHash("sha256").update(readFileSync(image.file)).digest("hex");
  lab.edit("machines/demo/machine.ini", "layers = web", "layers = qemu");
  // What other sources and forms of images need is not at hand here.
  const packages = /^packages = .*$/m.exec(lab.read("layers/images/layer.ini"))?.[0] ?? "";
  lab.edit("layers/images/layer.ini", packages, "packages = nodejs, zstd, e2fsprogs, qemu-utils");
  lab.write({
    "machines/demo/machine.ini": `${lab.read("machines/demo/machine.ini")}\n${sections}`,
    "machines/demo/etc/images/tiny.ini": `[image]\nsource = file://${DISK}\nsha256 = ${sha256}\nkind = disk\nboot = yes\n`,
  });
  await lab.expect(0, ["facts", "probe", "demo"]);
  await lab.expect(0, ["ip", "plan", "--write"]);
  await lab.expect(0, ["push", "demo"]);
  await inside(machine, "systemctl start image@tiny bridge@lan vm-host");
  return { lab, machine };
}
