/**
 * What is wrong with the addresses that a repository holds, whoever wrote them: lines that a merge brought together,
 * reservations made later, networks that appeared on machines, machines that are one. Pure.
 */
import type { Diagnostic } from "../diagnostics.ts";
import { type Cidr, containsCidr, formatCidr } from "./cidr.ts";
import { overlaps } from "./free-space.ts";
import { type Allocation, type Ledger, type LedgerConflict, lineOf } from "./ledger.ts";
import { claimOfAllocation, keyOf } from "./plan.ts";
import { describe } from "./problems.ts";
import { type MachineId, ulaPrefix } from "./ula.ts";
import { claimOf, type Reserved, type Seen, type Wish } from "./wish.ts";

/** Pairs of allocations that can't both stand: one network twice, overlapping prefixes, one subnet of one machine. Pure. */
export function checkLedger(ledger: Ledger): Diagnostic[] {
  const out: Diagnostic[] = [];
  const names = new Map<string, Allocation>();
  const subnets = new Map<string, Allocation>();
  // Prefixes that overlap lie one in the other: in this order, each in the last one that none before it holds.
  const byAddress = ledger
    .filter((a) => a.ipv4)
    .sort((a, b) => compareCidrs(a.ipv4 as Cidr, b.ipv4 as Cidr) || compareLines(a, b));
  let outer: Allocation | undefined;
  for (const a of byAddress) {
    if (outer?.ipv4 && a.ipv4 && overlaps(outer.ipv4, a.ipv4) && keyOf(outer) !== keyOf(a))
      out.push(...collision(a, outer));
    else if (!outer?.ipv4 || !a.ipv4 || !overlaps(outer.ipv4, a.ipv4)) outer = a;
  }
  for (const a of ledger) {
    const twin = names.get(keyOf(a));
    const mate = subnets.get(`${a.machine}/${a.subnet}`);
    if (twin) out.push(...collision(a, twin));
    else if (mate && !(a.ipv4 && mate.ipv4 && overlaps(a.ipv4, mate.ipv4))) out.push(...collision(a, mate));
    names.set(keyOf(a), a);
    subnets.set(`${a.machine}/${a.subnet}`, a);
  }
  return out;
}

/** Why these two can't both stand; empty if they can. */
function collision(a: Allocation, b: Allocation): Diagnostic[] {
  const [other, one] = compareLines(a, b) < 0 ? [a, b] : [b, a];
  const claims = { one: claimOfAllocation(one), other: claimOfAllocation(other) };
  if (keyOf(a) === keyOf(b)) return [describe({ kind: "twice", ...claims })];
  if (a.ipv4 && b.ipv4 && overlaps(a.ipv4, b.ipv4)) return [describe({ kind: "overlap", ...claims })];
  if (a.machine === b.machine && a.subnet === b.subnet)
    return [describe({ kind: "same-subnet", ...claims, subnet: a.subnet })];
  return [];
}

function compareLines(a: Allocation, b: Allocation): number {
  return (a.line ?? 0) - (b.line ?? 0);
}

/** By first address, then largest first. */
function compareCidrs(a: Cidr, b: Cidr): number {
  const [x, y] = [a.address.value, b.address.value];
  return x < y ? -1 : x > y ? 1 : a.length - b.length;
}

/** Allocations against reservations, against what machines were seen to use, and against what is declared. Pure. */
export function checkAllocations(
  ledger: Ledger,
  reserved: readonly Reserved[],
  seen: readonly Seen[],
  wishes: readonly Wish[],
  machines: ReadonlySet<string>,
): Diagnostic[] {
  const wished = new Set(wishes.map(keyOf));
  return ledger.flatMap((a) => {
    const { ipv4 } = a;
    const entry = claimOfAllocation(a);
    const out: Diagnostic[] = [];
    if (!wished.has(keyOf(a)))
      out.push(describe({ kind: "gone", entry, machineGone: !machines.has(a.machine) }));
    if (!ipv4) return out;
    for (const r of reserved.filter((one) => overlaps(one.prefix, ipv4)))
      out.push(describe({ kind: "overlap", one: entry, other: claimOf(r) }));
    const strange = seen.filter((s) => overlaps(s.prefix, ipv4) && !isExpected(s, a));
    const said = new Set<string>();
    for (const s of strange) {
      const by = `${s.what === "address" ? "in use" : "routed"} on machine \`${s.machine}\`${s.link === undefined ? "" : ` by link \`${s.link}\``}`;
      if (said.has(by)) continue;
      said.add(by);
      out.push(describe({ kind: "in-use", entry, by, prefix: formatCidr(s.prefix) }));
    }
    return out;
  });
}

/** The network's own link; on other machines routes to it, or to addresses in it. */
function isExpected(s: Seen, { machine, network, ipv4 }: Allocation): boolean {
  if (!ipv4 || !containsCidr(ipv4, s.prefix)) return false;
  return s.machine === machine ? s.link === network : s.what === "route";
}

/** Machines with one id, or whose ids lead to one prefix; `ids` by machine, of those that were probed. Pure. */
export function checkIds(ids: ReadonlyMap<string, MachineId>): Diagnostic[] {
  const byId = groups(ids, (id) => id);
  const out = [...byId.values()]
    .filter((machines) => machines.length > 1)
    .map((machines) => describe({ kind: "same-id", machines }));
  // One of each group: what shares an id shares its prefix, and was named already.
  const single = new Map([...byId].flatMap(([id, [first]]) => (first ? [[first, id as MachineId]] : [])));
  for (const [prefix, machines] of groups(single, (id) => formatCidr(ulaPrefix(id))))
    if (machines.length > 1) out.push(describe({ kind: "same-prefix", machines, prefix }));
  return out;
}

function groups<T>(map: ReadonlyMap<string, T>, keyOfValue: (value: T) => string): Map<string, string[]> {
  const out = new Map<string, string[]>();
  for (const [name, value] of [...map].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const key = keyOfValue(value);
    out.set(key, [...(out.get(key) ?? []), name]);
  }
  return out;
}

/** How an unfinished merge can end. */
export interface ExplainedConflict {
  /** Why allocations of the two sides can't both stay. */
  readonly collisions: readonly Diagnostic[];
  /** Of theirs, those that collide: they get new addresses. */
  readonly dropped: readonly Allocation[];
  /** What can stay: all that agree, ours, and theirs that do not collide. */
  readonly ledger: Ledger;
}

/** Ours wins where two can't both stay. Pure. */
export function explainConflict({ ours, theirs, agreed }: LedgerConflict): ExplainedConflict {
  const collisions: Diagnostic[] = [];
  const dropped: Allocation[] = [];
  const ledger: Allocation[] = [...agreed, ...ours];
  for (const their of theirs) {
    if (ledger.some((a) => lineOf(a) === lineOf(their))) continue;
    const found = ledger.flatMap((a) => collision(their, a));
    collisions.push(...found);
    if (found.length > 0) dropped.push(their);
    else ledger.push(their);
  }
  return { collisions, dropped, ledger };
}
