/** `labctl ip plan|show|check`: which addresses the repository's networks have, would get, and what is wrong with them. Offline. */
import { type AddressBook, readAddressBook } from "../../build/address-book.ts";
import type { Result } from "../../diagnostics.ts";
import { success } from "../../diagnostics.ts";
import type { AbsPath } from "../../paths.ts";
import type { CommandRun, ParsedArguments } from "../commands.ts";
import { EXIT } from "../exit.ts";
import { refuseUsage } from "../help.ts";
import { printDiagnostics } from "../print.ts";
import { readSelection } from "../selection.ts";

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
  const selection = readSelection(args, patterns);
  if (!selection.ok) return selection;
  const { request, project, machines, disk } = selection.value;
  const book = readAddressBook(project, request.facts, disk);
  if (!book.ok) return book;
  return success({ args, root: request.root, book: book.value, asked: new Set(machines.map((m) => m.name)) });
}
