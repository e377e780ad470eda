/** A WireGuard client's key pair, and the file by which its device connects. Knows neither the repository nor the terminal. */
import { generateKeyPairSync } from "node:crypto";

/** Both halves as WireGuard writes them: 32 bytes in base64. */
export interface KeyPair {
  readonly privateKey: string;
  readonly publicKey: string;
}

/** What a client's device needs to know. */
export interface ClientLink {
  readonly client: string;
  /** The machine that it connects to. */
  readonly machine: string;
  readonly privateKey: string;
  /** Its own IPv6 address, without a length. */
  readonly address: string;
  readonly machineKey: string;
  /** `host:port`. */
  readonly endpoint: string;
  /** Prefixes that it reaches through the link. */
  readonly reaches: readonly string[];
}

/** A fresh key pair (X25519, RFC 7748), clamped as `wg genkey` does. Reads the system's randomness. */
export function makeKeyPair(): KeyPair {
  const { d = "", x = "" } = generateKeyPairSync("x25519").privateKey.export({ format: "jwk" });
  const secret = Buffer.from(d, "base64url");
  // Clamping leaves the public key as it is: X25519 does the same before it multiplies.
  secret.writeUInt8(secret.readUInt8(0) & 0xf8, 0);
  secret.writeUInt8((secret.readUInt8(31) & 0x7f) | 0x40, 31);
  return {
    privateKey: secret.toString("base64"),
    publicKey: Buffer.from(x, "base64url").toString("base64"),
  };
}

/** In the format of wg-quick(8), which the apps read too. Holds the private key. Pure. */
export function clientText(link: ClientLink): string {
  return [
    `# ${link.client}, a client of machine ${link.machine}`,
    "[Interface]",
    `PrivateKey = ${link.privateKey}`,
    `Address = ${link.address}/128`,
    "MTU = 1420",
    "",
    "[Peer]",
    `PublicKey = ${link.machineKey}`,
    `Endpoint = ${link.endpoint}`,
    `AllowedIPs = ${link.reaches.join(", ")}`,
    "PersistentKeepalive = 25",
    "",
  ].join("\n");
}
