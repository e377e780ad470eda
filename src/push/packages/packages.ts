/**
 * Debian packages of a plan: what is missing comes in one transaction before anything else changes, what labctl
 * installed and nobody needs goes at the very end. The machine keeps the record of which is which.
 */
import { failure, type Result, success } from "../../diagnostics.ts";
import type { PushPlan } from "../plan.ts";
import type { OnPushEvent } from "../push-event.ts";
import { callRemote } from "../session.ts";
import type { Transport } from "../transport.ts";
import { describeNotInstalled, describeNotRemoved, type PackageProblem } from "./problems.ts";

/** Long enough for a cold `apt-get` over a slow line. */
const PACKAGES_TIMEOUT_MS = 900_000;

/** Installs what is missing; nothing is asked of the machine where nothing is. */
export async function installPackages(
  transport: Transport,
  machine: string,
  plan: PushPlan,
  onEvent: OnPushEvent,
): Promise<Result<void>> {
  const names = plan.packages.map((p) => p.name);
  if (names.length === 0) return success(undefined);
  const startedAt = performance.now();
  const answer = await callPackages(transport, machine, "install-packages", names);
  if (!answer.ok) return answer;
  if (answer.value.problem) return failure(describeNotInstalled(answer.value.problem));
  onEvent({ kind: "packages", names, ms: performance.now() - startedAt });
  return success(undefined);
}

/** Removes what nobody needs, if the plan says so. The generation stands already, whatever comes of it. */
export async function removePackages(
  transport: Transport,
  machine: string,
  plan: PushPlan,
  onEvent: OnPushEvent,
): Promise<Result<void>> {
  if (!plan.prunePackages || plan.unneeded.length === 0) return success(undefined);
  const names = plan.unneeded.map((p) => p.name);
  const startedAt = performance.now();
  const answer = await callPackages(transport, machine, "remove-packages", names);
  if (!answer.ok) return answer;
  if (answer.value.problem) return failure(describeNotRemoved(answer.value.problem));
  onEvent({ kind: "pruned", names: answer.value.removed, ms: performance.now() - startedAt });
  return success(undefined);
}

interface PackagesAnswer {
  readonly problem: PackageProblem | undefined;
  /** What went, dependencies included. */
  readonly removed: readonly string[];
}

async function callPackages(
  transport: Transport,
  machine: string,
  verb: string,
  names: readonly string[],
): Promise<Result<PackagesAnswer>> {
  const data = names.map((n) => `${n}\n`).join("");
  const answer = await callRemote(transport, machine, verb, [], { data, timeoutMs: PACKAGES_TIMEOUT_MS });
  if (!answer.ok) return answer;
  const { done, problems, records } = answer.value;
  const [first] = problems;
  const output = records.flatMap((r) => (r.name === "out" ? [r.fields.join(" ")] : []));
  const why = { code: first?.code ?? done, detail: first?.detail ?? "", output };
  return success({
    problem: done === "ok" ? undefined : { machine, names, ...why },
    removed: records.flatMap((r) => (r.name === "removed" ? [r.fields[0] ?? ""] : [])),
  });
}
