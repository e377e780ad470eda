/**
 * Public-key authentication: which keys to offer in which order, and how each one signs. A private key is decrypted
 * only after the machine said that it would accept it. This file must not open connections to machines.
 */
import { readFile } from "node:fs/promises";
import type { AgentAuthMethod, ParsedKey, SignCallback, SigningRequestOptions } from "ssh2";
import ssh2 from "ssh2";
import { listAgentKeys } from "./agent.ts";
import { LOCKED_KEY } from "./problems.ts";
import {
  describeKey,
  fingerprint,
  type PublicKey,
  parsePublicLine,
  publicOfPrivateKey,
  unsupportedReason,
} from "./public-key.ts";
import type { IdentityFile, SshSettings } from "./ssh-config.ts";

export type AskSecret = (prompt: string) => Promise<string>;

/** Gives a private key that can sign, or says why there is none. */
type Unlock = () => Promise<ParsedKey | Error>;

/** A key to offer. */
export interface Candidate {
  readonly key: PublicKey;
  /** `agent (comment)` or a file's path. */
  readonly origin: string;
  /** Undefined: the agent signs. */
  readonly unlock?: Unlock;
}

export interface Candidates {
  /** In order of trial, each public key once. */
  readonly list: readonly Candidate[];
  /** What was left out, and why; one line each. */
  readonly skipped: readonly string[];
}

/** What an identity file holds. */
interface FileKey {
  readonly file: IdentityFile;
  readonly key: PublicKey;
  readonly unlock: Unlock;
}

const PASSPHRASE_TRIES = 3;

/**
 * Collects the keys for a host: those of machine.ini first, then the agent's (those that the configuration names
 * before the others, and only those under IdentitiesOnly), then the configured files. A key that the agent holds is
 * signed by the agent. Effects: reads key files, asks the agent for its list; asks nobody for a passphrase yet.
 */
export async function readCandidates(
  settings: SshSettings,
  askSecret: AskSecret | undefined,
): Promise<Candidates> {
  const skipped: string[] = [];
  const files: FileKey[] = [];
  for (const file of settings.identityFiles) {
    const outcome = await readIdentityFile(file, askSecret);
    if (typeof outcome !== "string") files.push(outcome);
    else if (outcome !== "") skipped.push(outcome);
  }
  const agentKeys: PublicKey[] = [];
  if (settings.agentSocket !== undefined) {
    const listed = await listAgentKeys(settings.agentSocket);
    if (listed instanceof Error) skipped.push(`the agent at ${settings.agentSocket}: ${listed.message}`);
    else {
      for (const key of listed) {
        const reason = unsupportedReason(key.type);
        if (reason === undefined) agentKeys.push(key);
        else skipped.push(`${key.type} ${fingerprint(key.blob)} from ${agentOrigin(key)}: ${reason}`);
      }
    }
  }
  return { list: orderCandidates(files, agentKeys, settings.identitiesOnly), skipped };
}

function orderCandidates(
  files: readonly FileKey[],
  agentKeys: readonly PublicKey[],
  identitiesOnly: boolean,
): Candidate[] {
  const list: Candidate[] = [];
  const add = (candidate: Candidate): void => {
    if (!list.some((one) => one.key.blob.equals(candidate.key.blob))) list.push(candidate);
  };
  const addFile = (one: FileKey): void => {
    const held = agentKeys.find((key) => key.blob.equals(one.key.blob));
    add(
      held
        ? { key: held, origin: agentOrigin(held) }
        : { key: one.key, origin: one.file.path, unlock: one.unlock },
    );
  };
  const isNamed = (key: PublicKey): boolean => files.some((one) => one.key.blob.equals(key.blob));
  for (const one of files) if (one.file.source === "given") addFile(one);
  for (const key of agentKeys) if (isNamed(key)) add({ key, origin: agentOrigin(key) });
  if (!identitiesOnly) for (const key of agentKeys) add({ key, origin: agentOrigin(key) });
  for (const one of files) addFile(one);
  return list;
}

function agentOrigin(key: PublicKey): string {
  return key.comment === "" ? "the agent" : `the agent (${key.comment})`;
}

/** The file's key; else why it is left out, empty where that needs no mention. */
async function readIdentityFile(
  file: IdentityFile,
  askSecret: AskSecret | undefined,
): Promise<FileKey | string> {
  let text: string;
  try {
    text = await readFile(file.path, "utf8");
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === "ENOENT";
    if (missing && file.source === "default") return "";
    return `${file.path}: ${missing ? "no such file" : (error as Error).message}`;
  }
  const parsed = parsePrivate(text);
  // A `.pub` file may be named to choose one of the agent's keys.
  const key =
    publicOfPrivateKey(text) ??
    parsePublicLine(text) ??
    (parsed instanceof Error ? await readPublicBeside(file.path) : publicOf(parsed));
  if (!key) return `${file.path}: ${parsed instanceof Error ? parsed.message : "no key in it"}`;
  const reason = unsupportedReason(key.type);
  if (reason !== undefined) return `${key.type} ${fingerprint(key.blob)} from ${file.path}: ${reason}`;
  const unlock = (): Promise<ParsedKey | Error> =>
    parsed instanceof Error ? unlockFile(file.path, text, parsed, askSecret) : Promise.resolve(parsed);
  return { file, key, unlock };
}

async function readPublicBeside(path: string): Promise<PublicKey | undefined> {
  try {
    return parsePublicLine((await readFile(`${path}.pub`, "utf8")).split("\n")[0] ?? "");
  } catch {
    return undefined;
  }
}

async function unlockFile(
  path: string,
  text: string,
  first: Error,
  askSecret: AskSecret | undefined,
): Promise<ParsedKey | Error> {
  if (!/encrypted/i.test(first.message)) return first;
  if (!askSecret) return new Error(LOCKED_KEY);
  for (let tries = 0; tries < PASSPHRASE_TRIES; tries++) {
    const passphrase = await askSecret(`passphrase for ${path}: `);
    if (passphrase === "") return new Error("the key is encrypted and no passphrase was given");
    const key = parsePrivate(text, passphrase);
    if (!(key instanceof Error)) return key;
  }
  return new Error(`the key is encrypted and ${PASSPHRASE_TRIES} passphrases were wrong`);
}

function parsePrivate(text: string, passphrase?: string): ParsedKey | Error {
  const parsed: ParsedKey | ParsedKey[] | Error = ssh2.utils.parseKey(text, passphrase);
  if (parsed instanceof Error) return parsed;
  const key = Array.isArray(parsed) ? (parsed[0] as ParsedKey) : parsed;
  return key.isPrivateKey() ? key : new Error("the file holds a public key only");
}

function publicOf(key: ParsedKey): PublicKey {
  return { type: key.type, blob: key.getPublicSSH(), comment: key.comment };
}

/** Offers one candidate; ssh2 asks for a signature only if the machine would accept the key. */
class OneKeyAgent extends ssh2.BaseAgent<ParsedKey> {
  readonly #candidate: Candidate;
  readonly #agentSocket: string | undefined;
  readonly #onFailure: (reason: string) => void;

  constructor(candidate: Candidate, agentSocket: string | undefined, onFailure: (reason: string) => void) {
    super();
    this.#candidate = candidate;
    this.#agentSocket = agentSocket;
    this.#onFailure = onFailure;
  }

  override getIdentities(done: (error?: Error | null, keys?: ParsedKey[]) => void): void {
    const key: ParsedKey | Error = ssh2.utils.parseKey(this.#candidate.key.blob);
    if (key instanceof Error) done(key);
    else done(null, [key]);
  }

  override sign(
    key: ParsedKey,
    data: Buffer,
    options: SigningRequestOptions | SignCallback,
    callback?: SignCallback,
  ): void {
    const done = (typeof options === "function" ? options : callback) ?? (() => {});
    const hash = typeof options === "function" ? undefined : options.hash;
    const finish = (outcome: Buffer | Error): void => {
      if (outcome instanceof Error) {
        this.#onFailure(outcome.message);
        done(outcome);
      } else done(null, outcome);
    };
    const { unlock } = this.#candidate;
    if (unlock) {
      unlock().then((own) => {
        const signed: Buffer | Error = own instanceof Error ? own : own.sign(data, hash);
        finish(signed);
      }, finish);
      return;
    }
    // Only candidates from an agent lack `unlock`, and they exist only where its socket is known.
    new ssh2.OpenSSHAgent(this.#agentSocket ?? "").sign(
      key,
      data,
      options as SigningRequestOptions,
      (error, signature) => finish(error ?? signature ?? new Error("the agent gave no signature")),
    );
  }
}

/** Hands ssh2 one attempt after the other and keeps the record that a failure prints. */
export class Authenticator {
  readonly tried: string[] = [];
  readonly #left: Candidate[];
  readonly #settings: SshSettings;

  constructor(settings: SshSettings, candidates: Candidates) {
    this.#settings = settings;
    this.#left = [...candidates.list];
  }

  /** The next attempt; `false` when there is none left. */
  next(): AgentAuthMethod | false {
    const candidate = this.#left.shift();
    if (!candidate) return false;
    const index = this.tried.push(`${describeKey(candidate.key)} from ${candidate.origin}`) - 1;
    const agent = new OneKeyAgent(candidate, this.#settings.agentSocket, (reason) => {
      this.tried[index] = `${this.tried[index]}: ${reason}`;
    });
    return { type: "agent", username: this.#settings.user, agent };
  }
}
