/**
 * An argument vector as a file, a line each, which a shell script reads and becomes QEMU with. Pure.
 */
import { failure, type Result, success } from "../diagnostics.ts";
import { describeVmProblem } from "./vm-problems.ts";

/** Failure: an argument has a character that would make two lines of it, or none. Pure. */
export function argumentsFile(guest: string, argv: readonly string[]): Result<string> {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  const strange = argv.filter((a) => /[\x00-\x1f\x7f]/.test(a));
  if (strange.length > 0)
    return failure(...strange.map((argument) => describeVmProblem({ kind: "argument", guest, argument })));
  return success(argv.map((a) => `${a}\n`).join(""));
}
