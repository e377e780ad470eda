/** Help and usage errors, laid out by commander from the table of commands. Loaded only when it is shown. */
import { writeSync } from "node:fs";
import { Command, Option } from "commander";
import { formatDiagnostic, problem } from "../diagnostics.ts";
import { suggestion } from "../suggestion.ts";
import { GLOBAL_OPTIONS, type OptionSpec } from "./command-options.ts";
import { COMMANDS, type CommandSpec } from "./commands.ts";
import { EXIT } from "./exit.ts";
import { tell } from "./told.ts";

/** On 80 columns a wider one leaves less room beside it than commander wraps text to. */
const WIDEST_TERM = 31;

/** Prints help for one command, or the overview; returns `code`. */
export function showHelp(name: string | undefined, code: number): number {
  const spec = COMMANDS.find((c) => c.name === name);
  if (name !== undefined && !spec) return refuseUsage(`unknown command \`${name}\``, name);
  writeSync(
    code === EXIT.done ? 1 : 2,
    spec
      ? commandOf(spec)
          .helpInformation()
          .replace(/^Usage: /, "Usage: labctl ")
      : overview(),
  );
  return code;
}

/** Prints what was wrong with the arguments, and how to go on. */
export function refuseUsage(message: string, name: string): number {
  const spec = COMMANDS.find((c) => c.name === name);
  const help = spec
    ? `usage: labctl ${spec.name} ${spec.args}; \`labctl ${spec.name} --help\` lists the options`
    : suggestion(
        name,
        COMMANDS.map((c) => c.name),
      );
  const refused = problem("usage", message, { help });
  tell([refused]);
  writeSync(2, `${formatDiagnostic(refused)}\n`);
  return EXIT.usage;
}

function overview(): string {
  const program = new Command("labctl")
    .usage("<command> [options]")
    .description(
      "A compiler for machines: layered files in, one /usr/local tree per machine out, exact systemd reloads.",
    )
    .helpOption(false)
    .helpCommand(false)
    .configureHelp({ subcommandTerm: (command) => termOf(command.name()) });
  for (const spec of COMMANDS) program.addCommand(commandOf(spec));
  program.addOption(new Option("-V, --version", "print the version"));
  for (const o of GLOBAL_OPTIONS) program.addOption(optionOf(o));
  return program.helpInformation();
}

function commandOf(spec: CommandSpec): Command {
  const command = new Command(spec.name)
    .description(spec.summary)
    .usage(`${spec.args} [options]`)
    .helpOption(false);
  for (const o of [...spec.options, ...GLOBAL_OPTIONS]) command.addOption(optionOf(o));
  return command;
}

/** A command in the overview; its own help has all that it takes. */
function termOf(name: string): string {
  const args = COMMANDS.find((c) => c.name === name)?.args.replace(/ \| .*$/, " …") ?? "";
  const term = `${name} ${args}`;
  return term.length > WIDEST_TERM ? `${name} …` : term;
}

function optionOf(o: OptionSpec): Option {
  const short = o.short ? `-${o.short}, ` : "";
  const value = o.kind === "flag" ? "" : ` <${o.placeholder}>`;
  return new Option(`${short}--${o.name}${value}`, o.help);
}
