/**
 * An argument vector as an environment file: systemd reads it, and makes an argument vector of it again, so that QEMU is the
 * unit's own process and no shell stands between. Pure.
 *
 * Sources: systemd.exec(5) on EnvironmentFile=, systemd.service(5) on command lines: `$NAME` as a word of its own is split at
 * white space, with quotes respected.
 */
import { failure, type Result, success } from "../diagnostics.ts";
import { describeVmProblem } from "./vm-problems.ts";

/** What the unit's command line names. */
export const ARGUMENTS_VARIABLE = "VM_ARGUMENTS";

/** One line. Failure: an argument has a character that either reader takes for more than itself. Pure. */
export function argumentsFile(guest: string, argv: readonly string[]): Result<string> {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  const strange = argv.filter((a) => /["'\\$`\x00-\x1f\x7f]/.test(a));
  if (strange.length > 0)
    return failure(...strange.map((argument) => describeVmProblem({ kind: "argument", guest, argument })));
  return success(`${ARGUMENTS_VARIABLE}="${argv.map((a) => `'${a}'`).join(" ")}"\n`);
}
