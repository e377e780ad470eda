/** `labctl push`: builds, plans, and carries the plan out on each machine. */
import { performance } from "node:perf_hooks";
import { failure, problem, type Result } from "../diagnostics.ts";
import type { Machine } from "../project/project.ts";
import { isEmpty, planJson } from "../push/plan.ts";
import { pushTree } from "../push/push.ts";
import type { PushEvent, PushOutcome } from "../push/push-event.ts";
import { surveyMachine } from "../push/survey.ts";
import type { ConnectOptions, Transport } from "../push/transport.ts";
import type { CommandRun, ParsedArguments } from "./commands.ts";
import { EXIT } from "./exit.ts";
import { refuseUsage } from "./help.ts";
import {
  type BuiltMachine,
  buildMachines,
  findMachines,
  forEachMachine,
  type NamedMachines,
  readWanted,
} from "./machines.ts";
import { formatMs, paint, printDiagnostics, printErr, printJson } from "./print.ts";
import { confirmSeconds, connectOptions, connectTo, gitState, KEEP_GENERATIONS, whoAmI } from "./remote.ts";
import { eventLine, planLines } from "./show-plan.ts";

export const run: CommandRun = async (args) => {
  const options = connectOptions(args);
  const jobs = Number(args.value("jobs") ?? 8);
  if (!Number.isInteger(jobs) || jobs < 1) return refuseUsage("--jobs wants a whole number from 1", "push");
  const waits = confirmSeconds(args);
  if (typeof waits === "string") return refuseUsage(waits, "push");
  const named = options.ok ? await findMachines(args, args.positionals) : options;
  const built = named.ok ? await buildMachines(args, named.value) : named;
  if (!options.ok || !named.ok || !built.ok) {
    printDiagnostics(
      !options.ok ? options.problems : !named.ok ? named.problems : built.ok ? [] : built.problems,
    );
    return EXIT.failed;
  }
  const outcomes: object[] = [];
  const code = await forEachMachine(built.value, jobs, (b) =>
    pushOne(b, named.value, options.value, args, outcomes),
  );
  if (args.flag("json")) printJson({ machines: outcomes });
  return code;
};

async function pushOne(
  { machine, wanted }: BuiltMachine,
  named: NamedMachines,
  options: ConnectOptions,
  args: ParsedArguments,
  outcomes: object[],
): Promise<number> {
  const startedAt = performance.now();
  const say = (text: string | undefined): void => {
    if (text !== undefined && !args.flag("quiet")) printErr(`${machine.name}: ${text}`);
  };
  const onEvent = eventPrinter(machine.name, args);
  const git = gitState(named.root);
  const transport = await connectTo(machine, options);
  if (!transport.ok) {
    printDiagnostics(transport.problems);
    outcomes.push({ machine: machine.name, ok: false, problems: transport.problems });
    return EXIT.failed;
  }
  printDiagnostics(transport.warnings);
  onEvent({ kind: "connected", label: transport.value.label, ms: performance.now() - startedAt });
  try {
    if (args.flag("dry-run")) {
      const survey = await surveyMachine(transport.value, machine.name, wanted, named.known, onEvent, {
        stage: false,
        takeOver: args.flag("take-over"),
      });
      if (!survey.ok) {
        printDiagnostics(survey.problems);
        return EXIT.failed;
      }
      outcomes.push({ machine: machine.name, ok: true, plan: planJson(survey.value.plan) });
      return isEmpty(survey.value.plan) ? EXIT.done : EXIT.changes;
    }
    const outcome = await pushBuilt({ machine, wanted }, transport.value, named, options, args, onEvent, git);
    if (!outcome.ok) {
      printDiagnostics(outcome.problems);
      outcomes.push({ machine: machine.name, ok: false, problems: outcome.problems });
      return EXIT.failed;
    }
    say(outcomeLine(outcome.value, performance.now() - startedAt));
    outcomes.push({
      machine: machine.name,
      ok: true,
      changed: outcome.value.changed,
      number: outcome.value.generation,
      plan: planJson(outcome.value.plan),
    });
    return EXIT.done;
  } finally {
    await transport.value.close();
  }
}

/** Prints a push's events as they come. */
function eventPrinter(machine: string, args: ParsedArguments): (event: PushEvent) => void {
  return (event) => {
    if (event.kind === "warning") printDiagnostics([event.diagnostic]);
    if (args.flag("quiet")) return;
    if (event.kind === "planned" && !isEmpty(event.plan)) printErr(planLines(event.plan).join("\n"));
    const line = eventLine(event);
    if (line !== undefined) printErr(`${machine}: ${line}`);
  };
}

/** Pushes a built tree over an open connection, with what the command line says of it. */
async function pushBuilt(
  { machine, wanted }: BuiltMachine,
  transport: Transport,
  named: NamedMachines,
  options: ConnectOptions,
  args: ParsedArguments,
  onEvent: (event: PushEvent) => void,
  git: ReturnType<typeof gitState>,
): Promise<Result<PushOutcome>> {
  const waits = confirmSeconds(args);
  if (typeof waits === "string") return failure(problem("usage", waits));
  const { commit, dirty } = await git;
  const message = args.value("message");
  const meta = {
    ...(commit ? { commit } : {}),
    ...(dirty === undefined ? {} : { dirty: dirty ? "yes" : "no" }),
    ...(message ? { message: message.slice(0, 500) } : {}),
  };
  const settings = {
    confirmSeconds: waits,
    keep: KEEP_GENERATIONS,
    who: whoAmI(),
    takeOver: args.flag("take-over"),
    meta,
    reconnect: () => connectTo(machine, { ...options, acceptNew: false }),
  };
  return pushTree(transport, machine.name, wanted, named.known, settings, onEvent);
}

/** For `watch`: pushes what was just built; false if it failed, and then the connection is not to be trusted. */
export async function pushOpened(
  machine: Machine,
  transport: Transport,
  named: NamedMachines,
  options: ConnectOptions,
  args: ParsedArguments,
): Promise<boolean> {
  const startedAt = performance.now();
  const wanted = await readWanted(named.root, machine);
  const onEvent = eventPrinter(machine.name, args);
  const outcome = wanted.ok
    ? await pushBuilt(
        { machine, wanted: wanted.value },
        transport,
        named,
        options,
        args,
        onEvent,
        gitState(named.root),
      )
    : wanted;
  if (!outcome.ok) printDiagnostics(outcome.problems);
  else if (!args.flag("quiet"))
    printErr(`${machine.name}: ${outcomeLine(outcome.value, performance.now() - startedAt)}`);
  return outcome.ok;
}

/** The last line of a push or rollback. Pure but for colour. */
export function outcomeLine(outcome: PushOutcome, ms: number): string {
  const id = outcome.plan.to.slice(0, 12);
  if (!outcome.changed)
    return `${paint("green", "nothing to do")}: it runs generation ${outcome.generation} (${id}), checked in ${formatMs(ms)}`;
  return `${paint("green", "done")}: generation ${outcome.generation} (${id}) in ${formatMs(ms)}`;
}
