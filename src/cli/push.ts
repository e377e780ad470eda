/** `labctl push`: builds, plans, and carries the plan out on each machine. */
import { performance } from "node:perf_hooks";
import { isEmpty, planJson } from "../push/plan.ts";
import { pushTree } from "../push/push.ts";
import type { PushEvent, PushOutcome } from "../push/push-event.ts";
import { surveyMachine } from "../push/survey.ts";
import type { ConnectOptions } from "../push/transport.ts";
import type { CommandRun, ParsedArguments } from "./commands.ts";
import { EXIT } from "./exit.ts";
import {
  type BuiltMachine,
  buildMachines,
  findMachines,
  forEachMachine,
  type NamedMachines,
} from "./machines.ts";
import { formatMs, paint, printDiagnostics, printErr, printJson } from "./print.ts";
import { CONFIRM_SECONDS, connectOptions, connectTo, gitState, KEEP_GENERATIONS, whoAmI } from "./remote.ts";
import { eventLine, planLines } from "./show-plan.ts";

export const run: CommandRun = async (args) => {
  const options = connectOptions(args);
  const jobs = Number(args.value("jobs") ?? 8);
  if (!Number.isInteger(jobs) || jobs < 1) {
    printErr("error[usage] --jobs wants a whole number from 1\n  help: labctl push --help");
    return EXIT.usage;
  }
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
  const onEvent = (event: PushEvent): void => {
    if (event.kind === "warning") printDiagnostics([event.diagnostic]);
    else if (event.kind === "planned" && !isEmpty(event.plan) && !args.flag("quiet"))
      printErr(planLines(event.plan).join("\n"));
    else say(eventLine(event));
  };
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
      const survey = await surveyMachine(transport.value, machine.name, wanted, named.known, onEvent);
      if (!survey.ok) {
        printDiagnostics(survey.problems);
        return EXIT.failed;
      }
      outcomes.push({ machine: machine.name, ok: true, plan: planJson(survey.value.plan) });
      return isEmpty(survey.value.plan) ? EXIT.done : EXIT.changes;
    }
    const { commit, dirty } = await git;
    const message = args.value("message");
    const outcome = await pushTree(
      transport.value,
      machine.name,
      wanted,
      named.known,
      {
        confirmSeconds: args.flag("no-confirm") ? 0 : CONFIRM_SECONDS,
        keep: KEEP_GENERATIONS,
        who: whoAmI(),
        meta: {
          ...(commit ? { commit } : {}),
          ...(dirty === undefined ? {} : { dirty: dirty ? "yes" : "no" }),
          ...(message ? { message: message.replace(/[^\P{Cc}]/gu, " ").slice(0, 500) } : {}),
        },
        reconnect: () => connectTo(machine, { ...options, acceptNew: false }),
      },
      onEvent,
    );
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

/** The last line of a push or rollback. Pure but for colour. */
export function outcomeLine(outcome: PushOutcome, ms: number): string {
  const id = outcome.plan.to.slice(0, 12);
  if (!outcome.changed)
    return `${paint("green", "nothing to do")}: it runs generation ${outcome.generation} (${id}), checked in ${formatMs(ms)}`;
  return `${paint("green", "done")}: generation ${outcome.generation} (${id}) in ${formatMs(ms)}`;
}
