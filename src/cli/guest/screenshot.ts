/** `labctl guest screenshot`: what the display of a virtual machine shows, as a PNG file here. */
import { writeFileSync } from "node:fs";
import { printable, problem } from "../../diagnostics.ts";
import { shellWord } from "../../push/shell-word.ts";
import { asRoot, unlockSudo, wantsPassword } from "../../push/sudo.ts";
import type { ParsedArguments } from "../commands.ts";
import { EXIT } from "../exit.ts";
import { printErr, printJson, refuse } from "../print.ts";
import { onGuestMachine } from "./call.ts";
import { MONITOR_PROGRAM } from "./shell.ts";

/** Of a display of some ten million points that does not compress. */
const MOST_BYTES = 64 << 20;
const PNG = Buffer.from("89504e470d0a1a0a", "hex");

/** Writes to the file named last, else to `GUEST.png`; `-` is standard output. Resolves to the exit code. */
export async function screenshotOfGuest(
  args: ParsedArguments,
  pattern: string,
  guest: string,
): Promise<number> {
  const file = args.positionals[3] ?? `${guest}.png`;
  return onGuestMachine(args, pattern, async (transport, machine) => {
    const ask = () => {
      const root = asRoot(transport);
      const line = [...root.words, "node", MONITOR_PROGRAM, "screenshot", shellWord(guest)].join(" ");
      return transport.exec(line, { stdin: root.input, maxStdoutBytes: MOST_BYTES });
    };
    let shown = await ask();
    if (shown.ok && shown.value.status !== 0 && wantsPassword(shown.value.stderr)) {
      const unlocked = await unlockSudo(transport, machine);
      if (!unlocked.ok) return refuse(unlocked.problems);
      if (unlocked.value) shown = await ask();
    }
    if (!shown.ok) return refuse(shown.problems);
    const { stdout, stderr, status } = shown.value;
    // A machine may be anyone's by now: what goes into a file here is a picture.
    if (status !== 0 || !stdout.subarray(0, PNG.length).equals(PNG))
      return refuse([said(machine, guest, stderr)]);
    if (args.flag("json") && file !== "-")
      printJson({ machine, name: guest, file, sizeBytes: stdout.length });
    if (file === "-") process.stdout.write(stdout);
    else {
      try {
        writeFileSync(file, stdout);
      } catch (error) {
        const help = "name another file";
        return refuse([
          problem("output-file", `can't write ${printable(file)}: ${(error as Error).message}`, { help }),
        ]);
      }
      if (!args.flag("quiet")) printErr(`${machine}: guest ${guest} is shown in ${printable(file)}`);
    }
    return EXIT.done;
  });
}

/** What the machine's program refused with, or that there is none. */
function said(machine: string, guest: string, stderr: string) {
  const [
    ,
    code = "guest-screenshot",
    message = `machine \`${machine}\` gave no picture of guest \`${guest}\``,
  ] = /^error\[([a-z-]+)\] (.*)$/m.exec(stderr) ?? [];
  const help = /^ {2}help: (.*)$/m.exec(stderr)?.[1];
  if (/Cannot find module/.test(stderr))
    return problem("layer-missing", `machine \`${machine}\` has no ${MONITOR_PROGRAM}`, {
      help: `add \`qemu\` to \`layers\` in machines/${machine}/machine.ini and push`,
    });
  const notes = message.startsWith("machine ") ? stderr.split("\n").filter(Boolean).slice(-10) : [];
  return problem(code, printable(message), { notes, help: help === undefined ? undefined : printable(help) });
}
