/** What can go wrong with a plan's packages, and how each is worded. Pure. */
import type { Diagnostic } from "../../diagnostics.ts";
import { problem } from "../../diagnostics.ts";
import { lockHolder } from "../problems.ts";

export interface PackageProblem {
  readonly machine: string;
  readonly names: readonly string[];
  /** The remote program's own code, and what it says with it. */
  readonly code: string;
  readonly detail: string;
  /** The last lines that apt printed. */
  readonly output: readonly string[];
}

/** Lines of apt's output that are shown. */
const SHOWN = 6;

const LOG = "`cat /usr/local/.labctl/apt.log` there shows all that apt said";

/** Words a failure to install. Pure. */
export function describeNotInstalled(p: PackageProblem): Diagnostic {
  const what = `machine \`${p.machine}\` could not install ${p.names.join(", ")}`;
  const state = "no file and no unit on the machine changed";
  if (p.code === "packages-failed")
    return problem(p.code, what, {
      notes: [...p.output.slice(-SHOWN), state],
      help: `see whether its package sources are reachable: \`apt-get update\`; ${LOG}`,
    });
  return describeOther(p, what, state, "push again");
}

/** Words a failure to remove, after everything else was done. Pure. */
export function describeNotRemoved(p: PackageProblem): Diagnostic {
  const what = `machine \`${p.machine}\` did not remove ${p.names.join(", ")}`;
  const state = "all else of the push is done; no package was removed";
  if (p.code === "package-needed")
    return problem(p.code, `${what}: what labctl did not install needs it: ${p.detail}`, {
      notes: [state],
      help: "push without --prune-packages, or have a layer ask for what shall stay",
    });
  if (p.code === "packages-not-removed")
    return problem(p.code, what, {
      notes: [...p.output.slice(-SHOWN), "all else of the push is done"],
      help: LOG,
    });
  return describeOther(p, what, state, "push again with --prune-packages");
}

function describeOther(p: PackageProblem, what: string, state: string, help: string): Diagnostic {
  if (p.code === "lock-held")
    return problem(p.code, `${what}: another push is at work: ${lockHolder(p.detail)}`, {
      notes: [state],
      help: `wait for it to end, then ${help}`,
    });
  return problem(p.code, `${what}: ${p.detail || p.code}`, { notes: [state], help });
}
