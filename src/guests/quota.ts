/**
 * What the declared guests of a machine need together, against what there is: `[guests]` of its machine.ini, and the
 * addresses of its networks. Pure; must not know how either is used.
 */
import type { Diagnostic, Place } from "../diagnostics.ts";
import { parseCidr } from "../ipam/cidr.ts";
import type { Machine } from "../project/project.ts";
import type { DeclaredGuest } from "./declared.ts";
import { cpuPercent, sizeBytes } from "./guest.ts";
import { describe } from "./problems.ts";

const EXPECTED = {
  cpu: "a share of processors such as `800%`",
  memory: "a size such as `16G`, or a share of the machine's own such as `75%`",
  disk: "a size such as `200G`",
  count: "a number of guests",
} as const;

/** Adds to `problems`; pure otherwise. `memoryBytes` is what the machine was seen to have; undefined: nobody looked. */
export function checkQuotas(
  machine: Machine,
  guests: readonly DeclaredGuest[],
  memoryBytes: number | undefined,
  problems: Diagnostic[],
): void {
  for (const key of ["cpu", "memory", "disk"] as const) {
    const quota = machine.quotas.get(key);
    if (!quota) continue;
    const limit = limitOf(key, quota.value, memoryBytes);
    if (limit === "unprobed") {
      problems.push(describe({ kind: "unprobed", machine: machine.name, place: quota.place }));
      continue;
    }
    if (limit === undefined) {
      refuseQuota(key, quota, problems);
      continue;
    }
    const shares = guests.map(({ guest, section }) => {
      const text = guest.resources[key];
      const amount = text === undefined ? undefined : key === "cpu" ? cpuPercent(text) : sizeBytes(text);
      return { name: guest.name, amount, place: section.place };
    });
    for (const { name, amount, place } of shares)
      if (amount === undefined) problems.push(describe({ kind: "unlimited", guest: name, key, place }));
    const sum = shares.reduce((all, { amount = 0 }) => all + amount, 0);
    if (sum <= limit) continue;
    const show = (amount: number): string => (key === "cpu" ? `${amount}%` : sizeText(amount));
    problems.push(
      describe({
        kind: "quota",
        machine: machine.name,
        key,
        sum: show(sum),
        limit: quota.value.endsWith("%") && key === "memory" ? `${quota.value}: ${show(limit)}` : show(limit),
        shares: shares.map(({ name, amount = 0 }) => `${name}: ${show(amount)}`),
        place: quota.place,
      }),
    );
  }
  checkCount(machine, guests, problems);
  checkAddresses(machine, guests, problems);
}

function limitOf(
  key: "cpu" | "memory" | "disk",
  text: string,
  memoryBytes: number | undefined,
): number | "unprobed" | undefined {
  if (key === "cpu") return cpuPercent(text);
  const share = key === "memory" ? cpuPercent(text) : undefined;
  if (share === undefined) return sizeBytes(text);
  if (share > 100) return undefined;
  return memoryBytes === undefined ? "unprobed" : Math.floor((memoryBytes * share) / 100);
}

function refuseQuota(
  key: keyof typeof EXPECTED,
  { value, place }: { readonly value: string; readonly place: Place },
  problems: Diagnostic[],
): void {
  problems.push(describe({ kind: "value", what: key, found: value, expected: EXPECTED[key], place }));
}

function checkCount(machine: Machine, guests: readonly DeclaredGuest[], problems: Diagnostic[]): void {
  const quota = machine.quotas.get("count");
  if (!quota) return;
  if (!/^\d{1,6}$/.test(quota.value)) refuseQuota("count", quota, problems);
  else if (guests.length > Number(quota.value)) refuseCount(machine, guests, quota, problems);
}

function refuseCount(
  machine: Machine,
  guests: readonly DeclaredGuest[],
  quota: { readonly value: string; readonly place: Place },
  problems: Diagnostic[],
): void {
  problems.push(
    describe({
      kind: "quota",
      machine: machine.name,
      key: "count",
      sum: String(guests.length),
      limit: quota.value,
      shares: [guests.map(({ guest }) => guest.name).join(", ")],
      place: quota.place,
    }),
  );
}

/** Of a block, the first address is the network's, the second the machine's, the last is for broadcasts. */
const TAKEN_ADDRESSES = 3;

function checkAddresses(machine: Machine, guests: readonly DeclaredGuest[], problems: Diagnostic[]): void {
  for (const { name, settings, place } of machine.networks) {
    const text = settings.get("ipv4")?.value;
    const length = Number(/^\/(\d{1,2})$/.exec(text ?? "")?.[1] ?? parseCidr(text ?? "")?.length);
    // What is no size is refused where networks are read.
    if (text === undefined || !(length >= 1 && length <= 32)) continue;
    const room = Math.max(0, 2 ** (32 - length) - TAKEN_ADDRESSES);
    const wanting = guests.filter(({ guest }) => guest.network === name).map(({ guest }) => guest.name);
    if (wanting.length <= room) continue;
    problems.push(
      describe({
        kind: "exhausted",
        machine: machine.name,
        network: name,
        room,
        length,
        guests: wanting,
        place: settings.get("ipv4")?.place ?? place,
      }),
    );
  }
}

/** `1.5G`, as a person would write it. Pure. */
function sizeText(bytes: number): string {
  const units = ["", "K", "M", "G", "T"];
  let n = bytes;
  let unit = 0;
  while (n >= 1024 && unit < units.length - 1) {
    n /= 1024;
    unit++;
  }
  return `${Number(n.toFixed(2))}${units[unit]}`;
}
