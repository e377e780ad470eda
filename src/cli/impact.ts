/** `labctl impact K=V`: machines, files and units that this value of a fact would change. Offline. */
import { printable } from "../diagnostics.ts";
import { impactOf } from "../push/impact.ts";
import { buildIfNeeded } from "./build.ts";
import type { CommandRun } from "./commands.ts";
import { EXIT } from "./exit.ts";
import { refuseUsage } from "./help.ts";
import { printErr, printJson, printOut, refuse } from "./print.ts";
import { buildRequest } from "./request.ts";

export const run: CommandRun = async (args) => {
  const [setting = "", ...patterns] = args.positionals;
  const at = setting.indexOf("=");
  const name = setting.slice(0, Math.max(0, at));
  if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name))
    return refuseUsage(`\`impact\` wants NAME=VALUE, not \`${setting}\``, "impact");
  const request = buildRequest(args, patterns);
  if (!request.ok) return refuse(request.problems);
  // The trees as they stand now are what the other value is compared with.
  const now = await buildIfNeeded(request.value);
  const { build } = await import("../build/build.ts");
  const facts = new Map([...request.value.facts, [name, setting.slice(at + 1)]]);
  const foreseen = now.ok ? await build({ ...request.value, facts, dryRun: true }) : now;
  if (!foreseen.ok) return refuse(foreseen.problems);
  const impact = impactOf(request.value.root, name, foreseen.value);
  if (args.flag("json")) {
    const machines = impact.map((m) => ({
      machine: m.machine,
      files: m.files,
      units: m.units.map(({ unit, action, reason }) => ({ unit, action, reason })),
    }));
    printJson({ fact: name, value: setting.slice(at + 1), machines });
    return EXIT.done;
  }
  if (impact.length === 0) printErr(`${setting} changes nothing on any machine`);
  for (const m of impact) {
    printOut(`${m.machine}:`);
    for (const f of m.files) printOut(`  ~ ${printable(f.path)}  (${printable(f.source)})`);
    for (const u of m.units) printOut(`  ${u.action} ${u.unit}: ${printable(u.reason)}`);
  }
  return EXIT.done;
};
