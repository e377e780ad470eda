/**
 * Addresses and prefixes as numbers: parsing, printing, and the arithmetic that templates and allocators need. Own code
 * because the libraries at hand read `010.0.0.1` as octal; here a leading zero is refused (RFC 6943, section 3.1.1).
 * Pure; must not know who uses which address.
 */

export interface Address {
  readonly family: 4 | 6;
  /** 32 or 128 bits. */
  readonly value: bigint;
}

/** A prefix; `address` keeps the host bits as they were written. */
export interface Cidr {
  readonly address: Address;
  readonly length: number;
}

const BITS = { 4: 32, 6: 128 } as const;

/**
 * Undefined for anything that is no plain address, as `isIP` of node:net judges it; zones (`%eth0`) and prefixes are none.
 * Not `isIP` itself: `node:net` takes milliseconds to load. Pure.
 */
export function parseAddress(text: string): Address | undefined {
  const family = text.includes(":") ? 6 : 4;
  const value = family === 6 ? parseGroups(text) : parseDotted(text);
  return value === undefined ? undefined : { family, value };
}

function parseDotted(text: string): bigint | undefined {
  const parts = text.split(".");
  if (parts.length !== 4) return undefined;
  if (!parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) <= 255)) return undefined;
  return parts.reduce((sum, part) => (sum << 8n) | BigInt(part), 0n);
}

function parseGroups(text: string): bigint | undefined {
  let hex = text;
  if (text.includes(".")) {
    const at = text.lastIndexOf(":") + 1;
    const tail = parseDotted(text.slice(at));
    if (tail === undefined) return undefined;
    hex = `${text.slice(0, at)}${(tail >> 16n).toString(16)}:${(tail & 0xffffn).toString(16)}`;
  }
  const halves = hex.split("::").map((half) => (half === "" ? [] : half.split(":")));
  const [before = [], after] = halves;
  const zeros = 8 - before.length - (after?.length ?? 0);
  if (halves.length > 2 || (after ? zeros < 1 : zeros !== 0)) return undefined;
  const groups = [...before, ...Array<string>(zeros).fill("0"), ...(after ?? [])];
  if (!groups.every((group) => /^[0-9a-f]{1,4}$/i.test(group))) return undefined;
  return groups.reduce((sum, group) => (sum << 16n) | BigInt(`0x${group}`), 0n);
}

/** Canonical text; IPv6 by RFC 5952: lower case, the longest run of zero groups shortened, the first of equals. Pure. */
export function formatAddress({ family, value }: Address): string {
  if (family === 4) return [24n, 16n, 8n, 0n].map((shift) => String((value >> shift) & 0xffn)).join(".");
  const groups = Array.from({ length: 8 }, (_, i) =>
    ((value >> BigInt(112 - 16 * i)) & 0xffffn).toString(16),
  );
  let best = { start: -1, length: 1 };
  for (let i = 0; i < 8; i++) {
    let length = 0;
    while (i + length < 8 && groups[i + length] === "0") length++;
    if (length > best.length) best = { start: i, length };
  }
  if (best.start < 0) return groups.join(":");
  return `${groups.slice(0, best.start).join(":")}::${groups.slice(best.start + best.length).join(":")}`;
}

/** `10.0.0.1/24`; undefined for anything else. Pure. */
export function parseCidr(text: string): Cidr | undefined {
  const match = /^([^/]+)\/(0|[1-9]\d{0,2})$/.exec(text);
  const address = match?.[1] === undefined ? undefined : parseAddress(match[1]);
  const length = Number(match?.[2]);
  return address && length <= BITS[address.family] ? { address, length } : undefined;
}

/** Pure. */
export function formatCidr(cidr: Cidr): string {
  return `${formatAddress(cidr.address)}/${cidr.length}`;
}

/** The same prefix with its host bits cleared. Pure. */
export function networkOf(cidr: Cidr): Cidr {
  const shift = BigInt(BITS[cidr.address.family] - cidr.length);
  return {
    address: { family: cidr.address.family, value: (cidr.address.value >> shift) << shift },
    length: cidr.length,
  };
}

/** How many addresses the prefix holds. Pure. */
export function sizeOf(cidr: Cidr): bigint {
  return 1n << BigInt(BITS[cidr.address.family] - cidr.length);
}

/** The n-th address of the prefix, from 0; a negative n counts from its end. Undefined if there is none. Pure. */
export function hostOf(cidr: Cidr, n: bigint): Address | undefined {
  const size = sizeOf(cidr);
  const offset = n < 0n ? size + n : n;
  if (offset < 0n || offset >= size) return undefined;
  return { family: cidr.address.family, value: networkOf(cidr).address.value + offset };
}

/** The n-th prefix of `length` bits inside, from 0. Undefined if there is none. Pure. */
export function subnetOf(cidr: Cidr, length: number, n: bigint): Cidr | undefined {
  const bits = BITS[cidr.address.family];
  if (!Number.isInteger(length) || length < cidr.length || length > bits) return undefined;
  if (n < 0n || n >= 1n << BigInt(length - cidr.length)) return undefined;
  const value = networkOf(cidr).address.value + (n << BigInt(bits - length));
  return { address: { family: cidr.address.family, value }, length };
}

/** True if every address of `inner` is in `outer`. Pure. */
export function containsCidr(outer: Cidr, inner: Cidr): boolean {
  if (outer.address.family !== inner.address.family || inner.length < outer.length) return false;
  return (
    networkOf({ address: inner.address, length: outer.length }).address.value ===
    networkOf(outer).address.value
  );
}

/** `255.255.255.0`, or its IPv6 like. Pure. */
export function netmaskOf(cidr: Cidr): Address {
  const bits = BigInt(BITS[cidr.address.family]);
  const all = (1n << bits) - 1n;
  const host = (1n << (bits - BigInt(cidr.length))) - 1n;
  return { family: cidr.address.family, value: all ^ host };
}
