/** `labctl guest list`: the guests of a machine, declared and made by hand, running or not. */
import type { ParsedArguments } from "../commands.ts";
import { EXIT } from "../exit.ts";
import { printErr, printJson, printOut, refuse } from "../print.ts";
import { callGuests, type GuestRow, onGuestMachine } from "./call.ts";

/** Resolves to the exit code. */
export async function listGuests(args: ParsedArguments, pattern: string): Promise<number> {
  return onGuestMachine(args, pattern, async (transport, machine) => {
    const done = await callGuests<{ guests: readonly GuestRow[] }>(transport, machine, ["list"]);
    if (!done.ok) return refuse(done.problems);
    const { guests } = done.value;
    if (args.flag("json")) printJson({ machine, guests });
    else if (guests.length === 0) printErr(`${machine}: no guests`);
    else for (const line of tableLines(guests)) printOut(line);
    return EXIT.done;
  });
}

/** One line a guest, in columns. Pure. */
export function tableLines(guests: readonly GuestRow[]): string[] {
  const rows = guests.map((g) => [
    g.name,
    g.state,
    g.kind ?? "",
    g.image ?? "",
    g.fullName ?? g.network ?? "",
    g.ipv4 ?? g.ipv6 ?? "",
    (["declared", "autostart", "pinned", "ephemeral"] as const).filter((key) => g[key] === true).join(" "),
  ]);
  const widths = rows[0]?.map((_, i) => Math.max(...rows.map((row) => (row[i] ?? "").length))) ?? [];
  return rows.map((row) =>
    row
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join("  ")
      .trimEnd(),
  );
}
