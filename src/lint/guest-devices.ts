/**
 * Virtual machines against what a probe found on the machine that is to run them: devices that they ask for, and KVM. Pure
 * but for reads through the trees; must not know how facts are got.
 */
import { type Diagnostic, warning } from "../diagnostics.ts";
import type { FactValue } from "../facts/fact.ts";
import type { Guest } from "../guests/guest.ts";
import { parseGuest } from "../guests/parse-guest.ts";
import type { MachineName } from "../paths.ts";
import type { Found } from "./check.ts";
import type { MachineTree } from "./machine-tree.ts";

/** A fact's value on a machine; undefined: nothing sets it. */
export type FactOf = (machine: MachineName, fact: string) => FactValue | undefined;

const GUEST = /^etc\/guests\/[^/]+\.json$/;
/** Bridges (PCI class 06) stay with the machine though they are in a group. */
const BRIDGE = /^0x06/;
const FACT: Readonly<Record<string, string>> = { pci: "HOST_PCI", mdev: "HOST_MDEVS", render: "HOST_GPUS" };

interface PciDevice {
  readonly slot: string;
  readonly class: string;
  readonly iommuGroup: number;
}

/** Findings of all guests that are virtual machines. A definition that can't be read is another check's. */
export function lintGuestDevices(trees: readonly MachineTree[], factOf: FactOf): Found[] {
  return trees.flatMap((tree) =>
    tree.files
      .filter(({ path }) => GUEST.test(path))
      .flatMap(({ path }) => {
        const read = parseGuest(tree.read(path) ?? "", path);
        if (!read.ok || !read.value.vm) return [];
        const fact = (name: string): FactValue | undefined => factOf(tree.machine.name, name);
        return judge(read.value, tree.machine.name, path, fact).map((diagnostic) => ({ tree, diagnostic }));
      }),
  );
}

function judge(
  guest: Guest,
  machine: MachineName,
  file: string,
  fact: (name: string) => FactValue | undefined,
): Diagnostic[] {
  const place = { file };
  const found: Diagnostic[] = [];
  const devices = guest.vm?.devices ?? [];
  if (guest.vm?.accelerator === "kvm" && fact("HOST_KVM") === false)
    found.push(
      warning(
        "guest-no-kvm",
        `guest \`${guest.name}\` wants KVM, and machine \`${machine}\` has no /dev/kvm`,
        {
          place,
          help: "say `accelerator = tcg`, some ten times slower, or have KVM offered to the machine and probe it again",
        },
      ),
    );
  for (const device of devices) {
    const kind = device.slice(0, device.indexOf(":"));
    const what = device.slice(kind.length + 1);
    const name = FACT[kind] ?? "";
    const list = fact(name);
    if (!Array.isArray(list))
      found.push(
        warning(
          "guest-device-unknown",
          `it is not known whether machine \`${machine}\` has \`${device}\`, which guest \`${guest.name}\` asks for`,
          {
            place,
            notes: [`fact ${name} is unset`],
            help: `labctl facts probe ${machine}`,
          },
        ),
      );
    else if (!list.some((item) => item === what || (item as { slot?: string } | null)?.slot === what))
      found.push(
        warning(
          "guest-device",
          `guest \`${guest.name}\` asks for \`${device}\`, which machine \`${machine}\` does not have`,
          {
            place,
            notes: [has(name, list)],
            help: `correct it; if the machine has changed, or its IOMMU was switched on since, \`labctl facts probe ${machine}\``,
          },
        ),
      );
    else if (kind === "pci") found.push(...groupFault(guest, device, list as unknown as PciDevice[], place));
  }
  return found;
}

/** A device comes to a guest with all of its IOMMU group, or not at all (Linux' driver-api/vfio). */
function groupFault(
  guest: Guest,
  device: string,
  list: readonly PciDevice[],
  place: { file: string },
): Diagnostic[] {
  const own = list.find((d) => `pci:${d.slot}` === device);
  const left = list.filter(
    (d) =>
      d.iommuGroup === own?.iommuGroup &&
      !BRIDGE.test(d.class) &&
      !guest.vm?.devices?.includes(`pci:${d.slot}`),
  );
  if (left.length === 0) return [];
  return [
    warning(
      "guest-device-group",
      `guest \`${guest.name}\` can't have \`${device}\` without the rest of its IOMMU group ${own?.iommuGroup}`,
      {
        place,
        notes: [`not asked for: ${left.map((d) => `pci:${d.slot}`).join(", ")}`],
        help: "ask for all of them, or for none",
      },
    ),
  ];
}

function has(name: string, list: readonly FactValue[]): string {
  const shown = list.map((item) =>
    typeof item === "string" ? item : (item as { slot?: string } | null)?.slot,
  );
  return list.length === 0 ? `${name} is empty` : `${name}: ${shown.join(", ")}`;
}
