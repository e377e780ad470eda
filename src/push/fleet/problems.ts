/** What can go wrong where several repositories, people or machines are in play, and how each is worded. Pure. */
import type { Diagnostic } from "../../diagnostics.ts";
import { problem } from "../../diagnostics.ts";
import type { PushedBy } from "../probe.ts";
import { utc } from "../problems.ts";

export type FleetProblem =
  | {
      readonly kind: "other-repository";
      readonly machine: string;
      readonly label: string;
      readonly last: PushedBy;
      readonly ours: string;
    }
  | {
      readonly kind: "command-late";
      readonly label: string;
      readonly afterMs: number;
      /** False: it was left to itself. */
      readonly ended: boolean;
    }
  /** A push that changed no file can't be taken back. */
  | { readonly kind: "packages-stay"; readonly machine: string; readonly generation: number };

/** Words a problem. Pure. */
export function describeFleet(p: FleetProblem): Diagnostic {
  switch (p.kind) {
    case "other-repository": {
      const { repository, by, time } = p.last;
      return problem(
        "other-repository",
        `machine \`${p.machine}\` (${p.label}) was pushed last from repository \`${repository}\`, not from \`${p.ours}\``,
        {
          notes: [
            `by ${by || "unknown"}${time > 0 ? ` at ${utc(time)}` : ""}`,
            "nothing on the machine changed",
          ],
          help: "push from there, or, if this repository shall have the machine from now on, once with --take-over; `name` in lab.ini tells repositories apart",
        },
      );
    }
    case "command-late":
      return problem("command-timeout", `the command on ${p.label} took longer than ${p.afterMs / 1000} s`, {
        notes: [
          p.ended
            ? "it was asked to end (SIGTERM), and did"
            : "it was asked to end (SIGTERM), and may still run",
        ],
        help: "see what holds it up there, or give it more time by --timeout",
      });
    case "packages-stay":
      return problem("packages-stay", `machine \`${p.machine}\` keeps the packages that were installed`, {
        notes: [`its tree is still that of generation ${p.generation}, which did not change`],
        help: "remove them there if they shall go",
      });
  }
}
