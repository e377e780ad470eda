/** What can be wrong with a plan that was written down, and how each is worded. Pure. */
import type { Diagnostic } from "../../diagnostics.ts";
import { problem } from "../../diagnostics.ts";

export type PlanFileProblem =
  | { readonly kind: "unreadable"; readonly file: string; readonly why: string }
  | { readonly kind: "unwritable"; readonly file: string; readonly why: string }
  | { readonly kind: "occupied"; readonly file: string }
  | { readonly kind: "foreign"; readonly file: string }
  | { readonly kind: "version"; readonly file: string; readonly version: string }
  | { readonly kind: "damaged"; readonly file: string; readonly why: string }
  | {
      readonly kind: "no-machine";
      readonly file: string;
      readonly machine: string;
      readonly has: readonly string[];
    }
  | { readonly kind: "stale"; readonly machine: string; readonly changes: readonly string[] };

/** More changes than this are counted, not listed. */
const CHANGES_SHOWN = 20;

const NOTHING = "no machine was asked";

/** Words a problem. Pure. */
export function describePlanFile(p: PlanFileProblem): Diagnostic {
  switch (p.kind) {
    case "unreadable":
      return problem("plan-unreadable", `the plan can't be read: ${p.why}`, {
        place: { file: p.file },
        notes: [NOTHING],
        help: "`labctl plan MACHINE -o FILE` writes one",
      });
    case "unwritable":
      return problem("plan-unwritable", `the plan can't be written: ${p.why}`, {
        place: { file: p.file },
        help: "name a file in a folder that exists and is yours",
      });
    case "occupied":
      return problem("plan-occupied", "it is no plan of labctl, and is not written over", {
        place: { file: p.file },
        notes: [NOTHING],
        help: "name another file, or move this one away",
      });
    case "foreign":
      return problem("plan-foreign", "it is no plan of labctl", {
        place: { file: p.file },
        notes: [NOTHING],
        help: "`labctl plan MACHINE -o FILE` writes one; `plan --json` is for programs, and nothing that can be pushed",
      });
    case "version":
      return problem("plan-version", `it is a plan of another version of labctl (format ${p.version})`, {
        place: { file: p.file },
        notes: [NOTHING],
        help: "plan anew with this one: `labctl plan MACHINE -o FILE`",
      });
    case "damaged":
      return problem("plan-damaged", `the plan is damaged or was edited: ${p.why}`, {
        place: { file: p.file },
        notes: [NOTHING],
        help: "plan anew: `labctl plan MACHINE -o FILE`",
      });
    case "no-machine":
      return problem("plan-no-machine", `the plan is not about machine \`${p.machine}\``, {
        place: { file: p.file },
        notes: [`it is about ${p.has.join(", ")}`, NOTHING],
        help: "leave the machines out to push to all of the plan's",
      });
    case "stale": {
      const more = p.changes.length - CHANGES_SHOWN;
      return problem("plan-stale", `the plan for machine \`${p.machine}\` no longer holds`, {
        notes: [
          ...p.changes.slice(0, CHANGES_SHOWN).map((c) => `changed since: ${c}`),
          ...(more > 0 ? [`and ${more} more`] : []),
          "nothing on the machine changed",
        ],
        help: `look at what is to be done now: \`labctl plan ${p.machine} -o FILE\``,
      });
    }
  }
}
