/**
 * What makes file systems of other machines a folder of this one, which a container then sees: commands, in order, and those
 * that take them back. Pure; must not know who runs them.
 */
import type { Guest, GuestMount } from "./guest.ts";

/** One command, and what the machine's kernel must know for it. */
export interface MountCommand {
  readonly needs: "nfs" | "iscsi";
  readonly argv: readonly string[];
}

const ISCSI_PORT = "3260";

/** The commands before a guest's start; `place` is where a mount lies by its number among all of the guest's. Pure. */
export function mountCommands(guest: Guest, place: (index: number) => string): MountCommand[] {
  return guest.mounts.flatMap((mount, index) => {
    const at = place(index);
    const options = mount.readOnly ? "ro,nosuid,nodev" : "nosuid,nodev";
    if (mount.kind === "nfs")
      // A server that is gone must not hold a guest's end for ever.
      return [nfs(["mount", "-t", "nfs", "-o", `${options},softreval,timeo=100`, mount.source, at])];
    if (mount.kind !== "iscsi") return [];
    const { portal, target, disk } = iscsiParts(mount);
    return [
      iscsi(["iscsiadm", "-m", "node", "-o", "new", "-T", target, "-p", portal]),
      iscsi(["iscsiadm", "-m", "node", "-T", target, "-p", portal, "--login"]),
      iscsi(["udevadm", "settle", `--exit-if-exists=${disk}`]),
      iscsi(["mount", "-o", options, disk, at]),
    ];
  });
}

/** The commands after its end; mounts themselves go with the unit that made them. Pure. */
export function unmountCommands(guest: Guest): MountCommand[] {
  return guest.mounts.flatMap((mount) => {
    if (mount.kind !== "iscsi") return [];
    const { portal, target } = iscsiParts(mount);
    const node = ["iscsiadm", "-m", "node", "-T", target, "-p", portal];
    return [iscsi([...node, "--logout"]), iscsi([...node, "-o", "delete"])];
  });
}

/** One line a command, its words parted by tabs, which no word has; the first is what it needs. Pure. */
export function commandsText(commands: readonly MountCommand[]): string {
  return commands.map(({ needs, argv }) => `${[needs, ...argv].join("\t")}\n`).join("");
}

/** udev's name of the disk is made of the same parts (60-persistent-storage.rules). */
function iscsiParts({ source }: GuestMount): { portal: string; target: string; disk: string } {
  const [server = "", target = "", lun = "0"] = source.split("/");
  const portal = /:\d+$/.test(server.replace(/^\[.*\]/, "")) ? server : `${server}:${ISCSI_PORT}`;
  return { portal, target, disk: `/dev/disk/by-path/ip-${portal}-iscsi-${target}-lun-${lun}` };
}

function nfs(argv: readonly string[]): MountCommand {
  return { needs: "nfs", argv };
}

function iscsi(argv: readonly string[]): MountCommand {
  return { needs: "iscsi", argv };
}
