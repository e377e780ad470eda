/**
 * Which links of different machines are on one wire, as far as their addresses tell. A guess that is stated: a shared
 * prefix, unless an address would be there twice or the ways out differ. Pure; must not know what is drawn.
 */
import {
  type Address,
  type Cidr,
  containsCidr,
  formatAddress,
  formatCidr,
  networkOf,
  parseCidr,
} from "../ipam/cidr.ts";

/** A link with what it was seen to have. */
export interface Attachment {
  readonly machine: string;
  readonly link: string;
  /** Those that say where the link is: no host prefixes, no link-local ones. */
  readonly addresses: readonly Cidr[];
  /** Routers of default routes over this link. */
  readonly gateways: readonly Address[];
}

export interface Segment {
  /** `192.168.1.0/24`, and ` (2)` and so on for others that have the same. */
  readonly id: string;
  /** IPv4 before IPv6; those that its members share, and their router's; all of them where it has one member. */
  readonly prefixes: readonly string[];
  /** The router of its members' default routes; undefined: nobody has one here. */
  readonly gateway?: string;
  /** The machine that has the router's address. */
  readonly gatewayMachine?: string;
  readonly members: readonly { readonly machine: string; readonly link: string }[];
}

interface Growing {
  readonly members: Attachment[];
}

/**
 * In the order of their first prefix. Two machines with the same private prefix and different routers are at two sites:
 * half of all homes have the same one. Pure.
 */
export function findSegments(attachments: readonly Attachment[]): Segment[] {
  const found: Growing[] = [];
  // Who has most prefixes first, so that one with IPv4 and IPv6 joins those that have either.
  const order = [...attachments]
    .filter((a) => a.addresses.length > 0)
    .sort((a, b) => b.addresses.length - a.addresses.length || compare(keyOf(a), keyOf(b)));
  // Those that know their router settle where it is; the others may join either way.
  for (const one of [...order.filter(hasRouter), ...order.filter((a) => !hasRouter(a))]) {
    const home = found.find((s) => fits(s, one));
    if (home) home.members.push(one);
    else found.push({ members: [one] });
  }
  const used = new Map<string, number>();
  return found
    .map((s) => describeSegment(s.members))
    .sort((a, b) => compareNatural(a.id, b.id) || compare(keyOf(a.members[0]), keyOf(b.members[0])))
    .map((s) => {
      const count = (used.get(s.id) ?? 0) + 1;
      used.set(s.id, count);
      return count === 1 ? s : { ...s, id: `${s.id} (${count})` };
    });
}

/** Addresses by which a link can be placed; `fe80::`, loopback and single addresses say nothing. Pure. */
export function placingAddresses(addresses: readonly string[]): Cidr[] {
  return addresses.flatMap((text) => {
    const cidr = parseCidr(text);
    if (!cidr || cidr.length === (cidr.address.family === 4 ? 32 : 128)) return [];
    return isLocalAddress(text) ? [] : [cidr];
  });
}

/** True for loopback and link-local addresses, and for what is none. Pure. */
export function isLocalAddress(text: string): boolean {
  const cidr = parseCidr(text);
  return !cidr || NOWHERE.some((prefix) => containsCidr(prefix, cidr));
}

/** Link-local and loopback (RFC 3927, RFC 4291). */
const NOWHERE: readonly Cidr[] = ["127.0.0.0/8", "169.254.0.0/16", "fe80::/10", "::1/128"].flatMap(
  (text) => parseCidr(text) ?? [],
);

function hasRouter(a: Attachment): boolean {
  return a.gateways.some(isPlaced);
}

/** A link-local router has the same address on many wires. */
function isPlaced(gateway: Address): boolean {
  const length = gateway.family === 4 ? 32 : 128;
  return !NOWHERE.some((prefix) => containsCidr(prefix, { address: gateway, length }));
}

function fits({ members }: Growing, one: Attachment): boolean {
  const prefixes = new Set(members.flatMap((m) => m.addresses.map(prefixText)));
  if (!one.addresses.some((a) => prefixes.has(prefixText(a)))) return false;
  const taken = new Set(members.flatMap((m) => m.addresses.map((a) => formatAddress(a.address))));
  if (one.addresses.some((a) => taken.has(formatAddress(a.address)))) return false;
  for (const family of [4, 6] as const) {
    const mine = routersOf([one], family);
    const theirs = routersOf(members, family);
    if (mine.length > 0 && theirs.length > 0 && !mine.some((g) => theirs.includes(g))) return false;
  }
  return true;
}

function describeSegment(members: readonly Attachment[]): Segment {
  const counts = new Map<string, number>();
  for (const m of members)
    for (const prefix of new Set(m.addresses.map(prefixText)))
      counts.set(prefix, (counts.get(prefix) ?? 0) + 1);
  const all = [...counts.keys()].sort(
    (a, b) =>
      Number(a.includes(":")) - Number(b.includes(":")) ||
      (counts.get(b) ?? 0) - (counts.get(a) ?? 0) ||
      compareNatural(a, b),
  );
  const gateway =
    routersOf(members, 4)[0] ??
    routersOf(members, 6)[0] ??
    members.flatMap((m) => m.gateways.map(formatAddress))[0];
  const owner =
    gateway === undefined
      ? undefined
      : members.find((m) => m.addresses.some((a) => formatAddress(a.address) === gateway));
  const holdsRouter = (prefix: string): boolean =>
    members.some((m) => m.gateways.some((g) => isInside(prefix, g)));
  const shared = all.filter((p) => (counts.get(p) ?? 0) > 1 || holdsRouter(p));
  const prefixes = members.length > 1 ? shared : all;
  return {
    id: prefixes[0] ?? "",
    prefixes,
    ...(gateway === undefined ? {} : { gateway }),
    ...(owner ? { gatewayMachine: owner.machine } : {}),
    members: [...members]
      .sort((a, b) => compareNatural(keyOf(a), keyOf(b)))
      .map(({ machine, link }) => ({ machine, link })),
  };
}

function isInside(prefix: string, address: Address): boolean {
  const outer = parseCidr(prefix);
  return outer !== undefined && containsCidr(outer, { address, length: address.family === 4 ? 32 : 128 });
}

function routersOf(members: readonly Attachment[], family: 4 | 6): string[] {
  const texts = members.flatMap((m) =>
    m.gateways.filter((g) => g.family === family && isPlaced(g)).map(formatAddress),
  );
  return [...new Set(texts)];
}

function prefixText(cidr: Cidr): string {
  return formatCidr(networkOf(cidr));
}

function keyOf(a: { readonly machine: string; readonly link: string } | undefined): string {
  return a ? `${a.machine}/${a.link}` : "";
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** `10.0.2.0` before `10.0.10.0`, `m2` before `m10`. Pure. */
export function compareNatural(a: string, b: string): number {
  return ORDER.compare(a, b) || compare(a, b);
}

const ORDER = new Intl.Collator("en", { numeric: true });
