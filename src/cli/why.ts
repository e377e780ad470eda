/** `labctl why <machine> <path>`: everything about one path, in one screen, offline; also for a path that is not there. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { dirname } from "node:path";
import { buildLayout } from "../build/layout.ts";
import { readMachineFacts } from "../build/machine-facts.ts";
import { type ManifestEntry, parseManifest } from "../build/manifest.ts";
import { projectDisk } from "../build/project-disk.ts";
import { layAlone, nearestPath, provenanceOf } from "../build/provenance.ts";
import { treeReader } from "../build/read-tree.ts";
import { readBuiltTexts, treeView } from "../build/tree-view.ts";
import { printable } from "../diagnostics.ts";
import type { AbsPath, RelPath } from "../paths.ts";
import { TREE_ROOT } from "../paths.ts";
import { knownLayers } from "../project/read-project.ts";
import { shortVersion } from "../secrets/age-file.ts";
import { forecastActions } from "../units/forecast.ts";
import { classifyPath } from "../units/unit-path.ts";
import { readUnitSet } from "../units/unit-set.ts";
import { buildIfNeeded } from "./build.ts";
import type { CommandRun } from "./commands.ts";
import { EXIT } from "./exit.ts";
import { refuseUsage } from "./help.ts";
import { printErr, printJson, printOut, refuse } from "./print.ts";
import { treePathArgument } from "./request.ts";
import { readSelection } from "./selection.ts";

export const run: CommandRun = async (args) => {
  const [pattern = "", asked = ""] = args.positionals;
  const path = treePathArgument(asked);
  if (path === undefined)
    return refuseUsage(`\`why\` wants a path under ${TREE_ROOT}, not \`${printable(asked)}\``, "why");
  const selection = readSelection(args, [pattern]);
  if (!selection.ok) return refuse(selection.problems);
  const { request, project, machines, disk } = selection.value;
  const { root, builtInLayers } = request;
  const facts = readMachineFacts(project, machines, request.facts, disk);
  if (!facts.ok) return refuse(facts.problems);
  const built = await buildIfNeeded(request);
  if (!built.ok) return refuse(built.problems);
  const [machine, ...others] = machines;
  const machineFacts = machine && facts.value.get(machine.name);
  if (!machine || !machineFacts || others.length > 0) return refuseUsage("`why` wants one machine", "why");
  const layout = buildLayout(root);
  const manifest = parseManifest(readFileSync(layout.manifest(machine.name), "utf8"));
  const entry = manifest?.entries.find((e) => e.path === path);
  if (!manifest || !entry) {
    return sayAbsent(
      path,
      machine.name,
      manifest?.entries.map((e) => e.path) ?? [],
      whoCouldMake(path, root, builtInLayers),
      machine.layers.map((l) => l.name),
      args.flag("json"),
    );
  }
  const p = provenanceOf(root, builtInLayers, entry, machine, machineFacts);
  const commit = lastCommit(p.sourceFile);
  const units = readUnitSet(treeView(manifest, readBuiltTexts(manifest, layout.tree(machine.name))));
  const own = classifyPath(entry.path as RelPath);
  const acted = forecastActions(units, units, [
    { path: entry.path, change: "changed", cause: "a change of this file" },
  ]);
  const part =
    own && "unit" in own
      ? own.unit
      : own?.kind === "drop-in" && "unit" in own.applies
        ? own.applies.unit
        : undefined;
  if (args.flag("json")) {
    printJson({
      machine: machine.name,
      ...entry,
      commit: commit ?? null,
      overrides: p.overrides,
      reads: p.reads,
      partOf: part ?? null,
      units: acted.map(({ unit, action, reason }) => ({ unit, action, reason })),
    });
    return EXIT.done;
  }
  printOut(`${machine.name}: ${TREE_ROOT}/${printable(path)}`);
  printOut(
    `  layer     ${entry.origin.layer === "machine" ? "none: the machine's own file" : entry.origin.layer}`,
  );
  printOut(`  source    ${printable(entry.origin.source)}${entry.origin.template ? " (template)" : ""}`);
  printOut(`  is        ${describeEntry(entry)}`);
  printOut(`  commit    ${commit ?? "not committed"}`);
  for (const source of p.overrides) printOut(`  overrides ${printable(source)}`);
  for (const r of p.reads) {
    const where = r.lines.length === 0 ? "in a partial" : `line ${r.lines.join(", ")}`;
    printOut(
      `  reads     ${r.path} = ${r.value === undefined ? "unset" : printable(r.value)} (${r.from}), ${where}`,
    );
  }
  if (part) printOut(`  part of   ${part}; what a change does depends on its meaning (see \`labctl plan\`)`);
  for (const u of acted) printOut(`  a change  would ${u.action} ${u.unit}: ${printable(u.reason)}`);
  if (!part && acted.length === 0) printOut("  a change  would touch no unit");
  return EXIT.done;
};

function describeEntry(e: ManifestEntry): string {
  const mode = `${e.mode.toString(8).padStart(4, "0")} ${e.owner}:${e.group}`;
  if (e.type === "dir") return `a folder, ${mode}`;
  if (e.type === "link") return `a link to ${printable(e.target)}`;
  if (e.type === "secret")
    return `a credential, ${mode}, encrypted by the machine for itself; secret \`${e.secret}\`, version ${shortVersion(e.version)}`;
  return `a file, ${e.sizeBytes} bytes, ${mode}, BLAKE3 ${e.hash.slice(0, 16)}…`;
}

/** `a1b2c3d4e5 2026-01-31 Name: subject`; undefined if Git knows nothing of the file. */
function lastCommit(file: AbsPath): string | undefined {
  const git = spawnSync(
    "git",
    ["--no-optional-locks", "log", "-1", "--date=short", "--format=%h %ad %an: %s", "--", file],
    { cwd: dirname(file), encoding: "utf8" },
  );
  const line = git.status === 0 ? git.stdout.trim() : "";
  return line === "" ? undefined : printable(line);
}

/** Layers, used or not, that would make the path. */
function whoCouldMake(
  path: string,
  root: AbsPath,
  builtInLayers: AbsPath,
): { layer: string; source: string }[] {
  const out: { layer: string; source: string }[] = [];
  const reader = treeReader([root, builtInLayers], Date.now());
  for (const { name, folder } of knownLayers(root, builtInLayers, projectDisk())) {
    const found = layAlone(reader.read(folder, `layers/${name}`, name)).outputs.find((o) => o.path === path);
    if (found && found.content.kind !== "dir") out.push({ layer: name, source: found.source });
  }
  return out;
}

function sayAbsent(
  path: string,
  machine: string,
  paths: readonly string[],
  makers: readonly { layer: string; source: string }[],
  used: readonly string[],
  json: boolean,
): number {
  const near = nearestPath(path, paths);
  if (json) printJson({ machine, path, absent: true, couldComeFrom: makers, near: near ?? null });
  else {
    printErr(`${machine}: nothing builds ${TREE_ROOT}/${printable(path)}`);
    for (const m of makers) {
      printErr(
        `  layer ${m.layer} has it (${printable(m.source)}); ${used.includes(m.layer) ? "another source wins" : `${machine} does not use that layer`}`,
      );
    }
    if (makers.length === 0) printErr("  no layer has it");
    if (near !== undefined) printErr(`  did you mean ${printable(near)}?`);
  }
  return EXIT.failed;
}
