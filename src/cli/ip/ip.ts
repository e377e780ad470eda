/** `labctl ip plan|show|check`: which addresses the repository's networks have, would get, and what is wrong with them. Offline. */
import { type AddressBook, readAddressBook } from "../../build/address-book.ts";
import { projectDisk } from "../../build/project-disk.ts";
import type { Result } from "../../diagnostics.ts";
import { success } from "../../diagnostics.ts";
import type { AbsPath } from "../../paths.ts";
import { readProject } from "../../project/read-project.ts";
import { selectMachines } from "../../project/select-machines.ts";
import type { CommandRun, ParsedArguments } from "../commands.ts";
import { EXIT } from "../exit.ts";
import { refuseUsage } from "../help.ts";
import { printDiagnostics } from "../print.ts";
import { buildRequest } from "../request.ts";

/** What the three verbs work on. */
export interface IpRequest {
  readonly args: ParsedArguments;
  readonly root: AbsPath;
  readonly book: AddressBook;
  /** Names of the machines that were asked for; all of them if none was. */
  readonly asked: ReadonlySet<string>;
}

export const run: CommandRun = async (args) => {
  const [verb, ...patterns] = args.positionals;
  if (verb !== "plan" && verb !== "show" && verb !== "check")
    return refuseUsage(`\`ip\` knows plan, show and check, not \`${verb}\``, "ip");
  if (verb !== "show" && patterns.length > 0)
    return refuseUsage(`\`ip ${verb}\` is about all machines, and takes no names`, "ip");
  if (verb !== "plan" && args.flag("write"))
    return refuseUsage(`\`ip ${verb}\` changes nothing; --write belongs to \`ip plan\``, "ip");
  const request = readRequest(args, patterns);
  if (!request.ok) {
    printDiagnostics(request.problems);
    return request.problems.some((p) => p.code === "usage") ? EXIT.usage : EXIT.failed;
  }
  if (verb === "plan") return (await import("./plan.ts")).planIp(request.value);
  if (verb === "show") return (await import("./show.ts")).showIp(request.value);
  return (await import("./check.ts")).checkIp(request.value);
};

function readRequest(args: ParsedArguments, patterns: readonly string[]): Result<IpRequest> {
  const request = buildRequest(args, patterns);
  if (!request.ok) return request;
  const { root, builtInLayers, facts } = request.value;
  const disk = projectDisk();
  const project = readProject(root, builtInLayers, disk);
  if (!project.ok) return project;
  const machines = selectMachines(project.value.machines, patterns);
  if (!machines.ok) return machines;
  const book = readAddressBook(project.value, facts, disk);
  if (!book.ok) return book;
  return success({ args, root, book: book.value, asked: new Set(machines.value.map((m) => m.name)) });
}
