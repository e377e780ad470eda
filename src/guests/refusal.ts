/**
 * How a machine's program for guests stops when something is wrong: what its modules answer as a `Result` becomes an exception
 * here, and the problems again where the program ends. Must not know what the program does, nor how it prints.
 */
import { type Diagnostic, problem, type Result } from "../diagnostics.ts";

/** What is wrong, as the modules that judge it say it. */
export class Refusal extends Error {
  readonly problems: readonly Diagnostic[];
  constructor(...problems: readonly Diagnostic[]) {
    super(problems[0]?.message);
    this.problems = problems;
  }
}

/** The value; its warnings are for whoever asks for them. Throws a `Refusal` with the problems. */
export function settled<T>(result: Result<T>): T {
  if (!result.ok) throw new Refusal(...result.problems);
  return result.value;
}

/** What to print for something that was thrown; `code` is for what no module foresaw. Pure. */
export function problemsOfEnd(error: unknown, code: string): readonly Diagnostic[] {
  return error instanceof Refusal
    ? error.problems
    : [problem(code, error instanceof Error ? error.message : String(error))];
}
