/**
 * Facts of machines with the addresses that follow from them: each declared network as templates see it. Refuses what
 * can't be built from: networks without addresses, allocations that collide, machines that are one. Reads through the
 * disk it is given; allocates nothing.
 */
import type { Diagnostic, Result } from "../diagnostics.ts";
import { failure, success } from "../diagnostics.ts";
import type { FactValue } from "../facts/fact.ts";
import { type FactDisk, type MachineFacts, readFacts } from "../facts/read-facts.ts";
import { checkIds, checkLedger } from "../ipam/check.ts";
import { formatAddress, formatCidr, hostOf } from "../ipam/cidr.ts";
import { type Allocation, LEDGER_FILE, type Ledger, readLedger } from "../ipam/ledger.ts";
import { keyOf } from "../ipam/plan.ts";
import { describe } from "../ipam/problems.ts";
import { reachableAddresses } from "../ipam/reachable.ts";
import { type MachineId, parseMachineId, SUBNETS, ulaAddress, ulaPrefix, ulaSubnet } from "../ipam/ula.ts";
import { readReserved } from "../ipam/wish.ts";
import type { AbsPath, MachineName } from "../paths.ts";
import type { Machine, Project } from "../project/project.ts";
import { addressesOf, readText } from "./address-book.ts";
import { readGuestFacts } from "./guest-facts.ts";

type AllFacts = ReadonlyMap<MachineName, MachineFacts>;

/** Facts of the machines given, of all that the project has; problems are collected. */
export function readMachineFacts(
  project: Project,
  machines: readonly Machine[],
  args: ReadonlyMap<string, string>,
  disk: FactDisk,
): Result<AllFacts> {
  const { root } = project;
  const facts = readFacts(root, machines, args, disk);
  const problems: Diagnostic[] = facts.ok ? [] : [...facts.problems];
  const known = readKnown(root, project.machines, disk, problems);
  problems.push(...checkIds(new Map([...known].flatMap(([name, { id }]) => (id ? [[name, id]] : [])))));
  const found = problems.length;
  const text = readText(root, LEDGER_FILE, disk, problems);
  // What a file that can't be read does not have is no second problem.
  const isRead = problems.length === found;
  const ledger = readLedger(text);
  const reserved = readReserved(project.reserved, problems);
  if (!ledger.ok) problems.push(...ledger.problems);
  else problems.push(...checkLedger(ledger.value));
  if (!facts.ok || !ledger.ok || !isRead) return failure(...problems);
  const taken = [
    ...reserved.map((r) => formatCidr(r.prefix)),
    ...ledger.value.flatMap((a) => (a.ipv4 ? [formatCidr(a.ipv4)] : [])),
  ].sort();
  const fleet = project.machines.map((m) => memberFact(m, known.get(m.name) ?? {}, ledger.value));
  const out = new Map<MachineName, MachineFacts>();
  for (const machine of machines) {
    const own = facts.value.get(machine.name);
    if (!own) throw new Error(`no facts were read for ${machine.name}`);
    out.set(machine.name, {
      ...own,
      networks: networksOf(machine, own, ledger.value, problems),
      taken,
      fleet,
      guests: readGuestFacts(root, machine, { ...own, taken, fleet }, args, disk, problems),
    });
  }
  return problems.length > 0 ? failure(...problems) : success(out);
}

/** `machine.networks` of templates: by name, with what is allocated. */
function networksOf(
  machine: Machine,
  facts: MachineFacts,
  ledger: Ledger,
  problems: Diagnostic[],
): FactValue {
  const { id, wishes } = addressesOf(machine, facts, problems);
  const known = new Map(ledger.map((a) => [keyOf(a), a]));
  const out: Record<string, FactValue> = {};
  for (const wish of wishes) {
    const allocation = known.get(keyOf(wish));
    if (allocation) out[wish.network] = { ...wish.shape, ...networkFact(allocation, id) };
    else problems.push(describe({ kind: "unallocated", ...wish }));
  }
  return out;
}

/** The machine's own address on its network is the first one of IPv4, and the host part of its id in IPv6. */
function networkFact({ ipv4, subnet }: Allocation, id: MachineId | undefined) {
  const first = ipv4 && hostOf(ipv4, 1n);
  return {
    subnet,
    ...(ipv4 && first ? { ipv4: formatCidr(ipv4), address4: formatAddress(first) } : {}),
    ...(id
      ? { ipv6: formatCidr(ulaSubnet(id, subnet)), address6: formatAddress(ulaAddress(id, subnet)) }
      : {}),
  };
}

/** One machine as the others' templates see it. */
function memberFact({ name, host, tags, layers }: Machine, known: Known, ledger: Ledger): FactValue {
  const { id, wireguardKey, addresses = [] } = known;
  const networks = ledger
    .filter((a) => a.machine === name)
    .map((a) => ({ name: a.network, ...networkFact(a, id) }));
  const own = id
    ? { ipv6: formatCidr(ulaPrefix(id)), address6: formatAddress(ulaAddress(id, SUBNETS.machine[0])) }
    : {};
  const key = wireguardKey ? { wireguardKey } : {};
  return {
    name,
    host,
    tags: [...tags],
    layers: layers.map((l) => l.name),
    ...own,
    addresses: [...addresses],
    ...key,
    networks,
  };
}

/** What the others need of a machine's probed facts. */
interface Known {
  readonly id?: MachineId;
  readonly wireguardKey?: string;
  /** Empty, or left out: never probed, or on no network that it shares with others. */
  readonly addresses?: readonly string[];
}

/** Of all machines that were probed, whether they are built now or not: two that are one show only together. */
function readKnown(
  root: AbsPath,
  machines: readonly Machine[],
  disk: FactDisk,
  problems: Diagnostic[],
): Map<string, Known> {
  const out = new Map<string, Known>();
  for (const { name } of machines) {
    // What a broken file has is said where its facts are read.
    const text = readText(root, `facts/probed/${name}.json`, disk, problems);
    const id = parseMachineId(/"HOST_MACHINE_ID":\s*"([0-9a-f]+)"/.exec(text ?? "")?.[1] ?? "");
    const wireguardKey = /"HOST_WIREGUARD_KEY":\s*"([A-Za-z0-9+/]{43}=)"/.exec(text ?? "")?.[1];
    const addresses = addressesIn(text);
    out.set(name, { ...(id ? { id } : {}), ...(wireguardKey ? { wireguardKey } : {}), addresses });
  }
  return out;
}

/** Of the text of a file of probed facts; none if it is broken. Pure. */
function addressesIn(text: string | undefined): string[] {
  try {
    const read = JSON.parse(text ?? "null") as Readonly<Record<string, FactValue>> | null;
    const facts = (read?.facts ?? {}) as Readonly<Record<string, FactValue>>;
    return reachableAddresses(facts.HOST_LINKS, facts.HOST_ROUTES);
  } catch {
    return [];
  }
}
