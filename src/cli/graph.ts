/**
 * `labctl graph <machine>`: the flow layer → file → unit as SVG, DOT or JSON on standard output; `--network`: how machines hang
 * together. Offline.
 */
import { readBuiltTexts, treeView } from "../build/tree-view.ts";
import { graphDot } from "../graph/dot.ts";
import { graphSvg } from "../graph/svg.ts";
import { treeGraph } from "../graph/tree-graph.ts";
import { readUnitSet } from "../units/unit-set.ts";
import type { CommandRun } from "./commands.ts";
import { EXIT } from "./exit.ts";
import { refuseUsage } from "./help.ts";
import { buildMachines, findMachines } from "./machines.ts";
import { printDiagnostics, printJson, printOut } from "./print.ts";

export const run: CommandRun = async (args) => {
  if (args.flag("dot") && args.flag("json"))
    return refuseUsage("--dot and --json are two answers to one question", "graph");
  if (args.flag("network")) return (await import("./graph-network.ts")).drawNetwork(args);
  if (args.positionals.length === 0)
    return refuseUsage("`graph` wants a machine, or --network for all of them", "graph");
  const named = await findMachines(args, args.positionals);
  const built = named.ok ? await buildMachines(args, named.value) : named;
  if (!built.ok) {
    printDiagnostics(built.problems);
    return EXIT.failed;
  }
  const [one, ...others] = built.value;
  if (!one || others.length > 0) return refuseUsage("`graph` draws one machine", "graph");
  const { manifest, folder } = one.wanted;
  const graph = treeGraph(manifest, readUnitSet(treeView(manifest, readBuiltTexts(manifest, folder))));
  if (args.flag("json")) printJson(graph);
  else printOut((args.flag("dot") ? graphDot(graph) : graphSvg(graph)).trimEnd());
  return EXIT.done;
};
