/** What can go wrong with secrets, and how each is worded: they are named, never shown. Pure. */
import type { Diagnostic, Place } from "../diagnostics.ts";
import { problem } from "../diagnostics.ts";
import { suggestion } from "../suggestion.ts";

export type SecretProblem =
  | { readonly kind: "bad-secret-name"; readonly name: string }
  | {
      readonly kind: "secret-missing";
      readonly secret: string;
      readonly known: readonly string[];
      readonly wantedBy?: string;
      readonly place?: Place;
    }
  | { readonly kind: "secret-exists"; readonly secret: string }
  | { readonly kind: "secret-damaged"; readonly file: string; readonly why: string }
  | { readonly kind: "secret-outside"; readonly file: string }
  | { readonly kind: "secret-empty"; readonly secret: string }
  | { readonly kind: "secret-too-large"; readonly secret: string; readonly sizeBytes: number }
  | { readonly kind: "secret-changed"; readonly secret: string }
  | { readonly kind: "secret-mistyped"; readonly secret: string }
  | { readonly kind: "no-memory-folder" }
  | { readonly kind: "editor-failed"; readonly editor: string; readonly why: string }
  | { readonly kind: "locks-out"; readonly identity: string }
  | { readonly kind: "no-systemd-creds"; readonly machine: string }
  | { readonly kind: "secret-refused"; readonly machine: string; readonly why: string }
  | { readonly kind: "old-systemd"; readonly machine: string; readonly version: number }
  | {
      readonly kind: "credential-conflict";
      readonly credential: string;
      readonly machine: string;
      readonly first: Wish;
      readonly second: Wish;
    }
  | {
      readonly kind: "credential-open";
      readonly credential: string;
      readonly machine: string;
      readonly layer: string;
      readonly place: Place;
    }
  | {
      readonly kind: "credential-taken";
      readonly credential: string;
      readonly path: string;
      readonly source: string;
      readonly place: Place;
    }
  | { readonly kind: "no-recipients" }
  | { readonly kind: "bad-recipient"; readonly text: string; readonly place: Place }
  | {
      readonly kind: "identity-missing";
      readonly file: string;
      readonly fromEnv: boolean;
      readonly need: Need;
    }
  | { readonly kind: "identity-open"; readonly file: string; readonly why: string; readonly mode: boolean }
  | { readonly kind: "identity-bad"; readonly file: string; readonly why: string }
  | { readonly kind: "identity-locked"; readonly file: string; readonly asked: boolean; readonly need: Need }
  | {
      readonly kind: "not-a-recipient";
      readonly secrets: readonly string[];
      readonly identity: string;
      /** Public parts of the identities that were tried. */
      readonly publicKeys: readonly string[];
      readonly need: Need;
    };

interface Wish {
  readonly by: string;
  readonly secret: string | undefined;
  readonly place: Place;
}

/** What an identity was wanted for; `machine`: a push, which then changed nothing. */
export interface Need {
  readonly secrets: readonly string[];
  readonly machine?: string;
}

/** systemd's limit of one credential (systemd.exec(5): 1 MiB for all of a unit). */
export const LARGEST_SECRET_BYTES = 1 << 20;

/** systemd-creds came with it (systemd-creds(1)). */
export const FIRST_SYSTEMD = 250;

/** Words a problem. Pure. */
export function describe(p: SecretProblem): Diagnostic {
  switch (p.kind) {
    case "bad-secret-name":
      return problem("bad-name", `\`${p.name}\` can't be the name of a secret`, {
        notes: [
          "a name has letters, digits, `.`, `_` and `-`, begins with a letter or digit, and has at most 64 characters; `required` means something else",
        ],
        help: "choose another name",
      });
    case "secret-missing":
      return problem(
        "secret-missing",
        `there is no secret \`${p.secret}\`${p.wantedBy ? `, wanted by ${p.wantedBy}` : ""}`,
        {
          place: p.place,
          notes: [`looked for secrets/${p.secret}.age`],
          help:
            p.wantedBy && p.known.length === 0
              ? `make it: \`labctl secret add ${p.secret}\``
              : suggestion(p.secret, p.known),
        },
      );
    case "secret-exists":
      return problem("secret-exists", `there is a secret \`${p.secret}\` already`, {
        place: { file: `secrets/${p.secret}.age` },
        notes: ["nothing was written"],
        help: `\`labctl secret rotate ${p.secret}\` gives it a new value, \`labctl secret edit ${p.secret}\` opens it`,
      });
    case "secret-damaged":
      return problem("secret-damaged", `the encrypted file is damaged: ${p.why}`, {
        place: { file: p.file },
        help: "bring it back from Git, or make the secret anew",
      });
    case "secret-outside":
      return problem("secret-outside", "the link leads out of the repository", {
        place: { file: p.file },
        help: "replace it by the file",
      });
    case "secret-empty":
      return problem("secret-empty", `no value for \`${p.secret}\``, {
        notes: ["nothing was written"],
        help: "give it on standard input, on a terminal, or have one made with --generate",
      });
    case "secret-too-large":
      return problem(
        "secret-too-large",
        `the value of \`${p.secret}\` is too large: ${p.sizeBytes} bytes or more`,
        {
          notes: [
            `a credential has at most ${LARGEST_SECRET_BYTES} bytes (systemd.exec(5))`,
            "nothing was written",
          ],
          help: "keep the data elsewhere, and only its key here",
        },
      );
    case "secret-mistyped":
      return problem("secret-mistyped", `the two values typed for \`${p.secret}\` differ`, {
        notes: ["nothing was written"],
        help: "run this again",
      });
    case "no-memory-folder":
      return problem("no-memory-folder", "there is no file system in memory to edit a secret on", {
        notes: [
          "looked at $XDG_RUNTIME_DIR and /dev/shm",
          "nothing was decrypted to a disk, and nothing written",
        ],
        help: "pipe the new value into `labctl secret rotate` instead",
      });
    case "editor-failed":
      return problem("editor-failed", `\`${p.editor}\` did not end well: ${p.why}`, {
        notes: ["nothing was written"],
        help: "set EDITOR to an editor that runs in this terminal and waits until the file is closed",
      });
    case "locks-out":
      return problem("locks-out", "you would not be able to open the secrets afterwards", {
        place: { file: "secrets/recipients" },
        notes: [`no public key of ${p.identity} is in it`, "nothing was written"],
        help: "`labctl secret init` adds yours",
      });
    case "secret-changed":
      return problem("secret-changed", `secrets/${p.secret}.age changed while this push was under way`, {
        notes: ["nothing on the machine changed"],
        help: "push again",
      });
    case "no-systemd-creds":
      return problem(
        "no-systemd-creds",
        `there is no systemd-creds on machine \`${p.machine}\`, which encrypts credentials`,
        {
          notes: ["nothing on the machine changed"],
          help: "install the package that has it: `systemd` on Debian",
        },
      );
    case "secret-refused":
      return problem("secret-refused", `machine \`${p.machine}\` could not encrypt credential ${p.why}`, {
        notes: ["nothing on the machine changed"],
        help: "run `systemd-creds setup` there: it makes the key that credentials are encrypted with",
      });
    case "old-systemd":
      return problem(
        "old-systemd",
        `machine \`${p.machine}\` runs systemd ${p.version}, which knows no encrypted credentials`,
        {
          notes: ["nothing on the machine changed"],
          help: `take the secrets from its layers, or bring it to systemd ${FIRST_SYSTEMD} or later`,
        },
      );
    case "credential-conflict":
      return problem(
        "credential-conflict",
        `credential \`${p.credential}\` of machine \`${p.machine}\` shall be two different secrets`,
        {
          place: p.second.place,
          notes: [p.first, p.second].map(
            (w) => `${w.by} says \`${w.secret ?? "required"}\` (${w.place.file}:${w.place.line ?? 1})`,
          ),
          help: `decide in machines/${p.machine}/machine.ini: [secrets] ${p.credential} = …`,
        },
      );
    case "credential-open":
      return problem(
        "credential-open",
        `machine \`${p.machine}\` does not say which secret is its credential \`${p.credential}\``,
        {
          place: p.place,
          notes: [`layer \`${p.layer}\` requires it`],
          help: `add \`${p.credential} = NAME\` to [secrets] in machines/${p.machine}/machine.ini`,
        },
      );
    case "credential-taken":
      return problem(
        "credential-taken",
        `${p.path} is both a file of a layer and credential \`${p.credential}\``,
        {
          place: p.place,
          notes: [`the file: ${p.source}`],
          help: "remove one of the two",
        },
      );
    case "no-recipients":
      return problem("no-recipients", "nobody could read a secret: secrets/recipients names no key", {
        notes: ["nothing was written"],
        help: "`labctl secret init` makes an identity for you and writes its public key there",
      });
    case "bad-recipient":
      return problem("bad-recipient", `\`${p.text}\` is no age public key`, {
        place: p.place,
        notes: /^(ssh-|ecdsa-|sk-)/.test(p.text)
          ? ["keys of SSH are not supported"]
          : /^age1\S+\s+#/.test(p.text)
            ? ["a comment stands on a line of its own, above the key: `age -R` reads this file, too"]
            : [],
        help: "a key begins with `age1`; `labctl secret init` or age-keygen makes one",
      });
    case "identity-missing":
      return problem("identity-missing", `${wanting(p.need)}, and there is no identity`, {
        notes: [`looked for ${p.file}${p.fromEnv ? " (LABCTL_AGE_IDENTITY)" : ""}`, ...unchanged(p.need)],
        help: "set LABCTL_AGE_IDENTITY to your age identity file; `labctl secret init` makes a first one",
      });
    case "identity-open":
      return problem("identity-open", `the identity file ${p.file} is not yours alone: ${p.why}`, {
        help: p.mode ? `\`chmod 0600 ${p.file}\`` : "use one that belongs to you",
      });
    case "identity-bad":
      return problem("identity-bad", `${p.file} is no age identity file: ${p.why}`, {
        help: "it has a line that begins with `AGE-SECRET-KEY-`; keys of SSH and plugins are not supported",
      });
    case "identity-locked":
      return problem(
        "identity-locked",
        p.asked
          ? `the passphrase does not open ${p.file}`
          : `${wanting(p.need)}, and ${p.file} wants a passphrase`,
        {
          notes: unchanged(p.need),
          help: p.asked ? "run this again" : "run this on a terminal to be asked for it",
        },
      );
    case "not-a-recipient":
      return problem("not-a-recipient", `${p.identity} opens none of: ${p.secrets.join(", ")}`, {
        notes: [...p.publicKeys.map((key) => `its public key: ${key}`), ...unchanged(p.need)],
        help: "someone who can open them adds that key to secrets/recipients and runs `labctl secret rekey`; or name another identity in LABCTL_AGE_IDENTITY",
      });
  }
}

function wanting({ secrets, machine }: Need): string {
  const names = secrets.map((s) => `\`${s}\``).join(", ");
  if (machine === undefined) return `${names} must be decrypted`;
  return `machine \`${machine}\` lacks the current ${names}`;
}

function unchanged({ machine }: Need): string[] {
  return machine === undefined ? [] : ["nothing on the machine changed"];
}
