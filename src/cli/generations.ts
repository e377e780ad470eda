/** `labctl generations <machine>`: number, id, time, commit, who, why. */
import { printable } from "../diagnostics.ts";
import { listGenerations } from "../push/generations.ts";
import type { CommandRun } from "./commands.ts";
import { EXIT } from "./exit.ts";
import { findMachines } from "./machines.ts";
import { printDiagnostics, printErr, printJson, printOut } from "./print.ts";
import { connectOptions, connectTo } from "./remote.ts";

export const run: CommandRun = async (args) => {
  const options = connectOptions(args);
  const named = options.ok ? await findMachines(args, args.positionals) : options;
  const machine = named.ok ? named.value.machines[0] : undefined;
  const transport = options.ok && named.ok && machine ? await connectTo(machine, options.value) : named;
  if (!options.ok || !named.ok || !transport.ok || !machine || !("exec" in transport.value)) {
    printDiagnostics(
      !options.ok ? options.problems : !named.ok ? named.problems : transport.ok ? [] : transport.problems,
    );
    return EXIT.failed;
  }
  try {
    const list = await listGenerations(transport.value, machine.name);
    if (!list.ok) {
      printDiagnostics(list.problems);
      return EXIT.failed;
    }
    if (args.flag("json")) {
      const generations = list.value.map((g) => ({ ...g, drifted: [...g.drifted] }));
      printJson({ machine: machine.name, generations });
      return EXIT.done;
    }
    if (list.value.length === 0) printErr(`${machine.name}: nothing was ever pushed`);
    const current = list.value.at(-1)?.number;
    for (const g of list.value) {
      const time = timeText(g.time);
      const commit = g.commit ? `${printable(g.commit.slice(0, 10))}${g.dirty ? "+" : ""}` : "-";
      printOut(
        `${g.number === current ? "*" : " "} ${String(g.number).padStart(4)}  ${printable(g.id.slice(0, 12))}  ${time}  ${commit.padEnd(11)}  ${printable(g.by)}${g.message ? `  ${printable(g.message)}` : ""}`,
      );
    }
    return EXIT.done;
  } finally {
    await transport.value.close();
  }
};

/** UTC to the second; `-` for what is no time, since a machine may say anything. Pure. */
function timeText(seconds: number): string {
  const date = new Date(seconds * 1000);
  return Number.isNaN(date.getTime()) ? "-".padEnd(19) : date.toISOString().replace("T", " ").slice(0, 19);
}
