/**
 * Encrypts, decrypts and gives to other recipients: the one file that loads the age library. Import it dynamically, since
 * most runs of labctl meet no secret. Keys and contents are only handed through; must not read or write files.
 */
import { createHmac, hkdfSync } from "node:crypto";
import { Decrypter, Encrypter, generateIdentity, identityToRecipient, type Recipient } from "age-encryption";
import { type AgeFile, armor } from "./age-file.ts";

/** Why a file could not be opened: nothing fits, or it fits and the rest is damaged. */
export type Locked = { readonly kind: "no-key" } | { readonly kind: "damaged"; readonly why: string };

export type Opened = { readonly kind: "open"; readonly data: Uint8Array } | Locked;

/** Armored text that each of `recipients` (age1…) can open; a new file key each time. */
export async function encrypt(data: Uint8Array, recipients: readonly string[]): Promise<string> {
  const encrypter = new Encrypter();
  for (const recipient of recipients) encrypter.addRecipient(recipient);
  return armor(await encrypter.encrypt(data), new Uint8Array());
}

/** Opens a file with the first of `identities` (AGE-SECRET-KEY-…) that fits. */
export async function decrypt(file: AgeFile, identities: readonly string[]): Promise<Opened> {
  return open(decrypterFor(identities), file);
}

/** Opens a file that a passphrase protects, such as an identity file. */
export async function decryptWithPassphrase(file: AgeFile, passphrase: string): Promise<Opened> {
  const decrypter = new Decrypter();
  decrypter.addPassphrase(passphrase);
  return open(decrypter, file);
}

async function open(decrypter: Decrypter, { header, payload }: AgeFile): Promise<Opened> {
  try {
    return { kind: "open", data: await decrypter.decrypt(Buffer.concat([header, payload])) };
  } catch (error) {
    return lockedBy(error as Error);
  }
}

function lockedBy({ message }: Error): Locked {
  return /no identity matched/.test(message) ? { kind: "no-key" } : { kind: "damaged", why: message };
}

/**
 * The same content for other recipients: only the header is made anew, around the same file key (age's format: the MAC's
 * key is HKDF-SHA256 of the file key, info `header`). Whoever could read before keeps what was read; that is what
 * rotating is for.
 */
export async function rewrap(
  file: AgeFile,
  identities: readonly string[],
  recipients: readonly string[],
): Promise<{ readonly kind: "open"; readonly text: string } | Locked> {
  const opened = await decrypt(file, identities);
  if (opened.kind !== "open") return opened;
  const fileKey = await decrypterFor(identities).decryptHeader(file.header);
  const lines = ["age-encryption.org/v1"];
  for (const recipient of recipients) {
    for (const stanza of await wrapperOf(recipient).wrapFileKey(fileKey)) {
      const body = Buffer.from(stanza.body).toString("base64").replaceAll("=", "");
      // The last line is the one that is not full, even if that leaves it empty.
      lines.push(`-> ${stanza.args.join(" ")}`, ...(body.match(/.{64}/g) ?? []));
      lines.push(body.slice(body.length - (body.length % 64)));
    }
  }
  const unsigned = `${lines.join("\n")}\n---`;
  const key = Buffer.from(hkdfSync("sha256", fileKey, new Uint8Array(), "header", 32));
  const mac = createHmac("sha256", key).update(unsigned).digest("base64").replaceAll("=", "");
  return { kind: "open", text: armor(Buffer.from(`${unsigned} ${mac}\n`), file.payload) };
}

/** A new identity with its public part. */
export async function newIdentity(): Promise<{ readonly identity: string; readonly recipient: string }> {
  const identity = await generateIdentity();
  return { identity, recipient: await identityToRecipient(identity) };
}

/** The public part of an identity; undefined if it is none. */
export async function recipientOf(identity: string): Promise<string | undefined> {
  try {
    return await identityToRecipient(identity);
  } catch {
    return undefined;
  }
}

/** Identities that can't be understood, by index; empty: all can. */
export function badIdentities(identities: readonly string[]): number[] {
  return indicesThatThrow(identities, (identity) => new Decrypter().addIdentity(identity));
}

/** Recipients that can't be understood, by index; empty: all can. */
export function badRecipients(recipients: readonly string[]): number[] {
  return indicesThatThrow(recipients, (recipient) => new Encrypter().addRecipient(recipient));
}

function indicesThatThrow(list: readonly string[], attempt: (text: string) => void): number[] {
  return list.flatMap((text, i) => {
    try {
      attempt(text);
      return [];
    } catch {
      return [i];
    }
  });
}

function decrypterFor(identities: readonly string[]): Decrypter {
  const decrypter = new Decrypter();
  for (const identity of identities) decrypter.addIdentity(identity);
  return decrypter;
}

/**
 * What wraps a file key for a recipient. The library has it for each kind of recipient and exports none; age-encryption
 * 0.3 keeps them in a field that only the types call private. Can go when it exports its recipients.
 */
function wrapperOf(recipient: string): Recipient {
  const encrypter = new Encrypter();
  encrypter.addRecipient(recipient);
  const [wrapper] = (encrypter as unknown as { recipients?: Recipient[] }).recipients ?? [];
  if (!wrapper) throw new Error("this version of age-encryption keeps its recipients elsewhere");
  return wrapper;
}
