/** `labctl ip check`: what is wrong with the addresses that the repository holds, unfinished merges explained. */
import { formatDiagnostic, sortDiagnostics } from "../../diagnostics.ts";
import { checkAllocations, checkIds, checkLedger, explainConflict } from "../../ipam/check.ts";
import { formatCidr } from "../../ipam/cidr.ts";
import { type Allocation, LEDGER_FILE, ledgerText, readConflict, readLedger } from "../../ipam/ledger.ts";
import { EXIT } from "../exit.ts";
import { printDiagnostics, printErr, printJson } from "../print.ts";
import type { IpRequest } from "./ip.ts";

/** Exit code 0: all is sound; 1: findings. */
export function checkIp({ args, book }: IpRequest): number {
  const { reserved, machines } = book;
  const ids = new Map(machines.flatMap((m) => (m.id ? [[m.name, m.id] as const] : [])));
  const ledger = readLedger(book.ledgerText);
  const inConflict = !ledger.ok && ledger.problems.some((p) => p.code === "ip-ledger-conflict");
  if (inConflict && !args.flag("json")) explain(book.ledgerText ?? "");
  const found = ledger.ok
    ? [
        ...checkLedger(ledger.value),
        ...checkAllocations(
          ledger.value,
          reserved,
          machines.flatMap((m) => m.seen),
          machines.flatMap((m) => m.wishes),
          new Set(machines.map((m) => m.name)),
        ),
      ]
    : inConflict
      ? explainConflict(readConflict(book.ledgerText ?? "")).collisions
      : ledger.problems;
  const findings = sortDiagnostics([...found, ...checkIds(ids)]);
  if (args.flag("json")) printJson({ findings, unmerged: inConflict });
  else printDiagnostics(inConflict ? findings.filter((f) => !found.includes(f)) : findings);
  if (findings.length > 0 || inConflict) return EXIT.failed;
  if (!args.flag("quiet")) {
    const count = ledger.ok ? ledger.value.length : 0;
    printErr(
      `${count} allocation${count === 1 ? "" : "s"}, ${ids.size} of ${machines.length} machines probed: nothing wrong`,
    );
  }
  return EXIT.done;
}

/** Which lines of the two sides collide, and how the merge can be ended. */
function explain(text: string): void {
  const conflict = readConflict(text);
  const { collisions, dropped, ledger } = explainConflict(conflict);
  const line = text.split("\n").findIndex((l) => l.startsWith("<<<<<<<")) + 1;
  printErr(
    `error[ip-ledger-conflict] ${LEDGER_FILE}:${line}: an unfinished merge: two branches allocated addresses`,
  );
  for (const a of conflict.ours) printErr(`  ours:   ${phrase(a)}`);
  for (const a of conflict.theirs) printErr(`  theirs: ${phrase(a)}`);
  for (const c of collisions)
    printErr(`  ${formatDiagnostic({ ...c, notes: [], help: "" }).replace(/^error\[[^\]]*\] /, "")}`);
  if (collisions.length === 0) printErr("  none of them collide: both sides can stay");
  printErr("  help: make the file this, which keeps ours where the two collide:");
  for (const l of ledgerText(ledger).trimEnd().split("\n")) printErr(`    ${l}`);
  printErr(
    dropped.length === 0
      ? `  help: then \`git add ${LEDGER_FILE}\``
      : `  help: then \`labctl ip plan --write\` gives ${dropped.map((a) => `${a.machine}/${a.network}`).join(", ")} other addresses; if theirs is pushed already and ours is not, keep theirs instead`,
  );
}

function phrase({ machine, network, ipv4, subnet }: Allocation): string {
  return `${machine}/${network} ${ipv4 ? formatCidr(ipv4) : "no IPv4"}, subnet ${subnet}`;
}
