/** `labctl guest start`: makes a guest if it is given an image, and starts it; resolves when it is ready. */
import { readFileSync } from "node:fs";
import { type Diagnostic, problem } from "../../diagnostics.ts";
import { parseGuest } from "../../guests/parse-guest.ts";
import type { Phase } from "../../guests/phases.ts";
import type { ParsedArguments } from "../commands.ts";
import { EXIT } from "../exit.ts";
import { refuseUsage } from "../help.ts";
import { formatMs, printDiagnostics, printErr, printJson, printOut, refuse } from "../print.ts";
import { callGuests, type GuestRow, nameMachine, onGuestMachine } from "./call.ts";

/** A network of the machine's own, made when a guest needs it. */
const DEFAULT_NETWORK = "guests";
const BAR_WIDTH = 40;

interface Started {
  readonly guest: GuestRow;
  readonly wasActive?: boolean;
  /** On the machine: from the program's start, and from the request to systemd. */
  readonly totalMs: number;
  readonly requestMs: number;
  readonly phases: readonly Phase[];
}

/** Resolves to the exit code. */
export async function startGuest(args: ParsedArguments, pattern: string, guest: string): Promise<number> {
  const wanted = definitionFrom(args, guest);
  if (typeof wanted === "string") return refuseUsage(wanted, "guest");
  if (Array.isArray(wanted)) return refuse(wanted);
  if (args.flag("dry-run")) {
    const machine = await nameMachine(args, pattern);
    if (typeof machine === "number") return machine;
    const { name } = machine;
    if (args.flag("json"))
      printJson({ machine: name, name: guest, dryRun: true, ...(wanted ? { definition: wanted } : {}) });
    else if (wanted) printErr(`${name}: would make guest ${guest}: ${JSON.stringify(wanted)}`);
    printErr(`${name}: would start guest ${guest}`);
    return EXIT.changes;
  }
  const beganAt = performance.now();
  return onGuestMachine(args, pattern, async (transport, machine) => {
    const connectedMs = performance.now() - beganAt;
    const done = await callGuests<Started>(
      transport,
      machine,
      ["start", guest],
      wanted ? { definition: wanted } : {},
    );
    if (!done.ok) return refuse(done.problems);
    const { value } = done;
    printDiagnostics(done.warnings);
    const allMs = performance.now() - beganAt;
    if (args.flag("json")) printJson({ machine, ...value, connectedMs, allMs });
    else report(args, machine, value, connectedMs, allMs);
    return EXIT.done;
  });
}

/** The definition that the options make; undefined: they make none; a phrase or problems: they are wrong. Reads key files. */
function definitionFrom(
  args: ParsedArguments,
  name: string,
): object | readonly Diagnostic[] | string | undefined {
  const image = args.value("image");
  if (image === undefined) {
    const other = ["network", "kind"].find((option) => args.value(option) !== undefined);
    const flag = ["ephemeral", "pinned"].find((option) => args.flag(option));
    const only = other ?? flag ?? (args.list("key").length > 0 ? "key" : undefined);
    return only === undefined ? undefined : `--${only} is for a guest that is made, which wants --image`;
  }
  const keys: string[] = [];
  for (const file of args.list("key")) {
    try {
      keys.push(readFileSync(file, "utf8").trim());
    } catch (error) {
      return [
        problem("guest-key", `can't read the key ${file}: ${(error as Error).message}`, {
          help: "name a `.pub` file",
        }),
      ];
    }
  }
  const network = args.value("network") ?? DEFAULT_NETWORK;
  const definition = {
    name,
    kind: args.value("kind") ?? "container",
    image,
    ...(network === "none" ? {} : { network }),
    ...(args.flag("ephemeral") ? { ephemeral: true } : {}),
    ...(args.flag("pinned") ? { pinned: true } : {}),
    ...(keys.length > 0 ? { sshKeys: keys } : {}),
  };
  const read = parseGuest(JSON.stringify(definition), "the options");
  return read.ok ? definition : read.problems;
}

function report(
  args: ParsedArguments,
  machine: string,
  started: Started,
  connectedMs: number,
  allMs: number,
): void {
  const { guest, requestMs, totalMs, phases, wasActive } = started;
  if (!args.flag("quiet")) {
    const where = [guest.fullName, guest.ipv4, guest.ipv6].filter((x) => x !== undefined).join(" ");
    const how = wasActive ? "runs already" : `ready in ${formatMs(requestMs)}`;
    printErr(`${machine}: guest ${guest.name} ${how}${where === "" ? "" : `: ${where}`}`);
  }
  if (!args.flag("stats")) return;
  printOut(
    `connect ${formatMs(connectedMs)}, definition ${formatMs(totalMs - requestMs)}, start ${formatMs(requestMs)}, all ${formatMs(allMs)}`,
  );
  for (const line of phaseLines(phases, requestMs)) printOut(line);
}

/** One line a phase, with a bar on the time from request to ready: several run at once. Pure. */
export function phaseLines(phases: readonly Phase[], totalMs: number): string[] {
  const column = (atMs: number): number =>
    Math.min(BAR_WIDTH, Math.round((atMs / Math.max(totalMs, 1)) * BAR_WIDTH));
  return phases.map(({ name, startMs, durationMs }) => {
    const from = Math.min(column(startMs), BAR_WIDTH - 1);
    const width = Math.max(1, column(startMs + durationMs) - from);
    const bar = `${" ".repeat(from)}${"█".repeat(width)}`.padEnd(BAR_WIDTH);
    const share = Math.round((durationMs / Math.max(totalMs, 1)) * 100);
    return `  ${name.padEnd(9)} ${bar} ${formatMs(durationMs).padStart(8)} ${String(share).padStart(3)} %`;
  });
}
