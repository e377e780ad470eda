/** `labctl rollback <machine> [n]`: brings an earlier generation back, from what the machine itself kept. */
import { performance } from "node:perf_hooks";
import { buildLayout } from "../build/layout.ts";
import { blake3 } from "../hash.ts";
import { isEmpty, planJson } from "../push/plan.ts";
import type { PushEvent } from "../push/push-event.ts";
import { planRollback, rollBack } from "../push/rollback.ts";
import { findTarget } from "../push/rollback-target.ts";
import type { CommandRun } from "./commands.ts";
import { EXIT } from "./exit.ts";
import { refuseUsage } from "./help.ts";
import { findMachines } from "./machines.ts";
import { printDiagnostics, printErr, printJson } from "./print.ts";
import { outcomeLine } from "./push.ts";
import { confirmSeconds, connectOptions, connectTo, KEEP_GENERATIONS, whoAmI } from "./remote.ts";
import { eventLine, planLines } from "./show-plan.ts";

export const run: CommandRun = async (args) => {
  const [pattern = "", numberText] = args.positionals;
  const number = numberText === undefined ? undefined : Number(numberText);
  if (number !== undefined && !(Number.isInteger(number) && number > 0))
    return refuseUsage(`\`${numberText}\` is no generation's number`, "rollback");
  const waits = confirmSeconds(args);
  if (typeof waits === "string") return refuseUsage(waits, "rollback");
  const options = connectOptions(args);
  const named = options.ok ? await findMachines(args, [pattern]) : options;
  if (!options.ok || !named.ok) {
    printDiagnostics(!options.ok ? options.problems : named.ok ? [] : named.problems);
    return EXIT.failed;
  }
  const [machine, ...others] = named.value.machines;
  if (!machine || others.length > 0)
    return refuseUsage("`rollback` wants one machine, since generations differ between machines", "rollback");
  const startedAt = performance.now();
  const transport = await connectTo(machine, options.value);
  if (!transport.ok) {
    printDiagnostics(transport.problems);
    return EXIT.failed;
  }
  printDiagnostics(transport.warnings);
  const onEvent = (event: PushEvent): void => {
    if (args.flag("quiet")) return;
    if (event.kind === "planned") printErr(planLines(event.plan).join("\n"));
    else {
      const line = eventLine(event);
      if (line !== undefined) printErr(`${machine.name}: ${line}`);
    }
  };
  onEvent({ kind: "connected", label: transport.value.label, ms: performance.now() - startedAt });
  const refuse = (problems: Parameters<typeof printDiagnostics>[0]): number => {
    printDiagnostics(problems);
    if (args.flag("json")) printJson({ machine: machine.name, ok: false, problems });
    return EXIT.failed;
  };
  try {
    const layout = buildLayout(named.value.root);
    const local = { folder: layout.tree(machine.name), manifestFile: layout.manifest(machine.name) };
    const target = await findTarget(transport.value, machine.name, number, await blake3(), local);
    if (!target.ok) return refuse(target.problems);
    const survey = await planRollback(
      transport.value,
      machine.name,
      target.value,
      named.value.known,
      onEvent,
    );
    if (!survey.ok) return refuse(survey.problems);
    if (args.flag("dry-run")) {
      if (args.flag("json")) printJson(planJson(survey.value.plan));
      return isEmpty(survey.value.plan) ? EXIT.done : EXIT.changes;
    }
    const message = args.value("message");
    const outcome = await rollBack(
      transport.value,
      machine.name,
      target.value,
      survey.value,
      named.value.known,
      {
        confirmSeconds: waits,
        keep: KEEP_GENERATIONS,
        who: whoAmI(),
        takeOver: false,
        meta: {
          rollback: String(target.value.number),
          message: message ?? `rollback to generation ${target.value.number}`,
        },
        reconnect: () => connectTo(machine, { ...options.value, acceptNew: false }),
      },
      onEvent,
    );
    if (!outcome.ok) return refuse(outcome.problems);
    if (!args.flag("quiet"))
      printErr(
        `${machine.name}: back at the tree of generation ${target.value.number}; ${outcomeLine(outcome.value, performance.now() - startedAt)}`,
      );
    if (args.flag("json"))
      printJson({
        machine: machine.name,
        ok: true,
        to: target.value.number,
        number: outcome.value.generation,
        plan: planJson(outcome.value.plan),
      });
    return EXIT.done;
  } finally {
    await transport.value.close();
  }
};
