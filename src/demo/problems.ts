/** What can go wrong in the demo besides what labctl and the machines say themselves, and how it is worded. Pure. */
import { type Diagnostic, problem } from "../diagnostics.ts";

export type DemoProblem =
  | {
      readonly kind: "command-failed";
      readonly command: string;
      readonly status: number;
      readonly expected: number;
    }
  | { readonly kind: "page-wrong"; readonly found: string; readonly expected: string }
  | {
      readonly kind: "restarts-wrong";
      readonly found: readonly string[];
      readonly expected: readonly string[];
    }
  | { readonly kind: "left-behind"; readonly what: readonly string[] };

/** Words a problem of the demo. Pure. */
/** A problem of the demo in its one wording. Pure. */
export function describeProblem(p: DemoProblem): Diagnostic {
  switch (p.kind) {
    case "command-failed":
      return problem("demo-command", `\`${p.command}\` ended with ${p.status}, not ${p.expected}`, {
        notes: ["its output is above; the machine and the copy of the repository are gone"],
        help: "start again; if it stays, report it with this output",
      });
    case "page-wrong":
      return problem("demo-page", "nginx serves another page than the one that was pushed", {
        notes: [`found: ${p.found}`, `expected: ${p.expected}`],
        help: "report it with this output",
      });
    case "restarts-wrong":
      return problem("demo-restarts", "other services were started anew than the plan said", {
        notes: [`found: ${p.found.join(", ") || "none"}`, `expected: ${p.expected.join(", ") || "none"}`],
        help: "report it with this output",
      });
    case "left-behind":
      return problem("demo-leftovers", "the demo left something behind", {
        notes: p.what,
        help: "remove it by hand, and report it",
      });
  }
}
