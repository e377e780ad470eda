/**
 * What a guest is called and reached by, known before it runs: id, MAC, IPv6, IPv4, name, and the files by which its
 * network's dnsmasq knows it. Pure; must not know where the ledger lies, nor how a guest is given its addresses.
 */
import { type Cidr, formatAddress, hostOf, parseAddress, parseCidr } from "../ipam/cidr.ts";
import { guestId, guestMac, type MachineId, ulaAddress } from "../ipam/ula.ts";
import type { NetworkMode } from "../ipam/wish.ts";

/** What a guest that runs is known by. */
export interface GuestAddresses {
  readonly name: string;
  readonly id: MachineId;
  /** `02:…`, lower case. */
  readonly mac: string;
  /** Undefined: loopback only. */
  readonly network?: string;
  readonly mode?: NetworkMode;
  /** What `macvlan` lies on. */
  readonly uplink?: string;
  /** NAME.NETWORK.MACHINE.DOMAIN; only where the network's names are ours. */
  readonly fullName?: string;
  /** With its network's size. Undefined: the network has none, or addresses come from outside. */
  readonly ipv4?: { readonly address: string; readonly length: number; readonly gateway: string };
  readonly ipv6?: { readonly address: string; readonly gateway: string };
}

/** A network that gives addresses to its guests, as its lease's environment file has it. */
export type LeaseEnv = ReadonlyMap<string, string>;

/** Id and MAC of a guest, which follow from its machine's id and its name. Pure. */
export function guestIdentity(host: MachineId, name: string): Pick<GuestAddresses, "name" | "id" | "mac"> {
  const id = guestId(host, name);
  return { name, id, mac: guestMac(id) };
}

/** IPv6 of a guest in a network that runs; undefined for a lease that is none. Pure. */
export function guestIpv6(host: MachineId, guest: MachineId, lease: LeaseEnv): GuestAddresses["ipv6"] {
  const subnet = Number(lease.get("IP6_SUBNET") ?? Number.NaN);
  const gateway = lease.get("IP6_ADDRESS");
  if (gateway === undefined || !Number.isInteger(subnet)) return undefined;
  return { address: formatAddress(ulaAddress(host, subnet, guest)), gateway };
}

/**
 * The smallest address of the network's block that nobody has: neither the block's own two, nor the machine, nor those in
 * `taken`. Undefined: none is left. Pure.
 */
export function smallestFree(block: Cidr, taken: ReadonlySet<string>): string | undefined {
  return freeAddresses(block, taken, 1)[0];
}

/** At most so many of those addresses, smallest first. Pure. */
export function freeAddresses(block: Cidr, taken: ReadonlySet<string>, most: number): string[] {
  const out: string[] = [];
  const last = (1n << BigInt(32 - block.length)) - 2n;
  for (let n = 2n; n <= last && out.length < most; n++) {
    const address = hostOf(block, n);
    if (address && !taken.has(formatAddress(address))) out.push(formatAddress(address));
  }
  return out;
}

/** True of an address that `smallestFree` could give of this block. Pure. */
export function isInBlock(block: Cidr, text: string): boolean {
  const address = parseAddress(text);
  if (address?.family !== 4) return false;
  const at = address.value - block.address.value;
  return at >= 2n && at <= (1n << BigInt(32 - block.length)) - 2n;
}

/** The block of a lease; undefined: IPv6 only. Pure. */
export function leaseBlock(lease: LeaseEnv): Cidr | undefined {
  return parseCidr(lease.get("IP4_PREFIX") ?? "");
}

/** Addresses that dnsmasq gave to whoever asked: third word of each line of its lease file. Pure. */
export function leasedAddresses(text: string): string[] {
  return text
    .split("\n")
    .map((line) => line.split(" ")[2] ?? "")
    .filter((word) => parseAddress(word)?.family === 4);
}

/** The environment file of a guest that runs: the ledger's entry, and what other units read. Pure. */
export function guestEnvText(a: GuestAddresses): string {
  const lines = [`GUEST_NAME=${a.name}`, `GUEST_ID=${a.id}`, `GUEST_MAC=${a.mac}`];
  if (a.network !== undefined) lines.push(`GUEST_NETWORK=${a.network}`, `GUEST_MODE=${a.mode ?? "nat"}`);
  if (a.uplink !== undefined) lines.push(`GUEST_UPLINK=${a.uplink}`);
  if (a.fullName !== undefined) lines.push(`GUEST_FULL_NAME=${a.fullName}`);
  if (a.ipv4)
    lines.push(
      `GUEST_IP4=${a.ipv4.address}`,
      `GUEST_IP4_LENGTH=${a.ipv4.length}`,
      `GUEST_IP4_GATEWAY=${a.ipv4.gateway}`,
    );
  if (a.ipv6) lines.push(`GUEST_IP6=${a.ipv6.address}`, `GUEST_IP6_GATEWAY=${a.ipv6.gateway}`);
  return `${lines.join("\n")}\n`;
}

/** A line each for dnsmasq's `hostsdir=` (hosts(5)); empty: it has no address of ours. Pure. */
export function hostsText(a: GuestAddresses): string {
  if (a.fullName === undefined) return "";
  const addresses = [a.ipv4?.address, a.ipv6?.address].filter((x) => x !== undefined);
  return addresses.map((address) => `${address} ${a.fullName} ${a.name}\n`).join("");
}

/** The guest's entry for dnsmasq's `dhcp-hostsdir=`: whoever has its MAC gets its addresses and its name. Pure. */
export function dhcpHostText(a: GuestAddresses): string {
  if (!a.ipv4 && !a.ipv6) return "";
  const parts = [
    a.mac,
    ...(a.ipv4 ? [a.ipv4.address] : []),
    ...(a.ipv6 ? [`[${a.ipv6.address}]`] : []),
    a.name,
  ];
  return `${parts.join(",")}\n`;
}
