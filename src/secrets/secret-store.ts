/**
 * The secrets of a repository: `secrets/NAME.age`, one encrypted file each. Owns their names, reading and writing, and
 * opening several at once; must not know machines, layers, or how a value is delivered.
 */
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { type Diagnostic, failure, type Result, success } from "../diagnostics.ts";
import { type AbsPath, isName } from "../paths.ts";
import { type AgeFile, parseAgeFile } from "./age-file.ts";
import type { Keyring } from "./identity.ts";
import { describe, type Need } from "./problems.ts";
import { parseRecipients, RECIPIENTS_FILE, type RecipientLine } from "./recipients.ts";

/** True for what may be a secret's name. `required` means something else in layer.ini. Pure. */
export function isSecretName(text: string): boolean {
  return isName(text) && text !== "required";
}

/** Relative to the repository. Pure. */
export function secretPath(name: string): string {
  return `secrets/${name}.age`;
}

/** Names of all secrets, sorted; empty if there is no folder. */
export function listSecrets(root: AbsPath): string[] {
  let names: string[];
  try {
    names = readdirSync(join(root, "secrets"));
  } catch {
    return [];
  }
  return names
    .filter((file) => file.endsWith(".age"))
    .map((file) => file.slice(0, -4))
    .filter(isSecretName)
    .sort();
}

/** The encrypted file. Problems: `secret-missing`, `secret-outside`, `secret-damaged`. `readText` says undefined for no file. */
export function readSecret(
  root: AbsPath,
  name: string,
  readText: (path: string) => string | undefined = readIfThere,
): Result<AgeFile> {
  const path = secretPath(name);
  const text = readText(join(root, path));
  if (text === undefined)
    return failure(describe({ kind: "secret-missing", secret: name, known: listSecrets(root) }));
  // A build reads nothing outside the repository.
  if (!realpathSync(join(root, path)).startsWith(`${realpathSync(root)}/`))
    return failure(describe({ kind: "secret-outside", file: path }));
  const file = parseAgeFile(text);
  return typeof file === "string"
    ? failure(describe({ kind: "secret-damaged", file: path, why: file }))
    : success(file);
}

/** Replaces the encrypted file whole; the folder is made where it is missing. Throws what `fs` throws. */
export function writeSecret(root: AbsPath, name: string, armored: string): void {
  writeWhole(join(root, secretPath(name)), armored);
}

/** Who can open the secrets. Problems: `no-recipients`, `bad-recipient`. */
export async function readRecipients(root: AbsPath): Promise<Result<readonly RecipientLine[]>> {
  const parsed = parseRecipients(readIfThere(join(root, RECIPIENTS_FILE)));
  if (!parsed.ok) return parsed;
  const { badRecipients } = await import("./encryption.ts");
  const bad = badRecipients(parsed.value.map((r) => r.key)).flatMap((i) => parsed.value[i] ?? []);
  return bad.length === 0
    ? parsed
    : failure(
        ...bad.map((r) =>
          describe({ kind: "bad-recipient", text: r.key, place: { file: RECIPIENTS_FILE, line: r.line } }),
        ),
      );
}

/** Replaces `secrets/recipients`. Throws what `fs` throws. */
export function writeRecipients(root: AbsPath, text: string): void {
  writeWhole(join(root, RECIPIENTS_FILE), text);
}

/** The text of `secrets/recipients`; undefined if there is none. */
export function recipientsText(root: AbsPath): string | undefined {
  return readIfThere(join(root, RECIPIENTS_FILE));
}

/**
 * Contents of encrypted files, by name, all or nothing. Problems: those of the keyring, `not-a-recipient` for all that
 * the identity does not open, `secret-damaged`.
 */
export async function openSecrets(
  files: ReadonlyMap<string, AgeFile>,
  keyring: Keyring,
  machine?: string,
): Promise<Result<ReadonlyMap<string, Uint8Array>>> {
  const need: Need = { secrets: [...files.keys()], ...(machine === undefined ? {} : { machine }) };
  const identity = await keyring(need);
  if (!identity.ok) return identity;
  const { decrypt, recipientOf } = await import("./encryption.ts");
  const out = new Map<string, Uint8Array>();
  const locked: string[] = [];
  const problems: Diagnostic[] = [];
  for (const [name, file] of files) {
    const opened = await decrypt(file, identity.value.keys);
    if (opened.kind === "open") out.set(name, opened.data);
    else if (opened.kind === "no-key") locked.push(name);
    else problems.push(describe({ kind: "secret-damaged", file: secretPath(name), why: opened.why }));
  }
  if (locked.length > 0) {
    const known = await Promise.all(identity.value.keys.map((key) => recipientOf(key)));
    const publicKeys = known.filter((key) => key !== undefined);
    problems.push(
      describe({ kind: "not-a-recipient", secrets: locked, identity: identity.value.file, publicKeys, need }),
    );
  }
  return problems.length > 0 ? failure(...problems) : success(out);
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") return undefined;
    // A folder has no text; whoever wanted one says so.
    if (code === "EISDIR") return "";
    throw error;
  }
}

function writeWhole(file: string, text: string): void {
  mkdirSync(join(file, ".."), { recursive: true });
  const draft = `${file}.${process.pid}.new`;
  try {
    writeFileSync(draft, text, { flag: "wx" });
    renameSync(draft, file);
  } catch (error) {
    rmSync(draft, { force: true });
    throw error;
  }
}
