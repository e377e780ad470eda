/** `labctl rollback <machine> [n]`: brings an earlier generation back, from what the machine itself kept. */
import { buildLayout } from "../build/layout.ts";
import { type Diagnostic, printable } from "../diagnostics.ts";
import { blake3 } from "../hash.ts";
import { diffContents } from "../push/diff/live-contents.ts";
import { isEmpty, planJson } from "../push/plan.ts";
import type { PushEvent } from "../push/push-event.ts";
import { planRollback, rollBack } from "../push/rollback.ts";
import { findTarget } from "../push/rollback-target.ts";
import type { Transport } from "../push/transport.ts";
import type { CommandRun, ParsedArguments } from "./commands.ts";
import { untilCtrlC } from "./ctrl-c.ts";
import { EXIT } from "./exit.ts";
import { refuseUsage } from "./help.ts";
import { paint, printErr, printJson, refuse } from "./print.ts";
import { outcomeLine } from "./push-built.ts";
import { confirmSeconds, connectTo, KEEP_GENERATIONS, whoAmI } from "./remote.ts";
import { diffLines } from "./show-diff.ts";
import { eventLine, planLines } from "./show-plan.ts";
import { onConnection, startOnMachines } from "./start.ts";

export const run: CommandRun = (args) => untilCtrlC((signal) => rollback(args, signal));

async function rollback(args: ParsedArguments, signal: AbortSignal): Promise<number> {
  const [pattern = "", numberText] = args.positionals;
  if (numberText !== undefined && !/^[1-9]\d{0,8}$/.test(numberText))
    return refuseUsage(`\`${printable(numberText)}\` is no generation's number`, "rollback");
  const number = numberText === undefined ? undefined : Number(numberText);
  const waits = confirmSeconds(args);
  if (typeof waits === "string") return refuseUsage(waits, "rollback");
  const start = await startOnMachines(args, "rollback", [pattern]);
  if (typeof start === "number") return start;
  const { options, named } = start;
  const [machine, ...others] = named.machines;
  if (!machine || others.length > 0)
    return refuseUsage("`rollback` wants one machine, since generations differ between machines", "rollback");
  const startedAt = performance.now();
  const onEvent = (event: PushEvent): void => {
    if (args.flag("quiet")) return;
    if (event.kind === "planned") printErr(planLines(event.plan).join("\n"));
    else {
      const line = eventLine(event);
      if (line !== undefined) printErr(`${machine.name}: ${line}`);
    }
  };
  const failed = (problems: readonly Diagnostic[]): void => {
    if (args.flag("json")) printJson({ machine: machine.name, ok: false, problems });
  };
  const refused = (problems: readonly Diagnostic[]): number => {
    failed(problems);
    return refuse(problems);
  };
  const work = async (transport: Transport): Promise<number> => {
    const layout = buildLayout(named.root);
    const local = { folder: layout.tree(machine.name), manifestFile: layout.manifest(machine.name) };
    const target = await findTarget(transport, machine.name, number, await blake3(), local);
    if (!target.ok) return refused(target.problems);
    const survey = await planRollback(transport, machine.name, target.value, named.known, onEvent);
    if (!survey.ok) return refused(survey.problems);
    if (args.flag("diff")) {
      const { before, plan } = survey.value;
      const { manifest, keptIn, localFolder: folder } = target.value;
      const sources = { manifests: [before, manifest], keptIn, folder };
      const diffs = await diffContents(transport, machine.name, plan.files, sources);
      if (!diffs.ok) return refused(diffs.problems);
      for (const line of diffLines(diffs.value, paint)) printErr(line);
    }
    if (args.flag("dry-run")) {
      if (args.flag("json")) printJson(planJson(survey.value.plan));
      return isEmpty(survey.value.plan) ? EXIT.done : EXIT.changes;
    }
    const message = args.value("message");
    const outcome = await rollBack(
      transport,
      machine.name,
      target.value,
      survey.value,
      named.known,
      {
        confirmSeconds: waits,
        keep: machine.keepGenerations ?? KEEP_GENERATIONS,
        who: whoAmI(),
        takeOver: false,
        meta: {
          rollback: String(target.value.number),
          message: message ?? `rollback to generation ${target.value.number}`,
        },
        reconnect: () => connectTo(machine, { ...options, acceptNew: false }),
        signal,
      },
      onEvent,
    );
    if (!outcome.ok) return refused(outcome.problems);
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
  };
  return onConnection(machine, options, onEvent, work, failed, signal);
}
