/**
 * How long each part of a guest's start took, from systemd's own timestamps. Pure; must not know how they are asked for.
 */

/** What `systemctl show` says of one unit. */
export type UnitProperties = ReadonlyMap<string, string>;

export interface Phase {
  readonly name:
    | "image"
    | "fork"
    | "lease"
    | "network"
    | "names"
    | "addresses"
    | "nspawn"
    | "prepare"
    | "qemu"
    | "boot"
    | "answer";
  /** From the request; negative never. */
  readonly startMs: number;
  readonly durationMs: number;
}

/** Properties that `phasesOf` reads. */
export const PHASE_PROPERTIES: readonly string[] = [
  "Id",
  "InactiveExitTimestampMonotonic",
  "ActiveEnterTimestampMonotonic",
  "ExecMainStartTimestampMonotonic",
];

const NAMES: readonly (readonly [prefix: string, name: Phase["name"]])[] = [
  ["image@", "image"],
  ["guest-root@", "fork"],
  ["ip@", "lease"],
  ["bridge@", "network"],
  ["bridge-dhcp@", "names"],
  ["guest-net@", "addresses"],
];

/** Blocks of `systemctl show`, which blank lines part. Pure. */
export function parseShow(text: string): UnitProperties[] {
  return text
    .split("\n\n")
    .filter((block) => block.trim() !== "")
    .map(
      (block) =>
        new Map(block.split("\n").map((line) => line.split(/=(.*)/s).slice(0, 2) as [string, string])),
    );
}

/**
 * The phases that took place after `requestUs`, in the order of their beginnings; several run at once. `readyUs` is when
 * the guest said READY, `bornUs` when its first process began, a virtual machine's first instruction ran, and `preparedUs` when
 * that had all that QEMU is started with: undefined where nobody knows. All on the machine's monotonic clock, in microseconds. Pure.
 */
export function phasesOf(
  units: readonly UnitProperties[],
  requestUs: number,
  {
    bornUs,
    readyUs,
    preparedUs,
  }: {
    readonly bornUs: number | undefined;
    readonly readyUs: number | undefined;
    readonly preparedUs?: number | undefined;
  },
): Phase[] {
  const out: Phase[] = [];
  const add = (name: Phase["name"], fromUs: number, toUs: number): void => {
    if (fromUs >= requestUs && toUs >= fromUs)
      out.push({ name, startMs: ms(fromUs - requestUs), durationMs: ms(toUs - fromUs) });
  };
  for (const unit of units) {
    const id = unit.get("Id") ?? "";
    const from = Number(unit.get("InactiveExitTimestampMonotonic") ?? 0);
    const to = Number(unit.get("ActiveEnterTimestampMonotonic") ?? 0);
    const known = NAMES.find(([prefix]) => id.startsWith(prefix));
    if (known) add(known[1], from, to);
    else if (id.startsWith("vm@")) {
      // Until QEMU began, until it ran the guest, and from then on.
      const main = preparedUs ?? Number(unit.get("ExecMainStartTimestampMonotonic") ?? 0);
      add("prepare", from, main);
      if (bornUs !== undefined) add("qemu", main, bornUs);
      add("boot", bornUs ?? main, to);
    } else if (id.startsWith("container@")) {
      add("nspawn", from, bornUs ?? to);
      if (bornUs !== undefined) add("boot", bornUs, readyUs ?? to);
      if (readyUs !== undefined) add("answer", readyUs, to);
    }
  }
  return out.sort((a, b) => a.startMs - b.startMs);
}

function ms(us: number): number {
  return Math.round(us / 100) / 10;
}
