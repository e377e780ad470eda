/**
 * The identity of the person at work: found, checked to be theirs alone, read, unlocked. Owns where it lies; must not
 * know what it opens. An identity leaves here in memory only, and in no message.
 */
import { closeSync, fstatSync, openSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { failure, type Result, success } from "../diagnostics.ts";
import { parseAgeFile } from "./age-file.ts";
import { describe, type Need, type SecretProblem } from "./problems.ts";

export interface Identity {
  /** As people would name it. */
  readonly file: string;
  /** `AGE-SECRET-KEY-…`, at least one. */
  readonly keys: readonly string[];
}

/** Gives the identity; the same to every caller, so that a passphrase is asked for once. */
export type Keyring = (need: Need) => Promise<Result<Identity>>;

/** Asks without echo; undefined where there is nobody to ask. */
export type AskPassphrase = ((prompt: string) => Promise<string>) | undefined;

/** `LABCTL_AGE_IDENTITY`, else `identity.txt` in labctl's configuration folder. Pure. */
export function identityPath(env: NodeJS.ProcessEnv): { readonly file: string; readonly fromEnv: boolean } {
  const named = env.LABCTL_AGE_IDENTITY;
  if (named) return { file: named, fromEnv: true };
  const config = env.XDG_CONFIG_HOME || join(env.HOME || homedir(), ".config");
  return { file: join(config, "labctl", "identity.txt"), fromEnv: false };
}

/**
 * Reads nothing before the first call; a failure is not kept, so that it can be mended meanwhile. Problems:
 * `identity-missing`, `identity-open`, `identity-bad`, `identity-locked`.
 */
export function keyring(env: NodeJS.ProcessEnv, ask: AskPassphrase): Keyring {
  let reading: Promise<Identity | Fault> | undefined;
  return async (need) => {
    reading ??= readIdentity(env, ask);
    const mine = reading;
    const found = await mine;
    if (!("kind" in found)) return success(found);
    if (reading === mine) reading = undefined;
    return failure(describe("need" in found ? { ...found, need } : found));
  };
}

/** Why there is no identity; who needed it for what is filled in for each who asks. */
type Fault = Extract<
  SecretProblem,
  { readonly kind: "identity-missing" | "identity-open" | "identity-bad" | "identity-locked" }
>;
const NO_NEED: Need = { secrets: [] };

async function readIdentity(env: NodeJS.ProcessEnv, ask: AskPassphrase): Promise<Identity | Fault> {
  const { file, fromEnv } = identityPath(env);
  const text = readOwn(file);
  if (text === undefined) return { kind: "identity-missing", file, fromEnv, need: NO_NEED };
  if (typeof text !== "string") return text;
  const encrypted = parseAgeFile(text);
  if (typeof encrypted === "string") return keysIn(text, file);
  if (!encrypted.recipientKinds.includes("scrypt"))
    return { kind: "identity-bad", file, why: "it is encrypted, and not with a passphrase" };
  if (!ask) return { kind: "identity-locked", file, asked: false, need: NO_NEED };
  const { decryptWithPassphrase } = await import("./encryption.ts");
  const opened = await decryptWithPassphrase(encrypted, await ask(`passphrase of ${file}: `));
  if (opened.kind !== "open") return { kind: "identity-locked", file, asked: true, need: NO_NEED };
  return keysIn(Buffer.from(opened.data).toString("utf8"), file);
}

async function keysIn(text: string, file: string): Promise<Identity | Fault> {
  const bad = (why: string): Fault => ({ kind: "identity-bad", file, why });
  if (text.startsWith("age-encryption.org/"))
    return bad("it is encrypted in age's binary form; `age -p -a` writes the armored one");
  const lines = text
    .split(/\r?\n/)
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#"));
  if (lines.length === 0) return bad("it holds no key");
  const { badIdentities } = await import("./encryption.ts");
  const [wrong] = badIdentities(lines);
  if (wrong === undefined) return { file, keys: lines };
  // What the line says must not be shown: it may be most of a key.
  const kind = /PRIVATE KEY/.test(lines[wrong] ?? "") ? "an SSH key" : "nothing that labctl understands";
  return bad(`key ${wrong + 1} in it is ${kind}`);
}

/** Text of a file that nobody else can read; undefined if there is none. A pipe is whoever opened it's. */
function readOwn(file: string): string | undefined | Fault {
  let fd: number;
  try {
    fd = openSync(file, "r");
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    return { kind: "identity-bad", file, why: message };
  }
  try {
    const info = fstatSync(fd);
    const { mode, uid } = info;
    const me = process.geteuid?.() ?? uid;
    if (info.isDirectory()) return { kind: "identity-bad", file, why: "it is a folder" };
    if (info.isFile() && uid !== me && me !== 0)
      return { kind: "identity-open", file, why: `it belongs to user ${uid}`, mode: false };
    if (info.isFile() && (mode & 0o077) !== 0) {
      const shown = (mode & 0o777).toString(8).padStart(4, "0");
      return { kind: "identity-open", file, why: `its mode is ${shown}, not 0600`, mode: true };
    }
    return readFileSync(fd, "utf8");
  } finally {
    closeSync(fd);
  }
}
