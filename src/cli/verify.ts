/**
 * `labctl verify`: builds the machines and checks their trees, offline. Exit 0: no finding, 1: findings, warnings
 * included. One finding is printed once, with the machines that share it. `--live` is another command's worth of code.
 */
import { readMachineFacts } from "../build/machine-facts.ts";
import { projectDisk } from "../build/project-disk.ts";
import { sourceLines } from "../build/source-lines.ts";
import { blake3 } from "../hash.ts";
import { verifyTrees } from "../lint/verify.ts";
import type { FactName } from "../paths.ts";
import { readProject } from "../project/read-project.ts";
import type { CommandRun } from "./commands.ts";
import { EXIT } from "./exit.ts";
import { buildMachines, findMachines } from "./machines.ts";
import { formatMs, paint, printDiagnostics, printErr, printJson } from "./print.ts";
import { buildRequest } from "./request.ts";

export const run: CommandRun = async (args) => {
  if (args.flag("live")) {
    const { verifyMachines } = await import("./verify-live.ts");
    return verifyMachines(args);
  }
  const named = await findMachines(args, args.positionals);
  const built = named.ok ? await buildMachines(args, named.value) : named;
  const request = built.ok ? buildRequest(args, args.positionals) : built;
  if (!named.ok || !built.ok || !request.ok) {
    const problems = !named.ok
      ? named.problems
      : !built.ok
        ? built.problems
        : request.ok
          ? []
          : request.problems;
    printDiagnostics(problems);
    if (args.flag("json")) printJson({ findings: [], skipped: [], problems });
    return EXIT.failed;
  }
  const { root, builtInLayers } = request.value;
  const b3 = await blake3();
  // Read when the first finding, or a guest, wants them: most trees have neither.
  let read: ReturnType<typeof readAll> | undefined;
  const readAll = () => {
    const disk = projectDisk();
    const project = readProject(root, builtInLayers, disk);
    const facts = project.ok
      ? readMachineFacts(project.value, named.value.machines, request.value.facts, disk)
      : project;
    return project.ok && facts.ok ? { project: project.value, facts: facts.value } : undefined;
  };
  const result = await verifyTrees(
    built.value.map(({ machine, wanted }) => ({ machine, manifest: wanted.manifest, folder: wanted.folder })),
    (texts) => {
      read ??= readAll();
      if (!read) return (_, entry) => ({ file: entry.origin.source });
      return sourceLines(read.project, builtInLayers, read.facts, b3, texts).placeOf;
    },
    (machine, fact) => {
      read ??= readAll();
      return read?.facts.get(machine)?.facts.get(fact as FactName)?.value;
    },
  );
  const { findings, skipped } = result;
  if (args.flag("json")) printJson({ findings, skipped });
  else {
    const all = named.value.machines.length;
    printDiagnostics(
      findings.map((f) =>
        f.machines.length === all ? f : { ...f, notes: [...f.notes, `machines: ${f.machines.join(", ")}`] },
      ),
    );
    if (!args.flag("quiet")) {
      for (const s of skipped) printErr(`not checked: ${s.check}: ${s.reason}`);
      const count = findings.length === 1 ? "1 finding" : `${findings.length || "no"} findings`;
      const time = `own reader ${formatMs(result.ownMs)}, programs ${formatMs(result.programsMs)}`;
      printErr(paint("dim", `${count} in ${all} ${all === 1 ? "machine" : "machines"} (${time})`));
    }
  }
  return findings.length === 0 ? EXIT.done : EXIT.failed;
};
