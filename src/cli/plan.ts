/** `labctl plan`: what a push would do, and why, from the machine's real state. Exit 0: nothing, 2: changes, 1: error. */
import { performance } from "node:perf_hooks";
import { isEmpty, planJson } from "../push/plan.ts";
import { surveyMachine } from "../push/survey.ts";
import type { CommandRun } from "./commands.ts";
import { EXIT } from "./exit.ts";
import { buildMachines, findMachines, forEachMachine } from "./machines.ts";
import { printDiagnostics, printErr, printJson, printOut } from "./print.ts";
import { connectOptions, connectTo } from "./remote.ts";
import { eventLine, planLines } from "./show-plan.ts";

export const run: CommandRun = async (args) => {
  const options = connectOptions(args);
  const named = options.ok ? await findMachines(args, args.positionals) : options;
  const built = named.ok ? await buildMachines(args, named.value) : named;
  if (!options.ok || !named.ok || !built.ok) {
    printDiagnostics(
      !options.ok ? options.problems : !named.ok ? named.problems : built.ok ? [] : built.problems,
    );
    return EXIT.failed;
  }
  const plans: object[] = [];
  const code = await forEachMachine(built.value, 8, async ({ machine, wanted }) => {
    const startedAt = performance.now();
    const transport = await connectTo(machine, options.value);
    if (!transport.ok) {
      printDiagnostics(transport.problems);
      return EXIT.failed;
    }
    printDiagnostics(transport.warnings);
    if (!args.flag("quiet"))
      printErr(
        `${machine.name}: ${eventLine({ kind: "connected", label: transport.value.label, ms: performance.now() - startedAt })}`,
      );
    try {
      const survey = await surveyMachine(transport.value, machine.name, wanted, named.value.known, () => {}, {
        stage: false,
        takeOver: args.flag("take-over"),
      });
      if (!survey.ok) {
        printDiagnostics(survey.problems);
        return EXIT.failed;
      }
      const { plan } = survey.value;
      plans.push(planJson(plan));
      if (!args.flag("json")) printOut(planLines(plan).join("\n"));
      return isEmpty(plan) ? EXIT.done : EXIT.changes;
    } finally {
      await transport.value.close();
    }
  });
  // One machine, one document; several, one list.
  if (args.flag("json")) printJson(named.value.machines.length === 1 ? (plans[0] ?? null) : plans);
  return code;
};
