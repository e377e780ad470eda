/**
 * IPv6 addresses that follow from a machine's id and need no coordination: unique local addresses (RFC 4193), all of
 * whose chosen bits are BLAKE3 of that id. The byte rules, with examples that `b3sum` redoes, stand in
 * docs/addressing.md. Pure; must not know where an id comes from, and never puts one into a message.
 */
import { blake3 } from "@noble/hashes/blake3.js";
import type { Address, Cidr } from "./cidr.ts";

declare const brand: unique symbol;
/** 32 lower-case hex digits, not all zero: what /etc/machine-id holds (machine-id(5)), or a guest's id made alike. */
export type MachineId = string & { readonly [brand]: "MachineId" };

/**
 * One context for each use (BLAKE3's key derivation): values of different uses have nothing to do with each other, and
 * none leads back to the id. Changing one moves every address there is.
 */
export const CONTEXTS = {
  prefix: "labctl 2026-11-21 IPv6 prefix of a machine",
  host: "labctl 2026-11-21 IPv6 host part of a machine",
  guest: "labctl 2026-11-21 id of a guest",
  mac: "labctl 2026-11-21 MAC address of a guest",
} as const;

/** Which of a machine's 65,536 subnets are for what; first and last number. */
export const SUBNETS = {
  /** The machine itself, whatever links it has. */
  machine: [0, 0],
  /** Physical links, in the order of their names. */
  physical: [1, 0xff],
  /** Networks of machine.ini, kept in facts/ipam.json. */
  declared: [0x100, 0x7fff],
  /** Networks that are made on the machine: first come, and kept there. */
  local: [0x8000, 0xffff],
} as const;

const PREFIX_BYTES = 5;
const HOST_BYTES = 8;
const GUEST_BYTES = 16;
const MAC_BYTES = 6;
/** Of a MAC's first byte (IEEE 802): set, it is administered locally; set, it is a group's. */
const LOCAL_BIT = 0x02;
const GROUP_BIT = 0x01;

/** Undefined for anything but an id; the blank at its end is no part of it. Pure. */
export function parseMachineId(text: string): MachineId | undefined {
  const id = text.trimEnd();
  return /^(?!0{32})[0-9a-f]{32}$/.test(id) ? (id as MachineId) : undefined;
}

/** The machine's /48: `fd`, then 40 bits. Pure. */
export function ulaPrefix(id: MachineId): Cidr {
  const value = (0xfdn << 40n) | derive(CONTEXTS.prefix, id, PREFIX_BYTES);
  return { address: { family: 6, value: value << 80n }, length: 48 };
}

/** The /64 of a link of that machine; `subnet` from 0 to 65,535. Pure. */
export function ulaSubnet(id: MachineId, subnet: number): Cidr {
  if (!isSubnet(subnet)) throw new RangeError(`subnets go from 0 to 65535, and ${subnet} is none of them`);
  return { address: { family: 6, value: ulaPrefix(id).address.value | (BigInt(subnet) << 64n) }, length: 64 };
}

/** The address of `holder`, the machine itself or a guest, on that subnet of machine `id`. Pure. */
export function ulaAddress(id: MachineId, subnet: number, holder: MachineId = id): Address {
  return { family: 6, value: ulaSubnet(id, subnet).address.value | hostPart(holder) };
}

/** The lower 64 bits of every address that the holder of this id has. Pure. */
export function hostPart(id: MachineId): bigint {
  return derive(CONTEXTS.host, id, HOST_BYTES);
}

/** The id that a guest of this name has on this machine, so that its host knows its addresses beforehand. Pure. */
export function guestId(host: MachineId, name: string): MachineId {
  return derive(CONTEXTS.guest, `${host}/${name}`, GUEST_BYTES).toString(16).padStart(32, "0") as MachineId;
}

/** The MAC address of a guest on its network, `x2:…`, lower case: it follows from the guest's id. Pure. */
export function guestMac(guest: MachineId): string {
  const bytes = Buffer.from(derive(CONTEXTS.mac, guest, MAC_BYTES).toString(16).padStart(12, "0"), "hex");
  bytes[0] = ((bytes[0] ?? 0) | LOCAL_BIT) & ~GROUP_BIT;
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join(":");
}

/** True for a number that a subnet can have. Pure. */
export function isSubnet(n: number): boolean {
  return Number.isInteger(n) && n >= 0 && n <= 0xffff;
}

/** Subnet numbers of physical links by name: 1, 2 … in the order of their names, numbers in names as numbers. Pure. */
export function physicalSubnets(
  links: readonly { readonly name: string; readonly kind: string }[],
): ReadonlyMap<string, number> {
  const names = links.filter((l) => l.kind === "physical").map((l) => l.name);
  const [first, last] = SUBNETS.physical;
  return new Map(
    [...names]
      .sort(compareLinkNames)
      .slice(0, last - first + 1)
      .map((name, i) => [name, first + i]),
  );
}

/** `enp3s0` before `enp10s0`: runs of digits compare as numbers, all else by its bytes. Pure. */
export function compareLinkNames(a: string, b: string): number {
  const split = (name: string): string[] => name.match(/\d+|\D+/g) ?? [];
  const [x, y] = [split(a), split(b)];
  for (let i = 0; i < Math.min(x.length, y.length); i++) {
    const [p = "", q = ""] = [x[i], y[i]];
    const numbers = /^\d/.test(p) && /^\d/.test(q);
    const order = numbers ? Number(p) - Number(q) : Buffer.compare(Buffer.from(p), Buffer.from(q));
    if (order !== 0) return order;
  }
  return x.length - y.length || Buffer.compare(Buffer.from(a), Buffer.from(b));
}

/** The first bytes of BLAKE3's derived key as one number, the first byte highest. */
function derive(context: string, material: string, bytes: number): bigint {
  const key = blake3(Buffer.from(material), { context: Buffer.from(context), dkLen: bytes });
  return BigInt(`0x${Buffer.from(key).toString("hex")}`);
}
