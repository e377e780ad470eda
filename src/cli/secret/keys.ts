/** `labctl secret init|rekey`: who can open the secrets. Keys are made and read here, and only public parts are printed. */
import { mkdirSync, writeFileSync } from "node:fs";
import { hostname, userInfo } from "node:os";
import { dirname } from "node:path";
import { blake3 } from "../../hash.ts";
import type { AbsPath } from "../../paths.ts";
import { parseAgeFile, versionOf } from "../../secrets/age-file.ts";
import { identityPath } from "../../secrets/identity.ts";
import { describe } from "../../secrets/problems.ts";
import { parseRecipients, RECIPIENTS_FILE } from "../../secrets/recipients.ts";
import {
  listSecrets,
  openSecrets,
  readRecipients,
  readSecret,
  recipientsText,
  secretPath,
  writeRecipients,
  writeSecret,
} from "../../secrets/secret-store.ts";
import type { ParsedArguments } from "../commands.ts";
import { EXIT } from "../exit.ts";
import { printErr, refuse } from "../print.ts";
import { ownKeyring } from "../prompts.ts";

/** Makes an identity where there is none, and names its public key among the recipients. */
export async function initKeys(args: ParsedArguments, root: AbsPath): Promise<number> {
  const { newIdentity, recipientOf } = await import("../../secrets/encryption.ts");
  const text = recipientsText(root);
  const listed = parseRecipients(text);
  if (!listed.ok && listed.problems.some((p) => p.code !== "no-recipients")) return refuse(listed.problems);
  const { file } = identityPath(process.env);
  const dry = args.flag("dry-run");
  const found = await ownKeyring()({ secrets: [] });
  if (!found.ok && found.problems.some((p) => p.code !== "identity-missing")) return refuse(found.problems);
  let keys: string[] = [];
  if (found.ok) {
    for (const key of found.value.keys) keys.push((await recipientOf(key)) ?? "");
    printErr(`${file} is there already`);
  } else if (dry) printErr(`would make ${file}, and add its public key to ${RECIPIENTS_FILE}`);
  else {
    const made = await newIdentity();
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    writeFileSync(file, `# public key: ${made.recipient}\n${made.identity}\n`, { mode: 0o600, flag: "wx" });
    keys = [made.recipient];
    printErr(`made ${file}; keep a copy elsewhere: without it, nobody reads what only it can open`);
  }
  const known = new Set(listed.ok ? listed.value.map((r) => r.key) : []);
  const missing = keys.filter((key) => key !== "" && !known.has(key));
  if (dry) {
    for (const key of missing) printErr(`would add ${key} to ${RECIPIENTS_FILE}`);
    return found.ok && missing.length === 0 ? EXIT.done : EXIT.changes;
  }
  if (missing.length === 0) {
    printErr(`${RECIPIENTS_FILE} has its public key already`);
    return EXIT.done;
  }
  const start =
    text === undefined ? "# Who can open the secrets: age public keys\n" : text.replace(/\n*$/, "\n");
  writeRecipients(root, `${start}${missing.map((key) => `# ${whoAmI()}\n${key}\n`).join("")}`);
  for (const key of missing) printErr(`added ${key} to ${RECIPIENTS_FILE}`);
  if (listSecrets(root).length > 0)
    printErr("it opens the secrets that there are once someone who can open them runs `labctl secret rekey`");
  return EXIT.done;
}

/** Gives every secret to the recipients that are listed now. Contents, and so versions, stay: no machine notices. */
export async function rekeyAll(args: ParsedArguments, root: AbsPath): Promise<number> {
  const recipients = await readRecipients(root);
  if (!recipients.ok) return refuse(recipients.problems);
  const names = listSecrets(root);
  const files = new Map();
  for (const name of names) {
    const file = readSecret(root, name);
    if (!file.ok) return refuse(file.problems);
    files.set(name, file.value);
  }
  if (names.length === 0) {
    printErr("there are no secrets");
    return EXIT.done;
  }
  const opened = await openSecrets(files, ownKeyring());
  if (!opened.ok) return refuse(opened.problems);
  const identity = await ownKeyring()({ secrets: names });
  if (!identity.ok) return refuse(identity.problems);
  const { rewrap, decrypt, recipientOf } = await import("../../secrets/encryption.ts");
  const keys = recipients.value.map((r) => r.key);
  const own = await Promise.all(identity.value.keys.map((key) => recipientOf(key)));
  if (!own.some((key) => key !== undefined && keys.includes(key)))
    return refuse([describe({ kind: "locks-out", identity: identity.value.file })]);
  if (args.flag("dry-run")) {
    for (const name of names)
      printErr(`would give ${secretPath(name)} to the keys of ${RECIPIENTS_FILE}: ${keys.length}`);
    return EXIT.changes;
  }
  const b3 = await blake3();
  const texts = new Map<string, string>();
  for (const [name, file] of files) {
    const made = await rewrap(file, identity.value.keys, keys);
    const again = made.kind === "open" ? parseAgeFile(made.text) : "it could not be opened";
    // Nothing is replaced by what has not been opened again.
    const good =
      made.kind === "open" &&
      typeof again !== "string" &&
      versionOf(again, b3) === versionOf(file, b3) &&
      (await decrypt(again, identity.value.keys)).kind === "open";
    if (!good) throw new Error(`${secretPath(name)} could not be given to other recipients`);
    texts.set(name, made.text);
  }
  for (const [name, text] of texts) writeSecret(root, name, text);
  printErr(
    `${names.length} secrets, each for ${keys.length} recipients; no content changed, so no machine is concerned`,
  );
  printErr("whoever could open one before still knows it: `labctl secret rotate` gives a new value");
  return EXIT.done;
}

function whoAmI(): string {
  let user = process.env.USER;
  try {
    user ??= userInfo().username;
  } catch {
    // A user id without a name.
  }
  return `${user ?? "unknown"}@${hostname()}`.replace(/[^\x21-\x7e]/g, "_");
}
