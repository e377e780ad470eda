/** `labctl graph --network [machine…]`: links, prefixes and names of the fleet as SVG, DOT or JSON on standard output. Offline, and builds nothing. */
import { addressesOf, readText } from "../build/address-book.ts";
import type { Diagnostic, Result } from "../diagnostics.ts";
import { failure, success } from "../diagnostics.ts";
import { readFacts } from "../facts/read-facts.ts";
import { networkDot } from "../graph/network-dot.ts";
import { type MachineInput, type NetworkGraph, networkGraph } from "../graph/network-graph.ts";
import { networkSvg } from "../graph/network-svg.ts";
import { declaredGuests } from "../guests/declared.ts";
import { LEDGER_FILE, readLedger } from "../ipam/ledger.ts";
import { readReserved } from "../ipam/wish.ts";
import type { ParsedArguments } from "./commands.ts";
import { EXIT } from "./exit.ts";
import { printJson, printOut, refuse } from "./print.ts";
import { readSelection } from "./selection.ts";

/** Exit code 0; 1 for a repository that can't be read. */
export function drawNetwork(args: ParsedArguments): number {
  const read = readNetwork(args);
  if (!read.ok) return refuse(read.problems);
  const { graph, name } = read.value;
  if (args.flag("json")) printJson(graph);
  else printOut((args.flag("dot") ? networkDot(graph, name) : networkSvg(graph, name)).trimEnd());
  return EXIT.done;
}

function readNetwork(args: ParsedArguments): Result<{ readonly graph: NetworkGraph; readonly name: string }> {
  const selection = readSelection(args, args.positionals);
  if (!selection.ok) return selection;
  const { request, project, machines, disk } = selection.value;
  const { root } = request;
  const facts = readFacts(root, machines, request.facts, disk);
  if (!facts.ok) return facts;
  const problems: Diagnostic[] = [];
  const ledger = readLedger(readText(root, LEDGER_FILE, disk, problems));
  if (!ledger.ok) problems.push(...ledger.problems);
  const reserved = readReserved(project.reserved, problems);
  const inputs = machines.flatMap((machine): MachineInput[] => {
    const own = facts.value.get(machine.name);
    if (!own) return [];
    const guests = declaredGuests(machine, problems).map(({ guest: { name, kind, network } }) => ({
      name,
      kind,
      ...(network === undefined ? {} : { network }),
    }));
    return [{ machine, facts: own, addresses: addressesOf(machine, own, problems), guests }];
  });
  if (!ledger.ok || problems.length > 0) return failure(...problems);
  return success({ graph: networkGraph(inputs, ledger.value, reserved), name: project.name });
}
