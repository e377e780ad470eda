/**
 * What the repository wants of addresses, read from the words of lab.ini, machine.ini and the probed facts into prefixes.
 * Pure; must not know what is allocated already.
 */
import type { Diagnostic, Place } from "../diagnostics.ts";
import type { FactValue } from "../facts/fact.ts";
import type { NetworkSection, Reservation } from "../project/project.ts";
import { type Cidr, formatCidr, networkOf, parseCidr } from "./cidr.ts";
import { LENGTHS, overlaps } from "./free-space.ts";
import { describe } from "./problems.ts";

/** A network that a machine.ini declares. */
export interface Wish {
  readonly machine: string;
  readonly network: string;
  /** Undefined: no IPv4. */
  readonly ipv4?: { readonly length: number } | { readonly fixed: Cidr };
  readonly shape: NetworkShape;
  readonly place: Place;
}

/** How a network hangs together with what is outside; docs/addressing.md says what each mode is. */
export const NETWORK_MODES = ["nat", "routed", "bridge", "macvlan", "host"] as const;
export type NetworkMode = (typeof NETWORK_MODES)[number];

export interface NetworkShape {
  readonly mode: NetworkMode;
  /** The link through which `bridge` and `macvlan` reach the outside; undefined for the others. */
  readonly uplink?: string;
  /** 802.1Q number of a VLAN on the uplink; undefined: what comes untagged. */
  readonly vlan?: number;
  /** Bytes; undefined: as the kernel has it. */
  readonly mtu?: number;
}

/** A prefix that nobody may be given. */
export interface Reserved {
  readonly name: string;
  readonly prefix: Cidr;
  readonly place: Place;
}

/** A prefix that a machine was seen to use, on a link or by a route. */
export interface Seen {
  readonly machine: string;
  /** Undefined: a route without a link. */
  readonly link?: string;
  readonly prefix: Cidr;
  readonly what: "address" | "route";
}

/** Interface names have at most 15 bytes (netdevice(7), IFNAMSIZ less its zero byte). */
const MAX_LINK_NAME_BYTES = 15;
/** Folders of /proc/sys/net/ipv4/conf that are no links, and the loopback. */
const KERNEL_NAMES: ReadonlySet<string> = new Set(["all", "default", "lo"]);

/** Links that layers make (layers/wireguard). */
const LAYER_NAMES: ReadonlySet<string> = new Set(["wg0"]);

/** Shorter routes (`0.0.0.0/1` of a VPN) are a way to everywhere, not a network somewhere. */
const SHORTEST_ROUTE = 8;

/** The networks of one machine; problems are added to `problems`, and what has one is left out. Pure otherwise. */
export function readWishes(
  machine: string,
  sections: readonly NetworkSection[],
  links: readonly Link[],
  problems: Diagnostic[],
): Wish[] {
  const out: Wish[] = [];
  for (const { name, place, settings } of sections) {
    const ipv4 = settings.get("ipv4");
    const fault = linkNameFault(name, links);
    if (fault) {
      problems.push(describe({ kind: "link-name", name, fault, machine, place }));
      continue;
    }
    const shape = readShape(name, settings, place, problems);
    if (!shape) continue;
    if (!ipv4) {
      out.push({ machine, network: name, shape, place });
      continue;
    }
    const read = readSize(ipv4.value, ipv4.place, problems);
    if (read) out.push({ machine, network: name, ipv4: read, shape, place: ipv4.place });
  }
  return out;
}

/** An IPv6 link carries packets of at least so many bytes (RFC 8200, section 5). */
const SMALLEST_MTU = 1280;
const LARGEST_MTU = 65_535;
/** 0 and 4095 are reserved (IEEE 802.1Q). */
const LARGEST_VLAN = 4094;

function readShape(
  network: string,
  settings: NetworkSection["settings"],
  place: Place,
  problems: Diagnostic[],
): NetworkShape | undefined {
  const modeText = settings.get("mode");
  const mode = NETWORK_MODES.find((m) => m === (modeText?.value ?? "nat"));
  const [uplink, vlan, mtu] = [settings.get("uplink"), settings.get("vlan"), settings.get("mtu")];
  const refuse = (key: string, value: string, expected: string, at: Place): undefined => {
    problems.push(describe({ kind: "bad-setting", network, key, value, expected, place: at }));
  };
  if (!mode)
    return refuse(
      "mode",
      modeText?.value ?? "",
      `one of ${NETWORK_MODES.join(", ")}`,
      modeText?.place ?? place,
    );
  const hasUplink = mode === "bridge" || mode === "macvlan";
  if (hasUplink && !uplink) return refuse("uplink", "", `the link that \`mode = ${mode}\` leads to`, place);
  if (!hasUplink && uplink)
    return refuse("uplink", uplink.value, `left out: \`mode = ${mode}\` has none`, uplink.place);
  if (uplink && !/^[^\s/]{1,15}$/.test(uplink.value))
    return refuse("uplink", uplink.value, "an interface's name, of at most 15 bytes", uplink.place);
  if (!hasUplink && vlan)
    return refuse(
      "vlan",
      vlan.value,
      `left out: \`mode = ${mode}\` has no uplink that it could be on`,
      vlan.place,
    );
  const number = Number(vlan?.value ?? 1);
  if (vlan && !(Number.isInteger(number) && number >= 1 && number <= LARGEST_VLAN))
    return refuse("vlan", vlan.value, `a number from 1 to ${LARGEST_VLAN}`, vlan.place);
  if (uplink && vlan && Buffer.byteLength(`${uplink.value}.${number}`) > MAX_LINK_NAME_BYTES)
    return refuse(
      "vlan",
      vlan.value,
      `its link would be \`${uplink.value}.${number}\`, and an interface's name has at most ${MAX_LINK_NAME_BYTES} bytes`,
      vlan.place,
    );
  const ipv4 = settings.get("ipv4");
  if (ipv4 && mode !== "nat" && mode !== "routed")
    return refuse(
      "ipv4",
      ipv4.value,
      `left out: with \`mode = ${mode}\` addresses come from outside`,
      ipv4.place,
    );
  const bytes = Number(mtu?.value ?? SMALLEST_MTU);
  if (mtu && !(Number.isInteger(bytes) && bytes >= SMALLEST_MTU && bytes <= LARGEST_MTU))
    return refuse("mtu", mtu.value, `a number of bytes from ${SMALLEST_MTU} to ${LARGEST_MTU}`, mtu.place);
  return {
    mode,
    ...(uplink ? { uplink: uplink.value } : {}),
    ...(vlan ? { vlan: number } : {}),
    ...(mtu ? { mtu: bytes } : {}),
  };
}

function linkNameFault(name: string, links: readonly Link[]) {
  if (Buffer.byteLength(name) > MAX_LINK_NAME_BYTES) return "too-long" as const;
  if (!/^[a-z]([a-z0-9-]*[a-z0-9])?$/.test(name)) return "letters" as const;
  if (KERNEL_NAMES.has(name)) return "reserved" as const;
  if (LAYER_NAMES.has(name)) return "layer" as const;
  return links.some((l) => l.kind === "physical" && l.name === name) ? ("taken" as const) : undefined;
}

function readSize(text: string, place: Place, problems: Diagnostic[]): Wish["ipv4"] | undefined {
  const size = /^\/(\d{1,2})$/.exec(text);
  const fixed = size ? undefined : readNetwork("ipv4 =", text, place, problems);
  const length = size ? Number(size[1]) : fixed?.length;
  if (length === undefined) return undefined;
  if (length < LENGTHS.largest || length > LENGTHS.smallest) {
    problems.push(describe({ kind: "bad-size", text: `/${length}`, place }));
    return undefined;
  }
  return fixed ? { fixed } : { length };
}

/** The reservations of lab.ini; two that overlap are a problem. Adds to `problems`, pure otherwise. */
export function readReserved(reservations: readonly Reservation[], problems: Diagnostic[]): Reserved[] {
  const out: Reserved[] = [];
  for (const { name, value, place } of reservations) {
    const prefix = readNetwork(`${name} =`, value, place, problems);
    if (!prefix) continue;
    const reserved = { name, prefix, place };
    const other = out.find((r) => overlaps(r.prefix, prefix));
    if (other) problems.push(describe({ kind: "overlap", one: claimOf(reserved), other: claimOf(other) }));
    out.push(reserved);
  }
  return out;
}

/** As problems name it. Pure. */
export function claimOf({ name, prefix, place }: Reserved) {
  return { who: `reservation \`${name}\``, prefix: formatCidr(prefix), place };
}

function readNetwork(what: string, text: string, place: Place, problems: Diagnostic[]): Cidr | undefined {
  const cidr = parseCidr(text);
  if (cidr?.address.family !== 4) {
    problems.push(describe({ kind: "bad-prefix", what, text, place }));
    return undefined;
  }
  const meant = formatCidr(networkOf(cidr));
  if (meant === formatCidr(cidr)) return cidr;
  problems.push(describe({ kind: "host-bits", what, text, meant, place }));
  return undefined;
}

/** A link as the facts probe reports it; fields that a hand-written fact left out are empty. */
export interface Link {
  readonly name: string;
  readonly kind: string;
  readonly addresses: readonly string[];
}

/** `HOST_LINKS`; what has not its form is left out. Pure. */
export function readLinks(fact: FactValue | undefined): Link[] {
  if (!Array.isArray(fact)) return [];
  return (fact as readonly FactValue[]).flatMap((item) => {
    if (item === null || typeof item !== "object" || Array.isArray(item)) return [];
    const { name, kind, addresses } = item as Readonly<Record<string, FactValue>>;
    if (typeof name !== "string") return [];
    const texts = Array.isArray(addresses) ? addresses.filter((a) => typeof a === "string") : [];
    return [{ name, kind: typeof kind === "string" ? kind : "virtual", addresses: texts as string[] }];
  });
}

/** IPv4 prefixes on the links and routes of a machine; `routes` is `HOST_ROUTES`, lines of `ip route`. Pure. */
export function readSeen(machine: string, links: readonly Link[], routes: FactValue | undefined): Seen[] {
  const out: Seen[] = [];
  for (const { name, addresses } of links) {
    for (const text of addresses) {
      const cidr = parseCidr(text);
      if (cidr?.address.family === 4)
        out.push({ machine, link: name, prefix: networkOf(cidr), what: "address" });
    }
  }
  for (const line of Array.isArray(routes) ? (routes as readonly FactValue[]) : []) {
    const words = typeof line === "string" ? line.split(" ") : [];
    const target = words.slice(0, 2).find((word) => /^\d+\.\d+\.\d+\.\d+(\/\d+)?$/.test(word));
    const cidr = target === undefined ? undefined : parseCidr(target.includes("/") ? target : `${target}/32`);
    const link = words[words.indexOf("dev") + 1];
    if (cidr?.address.family !== 4 || cidr.length < SHORTEST_ROUTE) continue;
    out.push({
      machine,
      ...(words.includes("dev") && link !== undefined ? { link } : {}),
      prefix: networkOf(cidr),
      what: "route",
    });
  }
  return out;
}
