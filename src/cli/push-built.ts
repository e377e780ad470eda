/** One machine's push as the command line asks for it, over a connection that is open. Must not know of other machines. */
import { failure, problem, type Result } from "../diagnostics.ts";
import type { Machine } from "../project/project.ts";
import { diffBuilt } from "../push/diff/live-contents.ts";
import { pushTree } from "../push/push.ts";
import type { PushEvent, PushOutcome } from "../push/push-event.ts";
import type { PushSettings } from "../push/push-settings.ts";
import type { SavedMachine } from "../push/saved-plan/saved-plan.ts";
import type { Survey } from "../push/survey.ts";
import type { ConnectOptions, Transport } from "../push/transport.ts";
import type { ParsedArguments } from "./commands.ts";
import { openDisplay } from "./fleet/display.ts";
import { type BuiltMachine, type NamedMachines, readWanted } from "./machines.ts";
import { formatMs, paint, printDiagnostics, printErr } from "./print.ts";
import { ownKeyring } from "./prompts.ts";
import { confirmSeconds, connectTo, KEEP_GENERATIONS, whoAmI } from "./remote.ts";
import { gitState } from "./repository.ts";
import { diffLines } from "./show-diff.ts";

/**
 * False: a diff is of what the machine has now, waves compare what had failed before, and what is in the way, or of no use any
 * more, is nothing that a plan from memory knows.
 */
export function plansFromMemory(args: ParsedArguments): boolean {
  return (
    !["diff", "take-over", "prune-packages"].some((name) => args.flag(name)) &&
    args.value("wave") === undefined
  );
}

/** How a push shall go, with what the generation is to remember, or a phrase that says what is wrong. */
export function pushSettings(
  machine: Machine,
  named: NamedMachines,
  options: ConnectOptions,
  args: ParsedArguments,
  meta: Readonly<Record<string, string>>,
): PushSettings | string {
  const waits = confirmSeconds(args);
  if (typeof waits === "string") return waits;
  return {
    confirmSeconds: waits,
    keep: machine.keepGenerations ?? KEEP_GENERATIONS,
    who: whoAmI(),
    takeOver: args.flag("take-over"),
    fromMemory: plansFromMemory(args),
    prunePackages: args.flag("prune-packages"),
    repository: named.repository,
    secrets: { root: named.root, keyring: ownKeyring() },
    meta,
    reconnect: () => connectTo(machine, { ...options, acceptNew: false }),
  };
}

/** Nothing without `--diff`. That a diff can't be shown stops no push. */
export async function showDiff(
  args: ParsedArguments,
  transport: Transport,
  { machine, wanted }: BuiltMachine,
  survey: Survey,
): Promise<void> {
  if (!args.flag("diff")) return;
  const diffs = await diffBuilt(transport, machine.name, survey, wanted);
  if (!diffs.ok) printDiagnostics(diffs.problems);
  // All of it at once, so that no other machine's lines come in between.
  else if (diffs.value.length > 0) printErr(diffLines(diffs.value, paint).join("\n"));
}

/** Pushes a built tree over an open connection, with what the command line says of it. */
export async function pushBuilt(
  { machine, wanted }: BuiltMachine,
  transport: Transport,
  named: NamedMachines,
  options: ConnectOptions,
  args: ParsedArguments,
  onEvent: (event: PushEvent) => void,
  git: ReturnType<typeof gitState>,
  signal?: AbortSignal,
  expected?: SavedMachine,
): Promise<Result<PushOutcome>> {
  const { commit, dirty } = await git;
  const message = args.value("message");
  const settings = pushSettings(machine, named, options, args, {
    ...(commit ? { commit } : {}),
    ...(dirty === undefined ? {} : { dirty: dirty ? "yes" : "no" }),
    ...(message ? { message: message.slice(0, 500) } : {}),
  });
  if (typeof settings === "string") return failure(problem("usage", settings));
  const watched: PushSettings = {
    ...settings,
    onPlan: (survey: Survey) => showDiff(args, transport, { machine, wanted }, survey),
    ...(signal ? { signal } : {}),
    ...(expected ? { expected } : {}),
  };
  return pushTree(transport, machine.name, wanted, named.known, watched, onEvent);
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
  const display = openDisplay([machine.name], { quiet: args.flag("quiet"), live: false });
  const onEvent = (event: PushEvent): void => display.event(machine.name, event);
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
