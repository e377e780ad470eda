/** `labctl guest logs`: a guest's console, and what its units said, from the machine's journal. */
import { LineCutter, runCommand } from "../../push/remote-command.ts";
import { asRoot } from "../../push/sudo.ts";
import type { ParsedArguments } from "../commands.ts";
import { untilCtrlC } from "../ctrl-c.ts";
import { EXIT } from "../exit.ts";
import { refuseUsage } from "../help.ts";
import { printErr, printLine, refuse } from "../print.ts";
import { wholeNumber } from "../remote.ts";
import { onGuestMachine } from "./call.ts";

const DEFAULT_LINES = 100;

/** Resolves to the exit code. */
export async function showLogs(args: ParsedArguments, pattern: string, guest: string): Promise<number> {
  const lines = wholeNumber(args, "lines", DEFAULT_LINES, 1_000_000);
  if (typeof lines === "string") return refuseUsage(lines, "guest");
  const units = ["container", "vm", "guest-root", "guest-net"].flatMap((kind) => [
    "-u",
    `${kind}@${guest}.service`,
  ]);
  const format = args.flag("json") ? "json" : "short-iso";
  const words = ["journalctl", "--no-pager", "-q", "-o", format, "-n", String(lines), ...units];
  if (args.flag("follow")) words.push("--follow");
  return untilCtrlC((signal) =>
    onGuestMachine(args, pattern, async (transport, machine) => {
      let isSilent = true;
      const cut = {
        out: new LineCutter((l) => {
          isSilent = false;
          printLine("out", "", l);
        }),
        err: new LineCutter((l) => printLine("err", "", l)),
      };
      const end = await runCommand(transport, [...asRoot(transport).words, ...words], {
        timeoutMs: undefined,
        signal,
        onOutput: (stream, chunk) => cut[stream].push(chunk),
      });
      cut.out.end();
      cut.err.end();
      if (!end.ok) return refuse(end.problems);
      if (isSilent && end.value.status === 0 && !args.flag("quiet"))
        printErr(
          `${machine}: the journal has nothing of guest ${guest}; \`labctl guest list\` says which there are`,
        );
      return end.value.status === 0 || signal.aborted ? EXIT.done : EXIT.failed;
    }),
  );
}
