/** `labctl push`: builds, plans, and carries the plan out on each machine. */
import { type Diagnostic, failure, problem, type Result } from "../diagnostics.ts";
import type { Machine } from "../project/project.ts";
import { diffBuilt } from "../push/live-contents.ts";
import { isEmpty, planJson } from "../push/plan.ts";
import { pushTree } from "../push/push.ts";
import type { PushEvent, PushOutcome } from "../push/push-event.ts";
import { type Survey, surveyMachine } from "../push/survey.ts";
import type { ConnectOptions, Transport } from "../push/transport.ts";
import type { CommandRun, ParsedArguments } from "./commands.ts";
import { untilCtrlC } from "./ctrl-c.ts";
import { EXIT } from "./exit.ts";
import { refuseUsage } from "./help.ts";
import { type BuiltMachine, forEachMachine, type NamedMachines, readWanted } from "./machines.ts";
import { formatMs, paint, printDiagnostics, printErr, printJson, refuse } from "./print.ts";
import { confirmSeconds, connectTo, gitState, KEEP_GENERATIONS, whoAmI, wholeNumber } from "./remote.ts";
import { diffLines } from "./show-diff.ts";
import { eventLine, planLines } from "./show-plan.ts";
import { lookOptions, onConnection, type Start, startWithTrees } from "./start.ts";

/** Machines that are pushed to at once, unless the command line says otherwise. */
const DEFAULT_JOBS = 8;

export const run: CommandRun = async (args) => {
  const jobs = wholeNumber(args, "jobs", DEFAULT_JOBS, 1000);
  if (typeof jobs === "string") return refuseUsage(jobs, "push");
  const waits = confirmSeconds(args);
  if (typeof waits === "string") return refuseUsage(waits, "push");
  return untilCtrlC(async (signal) => {
    const start = await startWithTrees(args, "push", args.positionals);
    if (typeof start === "number") return start;
    const outcomes: object[] = [];
    const code = await forEachMachine(start.built, jobs, (built) =>
      pushOne(built, { ...start, signal }, args, outcomes),
    );
    if (args.flag("json")) printJson({ machines: outcomes });
    return code;
  });
};

function pushOne(
  { machine, wanted }: BuiltMachine,
  { named, options, signal }: Start,
  args: ParsedArguments,
  outcomes: object[],
): Promise<number> {
  const startedAt = performance.now();
  const say = (text: string | undefined): void => {
    if (text !== undefined && !args.flag("quiet")) printErr(`${machine.name}: ${text}`);
  };
  const onEvent = eventPrinter(machine.name, args);
  const git = gitState(named.root);
  const failed = (problems: readonly Diagnostic[]): void => {
    outcomes.push({ machine: machine.name, ok: false, problems });
  };
  const work = async (transport: Transport): Promise<number> => {
    if (args.flag("dry-run")) {
      const look = lookOptions(args);
      const survey = await surveyMachine(transport, machine.name, wanted, named.known, onEvent, look);
      if (!survey.ok) {
        failed(survey.problems);
        return refuse(survey.problems);
      }
      await showDiff(args, transport, { machine, wanted }, survey.value);
      outcomes.push({ machine: machine.name, ok: true, plan: planJson(survey.value.plan) });
      return isEmpty(survey.value.plan) ? EXIT.done : EXIT.changes;
    }
    const outcome = await pushBuilt(
      { machine, wanted },
      transport,
      named,
      options,
      args,
      onEvent,
      git,
      signal,
    );
    if (!outcome.ok) {
      failed(outcome.problems);
      return refuse(outcome.problems);
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
  };
  return onConnection(machine, options, onEvent, work, failed, signal);
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

/** Nothing without `--diff`. That a diff can't be shown stops no push. */
async function showDiff(
  args: ParsedArguments,
  transport: Transport,
  { machine, wanted }: BuiltMachine,
  survey: Survey,
): Promise<void> {
  if (!args.flag("diff")) return;
  const diffs = await diffBuilt(transport, machine.name, survey, wanted);
  if (!diffs.ok) printDiagnostics(diffs.problems);
  else for (const line of diffLines(diffs.value, paint)) printErr(line);
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
  signal?: AbortSignal,
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
    prunePackages: args.flag("prune-packages"),
    meta,
    reconnect: () => connectTo(machine, { ...options, acceptNew: false }),
    onPlan: (survey: Survey) => showDiff(args, transport, { machine, wanted }, survey),
    ...(signal ? { signal } : {}),
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
