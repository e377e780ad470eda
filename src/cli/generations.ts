/** `labctl generations <machine>`: number, id, time, commit, who, why. */
import { printable } from "../diagnostics.ts";
import { listGenerations } from "../push/generations.ts";
import type { CommandRun } from "./commands.ts";
import { EXIT } from "./exit.ts";
import { refuseUsage } from "./help.ts";
import { printErr, printJson, printOut, refuse } from "./print.ts";
import { onConnection, startOnMachines } from "./start.ts";

export const run: CommandRun = async (args) => {
  const start = await startOnMachines(args, "generations", args.positionals);
  if (typeof start === "number") return start;
  const [machine, ...others] = start.named.machines;
  if (!machine || others.length > 0)
    return refuseUsage("`generations` wants one machine, since each has its own", "generations");
  const quiet = (): void => {};
  return onConnection(machine, start.options, quiet, async (transport) => {
    const list = await listGenerations(transport, machine.name);
    if (!list.ok) return refuse(list.problems);
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
      const counts = `${plural(g.files, "file")}, ${plural(g.units, "action")}`;
      printOut(
        `${g.number === current ? "*" : " "} ${String(g.number).padStart(4)}  ${printable(g.id.slice(0, 12))}  ${time}  ${commit.padEnd(11)}  ${counts.padEnd(21)}  ${printable(g.by)}${g.message ? `  ${printable(g.message)}` : ""}`,
      );
    }
    return EXIT.done;
  });
};

/** `1 file`, `2 files`, `-` for what nobody counted. Pure. */
function plural(count: number | undefined, word: string): string {
  return count === undefined ? `- ${word}s` : `${count} ${word}${count === 1 ? "" : "s"}`;
}

/** UTC to the second; `-` for what is no time, since a machine may say anything. Pure. */
function timeText(seconds: number): string {
  const date = new Date(seconds * 1000);
  return Number.isNaN(date.getTime()) ? "-".padEnd(19) : date.toISOString().replace("T", " ").slice(0, 19);
}
