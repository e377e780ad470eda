/**
 * Secrets on their way to a machine: those that it lacks are decrypted here in memory, go over the connection's standard
 * input, and are encrypted there before anything is written. Owns that order; must not know how an identity is found.
 */
import type { SecretEntry } from "../build/manifest.ts";
import { type Diagnostic, failure, type Result, success } from "../diagnostics.ts";
import { blake3 } from "../hash.ts";
import type { AbsPath } from "../paths.ts";
import { type AgeFile, versionOf } from "../secrets/age-file.ts";
import type { Keyring } from "../secrets/identity.ts";
import { describe, FIRST_SYSTEMD, LARGEST_SECRET_BYTES } from "../secrets/problems.ts";
import { openSecrets, readSecret } from "../secrets/secret-store.ts";
import type { PushPlan } from "./plan.ts";
import { callRemote, refusalOf } from "./session.ts";
import type { Transport } from "./transport.ts";

/** Where secrets come from. */
export interface SecretSource {
  /** The repository's root. */
  readonly root: AbsPath;
  readonly keyring: Keyring;
}

/** A decrypted credential; never to be printed, logged or written. */
export interface OpenCredential {
  readonly entry: SecretEntry;
  readonly data: Uint8Array;
}

/** The credentials whose contents the machine must be sent. Pure. */
export function lackedSecrets(plan: PushPlan): SecretEntry[] {
  return plan.files.flatMap((f) =>
    f.after?.type === "secret" && (f.change === "added" || f.change === "changed") ? [f.after] : [],
  );
}

/**
 * Decrypts what the machine lacks; an identity is asked for only if that is anything. Problems: `secret-changed` where a
 * file is not what was built, `old-systemd`, those of reading and opening secrets.
 */
export async function openLacked(
  machine: string,
  plan: PushPlan,
  systemdVersion: number,
  source: SecretSource | undefined,
): Promise<Result<readonly OpenCredential[]>> {
  const lacked = lackedSecrets(plan);
  if (lacked.length === 0 || !source) return success([]);
  if (systemdVersion < FIRST_SYSTEMD)
    return failure(describe({ kind: "old-systemd", machine, version: systemdVersion }));
  const b3 = await blake3();
  const files = new Map<string, AgeFile>();
  const problems: Diagnostic[] = [];
  for (const { secret, version } of lacked) {
    const file = readSecret(source.root, secret);
    if (!file.ok) problems.push(...file.problems);
    else if (versionOf(file.value, b3) !== version)
      problems.push(describe({ kind: "secret-changed", secret }));
    else files.set(secret, file.value);
  }
  if (problems.length > 0) return failure(...problems);
  const opened = await openSecrets(files, source.keyring, machine);
  if (!opened.ok) return opened;
  const out: OpenCredential[] = [];
  for (const entry of lacked) {
    const data = opened.value.get(entry.secret);
    if (!data) throw new Error(`secret ${entry.secret} was opened and is not there`);
    // Made by another tool than labctl, which would have refused it.
    if (data.length > LARGEST_SECRET_BYTES)
      return failure(describe({ kind: "secret-too-large", secret: entry.secret, sizeBytes: data.length }));
    out.push({ entry, data });
  }
  return success(out);
}

/** Sends them into the stage folder, where they arrive encrypted for the machine. */
export async function stageSecrets(
  transport: Transport,
  machine: string,
  session: string,
  credentials: readonly OpenCredential[],
): Promise<Result<void>> {
  if (credentials.length === 0) return success(undefined);
  let data = "";
  for (const { entry, data: content } of credentials) {
    const base64 = Buffer.from(content).toString("base64");
    data += `${entry.path.slice(entry.path.lastIndexOf("/") + 1)}\t${base64.length}\n${base64}\n`;
  }
  const answer = await callRemote(transport, machine, "stage-secrets", [session], { data });
  if (!answer.ok) return answer;
  if (answer.value.done === "ok") return success(undefined);
  const [refused] = answer.value.problems;
  if (refused?.code === "no-systemd-creds") return failure(describe({ kind: "no-systemd-creds", machine }));
  return failure(
    refused?.code === "secret-refused"
      ? describe({ kind: "secret-refused", machine, why: refused.detail })
      : refusalOf(machine, "stage-secrets", answer.value),
  );
}
