/** `labctl push`: builds, plans, and carries the plan out on each machine. */
import { printable } from "../diagnostics.ts";
import type { FleetSettings } from "../push/fleet/fleet.ts";
import { parseWaves } from "../push/fleet/waves.ts";
import { describePlanFile } from "../push/saved-plan/problems.ts";
import type { SavedMachine } from "../push/saved-plan/saved-plan.ts";
import type { CommandRun, ParsedArguments } from "./commands.ts";
import { untilCtrlC } from "./ctrl-c.ts";
import { pushFleet } from "./fleet/push-fleet.ts";
import { refuseUsage } from "./help.ts";
import { readPlanFile, withSavedOptions } from "./plan-file.ts";
import { refuse } from "./print.ts";
import { confirmSeconds, machinesAtOnce, wholeNumber } from "./remote.ts";
import { startWithTrees } from "./start.ts";

export const run: CommandRun = async (given) => {
  const file = given.value("plan");
  if (file === undefined) {
    if (given.positionals.length === 0) return refuseUsage("`push` wants <machine…>, or --plan FILE", "push");
    return push(given, given.positionals);
  }
  const read = readPlanFile(file);
  if (!read.ok) return refuse(read.problems);
  const args = withSavedOptions(given, read.value);
  if (typeof args === "string") return refuseUsage(args, "push");
  const saved = new Map(read.value.machines.map((m) => [m.machine as string, m]));
  return push(args, given.positionals.length > 0 ? given.positionals : [...saved.keys()], { file, saved });
};

async function push(
  args: ParsedArguments,
  patterns: readonly string[],
  plan?: { readonly file: string; readonly saved: ReadonlyMap<string, SavedMachine> },
): Promise<number> {
  const settings = fleetSettings(args);
  if (typeof settings === "string") return refuseUsage(settings, "push");
  const waits = confirmSeconds(args);
  if (typeof waits === "string") return refuseUsage(waits, "push");
  return untilCtrlC(async (signal) => {
    const start = await startWithTrees(args, "push", patterns);
    if (typeof start === "number") return start;
    const foreign = plan && start.built.find((b) => !plan.saved.has(b.machine.name))?.machine.name;
    if (plan && foreign !== undefined) {
      const has = [...plan.saved.keys()];
      return refuse([describePlanFile({ kind: "no-machine", file: plan.file, machine: foreign, has })]);
    }
    return pushFleet(args, { ...start, signal, ...(plan ? { saved: plan.saved } : {}) }, settings);
  });
}

/** How many machines at once and in which waves, or a phrase that says what is wrong. Pure. */
function fleetSettings(args: ParsedArguments): Omit<FleetSettings, "interrupted"> | string {
  const jobs = machinesAtOnce(args);
  if (typeof jobs === "string") return jobs;
  const text = args.value("wave");
  const waves = text === undefined ? undefined : parseWaves(text);
  if (text !== undefined && waves === undefined)
    return `--wave wants sizes such as \`5\`, \`1,5,rest\` or \`1,25%\`, not \`${printable(text)}\``;
  // None may fail: the first one stops, as it does by default.
  const most = args.value("max-failures") === "0" ? 1 : wholeNumber(args, "max-failures", 0, 100_000);
  if (typeof most === "string") return most;
  const pause = args.value("wave-pause") === undefined ? 0 : wholeNumber(args, "wave-pause", 0, 86_400);
  if (typeof pause === "string") return pause;
  if (pause > 0 && waves === undefined) return "--wave-pause is of no use without --wave";
  return { jobs, waves, maxFailures: most === 0 ? undefined : most, pauseMs: pause * 1000 };
}
