/**
 * `secrets/recipients`: who can open the secrets of a repository, one age public key a line, and above it, behind a `#`,
 * who that is. One list for all secrets, in the form that `age -R` reads. Pure.
 */
import { type Diagnostic, failure, type Result, success } from "../diagnostics.ts";
import { describe } from "./problems.ts";

/** Relative to the repository. */
export const RECIPIENTS_FILE = "secrets/recipients";

export interface RecipientLine {
  readonly key: string;
  /** From the comment line right above it; empty: nobody says. */
  readonly who: string;
  readonly line: number;
}

/** The lines that name a key; keys are judged by their beginning only. Problems: `bad-recipient`, `no-recipients`. Pure. */
export function parseRecipients(text: string | undefined): Result<readonly RecipientLine[]> {
  const out: RecipientLine[] = [];
  const problems: Diagnostic[] = [];
  let above = "";
  for (const [i, raw] of (text ?? "").split(/\r?\n/).entries()) {
    const line = raw.trim();
    if (line === "" || line.startsWith("#")) {
      above = line.replace(/^#+\s*/, "");
      continue;
    }
    if (!/^age1[a-z0-9]+$/.test(line))
      problems.push(
        describe({
          kind: "bad-recipient",
          text: line.slice(0, 80),
          place: { file: RECIPIENTS_FILE, line: i + 1 },
        }),
      );
    else if (!out.some((r) => r.key === line)) out.push({ key: line, who: above, line: i + 1 });
    above = "";
  }
  if (problems.length > 0) return failure(...problems);
  return out.length === 0 ? failure(describe({ kind: "no-recipients" })) : success(out);
}
