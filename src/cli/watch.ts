/**
 * `labctl watch <machine…>`: builds and pushes on every edit, over a connection that stays open. `build --watch` is the
 * same without the push. Ends with Ctrl-C.
 */
import { build } from "../build/build.ts";
import type { BuildRequest } from "../build/build-result.ts";
import { lookAtPaths, lookFresh } from "../build/fresh.ts";
import { projectDisk } from "../build/project-disk.ts";
import { success } from "../diagnostics.ts";
import type { Machine } from "../project/project.ts";
import { readProject } from "../project/read-project.ts";
import { selectMachines } from "../project/select-machines.ts";
import { openStandby } from "../push/standby.ts";
import type { Transport } from "../push/transport.ts";
import type { CommandRun } from "./commands.ts";
import { refuseUsage } from "./help.ts";
import { formatMs, paint, printDiagnostics, printErr, refuse } from "./print.ts";
import { pushOpened } from "./push-built.ts";
import { confirmSeconds, connectTo } from "./remote.ts";
import { buildRequest } from "./request.ts";
import { startOnMachines } from "./start.ts";
import { onEveryEdit } from "./watching.ts";

export const run: CommandRun = async (args) => {
  const waits = confirmSeconds(args);
  if (typeof waits === "string") return refuseUsage(waits, "watch");
  const start = await startOnMachines(args, "watch", args.positionals);
  if (typeof start === "number") return start;
  const request = buildRequest(args, args.positionals);
  if (!request.ok) return refuse(request.problems);
  const { named: found, options } = start;
  const open = new Map<string, Transport>();
  const pushAll = async (machines: readonly Machine[]): Promise<void> => {
    await Promise.all(
      machines.map(async (machine) => {
        let transport = open.get(machine.name);
        // A push mends a loss for itself; the next one shall not meet it again.
        if (!transport || transport.isLost()) {
          await transport?.close();
          const opened = await connectTo(machine, options);
          if (!opened.ok) {
            printDiagnostics(opened.problems);
            return;
          }
          transport = opened.value;
          open.set(machine.name, transport);
        }
        // A connection that broke is opened anew by the next edit.
        if (!(await pushOpened(machine, transport, found, options, args))) {
          open.delete(machine.name);
          await transport.close();
        } else openStandby(transport, "commit");
      }),
    );
  };
  return watchAndBuild(request.value, pushAll);
};

/** Builds at once and after every edit; `then` gets the machines whose tree changed, and all of them the first time. */
export async function watchAndBuild(
  request: BuildRequest,
  then: (machines: readonly Machine[]) => Promise<void>,
): Promise<never> {
  const selected = (): readonly Machine[] => {
    const project = readProject(request.root, request.builtInLayers, projectDisk());
    const machines = project.ok ? selectMachines(project.value.machines, request.machines) : project;
    return machines.ok ? machines.value : [];
  };
  const generations = new Map<string, string>();
  let complaint = "";
  const rebuild = async (paths: readonly string[], all: readonly Machine[]): Promise<void> => {
    const startedAt = performance.now();
    // What the kernel told of is built first; everything is looked at afterwards, since it need not have told of all.
    const look = paths.length === 0 ? lookFresh(request) : lookAtPaths(request, paths);
    if (paths.length > 0 && look.kind !== "differs") return;
    const built =
      look.kind === "fresh"
        ? success(look.result)
        : await build(request, look.kind === "differs" ? look.differences : undefined);
    const problems = built.ok ? "" : JSON.stringify(built.problems);
    // Both looks at one edit meet the same problem.
    if (!built.ok && problems !== complaint) printDiagnostics(built.problems);
    complaint = problems;
    if (!built.ok) return;
    const changed = built.value.machines.filter((m) => generations.get(m.machine) !== m.generation);
    for (const m of built.value.machines) generations.set(m.machine, m.generation);
    const ms = performance.now() - startedAt;
    for (const m of changed)
      printErr(
        `${m.machine}  ${m.generation.slice(0, 12)}  wrote ${m.written}, removed ${m.removed} ${paint("dim", `(${formatMs(ms)})`)}`,
      );
    await then(all.filter((m) => changed.some((c) => c.machine === m.name)));
  };
  let all = selected();
  await rebuild([], all);
  printErr(paint("dim", "watching; Ctrl-C ends it"));
  return onEveryEdit(request.root, async (paths) => {
    complaint = "";
    await rebuild(paths, all);
    all = selected();
    await rebuild([], all);
  });
}
