/**
 * Addresses that one machine gives to its own networks while they run: which block and which subnet a network gets, and
 * the environment file by which units read them. Bundled into a program that machines run. Pure; must not know of locks.
 */
import {
  type Cidr,
  formatAddress,
  formatCidr,
  hostOf,
  netmaskOf,
  networkOf,
  parseAddress,
  parseCidr,
} from "./cidr.ts";
import { freeBlocks, overlaps, smallestFit } from "./free-space.ts";
import { isSubnet, type MachineId, SUBNETS, ulaAddress, ulaSubnet } from "./ula.ts";

/** What a running network holds. */
export interface Lease {
  readonly network: string;
  /** Undefined: IPv6 only. */
  readonly ipv4?: Cidr;
  readonly subnet: number;
}

/** What a network asks for. */
export interface LeaseWish {
  readonly network: string;
  /** A size, or the prefix that the repository gave it. Undefined: no IPv4. */
  readonly ipv4?: { readonly length: number } | { readonly fixed: Cidr };
  /** Undefined: the next one that was never given out on this machine. */
  readonly subnet?: number;
}

export interface LeaseState {
  /** Of running networks. */
  readonly leases: readonly Lease[];
  /** Prefixes on links, in routes, reserved, or allocated elsewhere. */
  readonly taken: readonly Cidr[];
  /** Subnet numbers by network, running or not: a network that comes back has its old one. */
  readonly numbers: ReadonlyMap<string, number>;
}

/** `fault` says what is in the way, as the rest of a sentence. */
export type LeaseAnswer = { readonly lease: Lease } | { readonly fault: string; readonly help: string };

/** The lease that a network holds already, if it still is what is asked for, or a new one. Never moves a running network. Pure. */
export function takeLease(wish: LeaseWish, { leases, taken, numbers }: LeaseState): LeaseAnswer {
  const { network } = wish;
  const held = leases.find((l) => l.network === network);
  const others = leases.filter((l) => l !== held);
  const subnet = wish.subnet ?? held?.subnet ?? numbers.get(network) ?? freeNumber(numbers, others);
  if (subnet === undefined)
    return {
      fault: "all 32,768 IPv6 subnets for networks of this machine were given out",
      help: "remove /var/lib/local/ip/subnets.json while no network runs",
    };
  if (held && holdsWish(held, wish) && held.subnet === subnet) return { lease: held };
  if (!wish.ipv4) return { lease: { network, subnet } };
  const running = others.flatMap((l) => (l.ipv4 ? [{ network: l.network, prefix: l.ipv4 }] : []));
  if ("fixed" in wish.ipv4) {
    const { fixed } = wish.ipv4;
    const rival = running.find((r) => overlaps(r.prefix, fixed));
    if (rival)
      return {
        fault: `its ${formatCidr(fixed)} overlaps ${formatCidr(rival.prefix)} of network \`${rival.network}\`, which runs`,
        help: `stop what uses network \`${rival.network}\`, and start it again after this one`,
      };
    return { lease: { network, subnet, ipv4: fixed } };
  }
  const { length } = wish.ipv4;
  const free = freeBlocks([...taken, ...running.map((r) => r.prefix)]);
  const ipv4 = smallestFit(free, length);
  if (ipv4) return { lease: { network, subnet, ipv4 } };
  const left = [...free].reverse().slice(0, 5).map(formatCidr);
  return {
    fault: `no free /${length} is left; left: ${left.length === 0 ? "nothing" : left.join(", ")}`,
    help: "ask for a smaller one with Environment=IP4_LENGTH= in a drop-in, or stop another network",
  };
}

function holdsWish({ ipv4 }: Lease, wish: LeaseWish): boolean {
  if (!wish.ipv4 || !ipv4) return !wish.ipv4 && !ipv4;
  return "fixed" in wish.ipv4
    ? formatCidr(wish.ipv4.fixed) === formatCidr(ipv4)
    : wish.ipv4.length === ipv4.length;
}

function freeNumber(numbers: ReadonlyMap<string, number>, running: readonly Lease[]): number | undefined {
  const used = new Set([...numbers.values(), ...running.map((l) => l.subnet)]);
  const [first, last] = SUBNETS.local;
  for (let n = first; n <= last; n++) if (!used.has(n)) return n;
  return undefined;
}

/**
 * The text of a network's environment file: plain `NAME=value`, which systemd and shells read alike. The machine itself has
 * the first address of the block, guests the others. Pure.
 */
export function leaseText({ network, ipv4, subnet }: Lease, id: MachineId): string {
  const lines = [`IP_NETWORK=${network}`, `IP6_SUBNET=${subnet}`];
  lines.push(`IP6_PREFIX=${formatCidr(ulaSubnet(id, subnet))}`);
  lines.push(`IP6_ADDRESS=${formatAddress(ulaAddress(id, subnet))}`);
  if (ipv4) {
    const at = (n: bigint): string => {
      const address = hostOf(ipv4, n);
      return address ? formatAddress(address) : "";
    };
    lines.push(`IP4_PREFIX=${formatCidr(ipv4)}`, `IP4_LENGTH=${ipv4.length}`);
    lines.push(`IP4_NETMASK=${formatAddress(netmaskOf(ipv4))}`, `IP4_ADDRESS=${at(1n)}`);
    lines.push(`IP4_FIRST=${at(2n)}`, `IP4_LAST=${at(-2n)}`, `IP4_BROADCAST=${at(-1n)}`);
  }
  return `${lines.join("\n")}\n`;
}

/** The lease that an environment file is of; undefined for any other text. Pure. */
export function readLease(text: string): Lease | undefined {
  const values = new Map(
    text.split("\n").map((line) => line.split(/=(.*)/s).slice(0, 2) as [string, string]),
  );
  const network = values.get("IP_NETWORK");
  const subnet = Number(values.get("IP6_SUBNET") ?? Number.NaN);
  const prefix = values.get("IP4_PREFIX");
  const ipv4 = prefix === undefined ? undefined : parseCidr(prefix);
  if (!network || !isSubnet(subnet) || !parseAddress(values.get("IP6_ADDRESS") ?? "")) return undefined;
  if (prefix !== undefined && (ipv4?.address.family !== 4 || formatCidr(networkOf(ipv4)) !== prefix))
    return undefined;
  return { network, subnet, ...(ipv4 ? { ipv4 } : {}) };
}
