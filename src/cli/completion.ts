/**
 * `labctl completion bash|zsh|fish`: a few lines for the shell, which ask this very command for what could stand next:
 * `labctl completion words -- WORD…`. Reads lab.ini's folder for names of machines; connects to nothing.
 */
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { isName } from "../paths.ts";
import { findRoot } from "../project/find-root.ts";
import { GLOBAL_OPTIONS, type OptionSpec } from "./command-options.ts";
import { COMMANDS, type CommandRun, type CommandSpec } from "./commands.ts";
import { EXIT } from "./exit.ts";
import { refuseUsage } from "./help.ts";
import { printOut } from "./print.ts";

const SHELLS: Readonly<Record<string, string>> = {
  bash: `_labctl() {
  local IFS=$'\\n'
  mapfile -t COMPREPLY < <(labctl completion words -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null | cut -f 1)
  if ((\${#COMPREPLY[@]} == 0)); then compopt -o default; fi
}
complete -F _labctl labctl`,
  zsh: `#compdef labctl
_labctl() {
  local -a found
  local line
  for line in "\${(@f)$(labctl completion words -- "\${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
    [[ -z $line ]] || found+=("\${\${line%%$'\\t'*}//:/\\\\:}:\${line#*$'\\t'}")
  done
  if (( \${#found} )); then _describe labctl found; else _files; fi
}
compdef _labctl labctl`,
  fish: `complete -c labctl -f -a '(labctl completion words -- (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null)'`,
};

export const run: CommandRun = async (args) => {
  const [asked = "", ...more] = args.positionals;
  if (asked === "words" && more.length === 0) {
    for (const [word, says] of candidates(args.trailing ?? [], namesAround(args.value("directory"))))
      printOut(`${word}\t${says}`);
    return EXIT.done;
  }
  const script = Object.hasOwn(SHELLS, asked) ? SHELLS[asked] : undefined;
  if (script === undefined || more.length > 0)
    return refuseUsage(
      `\`completion\` knows bash, zsh and fish, not \`${args.positionals.join(" ")}\``,
      "completion",
    );
  printOut(script);
  return EXIT.done;
};

/** Names that commands take: what the repository around has. */
interface Names {
  readonly machines: readonly string[];
  readonly secrets: readonly string[];
}

/** What could stand where the last of the words stands, and what each means, by its beginning. Pure. */
export function candidates(words: readonly string[], names: Names): readonly (readonly [string, string])[] {
  const current = words.at(-1) ?? "";
  const before = words.slice(0, -1);
  const all = ((): readonly (readonly [string, string])[] => {
    const at = before[0] === "-C" || before[0] === "--directory" ? 2 : 0;
    const command = COMMANDS.find((c) => c.name === before[at]);
    if (before.length <= at)
      return [...COMMANDS.map((c) => [c.name, c.summary] as const), ["help", "show help"]];
    if (!command) return [];
    const inside = before.slice(at + 1);
    // What follows belongs to another program.
    if (command.trailing !== undefined && inside.includes("--")) return [];
    if (takesValue(command, inside.at(-1))) return [];
    if (current.startsWith("-"))
      return [...command.options, ...GLOBAL_OPTIONS].map((o) => [`--${o.name}`, o.help] as const);
    return argumentsOf(command, positionals(command, inside), names);
  })();
  return all.filter(([word]) => word.startsWith(current));
}

function optionsOf(command: CommandSpec): readonly OptionSpec[] {
  return [...command.options, ...GLOBAL_OPTIONS];
}

function takesValue(command: CommandSpec, word: string | undefined): boolean {
  if (word === undefined || !word.startsWith("-") || word.includes("=")) return false;
  return optionsOf(command).some(
    (o) => o.kind !== "flag" && (word === `--${o.name}` || word === `-${o.short}`),
  );
}

function positionals(command: CommandSpec, words: readonly string[]): readonly string[] {
  return words.filter((word, at) => !word.startsWith("-") && !takesValue(command, words[at - 1]));
}

/** Follows how `args` describes them: `show <machine> | origin <fact>`, `add|remove <client> <machine>`, `<machine…>`. */
function argumentsOf(
  command: CommandSpec,
  given: readonly string[],
  names: Names,
): readonly (readonly [string, string])[] {
  const forms = command.args.split(" | ").map((form) => form.split(" "));
  const fits = (word: string, text: string): boolean => isPlace(word) || word.split("|").includes(text);
  const out = new Map<string, string>();
  for (const form of forms) {
    const last = form.at(-1) ?? "";
    const place = form[given.length] ?? (last.includes("…") ? last : undefined);
    if (place === undefined || !given.every((text, at) => fits(form[at] ?? last, text))) continue;
    if (!isPlace(place)) for (const verb of place.split("|")) out.set(verb, "");
    else if (place.includes("machine")) for (const name of names.machines) out.set(name, "machine");
    else if (place.includes("secret")) for (const name of names.secrets) out.set(name, "secret");
  }
  return [...out].filter(([word]) => !given.includes(word));
}

function isPlace(word: string): boolean {
  return /^[<[]/.test(word) || word === "K=V";
}

/** None outside of a repository. A folder that no command takes is no name, and could be a command of the shell's. */
function namesAround(directory: string | undefined): Names {
  const root = findRoot(directory ?? ".");
  if (!root.ok) return { machines: [], secrets: [] };
  const list = (folder: string): string[] => {
    const path = join(root.value, folder);
    return existsSync(path) ? readdirSync(path).sort() : [];
  };
  return {
    machines: list("machines").filter(
      (name) => isName(name) && existsSync(join(root.value, "machines", name, "machine.ini")),
    ),
    secrets: list("secrets")
      .flatMap((name) => (name.endsWith(".age") ? [name.slice(0, -".age".length)] : []))
      .filter(isName),
  };
}
