/**
 * `labctl twin <machine>`: a disposable copy of a machine from its own build. This side builds, makes sure of the image, and
 * starts the other side in private namespaces, where all that it boots and mounts ends with it.
 */
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { isAbsolute } from "node:path";
import { projectDisk } from "../../build/project-disk.ts";
import { failure, printable, problem, type Result, success } from "../../diagnostics.ts";
import { readFacts } from "../../facts/read-facts.ts";
import { parseMachineId } from "../../ipam/ula.ts";
import type { FactName } from "../../paths.ts";
import { poolCacheFile } from "../../twin/bed.ts";
import { checkHost } from "../../twin/host-support.ts";
import { ensureImage, findImage, type Image } from "../../twin/image.ts";
import { checkNames } from "../../twin/machine-checks.ts";
import { isInNamespaces, runInNamespaces } from "../../twin/namespace.ts";
import type { CommandRun, ParsedArguments } from "../commands.ts";
import { EXIT } from "../exit.ts";
import { refuseUsage } from "../help.ts";
import { type BuiltMachine, buildMachines, findMachines, type NamedMachines } from "../machines.ts";
import { printDiagnostics, printErr, printJson, progressLine, refuse } from "../print.ts";
import { KEEP_GENERATIONS, whoAmI } from "../remote.ts";
import { gitState } from "../repository.ts";
import { buildRequest } from "../request.ts";
import { openDoor } from "./door.ts";
import { HANDOVER, type Handover } from "./handover.ts";

export const run: CommandRun = async (args) => {
  const handover = process.env[HANDOVER];
  if (handover !== undefined && isInNamespaces()) {
    delete process.env[HANDOVER];
    return (await import("./inside.ts")).runInside(args, JSON.parse(handover) as Handover);
  }
  const wrong = contradiction(args);
  if (wrong !== undefined) return refuseUsage(wrong, "twin");
  const startedAt = Date.now();
  const found = await findOne(args);
  if (!found.ok) return refuse(found.problems);
  const { named, built } = found.value;
  const phases: Record<string, number> = { build: Date.now() - startedAt };
  const packages = [...built.wanted.manifest.packages.map((p) => p.name), ...args.list("package")].sort();
  if (args.flag("dry-run")) return foresee(args, built, packages);
  const hostAt = Date.now();
  const host = checkHost();
  if (!host.ok) return refuse(host.problems);
  printDiagnostics(host.warnings);
  phases.host = Date.now() - hostAt;
  const imageAt = Date.now();
  const image = await imageFor(packages, args.flag("quiet"));
  if (!image.ok) return refuse(image.problems);
  phases.image = Date.now() - imageAt;
  const machineId = machineIdOf(args, named, built);
  if (!machineId.ok) return refuse(machineId.problems);
  const { commit, dirty } = await gitState(named.root);
  const value: Handover = {
    root: named.root,
    machine: built.machine.name,
    keepGenerations: built.machine.keepGenerations ?? KEEP_GENERATIONS,
    image: image.value,
    poolKind: host.value.poolKind,
    machineId: machineId.value ?? randomBytes(16).toString("hex"),
    who: whoAmI(),
    meta: {
      ...(commit ? { commit } : {}),
      ...(dirty === undefined ? {} : { dirty: dirty ? "yes" : "no" }),
    },
    ...(named.repository === undefined ? {} : { repository: named.repository }),
    startedAt,
    phases,
  };
  const door = args.flag("keep") ? await openDoor(built.machine, args.flag("quiet")) : undefined;
  const ended = await runInNamespaces([process.execPath, ...process.argv.slice(1)], {
    env: { [HANDOVER]: JSON.stringify(value) },
    ...(door ? { onStart: door.watch } : {}),
  });
  door?.close();
  return ended.ok ? ended.value : refuse(ended.problems);
};

/** What options say against each other; undefined: nothing. */
function contradiction(args: ParsedArguments): string | undefined {
  const { trailing } = args;
  // What apt would take for an option, or for a version or another suite.
  const odd = args.list("package").find((name) => !/^[a-z0-9][a-z0-9+.-]+$/.test(name));
  if (odd !== undefined) return `--package wants the name of a Debian package, not \`${printable(odd)}\``;
  if (trailing?.length === 0) return "`--` wants a command after it";
  const bad = args.list("bind").find((text) => {
    const [from = "", to = "", more] = text.split(":");
    return !isAbsolute(from) || !isAbsolute(to) || more !== undefined || !existsSync(from);
  });
  if (bad !== undefined)
    return `--bind wants FROM:TO, absolute paths of which the first is there, not \`${printable(bad)}\``;
  if (args.flag("shell") && trailing) return "--shell and a command contradict each other";
  if (args.flag("shell") && args.flag("json")) return "--shell and --json contradict each other";
  if (trailing && args.flag("json")) return "a command's output and --json would mix";
  if (args.flag("shell") && process.stdin.isTTY !== true)
    return "--shell wants a terminal; give a command after `--` instead";
  return undefined;
}

async function findOne(
  args: ParsedArguments,
): Promise<Result<{ readonly named: NamedMachines; readonly built: BuiltMachine }>> {
  const named = await findMachines(args, args.positionals);
  if (!named.ok) return named;
  const [, second] = named.value.machines;
  if (second)
    return failure(
      problem("usage", "`twin` boots one machine", {
        notes: [`named: ${named.value.machines.map((m) => m.name).join(", ")}`],
        help: "call it once for each",
      }),
    );
  const built = await buildMachines(args, named.value);
  if (!built.ok) return built;
  const [one] = built.value;
  // A pattern that fits nothing was refused above.
  if (!one) return failure(problem("usage", "`twin` wants a machine"));
  return success({ named: named.value, built: one });
}

/** Its bytes are checked unless an unpacked copy is there, whose file system checks its own. */
async function imageFor(packages: readonly string[], quiet: boolean): Promise<Result<Image>> {
  const found = await findImage({ packages });
  if (found && existsSync(poolCacheFile(found))) return success(found);
  const progress = progressLine();
  let said = false;
  const made = await ensureImage({
    packages,
    onProgress: (line) => {
      if (!said && !quiet) printErr(`${line}; later twins with the same packages take it from the cache`);
      said = true;
      progress.show(line);
    },
  });
  progress.end();
  return made;
}

/** The real machine's, where it was probed: addresses of the tree follow from it. */
function machineIdOf(
  args: ParsedArguments,
  { root }: NamedMachines,
  { machine }: BuiltMachine,
): Result<string | undefined> {
  const request = buildRequest(args, [machine.name]);
  if (!request.ok) return request;
  const facts = readFacts(root, [machine], request.value.facts, projectDisk());
  if (!facts.ok) return facts;
  const value = facts.value.get(machine.name)?.facts.get("HOST_MACHINE_ID" as FactName)?.value;
  return success(typeof value === "string" ? parseMachineId(value) : undefined);
}

async function foresee(
  args: ParsedArguments,
  { machine, wanted }: BuiltMachine,
  packages: readonly string[],
): Promise<number> {
  const host = checkHost();
  const image = await findImage({ packages });
  const checks = checkNames(wanted.manifest);
  if (args.flag("json")) {
    const problems = host.ok ? [] : host.problems;
    printJson({
      machine: machine.name,
      generation: wanted.id,
      packages,
      imageCached: image !== undefined,
      checks,
      problems,
    });
  } else {
    printErr(`${machine.name}: would boot generation ${wanted.id.slice(0, 12)} in a disposable machine`);
    printErr(
      `  image: ${image ? "cached" : "would be built, half a minute"}, with ${packages.join(", ") || "no more packages"}`,
    );
    printErr(`  checks: ${checks.join(", ") || "none"}, and no unit failed`);
    if (!host.ok) printDiagnostics(host.problems);
  }
  return host.ok ? EXIT.done : EXIT.failed;
}
