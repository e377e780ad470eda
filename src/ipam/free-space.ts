/**
 * The private IPv4 space (RFC 1918) less what is taken, and the block of it that serves a wish best. Pure; must not know
 * who takes what, nor remember anything: whoever asks hands in all that is taken.
 */
import type { Cidr } from "./cidr.ts";
import { networkOf, parseCidr, sizeOf } from "./cidr.ts";

/** The largest and the smallest network that is handed out, as prefix lengths: a /31 has no room for a bridge and a guest. */
export const LENGTHS = { largest: 8, smallest: 30 } as const;

/** Largest first. */
export const PRIVATE_SPACE: readonly Cidr[] = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"].flatMap(
  (text) => parseCidr(text) ?? [],
);

/** First and last address, as numbers. */
type Range = readonly [number, number];

/**
 * What is free, as the fewest prefixes that cover it: smallest blocks first, equal ones by address. `taken` may overlap,
 * hold host bits, and lie outside of the private space; IPv6 in it is ignored.
 */
export function freeBlocks(taken: readonly Cidr[]): readonly Cidr[] {
  const ranges = taken
    .filter((c) => c.address.family === 4)
    .map(rangeOf)
    .sort((a, b) => a[0] - b[0]);
  const blocks: Cidr[] = [];
  for (const space of PRIVATE_SPACE) {
    const [first, last] = rangeOf(space);
    let at = first;
    for (const [from, to] of ranges) {
      if (to < at) continue;
      if (from > last) break;
      if (from > at) blocks.push(...prefixesOf([at, from - 1]));
      at = to + 1;
    }
    if (at <= last) blocks.push(...prefixesOf([at, last]));
  }
  return blocks.sort((a, b) => b.length - a.length || (a.address.value < b.address.value ? -1 : 1));
}

/** The start of the smallest free block that is large enough; undefined if none is. `free` as `freeBlocks` gives it. */
export function smallestFit(free: readonly Cidr[], length: number): Cidr | undefined {
  const block = free.find((b) => b.length <= length);
  return block && { address: block.address, length };
}

/** True if the two have an address in common; prefixes of two families have none. Pure. */
export function overlaps(a: Cidr, b: Cidr): boolean {
  if (a.address.family !== b.address.family) return false;
  const length = Math.min(a.length, b.length);
  const cut = (c: Cidr): bigint => networkOf({ address: c.address, length }).address.value;
  return cut(a) === cut(b);
}

function rangeOf(cidr: Cidr): Range {
  const first = Number(networkOf(cidr).address.value);
  return [first, first + Number(sizeOf(cidr)) - 1];
}

/** The fewest prefixes that make up a range, in order: at each address the largest that starts there and ends in it. */
function prefixesOf([first, last]: Range): Cidr[] {
  const out: Cidr[] = [];
  for (let at = first; at <= last; ) {
    let length = 32;
    while (length > 0 && at % 2 ** (33 - length) === 0 && at + 2 ** (33 - length) - 1 <= last) length--;
    out.push({ address: { family: 4, value: BigInt(at) }, length });
    at += 2 ** (32 - length);
  }
  return out;
}
