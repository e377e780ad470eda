/**
 * The drop-ins that make `container@NAME.service`, `vm@NAME.service` and `guest-root@NAME.service` those of one guest:
 * what must run before it, and its limits. The build writes them for declared guests, a machine's program for others.
 * Pure; must not know where they are written.
 */
import type { NetworkMode } from "../ipam/wish.ts";
import type { UnitName } from "../paths.ts";
import { type Guest, sizeBytes } from "./guest.ts";

/** Name of the file in the `UNIT.d` folders. */
export const DROP_IN = "50-guest.conf";
/** What starts guests at boot (systemd.special(7)). */
export const AUTOSTART_FOLDER = "machines.target.wants";
/** What has all declared guests, for a push to see that one is gone; the layer `guests` has the target. */
export const DECLARED_FOLDER = "guests.target.wants";

/** QEMU itself takes some 60, its video memory 16, translated code at most 256 (see qemu-arguments.ts). */
const VM_OVERHEAD_MIB = 384;

/** The unit that is the guest while it runs. Pure. */
export function guestUnit(guest: Pick<Guest, "name" | "kind">): UnitName {
  return `${guest.kind}@${guest.name}.service` as UnitName;
}

/** The unit that forks the guest's root from its image. Pure. */
export function guestRootUnit(guest: Pick<Guest, "name">): UnitName {
  return `guest-root@${guest.name}.service` as UnitName;
}

/** The unit that gives the guest its addresses, names and credentials. Pure. */
export function guestNetUnit(guest: Pick<Guest, "name">): UnitName {
  return `guest-net@${guest.name}.service` as UnitName;
}

/**
 * Text of `UNIT.d/50-guest.conf`. `mode` is that of the guest's network. `restartOn`: paths below /usr/local whose
 * change a push answers with a restart of the guest; none for guests that no push knows. Pure.
 */
export function guestDropIn(
  guest: Guest,
  mode: NetworkMode | undefined = "nat",
  restartOn: readonly string[] = [],
): string {
  const needs = [
    `image@${guest.image}.service`,
    guestRootUnit(guest),
    guestNetUnit(guest),
    // With `host` there is no link to wait for.
    ...(guest.network === undefined || mode === "host" ? [] : [`bridge@${guest.network}.service`]),
    ...(guest.vm?.firmware === "uefi" ? [`swtpm@${guest.name}.service`] : []),
  ].join(" ");
  const { cpu, memory, tasks, io } = guest.resources;
  const lines = [
    ...header(guest),
    "[Unit]",
    `Requires=${needs}`,
    // Its name answers when it is ready. Wanted by the bridge; where there is none, there is nothing to wait for.
    `After=${needs}${isOurs(guest, mode) ? ` bridge-dhcp@${guest.network}.service` : ""}`,
    "",
    "[Service]",
    ...(cpu === undefined ? [] : [`CPUQuota=${cpu}`]),
    ...(memory === undefined ? [] : [`MemoryMax=${guest.kind === "vm" ? vmMemoryMax(memory) : memory}`]),
    ...(tasks === undefined ? [] : [`TasksMax=${tasks}`]),
    ...(io === undefined ? [] : [`IOWeight=${io}`]),
    `TimeoutStartSec=${guest.readySeconds}s`,
    `TimeoutStopSec=${guest.stopSeconds}s`,
    // Devices that write into the guest's memory by themselves: none of it may move.
    ...(guest.vm?.devices?.some((d) => !d.startsWith("render:")) ? ["LimitMEMLOCK=infinity"] : []),
    ...(restartOn.length === 0 ? [] : ["", ...restartLines(restartOn)]),
  ];
  return `${lines.join("\n")}\n`;
}

/** Text of `guest-root@NAME.service.d/50-guest.conf`. Pure. */
export function guestRootDropIn(guest: Guest): string {
  const image = `image@${guest.image}.service`;
  const { kind, ephemeral, resources } = guest;
  const disk = kind === "container" ? resources.disk : undefined;
  const lines = ["[Unit]", `Requires=${image}`, `After=${image}`, "", "[Service]"];
  // For the short way, which reads no JSON.
  lines.push(
    `Environment=GUEST_KIND=${kind} GUEST_IMAGE=${guest.image}${ephemeral ? " GUEST_EPHEMERAL=yes" : ""}${disk === undefined ? "" : ` GUEST_DISK=${disk}`}`,
  );
  return `${[...header(guest), ...lines].join("\n")}\n`;
}

/**
 * What a virtual machine with so much memory may take: the emulator's own part, and with TCG the translated code, come on
 * top. Less would have the kernel end the guest for using what it was given. Pure.
 */
function vmMemoryMax(memory: string): string {
  return `${Math.ceil((sizeBytes(memory) ?? 0) / 1024 ** 2) + VM_OVERHEAD_MIB}M`;
}

/**
 * Text of `guest-net@NAME.service.d/50-guest.conf`: addresses are taken from the network's block, if it has one.
 * `restartOn` as for `guestDropIn`: what this unit made is made anew, and the guest with it, since it requires it. Pure.
 */
export function guestNetDropIn(
  guest: Guest,
  mode: NetworkMode | undefined = "nat",
  restartOn: readonly string[] = [],
): string {
  const lease = `ip@${guest.network}.service`;
  const lines = isOurs(guest, mode) ? [`Requires=${lease}`, `After=${lease}`] : [];
  // The template says `none`: once the definition is gone, a restart could only fail.
  const labctl = restartOn.length === 0 ? [] : ["", ...restartLines(restartOn), "OnChange=restart"];
  return `${[...header(guest), "[Unit]", ...lines, ...labctl].join("\n")}\n`;
}

/** True if the machine gives this network's addresses and names. Pure. */
function isOurs(guest: Guest, mode: NetworkMode): boolean {
  return guest.network !== undefined && (mode === "nat" || mode === "routed");
}

function restartLines(paths: readonly string[]): string[] {
  return ["[X-Labctl]", `RestartOn=${paths.join(" ")}`];
}

function header(guest: Guest): string[] {
  return [`# Follows from the definition of guest \`${guest.name}\`; edits are lost.`];
}
