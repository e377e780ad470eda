/** `labctl facts probe <machine…>`: asks machines what they are and keeps the answers in `facts/probed/`. */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ProbedFacts } from "../facts/probe-answer.ts";
import { fetchFacts } from "../push/fetch-facts.ts";
import type { ParsedArguments } from "./commands.ts";
import { EXIT } from "./exit.ts";
import { refuseUsage } from "./help.ts";
import { forEachMachine } from "./machines.ts";
import { formatMs, printErr, printJson, refuse } from "./print.ts";
import { onConnection, startOnMachines } from "./start.ts";

/** Each machine's file is replaced only if a fact in it changed, so that a probe of an unchanged machine changes nothing. */
export async function probeMachines(args: ParsedArguments, patterns: readonly string[]): Promise<number> {
  if (patterns.length === 0) return refuseUsage("`facts probe` wants a machine", "facts");
  const start = await startOnMachines(args, "facts", patterns);
  if (typeof start === "number") return start;
  const { root, machines } = start.named;
  const probed: object[] = [];
  const quiet = (): void => {};
  const code = await forEachMachine(machines, 8, (machine) =>
    onConnection(machine, start.options, quiet, async (transport) => {
      const startedAt = performance.now();
      const facts = await fetchFacts(transport, machine.name, [
        ...new Set(machine.layers.flatMap((l) => l.packages)),
      ]);
      if (!facts.ok) return refuse(facts.problems);
      const file = join(root, "facts", "probed", `${machine.name}.json`);
      const changed = changedNames(file, facts.value);
      probed.push({ machine: machine.name, changed, facts: facts.value });
      if (changed.length > 0 && !args.flag("dry-run")) keep(file, facts.value);
      const said =
        changed.length === 0
          ? "nothing changed"
          : `${args.flag("dry-run") ? "would change" : "changed"}: ${changed.join(", ")}`;
      printErr(
        `${machine.name}: ${Object.keys(facts.value).length} facts in ${formatMs(performance.now() - startedAt)}, ${said}`,
      );
      return changed.length > 0 && args.flag("dry-run") ? EXIT.changes : EXIT.done;
    }),
  );
  if (args.flag("json")) printJson({ machines: probed });
  return code;
}

function changedNames(file: string, facts: ProbedFacts): string[] {
  let before: Record<string, unknown> = {};
  try {
    before = (JSON.parse(readFileSync(file, "utf8")) as { facts?: Record<string, unknown> }).facts ?? {};
  } catch {
    // Never probed, or damaged: everything counts as new.
  }
  const names = new Set([...Object.keys(before), ...Object.keys(facts)]);
  return [...names].filter((name) => JSON.stringify(before[name]) !== JSON.stringify(facts[name])).sort();
}

/** Sorted and indented: it is committed, and read in diffs. */
function keep(file: string, facts: ProbedFacts): void {
  mkdirSync(join(file, ".."), { recursive: true });
  const date = new Date().toISOString().replace(/\.\d+Z$/, "Z");
  writeFileSync(`${file}.${process.pid}`, `${JSON.stringify({ probedAt: date, facts }, null, 2)}\n`);
  renameSync(`${file}.${process.pid}`, file);
}
