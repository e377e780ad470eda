/**
 * The side of `labctl twin` that stands in private namespaces: boots the machine with its tree in place, looks whether it
 * works, runs what was asked for, throws it away. The tree was built before; nothing here reaches a network.
 */
import { spawn } from "node:child_process";
import { renameSync, writeFileSync } from "node:fs";
import { type Result, success } from "../../diagnostics.ts";
import type { AbsPath } from "../../paths.ts";
import { type Bed, openBed } from "../../twin/bed.ts";
import type { Machine } from "../../twin/machine.ts";
import { checkMachine, type MachineState } from "../../twin/machine-checks.ts";
import { type Placed, placeTree } from "../../twin/place-tree.ts";
import { describeProblem } from "../../twin/problems.ts";
import { processTransport } from "../../twin/process-transport.ts";
import type { ParsedArguments } from "../commands.ts";
import { EXIT } from "../exit.ts";
import { readWanted } from "../machines.ts";
import { formatMs, paint, printDiagnostics, printErr, printJson, refuse } from "../print.ts";
import { ownKeyring } from "../prompts.ts";
import { type Handover, KEPT_FILE, type Kept } from "./handover.ts";

/** What guests of a twin need of its host, as far as this one has it. */
const DEVICES = ["/dev/net/tun", "/dev/fuse", "/dev/kvm", "/dev/loop-control"].map((path) => path as AbsPath);

interface Twin {
  readonly bed: Bed;
  readonly machine: Machine;
  readonly placed: Placed;
}

/** Exit code 0: all is well, or that of the command; 1: something is not. */
export async function runInside(args: ParsedArguments, handover: Handover): Promise<number> {
  const phases: Record<string, number> = { ...handover.phases };
  const before = Object.values(phases).reduce((sum, ms) => sum + ms, 0);
  phases.namespaces = Math.max(0, Date.now() - handover.startedAt - before);
  const wanted = await readWanted(handover.root, { name: handover.machine });
  if (!wanted.ok) return refuse(wanted.problems);
  const up = await bootTwin(args, handover, wanted.value, phases);
  if (!up.ok) return refuse(up.problems);
  printDiagnostics(up.warnings);
  const { bed, machine, placed } = up.value;
  const ready = Date.now() - handover.startedAt;
  const quiet = args.flag("quiet") || args.flag("json");
  const id = wanted.value.id;
  if (!quiet)
    printErr(`${handover.machine}: twin of ${paint("bold", id.slice(0, 12))} is up in ${formatMs(ready)}`);
  if (args.flag("keep"))
    tellKept({ address: machine.address, hostKey: machine.hostKey, identityFile: bed.identityFile });
  let code = 0;
  const asked = args.trailing ?? (args.flag("shell") ? ["bash", "--login"] : undefined);
  if (asked === undefined || args.flag("check")) {
    const checksAt = Date.now();
    const state = await checkMachine(
      transportTo(handover.machine, machine),
      handover.machine,
      wanted.value.manifest,
    );
    phases.checks = Date.now() - checksAt;
    code = state.ok ? report(args, handover, id, state.value, placed, ready, phases) : refuse(state.problems);
  }
  if (args.flag("stats")) printStats(phases, ready);
  if (asked && code === 0) code = await runAsked(machine, asked);
  if (args.flag("keep")) await untilAsked();
  await bed.close();
  return code;
}

async function bootTwin(
  args: ParsedArguments,
  handover: Handover,
  wanted: Parameters<typeof placeTree>[1]["wanted"],
  phases: Record<string, number>,
): Promise<Result<Twin>> {
  const openedAt = Date.now();
  const bed = await openBed({ image: handover.image, poolKind: handover.poolKind, keepsPool: true });
  if (!bed.ok) return bed;
  phases.disk = Date.now() - openedAt;
  const { machine: name, machineId, who, meta, keepGenerations: keep } = handover;
  let placed: Result<Placed> | undefined;
  let placedAt = Date.now();
  const machine = await bed.value.boot({
    name: hostNameOf(name),
    machineId,
    // A firewall may rightly keep everyone out whom the real network does not have.
    waitsForSsh: args.flag("keep"),
    devices: DEVICES,
    nspawnArguments: args.list("bind").map((text) => `--bind-ro=${text}`),
    prepare: async (root) => {
      const startedAt = Date.now();
      placed = await placeTree(root, {
        machine: name,
        wanted,
        machineId,
        secrets: { root: handover.root, keyring: ownKeyring() },
        who,
        keep,
        meta,
        repository: handover.repository,
      });
      placedAt = Date.now();
      phases.tree = placedAt - startedAt;
      return placed.ok ? success(undefined) : placed;
    },
  });
  phases.boot = Date.now() - placedAt;
  // Without a place there was no boot, and `machine` says why.
  if (!machine.ok || !placed?.ok) {
    await bed.value.close();
    return machine.ok && placed && !placed.ok ? placed : (machine as Result<Twin>);
  }
  return success({ bed: bed.value, machine: machine.value, placed: placed.value }, placed.warnings);
}

/** A machine's name may have what a host's may not, hostname(7). Pure. */
function hostNameOf(machine: string): string {
  return machine
    .replace(/[^A-Za-z0-9-]/g, "-")
    .slice(0, 63)
    .replace(/-+$/, "");
}

function transportTo(name: string, machine: Machine) {
  return processTransport(`the twin of ${name}`, machine.enterWords() ?? ["false"]);
}

function report(
  args: ParsedArguments,
  { machine }: Handover,
  wanted: string,
  state: MachineState,
  placed: Placed,
  ready: number,
  phases: Readonly<Record<string, number>>,
): number {
  const problems = [
    ...(state.generation === wanted
      ? []
      : [describeProblem({ kind: "twin-other-generation", machine, wanted, found: state.generation })]),
    ...state.checks
      .filter((c) => c.verdict !== "ok")
      .map((check) => describeProblem({ kind: "twin-check-failed", machine, check })),
    ...state.failedUnits.map(({ unit, log }) =>
      describeProblem({ kind: "twin-unit-failed", machine, unit, log }),
    ),
  ];
  const ok = problems.length === 0;
  if (args.flag("json")) {
    const { checks, failedUnits, skippedUnits } = state;
    const { secretsMissing } = placed;
    printJson({
      machine,
      generation: state.generation,
      ok,
      readyMs: ready,
      phasesMs: phases,
      checks,
      failedUnits,
      skippedUnits,
      secretsMissing,
      problems,
    });
    return ok ? EXIT.done : EXIT.failed;
  }
  if (!args.flag("quiet")) {
    for (const c of state.checks)
      printErr(
        `${machine}: check ${c.name} ${c.verdict === "ok" ? paint("green", "ok") : paint("red", c.verdict)} (${formatMs(c.ms)})`,
      );
    for (const unit of state.skippedUnits)
      printErr(`${machine}: ${unit} did not start: a condition of it is not met here`);
  }
  printDiagnostics(problems);
  if (ok && !args.flag("quiet")) {
    const count = state.checks.length;
    printErr(
      `${machine}: ${paint("green", "well")}: ${count} check${count === 1 ? "" : "s"}, no unit failed`,
    );
  }
  return ok ? EXIT.done : EXIT.failed;
}

function printStats(phases: Readonly<Record<string, number>>, ready: number): void {
  for (const [phase, ms] of Object.entries(phases))
    printErr(`${phase.padEnd(10)} ${String(ms).padStart(6)} ms`);
  const cached = (phases.disk ?? 0) + (phases.tree ?? 0) + (phases.boot ?? 0);
  printErr(`from image and tree to a machine that is up: ${cached} ms; from the command: ${ready} ms`);
}

/** A program of the twin with our standard streams; its exit status. */
function runAsked(machine: Machine, asked: readonly string[]): Promise<number> {
  const [program = "", ...args] = [...(machine.enterWords(process.env.TERM) ?? ["false"]), ...asked];
  return new Promise((resolve) => {
    const child = spawn(program, args, { stdio: "inherit" });
    child.on("error", () => resolve(EXIT.failed));
    child.on("exit", (status, signal) =>
      resolve(status ?? (signal === null ? EXIT.failed : EXIT.interrupted)),
    );
  });
}

/** For the other side, which waits for this file; it must be whole when it appears. */
function tellKept(kept: Kept): void {
  writeFileSync(`${KEPT_FILE}.new`, JSON.stringify(kept), { mode: 0o600 });
  renameSync(`${KEPT_FILE}.new`, KEPT_FILE);
}

function untilAsked(): Promise<void> {
  return new Promise((resolve) => {
    const timer = setInterval(() => {}, 1 << 30);
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
      process.on(signal, () => {
        clearInterval(timer);
        resolve();
      });
  });
}
