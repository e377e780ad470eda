/**
 * Decides whether a host key may be trusted, from the known_hosts files of ssh_config(5). `ssh-keygen -F` does the
 * looking up, so that patterns, negation and hashed names mean what they mean to OpenSSH.
 * This file must not know about connections.
 */
import { createHmac, randomBytes } from "node:crypto";
import { appendFile, mkdir, open, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { type Diagnostic, failure, type Result, success } from "../../diagnostics.ts";
import { describeProblem } from "./problems.ts";
import { type PublicKey, parsePublicLine, typeOfBlob } from "./public-key.ts";
import type { SshSettings } from "./ssh-config.ts";
import { type RunTool, runTool } from "./tool.ts";

/** One line of a known_hosts file that matches the host. */
export interface KnownKey {
  readonly key: PublicKey;
  readonly marker: "none" | "cert-authority" | "revoked";
  readonly file: string;
  /** Counts from 1. */
  readonly line: number;
}

export interface KnownHost {
  /** Entries under the host's own name, user files first. */
  readonly entries: readonly KnownKey[];
  /** Entries under the bare name, looked at only if the key is unknown under its own. */
  readonly bareEntries: readonly KnownKey[];
}

export type HostKeyVerdict =
  | { readonly kind: "known" }
  /** No file has a plain key for this host. `authorities`: files only trust a certificate authority for it. */
  | { readonly kind: "unknown"; readonly authorities: readonly KnownKey[] }
  /** Files have keys for this host, and none is the presented one. */
  | { readonly kind: "changed"; readonly known: readonly KnownKey[] }
  | { readonly kind: "revoked"; readonly entry: KnownKey };

/**
 * Looks a host up in all its known_hosts files; absent files are skipped. Effects: reads, one `ssh-keygen` a file.
 * Problems: `ssh-tool-missing`, `ssh-known-hosts`.
 */
export async function readKnownHost(
  settings: SshSettings,
  env: Readonly<Record<string, string | undefined>>,
  run: RunTool = runTool,
): Promise<Result<KnownHost>> {
  const files = [...new Set([...settings.userKnownHosts, ...settings.globalKnownHosts])];
  const lookUp = async (name: string): Promise<Result<KnownKey[]>> => {
    const found = await Promise.all(files.map((file) => lookUpInFile(name, file, env, run)));
    const problems = found.flatMap((result) => (result.ok ? [] : result.problems));
    return problems.length > 0
      ? failure(...problems)
      : success(found.flatMap((result) => (result.ok ? result.value : [])));
  };
  const entries = await lookUp(settings.hostKeyName);
  if (!entries.ok) return entries;
  const bare = settings.bareHostKeyName === undefined ? success([]) : await lookUp(settings.bareHostKeyName);
  return bare.ok ? success({ entries: entries.value, bareEntries: bare.value }) : bare;
}

async function lookUpInFile(
  name: string,
  file: string,
  env: Readonly<Record<string, string | undefined>>,
  run: RunTool,
): Promise<Result<KnownKey[]>> {
  try {
    if (!(await stat(file)).isFile()) return success([]);
  } catch (error) {
    if (/^(ENOENT|ENOTDIR)$/.test((error as NodeJS.ErrnoException).code ?? "")) return success([]);
    return failure(describeProblem({ kind: "known-hosts", file, detail: (error as Error).message }));
  }
  const outcome = await run("ssh-keygen", ["-F", name, "-f", file], env);
  if (outcome.kind === "missing")
    return failure(describeProblem({ kind: "tool-missing", tool: "ssh-keygen" }));
  if (outcome.kind === "timeout" || (outcome.status !== 0 && outcome.status !== 1)) {
    const detail = outcome.kind === "timeout" ? "no answer" : outcome.stderr.trim();
    return failure(describeProblem({ kind: "known-hosts", file, detail }));
  }
  return success(parseFoundKeys(outcome.stdout, file));
}

/** Reads `ssh-keygen -F`'s answer; lines that are no key are left out, as OpenSSH does. Pure. */
export function parseFoundKeys(text: string, file: string): KnownKey[] {
  const found: KnownKey[] = [];
  let line = 0;
  for (const row of text.split("\n")) {
    const heading = /^# Host .* found: line (\d+)/.exec(row);
    if (heading) {
      line = Number(heading[1]);
      continue;
    }
    const match = /^(?:@(cert-authority|revoked)\s+)?\S+\s+(.*)$/.exec(row);
    const key = match?.[2] === undefined ? undefined : parsePublicLine(match[2]);
    if (key) found.push({ key, marker: (match?.[1] ?? "none") as KnownKey["marker"], file, line });
  }
  return found;
}

/**
 * Judges a presented key. A host with known keys of other types only counts as changed: the known types are
 * offered first, so a true host that still has one would have presented it. Pure.
 */
export function judgeHostKey(blob: Buffer, host: KnownHost): HostKeyVerdict {
  const same = (entry: KnownKey): boolean => entry.key.blob.equals(blob);
  const revoked = [...host.entries, ...host.bareEntries].find(
    (entry) => entry.marker === "revoked" && same(entry),
  );
  if (revoked) return { kind: "revoked", entry: revoked };
  const plain = host.entries.filter((entry) => entry.marker === "none");
  if (plain.some(same)) return { kind: "known" };
  if (plain.length > 0) {
    const type = typeOfBlob(blob);
    const alike = plain.filter((entry) => entry.key.type === type);
    return { kind: "changed", known: alike.length > 0 ? alike : plain };
  }
  if (host.bareEntries.some((entry) => entry.marker === "none" && same(entry))) return { kind: "known" };
  return { kind: "unknown", authorities: host.entries.filter((entry) => entry.marker === "cert-authority") };
}

/** What ssh2 offers, best first; SHA-1 signatures (`ssh-rsa`) and DSA are left out. */
const HOST_KEY_ALGORITHMS = [
  "ssh-ed25519",
  "ecdsa-sha2-nistp256",
  "ecdsa-sha2-nistp384",
  "ecdsa-sha2-nistp521",
  "rsa-sha2-512",
  "rsa-sha2-256",
] as const;
export type HostKeyAlgorithm = (typeof HOST_KEY_ALGORITHMS)[number];

/** Algorithms to offer: those of the known keys first, else an RSA-only entry would look changed. Pure. */
export function orderAlgorithms(host: KnownHost): HostKeyAlgorithm[] {
  const source = host.entries.some((entry) => entry.marker === "none") ? host.entries : host.bareEntries;
  const types = new Set(source.filter((entry) => entry.marker === "none").map((entry) => entry.key.type));
  const known = (algorithm: HostKeyAlgorithm): boolean =>
    types.has(algorithm.startsWith("rsa-sha2") ? "ssh-rsa" : algorithm);
  return [...HOST_KEY_ALGORITHMS.filter(known), ...HOST_KEY_ALGORITHMS.filter((one) => !known(one))];
}

/**
 * Remembers a key in the first user file, creating it (0600) and its folder (0700). One append of whole lines, so
 * that two connections at once don't mix theirs. Returns a warning where that was impossible: the connection is
 * still good, as with OpenSSH.
 */
export async function rememberHostKey(
  settings: SshSettings,
  key: PublicKey,
): Promise<Diagnostic | undefined> {
  const file = settings.userKnownHosts[0];
  if (file === undefined) return undefined;
  const name = settings.hashKnownHosts ? hashedName(settings.hostKeyName) : settings.hostKeyName;
  try {
    await mkdir(dirname(file), { recursive: true, mode: 0o700 });
    const newline = (await endsInsideLine(file)) ? "\n" : "";
    await appendFile(file, `${newline}${name} ${key.type} ${key.blob.toString("base64")}\n`, { mode: 0o600 });
    return undefined;
  } catch (error) {
    return describeProblem({
      kind: "not-remembered",
      label: settings.label,
      file,
      detail: (error as Error).message,
    });
  }
}

/** `|1|salt|hash` as HashKnownHosts writes it: HMAC-SHA1 of the name under a random salt (sshd(8)). */
function hashedName(name: string): string {
  const salt = randomBytes(20);
  return `|1|${salt.toString("base64")}|${createHmac("sha1", salt).update(name).digest("base64")}`;
}

async function endsInsideLine(file: string): Promise<boolean> {
  let handle: Awaited<ReturnType<typeof open>>;
  try {
    handle = await open(file, "r");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw error;
  }
  try {
    const { size } = await handle.stat();
    if (size === 0) return false;
    const last = await handle.read(Buffer.alloc(1), 0, 1, size - 1);
    return last.bytesRead === 1 && last.buffer[0] !== 0x0a;
  } finally {
    await handle.close();
  }
}
