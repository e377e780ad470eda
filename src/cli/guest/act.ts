/** `labctl guest stop|enable|disable|pin|unpin|rm`: verbs that change one guest and have little to say. */
import type { ParsedArguments } from "../commands.ts";
import { EXIT } from "../exit.ts";
import { formatMs, printErr, printJson, refuse } from "../print.ts";
import { callGuests, nameMachine, onGuestMachine } from "./call.ts";

/** What a verb answers; each has some of it. */
interface Acted {
  readonly stopMs?: number;
  /** It did not end by itself in time. */
  readonly killed?: boolean;
  /** rm: machine.ini still declares it. */
  readonly declared?: boolean;
}

const WORDS: Readonly<Record<string, string>> = {
  stop: "stop",
  enable: "have start with the machine:",
  disable: "no longer have start with the machine:",
  pin: "pin",
  unpin: "unpin",
  rm: "remove with all that is in it:",
};

/** Carries the verb out. Resolves to the exit code. */
export async function actOnGuest(args: ParsedArguments, pattern: string, guest: string): Promise<number> {
  const [verb = ""] = args.positionals;
  if (args.flag("dry-run")) {
    const machine = await nameMachine(args, pattern);
    if (typeof machine === "number") return machine;
    if (args.flag("json")) printJson({ machine: machine.name, name: guest, verb, dryRun: true });
    else printErr(`${machine.name}: would ${WORDS[verb]} guest ${guest}`);
    return EXIT.changes;
  }
  return onGuestMachine(args, pattern, async (transport, machine) => {
    const done = await callGuests<Acted>(transport, machine, [verb, guest]);
    if (!done.ok) return refuse(done.problems);
    if (args.flag("json")) printJson({ machine, name: guest, verb, ...done.value });
    else if (!args.flag("quiet")) printErr(`${machine}: guest ${guest} ${ended(verb, done.value)}`);
    return EXIT.done;
  });
}

function ended(verb: string, { stopMs, killed, declared }: Acted): string {
  switch (verb) {
    case "stop":
      return killed
        ? `did not power off in time and was killed (${formatMs(stopMs ?? 0)})`
        : `powered off (${formatMs(stopMs ?? 0)})`;
    case "rm":
      return declared ? "removed; its next start makes it anew, for machine.ini declares it" : "removed";
    case "enable":
      return "starts with the machine";
    case "disable":
      return "does not start with the machine";
    case "pin":
      return "can't be removed now";
    default:
      return "can be removed now";
  }
}
