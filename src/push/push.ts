/**
 * Pushes a tree to one machine: survey, stage, commit and apply, confirm. The order of what changes a machine stands
 * here and nowhere else. Prints nothing; events tell what happens.
 */
import { readFileSync } from "node:fs";
import { isUnitText } from "../build/tree-view.ts";
import type { Diagnostic, Result } from "../diagnostics.ts";
import { failure, success } from "../diagnostics.ts";
import { afterLostCommit, afterNoConfirmation } from "./aftermath.ts";
import { Confirmation } from "./confirmation.ts";
import { unlessInterrupted } from "./interruption.ts";
import type { KnownTrees } from "./known-trees.ts";
import { lookAfter, type Seen } from "./memory.ts";
import { surveyFromMemory } from "./memory-survey.ts";
import { operationLines, stagedPaths } from "./operations.ts";
import { installPackages, removePackages } from "./packages/packages.ts";
import { isEmpty } from "./plan.ts";
import { describe } from "./problems.ts";
import type { OnPushEvent, PushOutcome } from "./push-event.ts";
import type { PushSettings } from "./push-settings.ts";
import type { RemoteRecord } from "./records.ts";
import { savedMachine, stalePlan } from "./saved-plan/saved-plan.ts";
import { openLacked } from "./secrets.ts";
import { type CallOptions, callRemote, type RemoteAnswer } from "./session.ts";
import { type BuiltTree, type StageFiles, stageBuilt } from "./stage/staging.ts";
import { type Survey, surveyMachine } from "./survey.ts";
import type { Transport } from "./transport.ts";

/**
 * Pushes a tree that was built here. A connection that is lost before anything changes is opened anew, once, and the
 * push starts over with another look at the machine; later nothing is tried again.
 */
export async function pushTree(
  transport: Transport,
  machine: string,
  wanted: BuiltTree,
  known: KnownTrees,
  settings: PushSettings,
  onEvent: OnPushEvent,
): Promise<Result<PushOutcome>> {
  const progress = atTheStart();
  const first = await pushOnce(transport, machine, wanted, known, settings, onEvent, progress);
  if (
    settings.signal?.aborted ||
    first.ok ||
    progress.changing ||
    !first.problems.some((p) => p.code === "ssh-lost")
  )
    return first;
  onEvent({ kind: "note", text: "the connection was lost before anything changed; trying once more" });
  const again = await settings.reconnect();
  if (!again.ok) return again;
  try {
    return await pushOnce(again.value, machine, wanted, known, settings, onEvent, progress);
  } finally {
    await again.value.close();
  }
}

/** How far a push has come. */
interface Progress {
  /** A commit is on its way; one that is then left alone still needs its stage. */
  sending: boolean;
  /** The machine may have begun to change: from here on a lost connection is told, not mended. */
  changing: boolean;
}

function atTheStart(): Progress {
  return { sending: false, changing: false };
}

async function pushOnce(
  transport: Transport,
  machine: string,
  wanted: BuiltTree,
  known: KnownTrees,
  settings: PushSettings,
  onEvent: OnPushEvent,
  progress: Progress,
): Promise<Result<PushOutcome>> {
  const startedAt = performance.now();
  const { takeOver, repository, prunePackages = false, signal, expected } = settings;
  // A saved plan is compared with what is found.
  const asked = expected !== undefined || settings.fromMemory !== true;
  const remembered = asked ? undefined : surveyFromMemory(machine, wanted, known, repository);
  if (remembered) {
    const { plan, probe } = remembered;
    onEvent({ kind: "planned", plan, failedUnits: probe.failedUnits, ms: performance.now() - startedAt });
    const outcome = await pushSurveyed(
      transport,
      machine,
      wanted,
      known,
      remembered,
      settings,
      onEvent,
      startedAt,
      progress,
    );
    if (outcome.ok || !outcome.problems.some((p) => OUTDATED.has(p.code))) return outcome;
    Object.assign(progress, atTheStart());
    onEvent({ kind: "note", text: "the machine is not as it was last seen; it is asked" });
  }
  const look = { takeOver, repository, prunePackages, fingerprint: expected !== undefined };
  const survey = await unlessInterrupted(signal, unchanged(machine), () =>
    surveyMachine(transport, machine, wanted, known, onEvent, { ...look, mayForget: true }),
  );
  if (!survey.ok) return survey;
  const stale = expected && stalePlan(expected, savedMachine(survey.value.plan, survey.value.probe));
  if (stale) return failure(stale);
  return pushSurveyed(
    transport,
    machine,
    wanted,
    known,
    survey.value,
    settings,
    onEvent,
    startedAt,
    progress,
  );
}

/** What a commit planned from memory is refused with, before anything changes, where a look would have told, or tells more. */
const OUTDATED = new Set([
  "state-moved",
  "not-writable",
  "generation-moved",
  "confirm-pending",
  "foreign-file",
  "missing-file",
]);

async function pushSurveyed(
  transport: Transport,
  machine: string,
  wanted: BuiltTree,
  known: KnownTrees,
  survey: Survey & { readonly seen?: Seen },
  settings: PushSettings,
  onEvent: OnPushEvent,
  startedAt: number,
  progress: Progress,
): Promise<Result<PushOutcome>> {
  const { plan, probe } = survey;
  if (settings.onPlan && !isEmpty(plan)) await settings.onPlan(survey);
  // Before anything else: a push that lacks a key must not have installed packages.
  const credentials = await openLacked(machine, plan, probe.systemdVersion, settings.secrets);
  if (!credentials.ok) return credentials;
  const manifestText = readFileSync(wanted.manifestFile, "utf8");
  const stage = stageBuilt(transport, machine, wanted, manifestText, credentials.value);
  const outcome = await carryOut(transport, machine, survey, stage, settings, onEvent, startedAt, progress);
  if (outcome.ok) {
    known.rememberManifest(manifestText);
    known.rememberSeen(machine, wanted.id);
    for (const entry of wanted.manifest.entries) {
      if (isUnitText(entry)) known.rememberText(readFileSync(`${wanted.folder}/${entry.path}`, "utf8"));
    }
  }
  if (!outcome.ok || outcome.value.changed) {
    const generation = outcome.ok && { number: outcome.value.generation, id: wanted.id };
    const look = generation && survey.look ? lookAfter(survey.look, plan, generation) : undefined;
    known.rememberLook(machine, look && JSON.stringify(look));
  }
  return outcome;
}

function unchanged(machine: string): () => Diagnostic {
  return () => describe({ kind: "interrupted", machine });
}

/** Everything after the plan, for pushes and rollbacks alike. A push that commits nothing leaves no stage behind. */
export async function carryOut(
  transport: Transport,
  machine: string,
  survey: Pick<Survey, "plan" | "session"> & { readonly seen?: Seen },
  stage: StageFiles,
  settings: PushSettings,
  onEvent: OnPushEvent,
  startedAt: number,
  progress: Progress = atTheStart(),
): Promise<Result<PushOutcome>> {
  const { plan, session } = survey;
  const number = plan.from?.number ?? 0;
  const { signal } = settings;
  if (isEmpty(plan))
    return success({ plan, changed: false, generation: number, totalMs: performance.now() - startedAt });
  if (signal?.aborted) return failure(unchanged(machine)());

  progress.changing = plan.packages.length > 0;
  const installed = await installPackages(transport, machine, plan, onEvent);
  if (!installed.ok) return installed;
  const end = async (generation: number): Promise<Result<PushOutcome>> => {
    const removed = await removePackages(transport, machine, plan, onEvent);
    return removed.ok
      ? success({ plan, changed: true, generation, totalMs: performance.now() - startedAt })
      : removed;
  };
  if (plan.files.length + plan.taken.length === 0 && plan.from?.id === plan.to) {
    if (plan.pending) {
      progress.changing = true;
      const applied = await callAndReport(transport, machine, "apply", [], {}, onEvent);
      if (!applied.ok) return applied;
    }
    return end(number);
  }
  const committed = await stageAndCommit(transport, machine, survey, stage, settings, onEvent, progress);
  if (committed.ok) return end(number + 1);
  // Whether it works changes nothing: a later push would do it after an hour.
  if (!(progress.sending && signal?.aborted))
    await callRemote(transport, machine, "stage-drop", [session], { timeoutMs: 5000 });
  return committed;
}

async function stageAndCommit(
  transport: Transport,
  machine: string,
  { plan, session, seen }: Pick<Survey, "plan" | "session"> & { readonly seen?: Seen },
  stage: StageFiles,
  settings: PushSettings,
  onEvent: OnPushEvent,
  progress: Progress,
): Promise<Result<void>> {
  const number = (plan.from?.number ?? 0) + 1;
  const { confirmSeconds: seconds, signal } = settings;
  const stagedAt = performance.now();
  const begin = () => callRemote(transport, machine, "stage-begin", [session]);
  const staged = await unlessInterrupted(signal, unchanged(machine), () => stage(plan, session, begin));
  if (!staged.ok) return staged;
  const { bytes, parcel } = staged.value;
  const files = stagedPaths(plan.files).length;
  const tellStaged = (): void => onEvent({ kind: "staged", files, bytes, ms: performance.now() - stagedAt });

  const { repository } = settings;
  const meta = repository === undefined ? settings.meta : { ...settings.meta, repository };
  const lines = operationLines(plan, plan.to, { ...settings, meta }, seen);
  const confirmation = new Confirmation(machine, number, settings);
  const args = [session, settings.who];
  args.push(...(parcel ? [String(parcel.bytes.length), parcel.sha256] : ["0", "-"]));
  if (seen) args.push("seen", ...seen.units);
  if (!parcel) tellStaged();
  if (signal?.aborted) return failure(unchanged(machine)());
  let done = false;
  const stopped = (): Diagnostic => {
    const state = done ? "committed" : progress.changing ? "begun" : "sent";
    return describe({ kind: "interrupted", machine, commit: { number, seconds, state } });
  };
  onEvent({ kind: "committing", number });
  // Before all of a parcel has arrived there the commit does not begin.
  progress.changing ||= parcel === undefined;
  const options: CallOptions = {
    data: parcel ? Buffer.concat([parcel.bytes, Buffer.from(lines)]) : lines,
    onRecord: ({ name, fields: [step] }) => {
      if (name !== "step") return;
      if (step === "receive") {
        progress.changing = true;
        if (parcel) tellStaged();
      } else if (step === "applied" && seconds > 0) confirmation.begin();
    },
  };
  progress.sending = true;
  const committed = await unlessInterrupted(signal, stopped, () =>
    callAndReport(transport, machine, "commit", args, options, onEvent),
  );
  const aftermath = { number, confirmSeconds: seconds, reconnect: settings.reconnect, signal };
  if (!committed.ok) {
    confirmation.drop();
    const why = committed.problems.find((p) => p.code === "ssh-lost");
    return progress.changing && why ? afterLostCommit(machine, aftermath, why, onEvent) : committed;
  }
  done = true;
  if (seconds === 0) return success(undefined);
  const confirmed = await confirmation.confirm(onEvent, stopped);
  const why = confirmed.ok ? undefined : confirmed.problems.find((p) => p.code === "not-confirmed");
  return why ? afterNoConfirmation(transport, machine, aftermath, why, onEvent) : confirmed;
}

/** Runs a verb that changes something; each record becomes an event as it comes. */
async function callAndReport(
  transport: Transport,
  machine: string,
  verb: string,
  args: readonly string[],
  options: CallOptions,
  onEvent: OnPushEvent,
): Promise<Result<RemoteAnswer>> {
  const startedAt = performance.now();
  const answer = await callRemote(transport, machine, verb, args, {
    ...options,
    onRecord: (record) => {
      options.onRecord?.(record);
      const event = eventOf(record, performance.now() - startedAt);
      if (event) onEvent(event);
    },
  });
  if (!answer.ok) return answer;
  if (answer.value.done === "ok" || answer.value.done === "unconfirmed") return answer;
  onEvent({ kind: "refused", done: answer.value.done });
  const problems =
    answer.value.problems.length > 0 ? answer.value.problems : [{ code: answer.value.done, detail: "" }];
  return failure(
    ...unique(problems).map((p) =>
      describe({ kind: "remote", machine, verb, done: answer.value.done, ...p, more: [] }),
    ),
  );
}

function unique<T extends { code: string; detail: string }>(list: readonly T[]): T[] {
  return list.filter((p, i) => list.findIndex((q) => q.code === p.code && q.detail === p.detail) === i);
}

function eventOf(record: RemoteRecord, sinceMs: number): Parameters<OnPushEvent>[0] | undefined {
  const [a = "", b = "", c = "", d = "", e = ""] = record.fields;
  switch (record.name) {
    case "step":
      if (a === "commit") return { kind: "committed", ms: sinceMs };
      return a === "daemon-reload" ? { kind: "reloaded", ms: Number(b) } : undefined;
    case "unit":
      return { kind: "unit", action: a, unit: b, ok: c === "ok", ms: Number(d), detail: e };
    case "trigger":
      return { kind: "trigger", name: a, ok: b === "ok", ms: Number(c), detail: d };
    case "check":
      return { kind: "check", name: a, verdict: b, ms: Number(c) };
    case "out":
      return { kind: "output", line: record.fields.join(" ") };
    case "note":
      return { kind: "note", text: record.fields.join(" ") };
    default:
      return undefined;
  }
}
