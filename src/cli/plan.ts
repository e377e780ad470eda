/** `labctl plan`: what a push would do, and why, from the machine's real state. Exit 0: nothing, 2: changes, 1: error. */
import type { Diagnostic } from "../diagnostics.ts";
import { compareBytes } from "../paths.ts";
import { diffJson } from "../push/diff/file-diff.ts";
import { diffBuilt } from "../push/diff/live-contents.ts";
import { isEmpty, planJson } from "../push/plan.ts";
import { type SavedMachine, savedMachine } from "../push/saved-plan/saved-plan.ts";
import { surveyMachine } from "../push/survey.ts";
import type { Transport } from "../push/transport.ts";
import type { CommandRun } from "./commands.ts";
import { EXIT } from "./exit.ts";
import { refuseUsage } from "./help.ts";
import { forEachMachine } from "./machines.ts";
import { checkPlanTarget, writePlanFile } from "./plan-file.ts";
import { paintOut, printErr, printJson, printOut, refuse } from "./print.ts";
import { machinesAtOnce, whoAmI } from "./remote.ts";
import { diffLines } from "./show-diff.ts";
import { eventLine, planLines } from "./show-plan.ts";
import { lookOptions, onConnection, startWithTrees } from "./start.ts";

export const run: CommandRun = async (args) => {
  const file = args.value("output");
  const target = file === undefined ? undefined : checkPlanTarget(file);
  if (target && !target.ok) return refuse(target.problems);
  const jobs = machinesAtOnce(args);
  if (typeof jobs === "string") return refuseUsage(jobs, "plan");
  const start = await startWithTrees(args, "plan", args.positionals);
  if (typeof start === "number") return start;
  const { known, machines, repository } = start.named;
  const plans = new Map<string, object>();
  const saved: SavedMachine[] = [];
  const code = await forEachMachine(start.built, jobs, ({ machine, wanted }) => {
    const say = (event: Parameters<typeof eventLine>[0]): void => {
      if (!args.flag("quiet")) printErr(`${machine.name}: ${eventLine(event)}`);
    };
    const refused = (problems: readonly Diagnostic[]): void => {
      plans.set(machine.name, { machine: machine.name, problems });
    };
    const look = async (transport: Transport): Promise<number> => {
      const options = { ...lookOptions(args), repository, fingerprint: file !== undefined };
      const survey = await surveyMachine(transport, machine.name, wanted, known, () => {}, options);
      if (!survey.ok) {
        refused(survey.problems);
        return refuse(survey.problems);
      }
      const { plan } = survey.value;
      saved.push(savedMachine(plan, survey.value.probe));
      const diffs = args.flag("diff")
        ? await diffBuilt(transport, machine.name, survey.value, wanted)
        : undefined;
      if (diffs && !diffs.ok) {
        refused(diffs.problems);
        return refuse(diffs.problems);
      }
      plans.set(machine.name, { ...planJson(plan), ...(diffs ? { diffs: diffs.value.map(diffJson) } : {}) });
      const lines = [...planLines(plan, paintOut), ...(diffs ? diffLines(diffs.value, paintOut) : [])];
      if (!args.flag("json")) printOut(lines.join("\n"));
      return isEmpty(plan) ? EXIT.done : EXIT.changes;
    };
    return onConnection(machine, start.options, say, look, refused);
  });
  // One machine, one document; several, one list in their order.
  const end = (): number => {
    if (args.flag("json")) {
      const all = machines.flatMap((m) => plans.get(m.name) ?? []);
      printJson(machines.length === 1 ? (all[0] ?? {}) : all);
    }
    return code;
  };
  if (file === undefined) return end();
  // A plan that lacks a machine would be taken for whole.
  if (saved.length < start.built.length) {
    printErr(`${file} was not written: a machine could not be planned`);
    return end();
  }
  const written = writePlanFile(file, {
    createdAt: new Date().toISOString(),
    by: whoAmI(),
    facts: args.list("fact"),
    takeOver: args.flag("take-over"),
    prunePackages: args.flag("prune-packages"),
    machines: saved.sort((a, b) => compareBytes(a.machine, b.machine)),
  });
  if (!written.ok) return refuse(written.problems);
  if (!args.flag("quiet")) printErr(`saved in ${file}; \`labctl push --plan ${file}\` does it`);
  return end();
};
