/** `labctl graph --network [machine…]`: links, prefixes and names of the fleet as SVG, DOT or JSON on standard output. Offline, and builds nothing. */
import { addressesOf, readText } from "../build/address-book.ts";
import { projectDisk } from "../build/project-disk.ts";
import type { Diagnostic, Result } from "../diagnostics.ts";
import { failure, success } from "../diagnostics.ts";
import { readFacts } from "../facts/read-facts.ts";
import { networkDot } from "../graph/network-dot.ts";
import { type MachineInput, type NetworkGraph, networkGraph } from "../graph/network-graph.ts";
import { networkSvg } from "../graph/network-svg.ts";
import { declaredGuests } from "../guests/declared.ts";
import { LEDGER_FILE, readLedger } from "../ipam/ledger.ts";
import { readReserved } from "../ipam/wish.ts";
import { readProject } from "../project/read-project.ts";
import { selectMachines } from "../project/select-machines.ts";
import type { ParsedArguments } from "./commands.ts";
import { EXIT } from "./exit.ts";
import { printJson, printOut, refuse } from "./print.ts";
import { buildRequest } from "./request.ts";

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
  const request = buildRequest(args, args.positionals);
  if (!request.ok) return request;
  const { root, builtInLayers, facts: settings } = request.value;
  const disk = projectDisk();
  const project = readProject(root, builtInLayers, disk);
  if (!project.ok) return project;
  const selected = selectMachines(project.value.machines, args.positionals);
  if (!selected.ok) return selected;
  const facts = readFacts(root, selected.value, settings, disk);
  if (!facts.ok) return facts;
  const problems: Diagnostic[] = [];
  const ledger = readLedger(readText(root, LEDGER_FILE, disk, problems));
  if (!ledger.ok) problems.push(...ledger.problems);
  const reserved = readReserved(project.value.reserved, problems);
  const inputs = selected.value.flatMap((machine): MachineInput[] => {
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
  return success({ graph: networkGraph(inputs, ledger.value, reserved), name: project.value.name });
}
