/** `labctl ip show [machine…]`: every address that is known of machines: their own, their links', their networks', their guests' to be. */
import type { MachineAddresses } from "../../build/address-book.ts";
import { printable } from "../../diagnostics.ts";
import { formatAddress, formatCidr, hostOf } from "../../ipam/cidr.ts";
import { type Ledger, readLedger } from "../../ipam/ledger.ts";
import { physicalSubnets, ulaAddress, ulaPrefix, ulaSubnet } from "../../ipam/ula.ts";
import { EXIT } from "../exit.ts";
import { printDiagnostics, printErr, printJson, printOut } from "../print.ts";
import type { IpRequest } from "./ip.ts";

/** One link or network of a machine. */
interface Row {
  readonly machine: string;
  readonly name: string;
  readonly what: "machine" | "link" | "network";
  /** Undefined: a link that is no physical one has no number of its own. */
  readonly subnet?: number;
  /** Prefixes with the machine's own address in them. */
  readonly ipv4: readonly string[];
  /** Undefined: the machine was never probed, or the link has no subnet. */
  readonly ipv6?: { readonly prefix: string; readonly address: string };
}

/** Exit code 0, or 1 for a ledger that can't be read. */
export function showIp({ args, book, asked }: IpRequest): number {
  const ledger = readLedger(book.ledgerText);
  if (!ledger.ok) {
    printDiagnostics(ledger.problems);
    return EXIT.failed;
  }
  const machines = book.machines.filter((m) => asked.has(m.name));
  const rows = machines.flatMap((m) => rowsOf(m, ledger.value));
  if (args.flag("json")) {
    printJson({
      machines: machines.map((m) => ({
        machine: m.name,
        ...(m.id ? { prefix: formatCidr(ulaPrefix(m.id)) } : {}),
        links: rows.filter((r) => r.machine === m.name).map(({ machine: _, ...row }) => row),
      })),
      reserved: book.reserved.map((r) => ({ name: r.name, ipv4: formatCidr(r.prefix) })),
    });
    return EXIT.done;
  }
  for (const line of tableOf(rows)) printOut(line);
  for (const m of machines.filter((one) => !one.id))
    printErr(
      `${m.name}: was never probed, so its IPv6 prefix is not known; \`labctl facts probe ${m.name}\``,
    );
  return EXIT.done;
}

function rowsOf({ name: machine, id, links }: MachineAddresses, ledger: Ledger): Row[] {
  const six = (subnet: number | undefined) =>
    id && subnet !== undefined
      ? {
          ipv6: {
            prefix: formatCidr(ulaSubnet(id, subnet)),
            address: formatAddress(ulaAddress(id, subnet)),
          },
        }
      : {};
  const numbers = physicalSubnets(links);
  const networks = ledger.filter((a) => a.machine === machine);
  const others = links.filter((l) => l.name !== "lo" && !networks.some((a) => a.network === l.name));
  return [
    { machine, name: "", what: "machine", subnet: 0, ipv4: [], ...six(0) },
    ...others.map((l): Row => {
      const subnet = numbers.get(l.name);
      const ipv4 = l.addresses.filter((a) => !a.includes(":"));
      return { machine, name: l.name, what: "link", ...(subnet ? { subnet } : {}), ipv4, ...six(subnet) };
    }),
    ...networks.map(({ network, ipv4, subnet }): Row => {
      const first = ipv4 && hostOf(ipv4, 1n);
      const own = ipv4 && first ? [`${formatAddress(first)}/${ipv4.length}`] : [];
      return { machine, name: network, what: "network", subnet, ipv4: own, ...six(subnet) };
    }),
  ];
}

function tableOf(rows: readonly Row[]): string[] {
  const cells = rows.map((r) => [
    r.machine,
    r.what === "machine" ? "(itself)" : printable(r.name),
    r.what === "machine" ? "" : r.ipv4.length === 0 ? "no IPv4" : r.ipv4.join(" "),
    r.ipv6 ? `${r.ipv6.address}/64` : "",
  ]);
  const widths = [0, 1, 2].map((column) => Math.max(0, ...cells.map((c) => c[column]?.length ?? 0)));
  return cells.map((c) =>
    c
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join("  ")
      .trimEnd(),
  );
}
