/**
 * The network of a whole repository as one value: machines with their links, what lies on them, which of them share a
 * wire, and the encrypted mesh between them. Pure; what is drawn of it is decided elsewhere.
 */
import type { MachineAddresses } from "../build/address-book.ts";
import type { FactValue } from "../facts/fact.ts";
import type { MachineFacts } from "../facts/read-facts.ts";
import { formatAddress, formatCidr, hostOf, parseAddress } from "../ipam/cidr.ts";
import type { Allocation, Ledger } from "../ipam/ledger.ts";
import { guestId, physicalSubnets, ulaAddress, ulaPrefix, ulaSubnet } from "../ipam/ula.ts";
import type { Reserved, Wish } from "../ipam/wish.ts";
import type { FactName } from "../paths.ts";
import type { Machine } from "../project/project.ts";
import {
  type Attachment,
  compareNatural,
  findSegments,
  isLocalAddress,
  placingAddresses,
  type Segment,
} from "./segments.ts";

export interface LinkNode {
  readonly name: string;
  readonly kind: "physical" | "virtual" | "network";
  /** With prefix lengths, as probed; without link-local ones. */
  readonly addresses: readonly string[];
  /** Of a segment; undefined: it leads nowhere that is known. */
  readonly segment?: string;
}

/** A guest that the machine declares. */
export interface GuestNode {
  readonly name: string;
  readonly kind: string;
  /** Undefined: the machine was never probed. */
  readonly ipv6?: string;
}

/** A network that machine.ini declares; addresses are absent while they are not known. */
export interface NetworkNode {
  readonly name: string;
  readonly mode: string;
  readonly uplink?: string;
  /** Prefixes, and the machine's own addresses in them. */
  readonly ipv4?: string;
  readonly address4?: string;
  readonly ipv6?: string;
  readonly address6?: string;
  /** False: `labctl ip plan --write` has not been said yet. */
  readonly isAllocated: boolean;
  /** What its guests are called: `*.lan.gw.example.org`; undefined: nobody there gives names. */
  readonly names?: string;
  readonly guests: readonly GuestNode[];
}

/** The machine's part in the WireGuard mesh. */
export interface MeshNode {
  /** False: its public key is not known, so that it is nobody's peer yet. */
  readonly hasKey: boolean;
  readonly address?: string;
  /** Undefined: it can't be called, and calls the others. */
  readonly endpoint?: string;
  /** Prefixes behind it, besides its own networks. */
  readonly routes: readonly string[];
  /** Devices on the road. */
  readonly clients: readonly { readonly name: string; readonly address?: string }[];
}

export interface MachineNode {
  readonly name: string;
  readonly host: string;
  readonly tags: readonly string[];
  readonly isProbed: boolean;
  /** Its IPv6 /48. */
  readonly prefix?: string;
  readonly links: readonly LinkNode[];
  readonly networks: readonly NetworkNode[];
  readonly mesh?: MeshNode;
}

export interface NetworkGraph {
  /** Sorted by name, numbers in names as numbers. */
  readonly machines: readonly MachineNode[];
  /** Wires that several machines share, or that lead further. */
  readonly segments: readonly Segment[];
  readonly reserved: readonly { readonly name: string; readonly prefix: string }[];
}

/** What is known of one machine. */
export interface MachineInput {
  readonly machine: Machine;
  readonly facts: MachineFacts;
  readonly addresses: MachineAddresses;
  /** Declared ones; those without a network have loopback only, and are not drawn. */
  readonly guests: readonly { readonly name: string; readonly kind: string; readonly network?: string }[];
}

const MESH_LAYER = "wireguard";
const MESH_LINK = "wg0";

/** Facts are a machine's and a person's: what has not the form expected is left out. Pure. */
export function networkGraph(
  inputs: readonly MachineInput[],
  ledger: Ledger,
  reserved: readonly Reserved[],
): NetworkGraph {
  const known = new Map(ledger.map((a) => [`${a.machine}/${a.network}`, a]));
  const machines = inputs
    .map((input) => machineNode(input, known))
    .sort((a, b) => compareNatural(a.name, b.name));
  const routes = new Map(
    inputs.map((i) => [i.machine.name as string, defaultRoutes(factOf(i, "HOST_ROUTES"))]),
  );
  const attachments = machines.flatMap((m) =>
    m.links.map(
      ({ name: link, addresses }): Attachment => ({
        machine: m.name,
        link,
        addresses: placingAddresses(addresses),
        gateways: (routes.get(m.name) ?? []).filter((r) => r.link === link).flatMap((r) => r.via),
      }),
    ),
  );
  const kinds = new Map(machines.flatMap((m) => m.links.map((l) => [`${m.name}/${l.name}`, l.kind])));
  const segments = findSegments(attachments).filter(
    (s) =>
      new Set(s.members.map((m) => m.machine)).size > 1 ||
      s.gateway !== undefined ||
      s.members.some((m) => kinds.get(`${m.machine}/${m.link}`) === "physical"),
  );
  const places = new Map(segments.flatMap((s) => s.members.map((m) => [`${m.machine}/${m.link}`, s.id])));
  return {
    machines: machines.map((m) => ({
      ...m,
      links: m.links
        .map((l) => {
          const segment = places.get(`${m.name}/${l.name}`);
          return segment === undefined ? l : { ...l, segment };
        })
        // A network of its own that nobody else is on says nothing besides itself.
        .filter((l) => l.kind !== "network" || l.segment !== undefined),
    })),
    segments,
    reserved: reserved.map((r) => ({ name: r.name, prefix: formatCidr(r.prefix) })),
  };
}

function machineNode(input: MachineInput, known: ReadonlyMap<string, Allocation>): MachineNode {
  const { machine, addresses } = input;
  const { id } = addresses;
  const networks = addresses.wishes.map((wish) =>
    networkNode(input, wish, known.get(`${wish.machine}/${wish.network}`)),
  );
  const mesh = machine.layers.some((l) => l.name === MESH_LAYER) ? meshNode(input) : undefined;
  return {
    name: machine.name,
    host: machine.host,
    tags: machine.tags,
    isProbed: id !== undefined || addresses.links.length > 0,
    ...(id ? { prefix: formatCidr(ulaPrefix(id)) } : {}),
    links: [...linksOf(input, networks, mesh !== undefined), ...networks.flatMap(linkOfNetwork)],
    networks,
    ...(mesh ? { mesh } : {}),
  };
}

/** Without those that say nothing: loopback, links of networks and of the mesh, ends of guests. */
function linksOf(
  { addresses }: MachineInput,
  networks: readonly NetworkNode[],
  hasMesh: boolean,
): LinkNode[] {
  const numbers = physicalSubnets(addresses.links);
  return addresses.links.flatMap((l): LinkNode[] => {
    const placed = l.addresses.filter((a) => !isLocalAddress(a));
    const kind = numbers.has(l.name) || l.kind === "physical" ? "physical" : "virtual";
    const isOther = networks.some((n) => n.name === l.name) || (hasMesh && l.name === MESH_LINK);
    if (l.name === "lo" || isOther || (kind === "virtual" && placed.length === 0)) return [];
    return [{ name: l.name, kind, addresses: placed }];
  });
}

/** Another machine may hang on a network of this one. */
function linkOfNetwork(n: NetworkNode): LinkNode[] {
  const length = (prefix: string | undefined) => prefix?.slice(prefix.indexOf("/")) ?? "";
  const addresses = [
    ...(n.address4 === undefined ? [] : [`${n.address4}${length(n.ipv4)}`]),
    ...(n.address6 === undefined ? [] : [`${n.address6}${length(n.ipv6)}`]),
  ];
  return addresses.length === 0 ? [] : [{ name: n.name, kind: "network", addresses }];
}

function networkNode(input: MachineInput, wish: Wish, allocation: Allocation | undefined): NetworkNode {
  const { machine, addresses, guests } = input;
  const { id } = addresses;
  const first = allocation?.ipv4 && hostOf(allocation.ipv4, 1n);
  const domain = factOf(input, "NETWORK_DOMAIN");
  const isOurs = wish.shape.mode === "nat" || wish.shape.mode === "routed";
  const six = (holder?: string) =>
    id && allocation
      ? formatAddress(ulaAddress(id, allocation.subnet, holder === undefined ? id : guestId(id, holder)))
      : undefined;
  const own6 = isOurs ? six() : undefined;
  return {
    name: wish.network,
    mode: wish.shape.mode,
    ...(wish.shape.uplink === undefined ? {} : { uplink: wish.shape.uplink }),
    ...(allocation?.ipv4 && first
      ? { ipv4: formatCidr(allocation.ipv4), address4: formatAddress(first) }
      : {}),
    ...(id && allocation && own6 !== undefined
      ? { ipv6: formatCidr(ulaSubnet(id, allocation.subnet)), address6: own6 }
      : {}),
    isAllocated: allocation !== undefined,
    ...(typeof domain === "string" && isOurs ? { names: `*.${wish.network}.${machine.name}.${domain}` } : {}),
    guests: guests
      .filter((g) => g.network === wish.network)
      .map(({ name, kind }) => {
        const ipv6 = isOurs ? six(name) : undefined;
        return { name, kind, ...(ipv6 === undefined ? {} : { ipv6 }) };
      }),
  };
}

function meshNode(input: MachineInput): MeshNode {
  const { machine, addresses } = input;
  const { id } = addresses;
  const { name, host } = machine;
  const declared = entryOf(factOf(input, "WIREGUARD_ENDPOINTS"), name);
  const literal = host.includes(":") ? `[${host}]` : host;
  const endpoint =
    typeof declared === "string" ? declared : `${literal}:${String(factOf(input, "WIREGUARD_PORT") ?? "")}`;
  const routes = entryOf(factOf(input, "WIREGUARD_ROUTES"), name);
  const clients = factOf(input, "WIREGUARD_CLIENTS");
  const names = isObject(clients) ? Object.keys(clients).sort(compareNatural) : [];
  return {
    hasKey: id !== undefined && typeof factOf(input, "HOST_WIREGUARD_KEY") === "string",
    ...(id ? { address: formatAddress(ulaAddress(id, 0)) } : {}),
    ...(endpoint === "none" ? {} : { endpoint }),
    routes: (Array.isArray(routes) ? (routes as readonly FactValue[]) : [routes]).filter(
      (r): r is string => typeof r === "string",
    ),
    clients: names.map((client) => ({
      name: client,
      ...(id ? { address: formatAddress(ulaAddress(id, 0, guestId(id, client))) } : {}),
    })),
  };
}

/** `default via 192.168.1.1 dev eno1 …` of `HOST_ROUTES`. */
function defaultRoutes(fact: FactValue | undefined) {
  return (Array.isArray(fact) ? (fact as readonly FactValue[]) : []).flatMap((line) => {
    const words = typeof line === "string" ? line.split(" ") : [];
    const via = parseAddress(words[words.indexOf("via") + 1] ?? "");
    const link = words[words.indexOf("dev") + 1];
    return words[0] === "default" && via && words.includes("dev") && link !== undefined
      ? [{ link, via }]
      : [];
  });
}

function factOf(input: MachineInput, name: string): FactValue | undefined {
  return input.facts.facts.get(name as FactName)?.value;
}

function entryOf(value: FactValue | undefined, key: string): FactValue | undefined {
  return isObject(value) && Object.hasOwn(value, key) ? value[key] : undefined;
}

function isObject(value: FactValue | undefined): value is { readonly [key: string]: FactValue } {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
