/** `labctl facts probe`, `labctl facts show <machine>` and `labctl facts origin <fact> [machine…]`: values, and where they come from. */
import { readGuestFacts } from "../build/guest-facts.ts";
import { type Diagnostic, formatPlace } from "../diagnostics.ts";
import type { Fact, FactOrigin } from "../facts/fact.ts";
import { readFacts } from "../facts/read-facts.ts";
import type { FactName } from "../paths.ts";
import type { CommandRun } from "./commands.ts";
import { EXIT } from "./exit.ts";
import { refuseUsage } from "./help.ts";
import { printDiagnostics, printErr, printJson, printOut, refuse } from "./print.ts";
import { readSelection } from "./selection.ts";

export const run: CommandRun = async (args) => {
  const [verb, ...rest] = args.positionals;
  if (verb === "probe") {
    const { probeMachines } = await import("./facts-probe.ts");
    return probeMachines(args, rest);
  }
  if (verb !== "show" && verb !== "origin")
    return refuseUsage(`\`facts\` knows show, origin and probe, not \`${verb}\``, "facts");
  if (rest.length === 0)
    return refuseUsage(
      `\`facts ${verb}\` wants ${verb === "show" ? "a machine" : "the name of a fact"}`,
      "facts",
    );
  const patterns = verb === "show" ? rest : rest.slice(1);
  const selection = readSelection(args, patterns);
  if (!selection.ok) return refuse(selection.problems);
  const { request, machines, disk } = selection.value;
  const { root, facts: given } = request;
  const facts = readFacts(root, machines, given, disk);
  if (!facts.ok) return refuse(facts.problems);
  const problems: Diagnostic[] = [];
  const all = machines.flatMap((m) => {
    const own = facts.value.get(m.name);
    if (!own) return [];
    const guests = readGuestFacts(root, m, own, given, disk, problems);
    return [[m.name, own] as const, ...[...guests].map(([g, f]) => [`${m.name}/${g}`, f] as const)];
  });
  printDiagnostics(problems);
  const out = [];
  for (const [machine, { facts: set, searched }] of all) {
    const wanted =
      verb === "show"
        ? [...set.values()].sort((a, b) => (a.name < b.name ? -1 : 1))
        : [set.get(rest[0] as FactName)].filter((f) => f !== undefined);
    if (wanted.length === 0 && verb === "origin")
      printErr(`${machine}: \`${rest[0]}\` is unset; looked in: ${searched.join(", ")}`);
    for (const fact of wanted) {
      out.push({
        machine,
        name: fact.name,
        value: fact.value,
        origin: fact.origin,
        overridden: fact.overridden,
      });
      if (!args.flag("json")) for (const line of linesOf(machine, fact, verb === "origin")) printOut(line);
    }
  }
  if (args.flag("json")) printJson({ facts: out });
  return out.length > 0 || verb === "show" ? EXIT.done : EXIT.failed;
};

function linesOf(machine: string, fact: Fact, withLosers: boolean): string[] {
  const head = `${machine}: ${fact.name}=${JSON.stringify(fact.value)}  (${phrase(fact.origin)})`;
  return withLosers
    ? [head, ...fact.overridden.map((o) => `  over ${JSON.stringify(o.value)}  (${phrase(o)})`)]
    : [head];
}

function phrase(origin: FactOrigin): string {
  return origin.place
    ? `${origin.level}, ${formatPlace({ file: origin.place.file, ...(origin.place.line === undefined ? {} : { line: origin.place.line }) })}`
    : "--fact";
}
