/** `labctl build`: builds trees and says what was done, and with `--explain` why. */
import type { BuildRequest, BuildResult, MachineBuild } from "../build/build-result.ts";
import { lookFresh } from "../build/fresh.ts";
import type { Result } from "../diagnostics.ts";
import { success } from "../diagnostics.ts";
import type { CommandRun, ParsedArguments } from "./commands.ts";
import { EXIT } from "./exit.ts";
import { formatMs, paint, printDiagnostics, printErr, printJson, progressLine, refuse } from "./print.ts";
import { buildRequest } from "./request.ts";

export const run: CommandRun = async (args) => {
  const request = buildRequest(args, args.positionals);
  if (!request.ok) return refuse(request.problems);
  if (args.flag("watch")) {
    // A dry run that writes would be a lie, and so would one JSON document that never ends.
    const other = ["dry-run", "json"].find((name) => args.flag(name));
    if (other !== undefined) {
      const { refuseUsage } = await import("./help.ts");
      return refuseUsage(`--watch and --${other} contradict each other`, "build");
    }
    const { watchAndBuild } = await import("./watch.ts");
    return watchAndBuild(request.value, async () => {});
  }
  const built = await buildIfNeeded({ ...request.value, dryRun: args.flag("dry-run") });
  if (!built.ok) {
    printDiagnostics(built.problems);
    if (args.flag("json")) printJson({ machines: [], problems: built.problems });
    return EXIT.failed;
  }
  printDiagnostics(built.warnings);
  report(built.value, args);
  if (!args.flag("dry-run")) return EXIT.done;
  return built.value.machines.some((m) => m.steps.length > 0) ? EXIT.changes : EXIT.done;
};

/** Builds, loading the engine only when the cheap look says that there may be something to do. */
export async function buildIfNeeded(request: BuildRequest): Promise<Result<BuildResult>> {
  const look = lookFresh(request);
  if (look.kind === "fresh") return success(look.result);
  if (look.kind === "differs" && !request.dryRun) {
    const { quickBuildAlone } = await import("../build/quick-build.ts");
    const quick = await quickBuildAlone(request, look.differences);
    if (quick) return quick;
  }
  const { build } = await import("../build/build.ts");
  const progress = progressLine();
  try {
    return await build({ ...request, onProgress: progress.show });
  } finally {
    progress.end();
  }
}

function report(result: BuildResult, args: ParsedArguments): void {
  if (args.flag("explain")) {
    for (const m of result.machines) {
      for (const step of m.steps) printErr(`${m.machine}: ${step.action} ${step.path}: ${step.reason}`);
      if (m.steps.length === 0) printErr(`${m.machine}: nothing to do`);
    }
  }
  if (args.flag("stats")) {
    const s = result.stats;
    for (const [phase, ms] of Object.entries(s.phasesMs))
      printErr(`${phase.padEnd(8)} ${ms.toFixed(1).padStart(8)} ms`);
    printErr(`looked at ${s.looked} paths, hashed ${s.hashed}, rendered ${s.rendered}, wrote ${s.written}`);
  }
  if (args.flag("json")) {
    // What a dry run foresees is contents, which may be large and are nobody's business here.
    printJson({ machines: result.machines.map(({ foreseen: _, ...m }) => m) });
    return;
  }
  if (args.flag("quiet")) return;
  const width = Math.max(...result.machines.map((m) => m.machine.length));
  for (const m of result.machines) printErr(line(m, width, args.flag("dry-run")));
  printErr(paint("dim", `built in ${formatMs(result.stats.totalMs)}`));
}

function line(m: MachineBuild, width: number, dryRun: boolean): string {
  const would = dryRun ? "would write" : "wrote";
  const done =
    m.written === 0 && m.removed === 0
      ? "up to date"
      : `${would} ${m.written}, ${dryRun ? "remove" : "removed"} ${m.removed}`;
  return `${m.machine.padEnd(width)}  ${m.generation.slice(0, 12)}  ${m.files} files, ${done}`;
}
