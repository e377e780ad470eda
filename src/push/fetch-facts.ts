/** Asks a machine what it is: one round trip over an open connection. Writes nothing. */
import type { Result } from "../diagnostics.ts";
import { failure, problem } from "../diagnostics.ts";
import { MAX_PROBE_BYTES, type ProbedFacts, readProbeAnswer } from "../facts/probe-answer.ts";
import { factsProgram } from "./remote/program.ts";
import { shellWord } from "./shell-word.ts";
import type { Transport } from "./transport.ts";

/** A machine that takes longer hangs on a dead file system, or worse. */
const PROBE_TIMEOUT_MS = 20_000;

/** `packages`: Debian packages whose installed versions are asked for. */
export async function fetchFacts(
  transport: Transport,
  machine: string,
  packages: readonly string[],
): Promise<Result<ProbedFacts>> {
  const answer = await transport.exec(["sh", "-s", "--", ...packages].map(shellWord).join(" "), {
    stdin: factsProgram(),
    maxStdoutBytes: MAX_PROBE_BYTES,
    timeoutMs: PROBE_TIMEOUT_MS,
  });
  if (!answer.ok) return answer;
  const { status, stdout, stderr } = answer.value;
  if (status !== 0) {
    return failure(
      problem(
        "probe-failed",
        `the probe failed on machine \`${machine}\` (${transport.label}), exit status ${status ?? "none"}`,
        {
          notes: [...stderr.trim().split("\n").slice(-3), "no fact was changed"],
          help: "log in and see whether `sh` works there",
        },
      ),
    );
  }
  return readProbeAnswer(stdout.toString("utf8"), machine);
}
