/**
 * `labctl guest <verb> <machine> [guest]`: containers and virtual machines of one machine, over one connection. Owns the
 * verbs and what each takes; the machine's own program (layers/guests) does the work.
 */
import { GUEST_NAME } from "../../guests/guest.ts";
import { describe } from "../../guests/problems.ts";
import type { CommandRun, ParsedArguments } from "../commands.ts";
import { refuseUsage } from "../help.ts";
import { refuse } from "../print.ts";

interface Verb {
  /** True: it wants a guest; false: it takes none. */
  readonly named: boolean;
  /** Options that belong to this verb and no other. */
  readonly options: readonly string[];
  /** What comes from the guest goes to standard output as it is. */
  readonly talks?: true;
  readonly load: () => Promise<(args: ParsedArguments, machine: string, guest: string) => Promise<number>>;
}

const act: Verb["load"] = async () => (await import("./act.ts")).actOnGuest;

const VERBS: Readonly<Record<string, Verb>> = {
  start: {
    named: true,
    options: ["image", "network", "kind", "ephemeral", "pinned", "key", "stats"],
    load: async () => (await import("./start.ts")).startGuest,
  },
  stop: { named: true, options: [], load: act },
  enable: { named: true, options: [], load: act },
  disable: { named: true, options: [], load: act },
  pin: { named: true, options: [], load: act },
  unpin: { named: true, options: [], load: act },
  rm: { named: true, options: [], load: act },
  list: { named: false, options: [], load: async () => (await import("./list.ts")).listGuests },
  shell: {
    named: true,
    options: [],
    talks: true,
    load: async () => (await import("./shell.ts")).shellInGuest,
  },
  console: {
    named: true,
    options: [],
    talks: true,
    load: async () => (await import("./shell.ts")).consoleOfGuest,
  },
  screenshot: {
    named: true,
    options: [],
    load: async () => (await import("./screenshot.ts")).screenshotOfGuest,
  },
  logs: { named: true, options: ["follow", "lines"], load: async () => (await import("./logs.ts")).showLogs },
};

/** Options that only some verbs take. */
const OWN = [...new Set(Object.values(VERBS).flatMap((verb) => verb.options))];

export const run: CommandRun = async (args) => {
  const [name = "", machine = "", guest, file] = args.positionals;
  const verb = Object.hasOwn(VERBS, name) ? VERBS[name] : undefined;
  if (!verb) return refuseUsage(`\`guest\` knows ${Object.keys(VERBS).join(", ")}, not \`${name}\``, "guest");
  if (verb.named && guest === undefined)
    return refuseUsage(`\`guest ${name}\` wants a machine and a guest`, "guest");
  if (!verb.named && guest !== undefined)
    return refuseUsage(`\`guest ${name}\` takes a machine and no guest`, "guest");
  if (file !== undefined && name !== "screenshot")
    return refuseUsage(`\`guest ${name}\` takes a machine and one guest`, "guest");
  if (guest !== undefined && !GUEST_NAME.test(guest))
    return refuse([describe({ kind: "name", name: guest, place: { file: "the arguments" } })]);
  const isGiven = (option: string): boolean =>
    args.flag(option) || args.value(option) !== undefined || args.list(option).length > 0;
  const strange = OWN.find((option) => isGiven(option) && !verb.options.includes(option));
  if (strange !== undefined) return refuseUsage(`\`guest ${name}\` takes no --${strange}`, "guest");
  if (args.flag("json") && verb.talks) return refuseUsage(`\`guest ${name}\` takes no --json`, "guest");
  if (args.flag("json") && file === "-")
    return refuseUsage("a picture on standard output and --json would mix", "guest");
  if (args.trailing !== undefined && name !== "shell")
    return refuseUsage(`\`guest ${name}\` takes no command`, "guest");
  const execute = await verb.load();
  return execute(args, machine, guest ?? "");
};
