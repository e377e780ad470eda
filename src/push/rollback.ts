/**
 * Goes back to an earlier generation: the same survey, plan and commit as a push, but the files come from what later
 * generations replaced on the machine itself. The result is a new generation with the old one's tree.
 */
import { readFileSync } from "node:fs";
import { isUnitText } from "../build/tree-view.ts";
import type { Result } from "../diagnostics.ts";
import { failure, success } from "../diagnostics.ts";
import type { AbsPath, FileHash, RelPath } from "../paths.ts";
import type { KnownTrees } from "./known-trees.ts";
import { stagedPaths } from "./operations.ts";
import { describe } from "./problems.ts";
import { carryOut } from "./push.ts";
import type { OnPushEvent, PushOutcome } from "./push-event.ts";
import type { PushSettings } from "./push-settings.ts";
import type { RollbackTarget } from "./rollback-target.ts";
import { callRemote, refusalOf, STATE } from "./session.ts";
import { sendFiles } from "./stage/rsync.ts";
import type { StageFiles } from "./stage/staging.ts";
import { needsSudo } from "./sudo.ts";
import { LOOK_ONLY, type Survey, surveyMachine } from "./survey.ts";
import type { Transport } from "./transport.ts";

/** What going back would do. */
export async function planRollback(
  transport: Transport,
  machine: string,
  target: RollbackTarget,
  known: KnownTrees,
  onEvent: OnPushEvent,
): Promise<Result<Survey>> {
  for (const path of target.doubtful)
    onEvent({
      kind: "note",
      text: `${path} comes back as someone had changed it on the machine; a push puts it right`,
    });
  const texts = await oldTexts(transport, machine, target, known);
  if (!texts.ok) return texts;
  return surveyMachine(
    transport,
    machine,
    {
      manifest: target.manifest,
      id: target.id,
      texts: texts.value,
      cause: `generation ${target.number} had it so`,
      canSend: (path) => target.keptIn.has(path) || target.localFolder(path) !== undefined,
    },
    known,
    onEvent,
    LOOK_ONLY,
  );
}

/** Carries a planned rollback out; the machine remembers the repository whose tree is back. */
export async function rollBack(
  transport: Transport,
  machine: string,
  target: RollbackTarget,
  survey: Survey,
  known: KnownTrees,
  settings: Omit<PushSettings, "repository">,
  onEvent: OnPushEvent,
  startedAt: number = performance.now(),
): Promise<Result<PushOutcome>> {
  const stage: StageFiles = async (plan, session) => {
    const lines: string[] = [];
    const fromHere: RelPath[] = [];
    let folder: AbsPath | undefined;
    for (const { path } of stagedPaths(plan.files)) {
      const n = target.keptIn.get(path);
      if (n === undefined) {
        // Only drift leads here: the path is the same in both trees, and someone changed it on the machine.
        const here = target.localFolder(path);
        if (here !== undefined) {
          folder = here;
          fromHere.push(path);
          continue;
        }
        return failure(
          describe({
            kind: "remote",
            machine,
            verb: "rollback",
            done: "failed-unchanged",
            code: "not-kept",
            detail: path,
            more: [],
          }),
        );
      }
      lines.push(`${n}\t${path}\n`);
    }
    const args = [session, String(target.number)];
    const copied = await callRemote(transport, machine, "stage-from-generations", args, {
      data: lines.join(""),
    });
    if (!copied.ok) return copied;
    if (copied.value.done !== "ok") return failure(refusalOf(machine, "rollback", copied.value));
    let bytes = 0;
    if (folder !== undefined) {
      const sent = await sendFiles(transport, {
        sourceRoot: folder,
        files: fromHere,
        destination: `${STATE}/stage/${session}/tree`,
        sudo: needsSudo(transport),
      });
      if (!sent.ok) return sent;
      bytes = sent.value.bytesSent;
    }
    return success({ bytes });
  };
  const outcome = await carryOut(
    transport,
    machine,
    survey,
    stage,
    { ...settings, repository: target.repository },
    onEvent,
    startedAt,
  );
  if (outcome.ok) {
    known.rememberManifest(target.manifestText);
    known.rememberSeen(machine, target.id);
  }
  return outcome;
}

/** Unit files of the target: from memory, else from the machine, live or kept. */
async function oldTexts(
  transport: Transport,
  machine: string,
  target: RollbackTarget,
  known: KnownTrees,
): Promise<Result<Map<string, string>>> {
  const out = new Map<string, string>();
  const ask: string[] = [];
  for (const entry of target.manifest.entries) {
    if (!isUnitText(entry)) continue;
    const text = known.text(entry.hash as FileHash);
    const folder = text === undefined ? target.localFolder(entry.path) : undefined;
    if (text !== undefined) out.set(entry.path, text);
    else if (folder !== undefined) out.set(entry.path, readFileSync(`${folder}/${entry.path}`, "utf8"));
    else
      ask.push(
        target.keptIn.has(entry.path) ? `${target.keptIn.get(entry.path)}\t${entry.path}` : entry.path,
      );
  }
  if (ask.length === 0) return success(out);
  const answer = await callRemote(transport, machine, "read", [], {
    data: ask.map((l) => `${l}\n`).join(""),
  });
  if (!answer.ok) return answer;
  for (const record of answer.value.records) {
    const [path] = record.fields;
    if (record.name !== "file" || path === undefined || !record.data) continue;
    const text = record.data.toString("utf8");
    // What someone changed there is not what the target has.
    if (target.isContent(path, text)) out.set(path, text);
  }
  return success(out);
}
