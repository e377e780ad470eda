/**
 * `labctl secret add|edit|rotate`: a new value, from a pipe, a prompt, an editor or chance, encrypted and written. Owns
 * where values come from; what it prints of one is its size.
 */
import { randomBytes } from "node:crypto";
import { type Diagnostic, failure, type Result, success } from "../../diagnostics.ts";
import { blake3 } from "../../hash.ts";
import type { AbsPath } from "../../paths.ts";
import { parseAgeFile, shortVersion, versionOf } from "../../secrets/age-file.ts";
import { describe, LARGEST_SECRET_BYTES } from "../../secrets/problems.ts";
import {
  listSecrets,
  openSecrets,
  readRecipients,
  readSecret,
  secretPath,
  writeSecret,
} from "../../secrets/secret-store.ts";
import type { ParsedArguments } from "../commands.ts";
import { EXIT } from "../exit.ts";
import { printErr, refuse } from "../print.ts";
import { askSecret, isInteractive, ownKeyring } from "../prompts.ts";

const GENERATED_BYTES = 32;

/** Carries out one of the three; returns the exit code. Nothing is written unless all went well. */
export async function changeValue(
  args: ParsedArguments,
  root: AbsPath,
  verb: "add" | "edit" | "rotate",
  name: string,
): Promise<number> {
  const exists = listSecrets(root).includes(name);
  if (verb === "add" && exists) return refuse([describe({ kind: "secret-exists", secret: name })]);
  if (verb !== "add" && !exists)
    return refuse([describe({ kind: "secret-missing", secret: name, known: listSecrets(root) })]);
  const recipients = await readRecipients(root);
  if (!recipients.ok) return refuse(recipients.problems);
  if (args.flag("dry-run")) {
    printErr(`would write ${secretPath(name)} for ${count(recipients.value.length, "recipient")}`);
    return EXIT.changes;
  }
  const value = verb === "edit" ? await editedValue(root, name) : await newValue(args, name);
  if (!value.ok) return refuse(value.problems);
  if (value.value === undefined) {
    printErr(`${secretPath(name)} stays as it is: its content did not change`);
    return EXIT.done;
  }
  const data = value.value;
  const fault = unfit(name, data);
  if (fault) return refuse([fault]);
  const { encrypt } = await import("../../secrets/encryption.ts");
  const text = await encrypt(
    data,
    recipients.value.map((r) => r.key),
  );
  const file = parseAgeFile(text);
  if (typeof file === "string") throw new Error(`what was encrypted can't be read: ${file}`);
  writeSecret(root, name, text);
  const newline = data.at(-1) === 0x0a ? ", the last a newline" : "";
  printErr(
    `${secretPath(name)}: ${count(data.length, "byte")}${newline}, version ${shortVersion(versionOf(file, await blake3()))}, for ${count(recipients.value.length, "recipient")}`,
  );
  if (verb !== "add") printErr(`the next push delivers it; \`labctl secret readers ${name}\` says to whom`);
  return EXIT.done;
}

function unfit(secret: string, data: Uint8Array): Diagnostic | undefined {
  if (data.length === 0) return describe({ kind: "secret-empty", secret });
  return data.length > LARGEST_SECRET_BYTES
    ? describe({ kind: "secret-too-large", secret, sizeBytes: data.length })
    : undefined;
}

/** Bytes exactly as they come; on a terminal a line, typed twice, without its newline. */
async function newValue(args: ParsedArguments, name: string): Promise<Result<Uint8Array>> {
  if (args.flag("generate")) return success(Buffer.from(randomBytes(GENERATED_BYTES).toString("base64url")));
  if (!isInteractive()) return success(process.stdin.isTTY ? new Uint8Array() : await pipedInput());
  const first = await askSecret(`value of ${name}: `);
  if (first === "") return success(new Uint8Array());
  if ((await askSecret("once more: ")) !== first)
    return failure(describe({ kind: "secret-mistyped", secret: name }));
  return success(Buffer.from(first));
}

/** All of standard input, or as much as shows that it is too much. */
async function pipedInput(): Promise<Uint8Array> {
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    sizeBytes += chunk.length;
    if (sizeBytes > LARGEST_SECRET_BYTES) break;
  }
  return Buffer.concat(chunks);
}

/** Undefined: the editor left the content as it was. */
async function editedValue(root: AbsPath, name: string): Promise<Result<Uint8Array | undefined>> {
  const file = readSecret(root, name);
  if (!file.ok) return file;
  const opened = await openSecrets(new Map([[name, file.value]]), ownKeyring());
  if (!opened.ok) return opened;
  const before = opened.value.get(name) ?? new Uint8Array();
  const { editInMemory } = await import("./editor.ts");
  const edited = await editInMemory(name, before);
  if (!edited.ok) return edited;
  return success(Buffer.compare(before, edited.value) === 0 ? undefined : edited.value);
}

function count(n: number, noun: string): string {
  return `${n} ${noun}${n === 1 ? "" : "s"}`;
}
