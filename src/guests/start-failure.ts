/**
 * Why a guest did not start, from what systemd and the journal say. Also bundled into programs that machines run. Must not
 * know how a guest is started, nor who asked.
 */
import { type Diagnostic, problem } from "../diagnostics.ts";
import { guestUnit } from "./drop-in.ts";
import type { Guest } from "./guest.ts";
import { lastLines, showUnits, timedOutAt } from "./unit-calls.ts";

const CONSOLE_LINES = 15;
const MOST_LINES = 1000;
/** A refusal as it is printed, and what belongs to it. */
const OWN_WORDS = /^(error\[|warning\[| {2}(help:|\S))/;
/** What ships the template of each kind. */
const LAYERS = { container: "nspawn", vm: "qemu" } as const;

/**
 * `units` are all that the start needs, `said` is what `systemctl start` said. `MACHINE` stands for the machine's name.
 * Asks systemd and the journal.
 */
export function startFailure(guest: Guest, units: readonly string[], said: string): Diagnostic {
  const { name } = guest;
  const unit = guestUnit(guest);
  if (said.includes(`Unit ${unit} not found`))
    return problem("layer-missing", `this machine has nothing that runs guests of kind \`${guest.kind}\``, {
      help: `add \`${LAYERS[guest.kind]}\` to \`layers\` in machines/MACHINE/machine.ini and push`,
    });
  // systemctl(1) for a job that another one took the place of.
  if (/^Job for \S+ canceled\.$/m.test(said))
    return problem("guest-stopped", `guest \`${name}\` was stopped while it started`, {
      help: "somebody else stopped or removed it; `labctl guest list MACHINE` says what there is",
    });
  const shown = showUnits(units, ["Result", "InvocationID"]);
  const failed = shown.filter((u) => !["success", ""].includes(u.get("Result") ?? ""));
  // The cause stands before what it brought down.
  const cause = failed.find((u) => u.get("Id") !== unit) ?? failed[0];
  const id = cause?.get("Id") ?? unit;
  const invocation = cause?.get("InvocationID");
  const help = `labctl guest logs MACHINE ${name}`;
  const all = lastLines(id, invocation, MOST_LINES);
  if (id === unit && cause?.get("Result") === "timeout") {
    const lines = lateLines(all, id, invocation);
    if (lines)
      return problem(
        "guest-late",
        `guest \`${name}\` did not say READY within ${guest.readySeconds} s, and was ended`,
        { notes: lines, help },
      );
  }
  // What our own programs say stands above what came after it.
  const own = all.filter((line) => OWN_WORDS.test(line));
  const lines = own.length > 0 ? own : all.slice(-CONSOLE_LINES);
  const notes = lines.length > 0 ? lines : said.split("\n");
  return problem("guest-start", `guest \`${name}\` did not start: ${id} failed`, { notes, help });
}

/** What a guest said until it had to be ready; undefined: it was ready, or something else took too long. */
function lateLines(
  all: readonly string[],
  unit: string,
  invocation: string | undefined,
): readonly string[] | undefined {
  // Its launcher looked for them, unless it was ended as well. A guest can say whatever it likes on its console.
  const told = all.findLastIndex((line) => line.startsWith("error[guest-late] "));
  if (told >= 0)
    return all.slice(told + 1).flatMap((line) => (line.startsWith("  help:") ? [] : [line.slice(2)]));
  if (all.some((line) => OWN_WORDS.test(line))) return undefined;
  const ended = invocation === undefined ? undefined : timedOutAt(invocation);
  if (ended === undefined) return undefined;
  const lines = lastLines(unit, invocation, CONSOLE_LINES, ended);
  return lines.length === 0
    ? ["its console said nothing"]
    : ["the last lines of its console:", ...lines.map((line) => `  ${line}`)];
}
