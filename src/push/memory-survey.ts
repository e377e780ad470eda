/**
 * Makes the plan from what the machine said last, without asking it. Only for what needs no further question: known units,
 * no new file, nothing in between. The commit that follows has the machine confirm every word of it.
 */
import { readBuiltTexts, recallTexts, treeView } from "../build/tree-view.ts";
import { readUnitSet } from "../units/unit-set.ts";
import type { KnownTrees } from "./known-trees.ts";
import { ConsultedStates, parseLook, recallProbe, type Seen } from "./memory.ts";
import { isEmpty, planPush } from "./plan.ts";
import { newSessionName } from "./session.ts";
import type { BuiltTree } from "./stage/staging.ts";
import { type Survey, unitsToAsk } from "./survey.ts";
import { diffTrees } from "./tree-diff.ts";

export type SurveyFromMemory = Survey & { readonly seen: Seen };

const foreseen = new WeakMap<BuiltTree, SurveyFromMemory | undefined>();

/** Makes the plan ahead, while a connection is being made; the next `surveyFromMemory` for the same tree has it. */
export function foreseeSurvey(...ask: Parameters<typeof survey>): void {
  foreseen.set(ask[1], survey(...ask));
}

/** Undefined: the machine has to be asked. Reads the tree and the repository's cache. */
export function surveyFromMemory(...ask: Parameters<typeof survey>): SurveyFromMemory | undefined {
  const [, wanted] = ask;
  const made = foreseen.has(wanted) ? foreseen.get(wanted) : survey(...ask);
  // Once: a push that starts over has another stage.
  foreseen.delete(wanted);
  return made;
}

function survey(
  machine: string,
  wanted: BuiltTree,
  known: KnownTrees,
  repository: string | undefined,
): SurveyFromMemory | undefined {
  const look = parseLook(known.look(machine));
  const id = look?.generation.id;
  if (look === undefined || id === undefined || id === wanted.id || id !== known.lastSeen(machine))
    return undefined;
  const by = look.pushedBy;
  if (by && repository !== undefined && by.repository !== repository) return undefined;
  const before = known.manifest(id);
  if (before === undefined || before.machine !== wanted.manifest.machine) return undefined;
  const texts = readBuiltTexts(wanted.manifest, wanted.folder);
  const recalled = recallTexts(
    before,
    { manifest: wanted.manifest, texts },
    (hash) => known.text(hash),
    new Set(),
  );
  const changes = diffTrees(before, wanted.manifest);
  // Whether something else lies where a new file comes has to be asked.
  const isNew = changes.some((c) => c.change === "added" && c.after?.type !== "dir");
  if (recalled.missing.length > 0 || changes.length === 0 || isNew) return undefined;
  const after = readUnitSet(treeView(wanted.manifest, texts));
  const units = unitsToAsk(before, recalled.texts, after, changes);
  const packages = wanted.manifest.packages.map((p) => p.name);
  const states = new ConsultedStates(Object.entries(look.states));
  const probe = recallProbe(look, units, packages, states);
  if (probe === undefined) return undefined;
  const plan = planPush({
    manifest: wanted.manifest,
    id: wanted.id,
    probe,
    changes,
    before: readUnitSet(treeView(before, recalled.texts)),
    after,
    beforeManifest: before,
  });
  if (isEmpty(plan)) return undefined;
  return { plan, probe, before, session: newSessionName(), look, seen: { look, units, runs: states.runs } };
}
