/**
 * Pushes a tree to one machine: survey, stage, commit and apply, confirm. The order of what changes a machine stands
 * here and nowhere else. Prints nothing; events tell what happens.
 */
import { readFileSync } from "node:fs";
import { performance } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import { isUnitText } from "../build/tree-view.ts";
import type { Diagnostic, Result } from "../diagnostics.ts";
import { failure, success } from "../diagnostics.ts";
import type { AbsPath, RelPath } from "../paths.ts";
import { unlessInterrupted } from "./interruption.ts";
import type { KnownTrees } from "./known-trees.ts";
import { type CommitSettings, operationLines, stagedPaths } from "./operations.ts";
import { installPackages, removePackages } from "./packages.ts";
import { isEmpty, type PushPlan } from "./plan.ts";
import { describe } from "./problems.ts";
import type { OnPushEvent, PushOutcome } from "./push-event.ts";
import type { RemoteRecord } from "./records.ts";
import { sendFiles } from "./rsync.ts";
import { callRemote, type RemoteAnswer, refusalOf, STATE } from "./session.ts";
import { shellWord } from "./shell-word.ts";
import { asRoot, needsSudo } from "./sudo.ts";
import { dropStage, type Survey, surveyMachine, type WantedTree } from "./survey.ts";
import type { Transport } from "./transport.ts";

export interface PushSettings extends CommitSettings {
  /** `user@host` of the pusher, for the machine's lock and its generations. */
  readonly who: string;
  /** Opens another connection, to prove that the machine can still be reached. */
  readonly reconnect: () => Promise<Result<Transport>>;
  /** Replace files that labctl did not make, and another machine's tree. */
  readonly takeOver: boolean;
  /** Remove packages that labctl installed and nobody needs. Undefined: they stay. */
  readonly prunePackages?: boolean;
  /** Waited for before anything changes, if there is something to change. */
  readonly onPlan?: (survey: Survey) => Promise<void>;
  /** Aborted: no further step begins, and those that may be left alone are. Undefined: it goes on to its end. */
  readonly signal?: AbortSignal;
  /** The repository that the tree is built from; undefined: it has no identity, and nothing is refused for it. */
  readonly repository: string | undefined;
}

/** How files get into the stage folder. */
export type StageFiles = (
  plan: PushPlan,
  session: string,
  paths: readonly RelPath[],
) => Promise<Result<{ readonly bytes: number }>>;

/** Pushes a tree that was built here. */
export async function pushTree(
  transport: Transport,
  machine: string,
  wanted: WantedTree & { readonly folder: AbsPath; readonly manifestFile: AbsPath },
  known: KnownTrees,
  settings: PushSettings,
  onEvent: OnPushEvent,
): Promise<Result<PushOutcome>> {
  const startedAt = performance.now();
  const { takeOver, repository, prunePackages = false } = settings;
  const look = { stage: true, takeOver, repository, prunePackages };
  const looking = surveyMachine(transport, machine, wanted, known, onEvent, look);
  const survey = await unlessInterrupted(settings.signal, unchanged(machine), () => looking);
  if (settings.signal?.aborted) await Promise.race([dropLater(transport, machine, looking), sleep(1000)]);
  if (!survey.ok) return survey;
  if (settings.onPlan && !isEmpty(survey.value.plan)) await settings.onPlan(survey.value);
  const manifestText = readFileSync(wanted.manifestFile, "utf8");
  const stage: StageFiles = async (_plan, session, paths) => {
    const folder = `${STATE}/stage/${session}`;
    const [files, manifest] = await Promise.all([
      sendFiles(transport, {
        sourceRoot: wanted.folder,
        files: paths,
        destination: `${folder}/tree`,
        sudo: needsSudo(transport),
        deltaFrom: "/usr/local",
      }),
      sendManifest(transport, machine, `${folder}/manifest.json`, manifestText),
    ]);
    if (!files.ok) return files;
    if (!manifest.ok) return manifest;
    return success({ bytes: files.value.bytesSent });
  };
  const outcome = await carryOut(transport, machine, survey.value, stage, settings, onEvent, startedAt);
  if (outcome.ok) {
    known.rememberManifest(manifestText);
    known.rememberSeen(machine, wanted.id);
    for (const entry of wanted.manifest.entries) {
      if (isUnitText(entry)) known.rememberText(readFileSync(`${wanted.folder}/${entry.path}`, "utf8"));
    }
  }
  return outcome;
}

/** A survey that nobody waits for any longer may have made a stage. */
async function dropLater(
  transport: Transport,
  machine: string,
  looking: Promise<Result<Survey>>,
): Promise<void> {
  const survey = await looking;
  if (survey.ok && survey.value.staged) await dropStage(transport, machine, survey.value.session);
}

function unchanged(machine: string): () => Diagnostic {
  return () => describe({ kind: "interrupted", machine });
}

/** Everything after the plan, for pushes and rollbacks alike. A push that commits nothing leaves no stage behind. */
export async function carryOut(
  transport: Transport,
  machine: string,
  survey: Survey,
  stage: StageFiles,
  settings: PushSettings,
  onEvent: OnPushEvent,
  startedAt: number,
): Promise<Result<PushOutcome>> {
  const begin = async (): Promise<Result<unknown>> =>
    survey.staged ? success(undefined) : callRemote(transport, machine, "stage-begin", [survey.session]);
  let used = survey.staged;
  const stageBegun: StageFiles = async (plan, session, paths) => {
    const begun = await begin();
    used = true;
    return begun.ok ? stage(plan, session, paths) : begun;
  };
  let sent = false;
  const outcome = await commitPlan(
    transport,
    machine,
    survey,
    stageBegun,
    settings,
    (event) => {
      sent ||= event.kind === "committing";
      onEvent(event);
    },
    startedAt,
  );
  const committed = outcome.ok && outcome.value.generation > (survey.plan.from?.number ?? 0);
  // A commit that was left alone still needs its stage.
  const leftAlone = sent && settings.signal?.aborted === true;
  if (used && !committed && !leftAlone) await dropStage(transport, machine, survey.session);
  return outcome;
}

async function commitPlan(
  transport: Transport,
  machine: string,
  { plan, session }: Survey,
  stage: StageFiles,
  settings: PushSettings,
  onEvent: OnPushEvent,
  startedAt: number,
): Promise<Result<PushOutcome>> {
  const number = plan.from?.number ?? 0;
  const { signal, confirmSeconds: seconds } = settings;
  if (isEmpty(plan))
    return success({ plan, changed: false, generation: number, totalMs: performance.now() - startedAt });
  if (signal?.aborted) return failure(unchanged(machine)());

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
      const applied = await callAndReport(transport, machine, "apply", [], undefined, onEvent);
      if (!applied.ok) return applied;
    }
    return end(number);
  }

  const stagedAt = performance.now();
  const paths = stagedPaths(plan.files).map((f) => f.path);
  const staged = await unlessInterrupted(signal, unchanged(machine), () => stage(plan, session, paths));
  if (!staged.ok) return staged;
  onEvent({
    kind: "staged",
    files: paths.length,
    bytes: staged.value.bytes,
    ms: performance.now() - stagedAt,
  });

  const { repository } = settings;
  const meta = repository === undefined ? settings.meta : { ...settings.meta, repository };
  const lines = operationLines(plan, plan.to, { ...settings, meta });
  if (signal?.aborted) return failure(unchanged(machine)());
  const stopped = (done: boolean) => (): Diagnostic =>
    describe({ kind: "interrupted", machine, commit: { number: number + 1, seconds, committed: done } });
  onEvent({ kind: "committing", number: number + 1 });
  const committed = await unlessInterrupted(signal, stopped(false), () =>
    callAndReport(transport, machine, "commit", [session, settings.who], lines, onEvent),
  );
  if (!committed.ok) {
    return failure(
      ...committed.problems.map((why) =>
        why.code === "ssh-lost"
          ? describe({ kind: "lost-in-commit", number: number + 1, seconds, why })
          : why,
      ),
    );
  }
  if (seconds > 0) {
    const confirmed = await confirm(machine, number + 1, settings, onEvent, stopped(true));
    if (!confirmed.ok) return confirmed;
  }
  return end(number + 1);
}

async function sendManifest(
  transport: Transport,
  machine: string,
  file: string,
  text: string,
): Promise<Result<void>> {
  const root = asRoot(transport);
  const line = [...root.words, "sh", "-c", shellWord(`cat >${shellWord(file)}`)].join(" ");
  const stdin = root.input + text;
  const result = await transport.exec(line, { stdin, maxStdoutBytes: 1024, timeoutMs: 120_000 });
  if (!result.ok) return result;
  if (result.value.status === 0) return success(undefined);
  const detail = result.value.stderr.trim().split("\n").at(-1) ?? "";
  return failure(
    describe({
      kind: "remote",
      machine,
      verb: "stage",
      done: "failed-unchanged",
      code: "commit-refused",
      detail,
      more: [],
    }),
  );
}

/** Only a connection made after the change proves that the next one is possible, too. */
async function confirm(
  machine: string,
  number: number,
  settings: PushSettings,
  onEvent: OnPushEvent,
  stopped: () => Diagnostic,
): Promise<Result<void>> {
  const startedAt = performance.now();
  const refused = (why: Diagnostic): Result<void> =>
    failure(describe({ kind: "not-confirmed", machine, number, seconds: settings.confirmSeconds, why }));
  const fresh = await unlessInterrupted(settings.signal, stopped, settings.reconnect);
  if (!fresh.ok) {
    const [why] = fresh.problems;
    return why?.code === "interrupted" ? fresh : refused(why as Diagnostic);
  }
  // From here on the answer is awaited: whether the generation stays must be known.
  try {
    const answer = await callRemote(fresh.value, machine, "confirm", [String(number)], { timeoutMs: 20_000 });
    if (!answer.ok) return refused(answer.problems[0] as Diagnostic);
    if (answer.value.done !== "ok") return failure(refusalOf(machine, "confirm", answer.value));
  } finally {
    await fresh.value.close();
  }
  onEvent({ kind: "confirmed", ms: performance.now() - startedAt });
  return success(undefined);
}

/** Runs a verb that changes something; each record becomes an event as it comes. */
async function callAndReport(
  transport: Transport,
  machine: string,
  verb: string,
  args: readonly string[],
  data: string | undefined,
  onEvent: OnPushEvent,
): Promise<Result<RemoteAnswer>> {
  const startedAt = performance.now();
  const output: string[] = [];
  const answer = await callRemote(transport, machine, verb, args, {
    ...(data === undefined ? {} : { data }),
    onRecord: (record) => {
      if (record.name === "out") output.push(record.fields.join(" "));
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
