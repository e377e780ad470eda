/** How the ends of a push to several machines read, and which exit code they come to. Pure but for colour. */
import { type Diagnostic, printable } from "../../diagnostics.ts";
import { endedBadly, endedWell, type Left, type MachineEnd } from "../../push/fleet/machine-end.ts";
import { isEmpty, type PushPlan } from "../../push/plan.ts";
import { EXIT } from "../exit.ts";
import { formatMs, paint } from "../print.ts";

/** A machine with what became of it. */
export interface NamedEnd {
  readonly name: string;
  readonly end: MachineEnd;
  /** How much was to do there, and how long it took; undefined: nothing was begun. */
  readonly effort?: string;
}

const LEFT_WORDS: Readonly<Record<Left, string>> = {
  unchanged: "nothing on it changed",
  "taken-back": "everything was taken back: it runs what it ran before",
  "takes-back": "it takes the change back by itself when the time to confirm is over",
  stands: "the change stands",
  pending: "its files are new, some unit actions are still to be done: the next push does them",
  unsettled: "its next contact or boot settles on the old or the new generation",
};

type Tone = "green" | "red" | "yellow" | "dim";

/** One word for an end, and what it means for the machine. Pure. */
export function endWords(end: MachineEnd): {
  readonly word: string;
  readonly detail: string;
  readonly tone: Tone;
} {
  switch (end.kind) {
    case "done":
      return { word: "done", detail: `it runs generation ${end.generation}`, tone: "green" };
    case "unchanged":
      return { word: "nothing to do", detail: `it runs generation ${end.generation}`, tone: "green" };
    case "planned":
      return end.changes
        ? { word: "planned", detail: "there are changes; nothing was done", tone: "yellow" }
        : { word: "nothing to do", detail: "nothing was done", tone: "green" };
    case "failed":
      return { word: "failed", detail: `${codesOf(end.problems)}${LEFT_WORDS[end.left]}`, tone: "red" };
    case "reverted": {
      const back =
        end.to === undefined
          ? "nothing of labctl's is there again"
          : `the tree of generation ${end.to} again`;
      const detail = `${codesOf(end.problems)}generation ${end.from} was taken back: it has ${back}`;
      return { word: "reverted", detail: detail.replace("it has nothing", "nothing"), tone: "yellow" };
    }
    case "not-reverted": {
      const detail = `${codesOf(end.problems)}generation ${end.generation} could not be taken back; see above`;
      return { word: "NOT reverted", detail, tone: "red" };
    }
    case "untouched":
      return {
        word: "untouched",
        detail: end.why === "interrupted" ? "interrupted before its turn" : "others failed before its turn",
        tone: "dim",
      };
  }
}

function codesOf(problems: readonly Diagnostic[]): string {
  const codes = [...new Set(problems.map((p) => `[${printable(p.code)}]`))];
  return codes.length === 0 ? "" : `${codes.join(" ")} `;
}

/** `3 files, 1 unit action, 1.2 s`. Pure. */
export function effortWords(plan: PushPlan | undefined, ms: number): string {
  const count = (n: number, what: string): string => `${n} ${what}${n === 1 ? "" : "s"}`;
  const parts = [formatMs(ms)];
  if (plan && !isEmpty(plan))
    parts.unshift(count(plannedFiles(plan), "file"), count(plannedActions(plan), "unit action"));
  return parts.join(", ");
}

/** Files and links, without folders. Pure. */
export function plannedFiles(plan: PushPlan): number {
  return plan.files.filter((f) => (f.after ?? f.before)?.type !== "dir").length;
}

/** Units that something happens to. Pure. */
export function plannedActions(plan: PushPlan): number {
  return plan.units.filter((u) => u.action !== "none").length;
}

/** `5 machines: 2 done, 1 failed`, in the order of first occurrence. Pure. */
export function countWords(ends: readonly NamedEnd[]): string {
  const counts = new Map<string, number>();
  for (const { end } of ends) {
    const { word } = endWords(end);
    counts.set(word, (counts.get(word) ?? 0) + 1);
  }
  return `${ends.length} machines: ${[...counts].map(([word, n]) => `${n} ${word}`).join(", ")}`;
}

/** Each machine's state, one line a machine, after a line that counts them. Pure but for colour. */
export function summaryLines(ends: readonly NamedEnd[]): string[] {
  const nameWidth = Math.max(...ends.map((e) => e.name.length));
  const wordWidth = Math.max(...ends.map((e) => endWords(e.end).word.length));
  return [
    paint("bold", countWords(ends)),
    ...ends.map(({ name, end, effort }) => {
      const { word, detail, tone } = endWords(end);
      const more = effort === undefined ? "" : paint("dim", ` (${effort})`);
      return `  ${name.padEnd(nameWidth)}  ${paint(tone, word.padEnd(wordWidth))}  ${detail}${more}`;
    }),
  ];
}

/** 0, 1, 2, 3 or 130, as README's table has them. Pure. */
export function exitOf(ends: readonly MachineEnd[]): number {
  const bad = ends.filter(endedBadly).length;
  if (bad > 0) return bad === ends.length ? EXIT.failed : EXIT.partly;
  if (ends.some((e) => e.kind === "untouched")) return EXIT.interrupted;
  return ends.some((e) => e.kind === "planned" && e.changes) ? EXIT.changes : EXIT.done;
}

/** What `--json` says of an end. Pure. */
export function endJson({ name, end }: NamedEnd): object {
  const { word, detail } = endWords(end);
  const head = { machine: name, ok: endedWell(end), state: end.kind, says: `${word}: ${detail}` };
  switch (end.kind) {
    case "done":
    case "unchanged":
      return { ...head, changed: end.kind === "done", number: end.generation };
    case "failed":
      return { ...head, left: end.left, problems: end.problems };
    case "reverted":
      return { ...head, from: end.from, to: end.to ?? null, problems: end.problems };
    case "not-reverted":
      return { ...head, number: end.generation, problems: end.problems };
    case "untouched":
      return { ...head, why: end.why };
    case "planned":
      return head;
  }
}
