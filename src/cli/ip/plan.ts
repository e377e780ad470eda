/** `labctl ip plan`: which addresses networks keep, get and give back; `--write` keeps it in facts/ipam.json. */
import { mkdirSync, renameSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { sortDiagnostics } from "../../diagnostics.ts";
import { checkIds, checkLedger } from "../../ipam/check.ts";
import { formatCidr } from "../../ipam/cidr.ts";
import { type Allocation, LEDGER_FILE, ledgerText, readLedger } from "../../ipam/ledger.ts";
import { type AddressChange, planAddresses } from "../../ipam/plan.ts";
import { type MachineId, ulaSubnet } from "../../ipam/ula.ts";
import { EXIT } from "../exit.ts";
import { printDiagnostics, printErr, printJson, printOut } from "../print.ts";
import type { IpRequest } from "./ip.ts";

/** Exit code 0: nothing to change, or it is written; 2: changes that are not written. */
export function planIp({ args, root, book }: IpRequest): number {
  const { reserved } = book;
  const wishes = book.machines.flatMap((m) => m.wishes);
  const seen = book.machines.flatMap((m) => m.seen);
  const ids = new Map(book.machines.flatMap((m) => (m.id ? [[m.name, m.id] as const] : [])));
  const ledger = readLedger(book.ledgerText);
  // Nothing is built upon a ledger that contradicts itself.
  const unsound = ledger.ok ? [...checkLedger(ledger.value), ...checkIds(ids)] : ledger.problems;
  const planned =
    ledger.ok && unsound.length === 0
      ? planAddresses({ wishes, ledger: ledger.value, reserved, seen })
      : { problems: unsound };
  if ("problems" in planned) {
    printDiagnostics(sortDiagnostics(planned.problems));
    return EXIT.failed;
  }
  const { changes, ledger: after } = planned.plan;
  const due = changes.filter((c) => c.kind !== "keep");
  if (args.flag("json")) printJson({ changes: changes.map((c) => jsonOf(c, ids)) });
  else for (const line of linesOf(changes, ids)) printOut(line);
  const writes = args.flag("write") && !args.flag("dry-run") && due.length > 0;
  if (writes) write(join(root, LEDGER_FILE), ledgerText(after));
  if (!args.flag("quiet")) printErr(summary(due.length, writes, changes.length));
  return due.length > 0 && !writes ? EXIT.changes : EXIT.done;
}

function summary(due: number, written: boolean, all: number): string {
  if (all === 0)
    return "no machine declares a network: write `[network NAME]` and `ipv4 = /24` into its machine.ini";
  if (due === 0) return "nothing to change";
  return written
    ? `wrote ${due} change${due === 1 ? "" : "s"} to ${LEDGER_FILE}; commit it`
    : `${due} change${due === 1 ? "" : "s"}; \`labctl ip plan --write\` keeps ${due === 1 ? "it" : "them"} in ${LEDGER_FILE}`;
}

const SIGNS = { keep: " ", new: "+", move: "~", release: "-" } as const;

function linesOf(changes: readonly AddressChange[], ids: ReadonlyMap<string, MachineId>): string[] {
  const rows = changes.map((c) => {
    const [was, is] = [c.before, c.after].map((a) => (a?.ipv4 ? formatCidr(a.ipv4) : "no IPv4"));
    const at = c.after ?? c.before;
    const id = ids.get(c.machine);
    const six =
      at === undefined ? "" : id ? formatCidr(ulaSubnet(id, at.subnet)) : `subnet ${at.subnet}, not probed`;
    return [
      `${SIGNS[c.kind]} ${c.machine}`,
      c.network,
      c.kind === "move" ? `${was} → ${is}` : ((c.after ? is : was) ?? ""),
      six,
    ];
  });
  const widths = [0, 1, 2].map((column) => Math.max(0, ...rows.map((r) => r[column]?.length ?? 0)));
  return rows.map((r) =>
    r
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join("  ")
      .trimEnd(),
  );
}

function jsonOf(c: AddressChange, ids: ReadonlyMap<string, MachineId>): object {
  const show = (a: Allocation | undefined): object | undefined => {
    const id = ids.get(c.machine);
    return (
      a && {
        ...(a.ipv4 ? { ipv4: formatCidr(a.ipv4) } : {}),
        subnet: a.subnet,
        ...(id ? { ipv6: formatCidr(ulaSubnet(id, a.subnet)) } : {}),
      }
    );
  };
  return {
    machine: c.machine,
    network: c.network,
    change: c.kind,
    before: show(c.before),
    after: show(c.after),
  };
}

/** Whole or not at all. */
function write(file: string, text: string): void {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(`${file}.${process.pid}`, text);
  renameSync(`${file}.${process.pid}`, file);
}
