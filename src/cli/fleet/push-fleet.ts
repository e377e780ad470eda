/**
 * What `labctl push` does on its machines, over one connection each: connect, push, check again, take back. Owns the
 * connections and what is told of them; in which order machines come, and what a failure means, is `src/push/fleet/fleet.ts`.
 */
import { buildLayout } from "../../build/layout.ts";
import type { Diagnostic, Result } from "../../diagnostics.ts";
import { blake3 } from "../../hash.ts";
import { type FleetEvent, type FleetSettings, type FleetWork, runFleet } from "../../push/fleet/fleet.ts";
import { endedBadly, endedWell, LeftTracker, type MachineEnd } from "../../push/fleet/machine-end.ts";
import { checkPushed, type PushedMachine, revertPushed } from "../../push/fleet/wave-machine.ts";
import { unlessInterrupted } from "../../push/interruption.ts";
import { foreseeSurvey } from "../../push/memory-survey.ts";
import { isEmpty, type PushPlan, planJson } from "../../push/plan.ts";
import { describe } from "../../push/problems.ts";
import type { PushEvent } from "../../push/push-event.ts";
import { savedMachine, stalePlan } from "../../push/saved-plan/saved-plan.ts";
import { openStandby } from "../../push/standby.ts";
import { surveyMachine } from "../../push/survey.ts";
import type { ConnectOptions, Transport } from "../../push/transport.ts";
import type { ParsedArguments } from "../commands.ts";
import type { BuiltMachine } from "../machines.ts";
import { formatMs, paint, printDiagnostics, printErr, printJson } from "../print.ts";
import { outcomeLine, plansFromMemory, pushBuilt, pushSettings, showDiff } from "../push-built.ts";
import { connectTo } from "../remote.ts";
import { gitState } from "../repository.ts";
import { type BuiltStart, lookOptions } from "../start.ts";
import { type FleetDisplay, isLiveTerminal, openDisplay } from "./display.ts";
import { effortWords, endJson, endWords, exitOf, type NamedEnd, summaryLines } from "./words.ts";

/** What is known of one machine beside how it ends. */
interface Track {
  readonly beganAt: number;
  /** Until its end, as far as that is known now. */
  ms?: number;
  transport?: Transport;
  plan?: PushPlan;
  failedBefore: readonly string[];
  pushed?: PushedMachine;
}

/** Pushes to all machines of `start`, shows it, and answers the exit code. */
export async function pushFleet(
  args: ParsedArguments,
  start: BuiltStart,
  settings: Omit<FleetSettings, "interrupted">,
): Promise<number> {
  const names = start.built.map((b) => b.machine.name);
  const quiet = args.flag("quiet");
  const display = openDisplay(names, { quiet, live: isLiveTerminal() });
  const tracks = new Map<BuiltMachine, Track>();
  const interrupted = start.signal ?? new AbortController().signal;
  try {
    const work = machineWork(args, start, settings, display, tracks);
    const onEvent = (event: FleetEvent<BuiltMachine>): void => tell(event, display, tracks);
    const ends = await runFleet(start.built, work, { ...settings, interrupted }, onEvent);
    display.close();
    const named = [...ends].map(([b, end]): NamedEnd => {
      const track = tracks.get(b);
      const name = b.machine.name;
      return track ? { name, end, effort: effortWords(track.plan, track.ms ?? 0) } : { name, end };
    });
    if (names.length > 1 && (!quiet || named.some((n) => endedBadly(n.end))))
      printErr(summaryLines(named).join("\n"));
    if (args.flag("json"))
      printJson({
        machines: [...ends].map(([b, end]) => {
          const plan = tracks.get(b)?.plan;
          return { ...endJson({ name: b.machine.name, end }), ...(plan ? { plan: planJson(plan) } : {}) };
        }),
      });
    return exitOf([...ends.values()]);
  } finally {
    display.close();
  }
}

function machineWork(
  args: ParsedArguments,
  { named, options, built: all, signal, saved }: BuiltStart,
  { waves }: Omit<FleetSettings, "interrupted">,
  display: FleetDisplay,
  tracks: Map<BuiltMachine, Track>,
): FleetWork<BuiltMachine> {
  const asking: ConnectOptions = {
    ...options,
    ...withTurns(options, display),
  };
  // Once for all machines.
  const git = gitState(named.root);
  const connected = async (
    { machine }: BuiltMachine,
    onEvent: (event: PushEvent) => void,
    stop?: AbortSignal,
  ): Promise<Result<Transport>> => {
    const beganAt = performance.now();
    const stopped = (): Diagnostic => describe({ kind: "interrupted", machine: machine.name });
    const opened = await unlessInterrupted(stop, stopped, () => connectTo(machine, asking));
    if (!opened.ok) return opened;
    printDiagnostics(opened.warnings);
    onEvent({ kind: "connected", label: opened.value.label, ms: performance.now() - beganAt });
    return opened;
  };
  /** On the connection that the push left open, and once more on a new one where that is gone. */
  const onOpen = async <T>(
    built: BuiltMachine,
    use: (transport: Transport, pushed: PushedMachine) => Promise<Result<T>>,
  ): Promise<Result<T>> => {
    const track = tracks.get(built);
    // Only machines that were pushed to come here.
    const pushed = track?.pushed as PushedMachine;
    if (track?.transport) {
      const done = await use(track.transport, pushed);
      if (done.ok || !done.problems.some((p) => p.code === "ssh-lost")) return done;
      await track.transport.close();
    }
    const again = await connected(built, () => {});
    if (!again.ok) return again;
    if (track) track.transport = again.value;
    return use(again.value, pushed);
  };
  const quietly = (built: BuiltMachine) => (event: PushEvent) => {
    if (event.kind !== "planned") display.event(built.machine.name, event);
  };
  return {
    async push(built) {
      const { name } = built.machine;
      const track: Track = { beganAt: performance.now(), failedBefore: [] };
      tracks.set(built, track);
      const left = new LeftTracker();
      const stop = stopSignal(signal, all.length > 1);
      const onEvent = (event: PushEvent): void => {
        left.see(event);
        if (event.kind === "committing") stop.commits();
        if (event.kind === "planned") {
          track.plan = event.plan;
          track.failedBefore = event.failedUnits;
        }
        display.event(name, event);
      };
      const failed = (problems: readonly Diagnostic[]): MachineEnd => {
        const end: MachineEnd = { kind: "failed", problems, left: left.left(problems) };
        const never = end.left === "unchanged" && problems.every((p) => p.code === "interrupted");
        if (never && all.length > 1) return { kind: "untouched", why: "interrupted" };
        printDiagnostics(problems);
        return end;
      };
      display.phase(name, "connecting");
      const opening = connected(built, onEvent, stop.signal);
      if (!args.flag("dry-run") && saved === undefined && plansFromMemory(args))
        foreseeSurvey(name, built.wanted, named.known, named.repository);
      const opened = await opening;
      if (!opened.ok) return failed(opened.problems);
      track.transport = opened.value;
      // A commit is to come, as far as is known here.
      if (!args.flag("dry-run") && named.known.lastSeen(name) !== built.wanted.id)
        openStandby(opened.value, "commit");
      let keep = false;
      try {
        if (args.flag("dry-run")) {
          const survey = await surveyMachine(opened.value, name, built.wanted, named.known, onEvent, {
            ...lookOptions(args),
            repository: named.repository,
            fingerprint: saved !== undefined,
          });
          if (!survey.ok) return failed(survey.problems);
          const expected = saved?.get(name);
          const stale = expected && stalePlan(expected, savedMachine(survey.value.plan, survey.value.probe));
          if (stale) return failed([stale]);
          await showDiff(args, opened.value, built, survey.value);
          return { kind: "planned", changes: !isEmpty(survey.value.plan) };
        }
        const expected = saved?.get(name);
        const { value } = opened;
        const outcome = await pushBuilt(
          built,
          value,
          named,
          asking,
          args,
          onEvent,
          git,
          stop.signal,
          expected,
        );
        if (!outcome.ok) return failed(outcome.problems);
        const { changed, generation, plan } = outcome.value;
        display.end(name, "", "good", outcomeLine(outcome.value, performance.now() - track.beganAt));
        if (!changed) return { kind: "unchanged", generation };
        keep = waves !== undefined;
        const { failedBefore } = track;
        track.pushed = { machine: name, generation, checks: plan.checks, failedBefore };
        return { kind: "done", generation, before: plan.from?.number };
      } finally {
        if (!keep) {
          delete track.transport;
          await opened.value.close();
        }
      }
    },

    async check(built) {
      display.phase(built.machine.name, "checking again");
      const checked = await onOpen(built, (transport, pushed) =>
        checkPushed(transport, pushed, quietly(built)),
      );
      if (!checked.ok) printDiagnostics(checked.problems);
      return checked;
    },

    async revert(built, generation, before) {
      const { name } = built.machine;
      display.phase(name, "going back");
      const layout = buildLayout(named.root);
      const local = { folder: layout.tree(name), manifestFile: layout.manifest(name) };
      const why = `a push to several machines failed; generation ${generation} taken back`;
      const settings = pushSettings(built.machine, named, asking, args, {
        ...(before === undefined ? {} : { rollback: String(before) }),
        message: why,
      });
      if (typeof settings === "string") throw new Error(settings);
      const b3 = await blake3();
      const reverted = await onOpen(built, (transport, pushed) =>
        revertPushed(transport, pushed, before, { known: named.known, b3, local, settings }, quietly(built)),
      );
      if (!reverted.ok) printDiagnostics(reverted.problems);
      return reverted;
    },

    async release(built) {
      const track = tracks.get(built);
      await track?.transport?.close();
    },
  };
}

/** Ctrl-C for one machine: one of several that has begun to commit goes on to its end, so that its state is known. */
function stopSignal(
  whole: AbortSignal | undefined,
  several: boolean,
): { readonly signal: AbortSignal | undefined; commits(): void } {
  if (!several || !whole) return { signal: whole, commits: () => {} };
  const own = new AbortController();
  const stop = (): void => own.abort();
  if (whole.aborted) stop();
  whole.addEventListener("abort", stop);
  return { signal: own.signal, commits: () => whole.removeEventListener("abort", stop) };
}

/** Questions to a person, one at a time and not across the table. */
function withTurns(options: ConnectOptions, display: FleetDisplay): Partial<ConnectOptions> {
  const { confirm, askSecret } = options;
  return {
    ...(confirm ? { confirm: (question) => display.ask(() => confirm(question)) } : {}),
    ...(askSecret ? { askSecret: (prompt) => display.ask(() => askSecret(prompt)) } : {}),
  };
}

/** Shows an event of the whole. */
function tell(
  event: FleetEvent<BuiltMachine>,
  display: FleetDisplay,
  tracks: ReadonlyMap<BuiltMachine, Track>,
): void {
  const list = (machines: readonly BuiltMachine[]): string => machines.map((b) => b.machine.name).join(", ");
  switch (event.kind) {
    case "wave": {
      const title = `wave ${event.wave} of ${event.waves}`;
      display.title(title);
      display.say(`${paint("bold", title)}: ${list(event.machines)}`);
      return;
    }
    case "checking":
      display.say(`wave ${event.wave} is through; its machines are checked again: ${list(event.machines)}`);
      return;
    case "wave-failed": {
      const { wave, failed, reverting } = event;
      const what = `${failed} ${failed === 1 ? "machine" : "machines"} failed`;
      const then = reverting.length === 0 ? "none is left to take back" : `taking back: ${list(reverting)}`;
      display.say(`${paint("red", `wave ${wave} failed`)}: ${what}; ${then}`);
      return;
    }
    case "end": {
      const { word, detail, tone } = endWords(event.end);
      const name = event.machine.machine.name;
      const shade = endedWell(event.end) ? "good" : event.end.kind === "untouched" ? "waiting" : "bad";
      const track = tracks.get(event.machine);
      const ms = track ? performance.now() - track.beganAt : 0;
      if (track) track.ms = ms;
      const reverted = event.end.kind === "reverted" || event.end.kind === "not-reverted";
      const line = reverted ? `${paint(tone, word)}: ${detail} (${formatMs(ms)})` : undefined;
      const problems = "problems" in event.end ? event.end.problems : [];
      const short = [word, ...new Set(problems.map((p) => `[${p.code}]`))].join(" ");
      display.end(name, short, shade, line);
    }
  }
}
