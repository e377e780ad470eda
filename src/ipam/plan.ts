/**
 * Decides which addresses each declared network gets: what is allocated stays, what is new gets the smallest free block
 * that is large enough, what is no longer declared is released. Pure: the ledger and all that is taken are handed in.
 */
import type { Diagnostic } from "../diagnostics.ts";
import { type Cidr, formatCidr } from "./cidr.ts";
import { freeBlocks, overlaps, smallestFit } from "./free-space.ts";
import { type Allocation, LEDGER_FILE, type Ledger, sortLedger } from "./ledger.ts";
import { type Claim, describe } from "./problems.ts";
import { SUBNETS } from "./ula.ts";
import { claimOf, type Reserved, type Seen, type Wish } from "./wish.ts";

export interface AddressInput {
  readonly wishes: readonly Wish[];
  readonly ledger: Ledger;
  readonly reserved: readonly Reserved[];
  readonly seen: readonly Seen[];
}

/** One network, and what becomes of it; `before` is undefined for a new one, `after` for one that is released. */
export interface AddressChange {
  readonly kind: "keep" | "new" | "move" | "release";
  readonly machine: string;
  readonly network: string;
  readonly before?: Allocation;
  readonly after?: Allocation;
}

export interface AddressPlan {
  /** By machine, then network. */
  readonly changes: readonly AddressChange[];
  /** Sorted; as it shall be kept. */
  readonly ledger: Ledger;
}

/** How many free blocks a message about exhaustion names. */
const BLOCKS_SHOWN = 5;

/**
 * The plan, or every reason why there is none. Fixed prefixes come first, then the largest networks, then by name, so that
 * the order of files does not matter. What is released is not given out again in the same plan: it still runs.
 */
export function planAddresses(
  input: AddressInput,
): { readonly plan: AddressPlan } | { readonly problems: Diagnostic[] } {
  const problems: Diagnostic[] = [];
  const { wishes, ledger, reserved, seen } = input;
  const known = new Map(ledger.map((a) => [keyOf(a), a]));
  const after = new Map<string, Allocation>();
  const pending: Wish[] = [];
  for (const wish of inOrder(wishes)) {
    const before = known.get(keyOf(wish));
    if (before && satisfies(before, wish)) after.set(keyOf(wish), before);
    else pending.push(wish);
  }
  const taken: Cidr[] = [
    ...reserved.map((r) => r.prefix),
    ...seen.map((s) => s.prefix),
    ...ledger.flatMap((a) => a.ipv4 ?? []),
  ];
  for (const wish of pending) {
    const before = known.get(keyOf(wish));
    const subnet = before?.subnet ?? freeSubnet(wish.machine, [...ledger, ...after.values()]);
    if (subnet === undefined) {
      problems.push(describe({ kind: "subnets-exhausted", machine: wish.machine, place: wish.place }));
      continue;
    }
    const { machine, network, ipv4 } = wish;
    let prefix: Cidr | undefined;
    if (ipv4 && "fixed" in ipv4) {
      prefix = ipv4.fixed;
      problems.push(...conflictsOf(wish, prefix, reserved, ledger, [...after.values()]));
    } else if (ipv4) {
      const free = freeBlocks(taken);
      prefix = smallestFit(free, ipv4.length);
      if (!prefix) {
        const left = [...free].reverse().slice(0, BLOCKS_SHOWN).map(formatCidr);
        const freed = ledger.filter((a) => a.ipv4 && !wishes.some((w) => keyOf(w) === keyOf(a))).length;
        problems.push(
          describe({
            kind: "exhausted",
            machine,
            network,
            length: ipv4.length,
            place: wish.place,
            left,
            freed,
          }),
        );
        continue;
      }
    }
    if (prefix) taken.push(prefix);
    after.set(keyOf(wish), { machine, network, subnet, ...(prefix ? { ipv4: prefix } : {}) });
  }
  if (problems.length > 0) return { problems };
  return { plan: { changes: changesOf(known, after), ledger: sortLedger([...after.values()]) } };
}

/** True if the allocation is what is wished for. Pure. */
export function satisfies({ ipv4 }: Allocation, wish: Wish): boolean {
  if (!wish.ipv4 || !ipv4) return wish.ipv4 === undefined && ipv4 === undefined;
  return "fixed" in wish.ipv4
    ? formatCidr(wish.ipv4.fixed) === formatCidr(ipv4)
    : ipv4.length === wish.ipv4.length;
}

/** As problems name it. Pure. */
export function claimOfAllocation(a: Allocation, file: string = LEDGER_FILE): Claim {
  return {
    who: `network \`${a.network}\` of machine \`${a.machine}\``,
    prefix: a.ipv4 ? formatCidr(a.ipv4) : "no IPv4",
    place: { file, ...(a.line === undefined ? {} : { line: a.line }) },
    moves: true,
  };
}

/** Identifies a network in all of the repository. Pure. */
export function keyOf({ machine, network }: { readonly machine: string; readonly network: string }): string {
  return `${machine}/${network}`;
}

function inOrder(wishes: readonly Wish[]): Wish[] {
  const rank = ({ ipv4 }: Wish): number => (ipv4 ? ("fixed" in ipv4 ? 0 : ipv4.length) : 33);
  return [...wishes].sort((a, b) => rank(a) - rank(b) || (keyOf(a) < keyOf(b) ? -1 : 1));
}

function freeSubnet(machine: string, allocations: Ledger): number | undefined {
  const used = new Set(allocations.filter((a) => a.machine === machine).map((a) => a.subnet));
  const [first, last] = SUBNETS.declared;
  for (let n = first; n <= last; n++) if (!used.has(n)) return n;
  return undefined;
}

/** What a fixed prefix must not overlap: reservations, allocations of others, fixed ones before it. */
function conflictsOf(
  wish: Wish,
  prefix: Cidr,
  reserved: readonly Reserved[],
  ledger: Ledger,
  settled: Ledger,
): Diagnostic[] {
  const one: Claim = {
    who: `network \`${wish.network}\` of machine \`${wish.machine}\``,
    prefix: formatCidr(prefix),
    place: wish.place,
  };
  const others = [
    ...reserved.filter((r) => overlaps(r.prefix, prefix)).map(claimOf),
    ...[...new Map([...ledger, ...settled].map((a) => [keyOf(a), a])).values()]
      .filter((a) => keyOf(a) !== keyOf(wish) && a.ipv4 && overlaps(a.ipv4, prefix))
      .map((a) => claimOfAllocation(a)),
  ];
  return others.map((other) => describe({ kind: "overlap", one, other }));
}

function changesOf(
  before: ReadonlyMap<string, Allocation>,
  after: ReadonlyMap<string, Allocation>,
): AddressChange[] {
  const all = sortLedger([...new Map([...before, ...after]).values()]);
  return all.map(({ machine, network }): AddressChange => {
    const key = keyOf({ machine, network });
    const [was, is] = [before.get(key), after.get(key)];
    if (!was && is) return { kind: "new", machine, network, after: is };
    if (was && !is) return { kind: "release", machine, network, before: was };
    const kind = was === is ? ("keep" as const) : ("move" as const);
    return { kind, machine, network, ...(was ? { before: was } : {}), ...(is ? { after: is } : {}) };
  });
}
