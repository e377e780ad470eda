/**
 * `systemd-analyze verify` on the tree's own unit folder, with nothing of this host in the search path. It exits 0 on a
 * misspelled key, so its output is what counts: every line is a finding, but for those that only say what this host, or
 * this host's version of systemd, lacks.
 */
import { join } from "node:path";
import { type Diagnostic, problem } from "../diagnostics.ts";
import { sectionKeys } from "../units/lint/key-table.ts";
import { parseUnitFile } from "../units/unit-file.ts";
import { isTemplate, unitType } from "../units/unit-name.ts";
import { readUnitSet, type Unit } from "../units/unit-set.ts";
import type { Check, Found, Job, JobTools } from "./check.ts";
import { contentKey, writeScratch } from "./config-copy.ts";
import type { MachineTree } from "./machine-tree.ts";
import { runProgram } from "./program.ts";

const FOLDER = "lib/systemd/system";

/**
 * What a private search path and a foreign host make it say: vendor units are absent, programs are not installed, no
 * manager runs. Our own reader judges units and programs that are named (`unit-references.ts`).
 */
const OF_THIS_HOST =
  /is not executable|not found|Failed to (load|open|resolve|connect|create|get|set|add|determine|lookup|enqueue|prepare)|bad unit file setting|[Cc]annot add dependency|Cannot find unit|man page|No such file|Operation not (permitted|supported)|Read-only file system|Unit .* is masked|cgroup|SELinux|AppArmor|Encountered file|Unit file .* is masked|lacks a native|No unit/;

/** A unit that only has drop-ins here needs a body, such as its package would bring. */
const BODIES: Readonly<Record<string, string>> = {
  service: "[Service]\nType=oneshot\nExecStart=/bin/true\n",
  socket: "[Socket]\nListenStream=/run/stub\n",
  timer: "[Timer]\nOnBootSec=1h\n",
  path: "[Path]\nPathExists=/run/stub\n",
  target: "[Unit]\n",
  slice: "[Unit]\n",
};

export const systemdAnalyze: Check = {
  name: "systemd-analyze verify",
  program: "systemd-analyze",
  plan: (trees) => {
    const seen = new Set<string>();
    return trees.flatMap((tree): Job[] => {
      const set = readUnitSet(tree, "system");
      // Units whose files another machine has shown to be right, or wrong, need no second look.
      const units = set.names
        .map((name) => set.unit(name))
        .filter((unit) => {
          const files = unit.fragment?.kind === "file" ? [unit.fragment.path, ...unit.dropIns] : unit.dropIns;
          if (files.length === 0 || (unit.fragment && unit.fragment.kind !== "file")) return false;
          const key = `${unit.name}\n${contentKey(tree, files)}`;
          const known = seen.has(key);
          seen.add(key);
          return !known;
        });
      return units.length === 0 ? [] : [(tools) => verify(tree, units, tools)];
    });
  },
};

async function verify(
  tree: MachineTree,
  units: readonly Unit[],
  tools: JobTools,
): Promise<{ found: Found[]; skipped?: string }> {
  const scratch = tools.scratch();
  const names = new Set<string>();
  for (const unit of units) {
    const body = BODIES[unitType(unit.name)];
    if (!unit.fragment && body !== undefined) writeScratch(scratch, unit.name, body);
    if (unit.fragment || body !== undefined)
      names.add(isTemplate(unit.name) ? unit.name.replace("@.", "@x.") : unit.name);
    // What is triggered has to exist for its trigger to be checked.
    const stem = unit.name.slice(0, unit.name.lastIndexOf("."));
    const service = `${stem}.service`;
    if (/^(socket|timer|path)$/.test(unitType(unit.name)) && !tree.stat(`${FOLDER}/${service}`))
      writeScratch(scratch, service, BODIES.service ?? "");
  }
  if (names.size === 0) return { found: [] };
  // An absent folder in the path is fine; an empty search path would mean this host's own.
  const folder = join(tree.folder, FOLDER);
  const said = await runProgram(
    tools.find("systemd-analyze") ?? "systemd-analyze",
    ["verify", "--man=no", "--recursive-errors=no", "--", ...names],
    { env: { SYSTEMD_UNIT_PATH: `${folder}:${scratch}`, SYSTEMD_LOG_LEVEL: "warning" } },
  );
  if (/unrecognized option|Unknown (command|operation)/i.test(said.stderr))
    return { found: [], skipped: "this host's systemd is too old" };
  const found = new Map<string, Found>();
  for (const line of said.stderr.split("\n")) {
    const diagnostic = readLine(line, tree, folder);
    if (diagnostic) found.set(line, { tree, diagnostic });
  }
  return { found: [...found.values()] };
}

function readLine(line: string, tree: MachineTree, folder: string): Diagnostic | undefined {
  if (line.trim() === "") return undefined;
  const at = /^(\/.*?):([0-9]+): (.*)$/.exec(line);
  if (at?.[1]?.startsWith(`${folder}/`)) {
    const path = `${FOLDER}/${at[1].slice(folder.length + 1)}`;
    const number = Number(at[2]);
    if (isOfAnotherVersion(tree.read(path as never) ?? "", number)) return undefined;
    return finding(at[3] ?? "", path, number);
  }
  if (OF_THIS_HOST.test(line)) return undefined;
  const unit = /^([^\s:/]+\.[a-z]+): (.*)$/.exec(line);
  const path = `${FOLDER}/${(unit?.[1] ?? "").replace("@x.", "@.")}`;
  return unit && tree.stat(path) ? finding(unit[2] ?? "", path, undefined) : undefined;
}

function finding(message: string, path: string, line: number | undefined): Diagnostic {
  const place = { file: path, ...(line === undefined ? {} : { line }) };
  return problem("systemd-analyze", `systemd says: ${message.replace(/\.$/, "")}`, {
    place,
    help: "correct the line, as systemd.directives(7) describes it",
  });
}

/** Keys that only some version has, and names that came later: our own reader knows both versions and has judged them. */
function isOfAnotherVersion(text: string, line: number): boolean {
  const assignment = parseUnitFile(text).assignments.find((a) => a.line === line);
  const facts = assignment && sectionKeys(assignment.section)?.get(assignment.key);
  return facts !== undefined && (facts.since !== "both" || facts.kind.startsWith("enum:"));
}
