/**
 * Reads `[secrets]` of a layer.ini or machine.ini: which credentials a machine shall have, and from which secret. Pure;
 * must not know whether a secret exists, nor who reads a credential.
 */
import type { Diagnostic } from "../diagnostics.ts";
import { problem } from "../diagnostics.ts";
import { isName } from "../paths.ts";
import { type IniFile, settingsOf } from "./ini-file.ts";
import type { CredentialWish } from "./project.ts";

/**
 * The wishes in the order written; both names become names of files, and systemd embeds a credential's into its encrypted
 * form (systemd.exec(5), LoadCredentialEncrypted=): what can't be a name is reported. Pure but for `problems`. */
export function readSecretWishes(
  ini: IniFile,
  by: CredentialWish["by"],
  problems: Diagnostic[],
): CredentialWish[] {
  const out: CredentialWish[] = [];
  for (const { key, value, place } of settingsOf(ini, "secrets")) {
    const bad = [key, value].find((name) => !isName(name));
    if (bad !== undefined) {
      problems.push(
        problem("bad-name", `\`${bad}\` can't be the name of a ${bad === key ? "credential" : "secret"}`, {
          place,
          notes: [
            "a name has letters, digits, `.`, `_` and `-`, begins with a letter or digit, and has at most 64 characters",
          ],
          help: "write `CREDENTIAL = SECRET`, both names, or `CREDENTIAL = required`",
        }),
      );
      continue;
    }
    out.push({ credential: key, secret: value === "required" ? undefined : value, by, place });
  }
  return out;
}
