/**
 * Starts a command: finds it, parses its arguments, runs it, and turns a crash into a message. Loads a command's code
 * only when that command runs. The only place besides the commands that chooses an exit code.
 */
import { writeSync } from "node:fs";
import { parseArgs } from "node:util";
import { type Diagnostic, formatDiagnostic, problem } from "../diagnostics.ts";
import { keepCompiledCode } from "./code-cache.ts";
import { GLOBAL_OPTIONS, type OptionSpec } from "./command-options.ts";
import { COMMANDS, type CommandSpec, type ParsedArguments } from "./commands.ts";
import { EXIT } from "./exit.ts";
import { tell } from "./told.ts";

/** Filled in when the program is bundled. */
declare const LABCTL_VERSION: string;
export const VERSION: string = typeof LABCTL_VERSION === "string" ? LABCTL_VERSION : "source";

/** `argv` without node and script. Resolves to the exit code. */
export async function main(argv: readonly string[]): Promise<number> {
  const [first] = argv;
  if (first === "--version" || first === "-V") {
    writeSync(1, `labctl ${VERSION}\n`);
    return EXIT.done;
  }
  // `labctl -C dir build` works like `labctl build -C dir`.
  const before = first === "-C" || first === "--directory" ? argv.slice(0, 2) : [];
  const [name, ...rest] = argv.slice(before.length);
  if (name === undefined || name === "help" || name === "--help" || name === "-h") {
    const { showHelp } = await import("./help.ts");
    return showHelp(name === "help" ? rest[0] : undefined, name === undefined ? EXIT.usage : EXIT.done);
  }
  const command = COMMANDS.find((c) => c.name === name);
  if (!command) {
    const { refuseUsage } = await import("./help.ts");
    return refuseUsage(
      name.startsWith("-")
        ? `\`${name}\` stands before the command; only -C DIR may`
        : `unknown command \`${name}\``,
      name,
    );
  }
  const parsed = parse(command, [...before, ...rest]);
  const code = await runCommand(command, parsed);
  if (typeof parsed === "string" ? asksForJson(command, rest) : parsed.flag("json"))
    (await import("./print.ts")).printErrorsJson();
  return code;
}

/** `parsed` as `parse` answers it. */
async function runCommand(command: CommandSpec, parsed: ParsedArguments | string): Promise<number> {
  if (typeof parsed === "string") {
    const { refuseUsage } = await import("./help.ts");
    return refuseUsage(parsed, command.name);
  }
  if (parsed.flag("help")) {
    const { showHelp } = await import("./help.ts");
    return showHelp(command.name, EXIT.done);
  }
  try {
    keepCompiledCode(typeof __filename === "string" ? __filename : "");
    const { run } = await command.load();
    return await run(parsed);
  } catch (error) {
    const e = error as NodeJS.ErrnoException;
    const refused = (parsed.flag("debug") ? undefined : refusedBySystem(e)) ?? crash(e);
    tell([refused]);
    // Expected failures are values; whatever else is thrown up to here is a bug.
    const stack = parsed.flag("debug") && e.stack !== undefined ? `${e.stack}\n` : "";
    writeSync(2, `${formatDiagnostic(refused)}\n${stack}`);
    return EXIT.failed;
  }
}

function crash(e: Error): Diagnostic {
  return problem("internal", e.message, {
    help: `this is a fault in labctl ${VERSION}; report it with the output of the same command and --debug`,
  });
}

/** Whether wrong arguments asked for a document. Pure. */
function asksForJson(command: CommandSpec, rest: readonly string[]): boolean {
  const end = rest.indexOf("--");
  return (
    command.options.some((o) => o.name === "json") &&
    rest.slice(0, end < 0 ? undefined : end).includes("--json")
  );
}

const SYSTEM_HELP: Readonly<Record<string, string>> = {
  EACCES: "make it accessible for the user who runs labctl, then run this again",
  EPERM: "make it accessible for the user who runs labctl, then run this again",
  EROFS: "make its file system writable, then run this again",
  ENOSPC: "make room, then run this again",
  EDQUOT: "make room, then run this again",
  EIO: "check the disk, then run this again",
  EMFILE: "raise the limit of open files (`ulimit -n`), then run this again",
};

/** What to say of a file operation that the system refused: no fault in labctl. Undefined: it is something else. Pure. */
function refusedBySystem(e: NodeJS.ErrnoException): Diagnostic | undefined {
  const gone = e.syscall === "uv_cwd";
  const help = gone ? "go into a folder that exists" : SYSTEM_HELP[e.code ?? ""];
  if (help === undefined || e.syscall === undefined) return undefined;
  const what = gone
    ? "the working folder no longer exists"
    : `can't ${e.syscall}${e.path === undefined ? "" : ` ${JSON.stringify(e.path)}`}: ${e.code}`;
  return problem("system", what, { help });
}

/** The arguments, or a phrase that says what is wrong with them. Pure. */
function parse(command: CommandSpec, argv: readonly string[]): ParsedArguments | string {
  const specs: readonly OptionSpec[] = [...GLOBAL_OPTIONS, ...command.options];
  const options = Object.fromEntries(
    specs.map((o) => [
      o.name,
      {
        type: o.kind === "flag" ? ("boolean" as const) : ("string" as const),
        multiple: o.kind === "list",
        ...(o.short ? { short: o.short } : {}),
      },
    ]),
  );
  const { own, trailing } = splitTrailing(command, argv, options);
  let parsed: { values: Record<string, unknown>; positionals: string[] };
  try {
    parsed = parseArgs({ args: [...own], options, allowPositionals: true, strict: true });
  } catch (error) {
    const message = (error as Error).message.split(/\.\s/)[0] ?? "wrong usage";
    return message.charAt(0).toLowerCase() + message.slice(1).replaceAll("'", "`");
  }
  const { values, positionals } = parsed;
  const [least, most] = command.arity;
  // With a limit, no name means all that it matches.
  if (!values.help && positionals.length < least && !values.limit)
    return `\`${command.name}\` wants ${command.args}`;
  if (positionals.length > most) return `\`${command.name}\` takes ${command.args} and nothing after it`;
  return {
    positionals,
    trailing,
    flag: (name) => values[name] === true,
    value: (name) => (typeof values[name] === "string" ? values[name] : undefined),
    list: (name) => (Array.isArray(values[name]) ? (values[name] as string[]) : []),
  };
}

/** Parts our arguments from those of a command that the user gave. Pure. */
function splitTrailing(
  command: CommandSpec,
  argv: readonly string[],
  options: NonNullable<Parameters<typeof parseArgs>[0]>["options"],
): { readonly own: readonly string[]; readonly trailing: readonly string[] | undefined } {
  if (command.trailing === undefined) return { own: argv, trailing: undefined };
  const { tokens } = parseArgs({
    args: [...argv],
    options: options ?? {},
    allowPositionals: true,
    strict: false,
    tokens: true,
  });
  const end = tokens.find((t) => t.kind === "option-terminator")?.index ?? argv.length;
  if (command.trailing === "dashes")
    return { own: argv.slice(0, end), trailing: end < argv.length ? argv.slice(end + 1) : undefined };
  const first = tokens.find((t) => t.kind === "positional")?.index ?? argv.length;
  const rest = argv.slice(first + 1);
  // `ssh -- den` and `ssh den -- ls` mean what they mean to ssh.
  const own = argv.slice(0, first + 1).filter((_, i) => i !== end);
  return { own, trailing: rest[0] === "--" ? rest.slice(1) : rest };
}
