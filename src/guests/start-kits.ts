/**
 * Makes all kits of a guest before its start, so that the start runs no program that would make them. Must not know why the
 * guest is to start.
 */
import type { Guest } from "./guest.ts";
import { isKept } from "./kit.ts";
import { keepNetKit, netInputs } from "./net-kit.ts";
import { makeSeed } from "./vm-seed.ts";
import { keepVmKit, readVmDisk, vmInputs } from "./vm-start.ts";

/**
 * Those that are not there, or no longer as things are. Where its network, its image or its machine's abilities are not
 * known yet, or it can't start as it is defined, there is no kit, and the start itself makes it or says what is wrong.
 */
export async function makeKits(guest: Guest): Promise<void> {
  const { name } = guest;
  try {
    if (!isKept(name, "net", netInputs(guest))) keepNetKit(guest);
    if (guest.kind !== "vm" || isKept(name, "vm", vmInputs(guest))) return;
    const disk = readVmDisk(guest);
    const seed = keepVmKit(guest, disk.ok ? disk.value : undefined)?.seed;
    if (seed) await makeSeed(seed.file, seed.files);
  } catch {
    // As above: no room on the disk, say, is what its start will say.
  }
}
