/**
 * The outside of an age file: armor, header, payload, without any key. Pure; must not decrypt, so that a build needs
 * neither an identity nor the code for one.
 *
 * The format is age's own (age-encryption.org/v1): a textual header that holds the file key once for each recipient, and
 * a payload encrypted with a key that comes from the file key and a nonce at the payload's start. So the same file key
 * under other recipients leaves the payload as it is, byte for byte; that is what makes `versionOf` outlive a rekey.
 */
import type { Blake3 } from "../hash.ts";
import type { FileHash } from "../paths.ts";

export interface AgeFile {
  /** From the version line to the newline after the MAC. */
  readonly header: Buffer;
  /** Kind of each recipient: `X25519`, `mlkem768x25519` … */
  readonly recipientKinds: readonly string[];
  /** Nonce and ciphertext. */
  readonly payload: Buffer;
}

const BEGIN = "-----BEGIN AGE ENCRYPTED FILE-----";
const END = "-----END AGE ENCRYPTED FILE-----";
const VERSION_LINE = "age-encryption.org/v1";
/** A nonce, and the tag of one chunk that may be empty. */
const LEAST_PAYLOAD_BYTES = 16 + 16;
const COLUMNS = 64;

/** The parts of an armored file; a text says what is wrong with it. Pure. */
export function parseAgeFile(text: string): AgeFile | string {
  const lines = text.replaceAll("\r\n", "\n").trim().split("\n");
  if (/^<{7} |^={7}$|^>{7} /m.test(text)) return "it holds the marks of a merge that was not settled";
  if (lines[0] !== BEGIN) return `it does not begin with \`${BEGIN}\``;
  if (lines.at(-1) !== END) return "it is cut short: its last line is missing";
  const body = lines.slice(1, -1);
  const whole = body.every((line, i) =>
    i < body.length - 1 ? line.length === COLUMNS : line.length > 0 && line.length % 4 === 0,
  );
  if (!whole || !/^[A-Za-z0-9+/]*={0,2}$/.test(body.join(""))) return "its base64 is damaged";
  return parseBinary(Buffer.from(body.join(""), "base64"));
}

function parseBinary(data: Buffer): AgeFile | string {
  if (!data.subarray(0, VERSION_LINE.length + 1).equals(Buffer.from(`${VERSION_LINE}\n`)))
    return `what it holds is no age file of version 1`;
  const mac = data.indexOf("\n--- ");
  const end = mac < 0 ? -1 : data.indexOf("\n", mac + 1);
  if (end < 0) return "its header has no end";
  const header = data.subarray(0, end + 1);
  const payload = data.subarray(end + 1);
  if (payload.length < LEAST_PAYLOAD_BYTES) return "it is cut short: its content is missing";
  const recipientKinds = [...header.toString("latin1").matchAll(/^-> (\S+)/gm)].map((m) => m[1] ?? "");
  if (recipientKinds.length === 0) return "its header names no recipient";
  return { header, recipientKinds, payload };
}

/** The armored text of a file. Pure. */
export function armor(header: Uint8Array, payload: Uint8Array): string {
  const base64 = Buffer.concat([header, payload]).toString("base64");
  const lines = base64.match(new RegExp(`.{1,${COLUMNS}}`, "g")) ?? [];
  return `${[BEGIN, ...lines, END].join("\n")}\n`;
}

/**
 * What stands for the content wherever the content must not: the hash of the encrypted payload. It is known while
 * everything is locked, says nothing about the content (the payload's key is random), differs whenever a content is
 * encrypted anew, and stays when only the recipients change. Pure.
 */
export function versionOf(file: AgeFile, b3: Blake3): FileHash {
  return b3.hash(file.payload);
}

/** A version as people see it. Pure. */
export function shortVersion(version: string): string {
  return version.slice(0, 12);
}
