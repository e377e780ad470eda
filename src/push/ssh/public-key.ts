/**
 * SSH public keys as bytes: their type, their fingerprint, and where to find one in a key file.
 * Pure; must not read files, and must not know who uses the key.
 */
import { createHash } from "node:crypto";

export interface PublicKey {
  /** As on the wire, e.g. `ssh-ed25519`. */
  readonly type: string;
  readonly blob: Buffer;
  /** Empty if there is none. */
  readonly comment: string;
}

/** Names as `ssh-keygen -l` shows them, which is what people compare. */
const SHORT_NAMES: Readonly<Record<string, string>> = {
  "ssh-ed25519": "ED25519",
  "ssh-rsa": "RSA",
  "ssh-dss": "DSA",
  "ecdsa-sha2-nistp256": "ECDSA",
  "ecdsa-sha2-nistp384": "ECDSA",
  "ecdsa-sha2-nistp521": "ECDSA",
};

/** `SHA256:` and the unpadded base64 of the blob's SHA-256, as OpenSSH prints it. Pure. */
export function fingerprint(blob: Buffer): string {
  return `SHA256:${createHash("sha256").update(blob).digest("base64").replace(/=+$/, "")}`;
}

/** `ED25519` for `ssh-ed25519`; an unknown type stays as it is. Pure. */
export function shortName(type: string): string {
  return SHORT_NAMES[type] ?? type;
}

/** `ED25519 SHA256:…`. Pure. */
export function describeKey(key: Pick<PublicKey, "type" | "blob">): string {
  return `${shortName(key.type)} ${fingerprint(key.blob)}`;
}

/** The first string of a blob (RFC 4253 section 6.6), or undefined if the bytes are no key. Pure. */
export function typeOfBlob(blob: Buffer): string | undefined {
  return readString(blob, 0)?.toString("latin1");
}

/** What keeps ssh2 from signing with a key of this type; undefined: nothing. Pure. */
export function unsupportedReason(type: string): string | undefined {
  if (type.includes("-cert-v01@")) return "the built-in client takes no certificates, --ssh=openssh does";
  if (type.startsWith("sk-")) return "the built-in client takes no security keys (FIDO), --ssh=openssh does";
  return SHORT_NAMES[type] === undefined || type === "ssh-dss"
    ? `the built-in client takes no keys of type ${type}`
    : undefined;
}

/** Reads `type base64 comment`, the form of `.pub` and known_hosts files. Undefined: not of that form. Pure. */
export function parsePublicLine(line: string): PublicKey | undefined {
  const match = /^\s*(\S+)\s+([A-Za-z0-9+/]+=*)(?:\s+(.*?))?\s*$/.exec(line);
  if (!match?.[1] || !match[2]) return undefined;
  const blob = Buffer.from(match[2], "base64");
  return typeOfBlob(blob) === match[1] ? { type: match[1], blob, comment: match[3] ?? "" } : undefined;
}

/**
 * The public half that an OpenSSH private key file carries unencrypted, even where the private half is encrypted
 * (OpenSSH's PROTOCOL.key). Undefined: another format, or damaged. Pure.
 */
export function publicOfPrivateKey(text: string): PublicKey | undefined {
  const match = /-----BEGIN OPENSSH PRIVATE KEY-----([\s\S]*?)-----END/.exec(text);
  if (!match?.[1]) return undefined;
  const bytes = Buffer.from(match[1], "base64");
  const magic = "openssh-key-v1\0";
  if (bytes.toString("latin1", 0, magic.length) !== magic) return undefined;
  let offset = magic.length;
  for (let field = 0; field < 3; field++) {
    const value = readString(bytes, offset);
    if (!value) return undefined;
    offset += 4 + value.length;
  }
  const blob = readString(bytes, offset + 4);
  const type = blob && typeOfBlob(blob);
  return blob && type ? { type, blob, comment: "" } : undefined;
}

/** An SSH `string` (RFC 4251 section 5) at an offset; undefined if it runs past the end. Pure. */
export function readString(bytes: Buffer, offset: number): Buffer | undefined {
  if (offset + 4 > bytes.length) return undefined;
  const length = bytes.readUInt32BE(offset);
  if (offset + 4 + length > bytes.length) return undefined;
  return bytes.subarray(offset + 4, offset + 4 + length);
}
