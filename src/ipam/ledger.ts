/**
 * `facts/ipam.json`: which network of which machine has which addresses. One allocation a line, sorted, so that Git
 * merges what does not touch, and people can read what it does not merge. Pure; must not know who wants what.
 */
import type { Result } from "../diagnostics.ts";
import { failure, success } from "../diagnostics.ts";
import { type Cidr, formatCidr, networkOf, parseCidr } from "./cidr.ts";
import { describe } from "./problems.ts";
import { isSubnet } from "./ula.ts";

/** Relative to the repository. */
export const LEDGER_FILE = "facts/ipam.json";

export interface Allocation {
  readonly machine: string;
  readonly network: string;
  /** Undefined: a network without IPv4. */
  readonly ipv4?: Cidr;
  /** Which /64 of the machine's /48. */
  readonly subnet: number;
  /** Where it stands, from 1; undefined: not read from a file. */
  readonly line?: number;
}

export type Ledger = readonly Allocation[];

const HEAD = '{ "version": 1, "allocations": [';
const FOOT = "]}";

/** The one text of a ledger. Pure. */
export function ledgerText(ledger: Ledger): string {
  const lines = sortLedger(ledger).map((a) => lineOf(a));
  return `${[HEAD, ...lines.map((line, i) => `  ${line}${i + 1 < lines.length ? "," : ""}`), FOOT].join("\n")}\n`;
}

/** By machine, then network. Pure. */
export function sortLedger(ledger: Ledger): Allocation[] {
  return [...ledger].sort((a, b) => compareText(a.machine, b.machine) || compareText(a.network, b.network));
}

/** As it stands in the file. Pure. */
export function lineOf({ machine, network, ipv4, subnet }: Allocation): string {
  const fields = { machine, network, ...(ipv4 ? { ipv4: formatCidr(ipv4) } : {}), subnet };
  return `{ ${Object.entries(fields)
    .map(([key, value]) => `${JSON.stringify(key)}: ${JSON.stringify(value)}`)
    .join(", ")} }`;
}

/** Reads a ledger; undefined text is an empty one. Refuses what labctl did not write, and unfinished merges. Pure. */
export function readLedger(text: string | undefined): Result<Ledger> {
  if (text === undefined) return success([]);
  // A clone with `core.autocrlf` has other line ends.
  const lines = text.split(/\r?\n/);
  const marker = lines.findIndex((line) => /^(<{7}|={7}|>{7}|\|{7})( |$)/.test(line));
  if (marker >= 0) return failure(describe({ kind: "ledger-conflict", line: marker + 1 }));
  let version: unknown;
  try {
    version = (JSON.parse(text) as { version?: unknown } | null)?.version;
  } catch (error) {
    return failure(describe({ kind: "ledger-broken", why: (error as Error).message }));
  }
  if (version !== 1)
    return failure(describe({ kind: "ledger-broken", why: "it has not the form of version 1" }));
  const [head, ...rest] = lines;
  const foot = rest.indexOf(FOOT);
  if (head !== HEAD || foot < 0 || rest.slice(foot + 1).some((line) => line !== ""))
    return failure(describe({ kind: "ledger-broken", why: "it does not hold one allocation a line" }));
  const ledger: Allocation[] = [];
  for (const [i, line] of rest.slice(0, foot).entries()) {
    const read = readLine(line);
    if (!read)
      return failure(
        describe({ kind: "ledger-broken", line: i + 2, why: `this is no allocation: ${line.trim()}` }),
      );
    ledger.push({ ...read, line: i + 2 });
  }
  return success(ledger);
}

/** The two sides of an unfinished merge. */
export interface LedgerConflict {
  readonly ours: readonly Allocation[];
  readonly theirs: readonly Allocation[];
  /** What stands outside of all markers. */
  readonly agreed: readonly Allocation[];
}

/** What each side of a file with conflict markers says; lines that are no allocation are left out. Pure. */
export function readConflict(text: string): LedgerConflict {
  const out = { ours: [] as Allocation[], theirs: [] as Allocation[], agreed: [] as Allocation[] };
  let side: "agreed" | "ours" | "base" | "theirs" = "agreed";
  for (const [i, line] of text.split("\n").entries()) {
    if (line.startsWith("<<<<<<<")) side = "ours";
    else if (line.startsWith("|||||||")) side = "base";
    else if (line.startsWith("=======")) side = "theirs";
    else if (line.startsWith(">>>>>>>")) side = "agreed";
    else {
      const read = readLine(line);
      if (read && side !== "base") out[side].push({ ...read, line: i + 1 });
    }
  }
  return out;
}

function readLine(line: string): Allocation | undefined {
  let read: Record<string, unknown>;
  try {
    read = JSON.parse(line.trim().replace(/,$/, "")) as Record<string, unknown>;
  } catch {
    return undefined;
  }
  if (read === null || typeof read !== "object") return undefined;
  const { machine, network, ipv4, subnet, ...more } = read;
  const cidr = typeof ipv4 === "string" ? parseCidr(ipv4) : undefined;
  if (typeof machine !== "string" || typeof network !== "string" || Object.keys(more).length > 0)
    return undefined;
  if (typeof subnet !== "number" || !isSubnet(subnet)) return undefined;
  if (ipv4 !== undefined && (cidr?.address.family !== 4 || formatCidr(networkOf(cidr)) !== ipv4))
    return undefined;
  return { machine, network, ...(cidr ? { ipv4: cidr } : {}), subnet };
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
