/**
 * The credentials of a machine as entries of its manifest: who asked for what is settled, each secret is found and named
 * by the hash of its encrypted content. Decrypts nothing, so that a build needs no identity.
 */
import type { Diagnostic } from "../diagnostics.ts";
import type { Blake3 } from "../hash.ts";
import { type AbsPath, compareBytes, foldersAbove, type LayerName, type RelPath } from "../paths.ts";
import type { CredentialWish, Machine } from "../project/project.ts";
import { versionOf } from "../secrets/age-file.ts";
import { describe } from "../secrets/problems.ts";
import { readSecret, secretPath } from "../secrets/secret-store.ts";
import type { DirEntry, SecretEntry } from "./manifest.ts";
import type { PlannedOutput } from "./overlay.ts";

/**
 * Where credentials lie in a tree: the one of systemd's stores for encrypted credentials that is below /usr/local
 * (CONF_PATHS in its source, 252 and 257), so that a unit finds one by its name alone.
 */
export const CREDENTIAL_FOLDER = "lib/credstore.encrypted";

/** What a manifest has and the tree here has not: credentials, and folders that hold nothing else. */
export type UnbuiltEntries = readonly (SecretEntry | DirEntry)[];

/** A wish whose secret is settled. */
export interface Credential extends CredentialWish {
  readonly secret: string;
}

/** Which secret each credential of a machine is; the machine decides over its layers. Sorted by credential. Pure. */
export function settleCredentials(machine: Machine): {
  readonly credentials: readonly Credential[];
  readonly problems: readonly Diagnostic[];
} {
  const problems: Diagnostic[] = [];
  const wishes = new Map<string, CredentialWish[]>();
  for (const wish of [...machine.credentials, ...machine.layers.flatMap((l) => l.credentials)])
    wishes.set(wish.credential, [...(wishes.get(wish.credential) ?? []), wish]);
  const credentials: Credential[] = [];
  for (const [credential, all] of [...wishes].sort(([a], [b]) => compareBytes(a, b))) {
    const named = all.filter((w): w is Credential => w.secret !== undefined);
    const [first] = named;
    const [asked] = all;
    if (!first) {
      if (asked)
        problems.push(
          describe({
            kind: "credential-open",
            credential,
            machine: machine.name,
            layer: asked.by,
            place: asked.place,
          }),
        );
      continue;
    }
    const other = first.by === "machine" ? undefined : named.find((w) => w.secret !== first.secret);
    if (other) {
      const wish = (w: Credential) => ({ ...w, by: `layer \`${w.by}\`` });
      problems.push(
        describe({
          kind: "credential-conflict",
          credential,
          machine: machine.name,
          first: wish(first),
          second: wish(other),
        }),
      );
    } else credentials.push(first);
  }
  return { credentials, problems };
}

/** Entries and the folders that they lie in, as far as the tree has none. Reads the encrypted files through `readText`. */
export function secretEntries(
  machine: Machine,
  outputs: readonly PlannedOutput[],
  root: AbsPath,
  readText: (path: string) => string | undefined,
  b3: Blake3,
): { readonly entries: UnbuiltEntries; readonly problems: readonly Diagnostic[] } {
  const settled = settleCredentials(machine);
  const problems = [...settled.problems];
  const entries: (SecretEntry | DirEntry)[] = [];
  const taken = new Map(settled.credentials.length === 0 ? [] : outputs.map((o) => [o.path as string, o]));
  for (const { credential, secret, by, place } of settled.credentials) {
    const path = `${CREDENTIAL_FOLDER}/${credential}` as RelPath;
    const output =
      taken.get(path) ??
      foldersAbove(path)
        .map((f) => taken.get(f))
        .find((o) => o && o.content.kind !== "dir");
    if (output)
      problems.push(
        describe({ kind: "credential-taken", credential, path: output.path, source: output.source, place }),
      );
    const file = readSecret(root, secret, readText);
    if (!file.ok) {
      const wantedBy = by === "machine" ? `machine \`${machine.name}\`` : `layer \`${by}\``;
      problems.push(
        ...file.problems.map((p) =>
          p.code === "secret-missing"
            ? describe({ kind: "secret-missing", secret, known: [], wantedBy, place })
            : p,
        ),
      );
      continue;
    }
    const base = { ...OWNER, origin: origin(by, secretPath(secret)) };
    for (const [folder, mode] of FOLDERS) {
      if (taken.has(folder) || entries.some((e) => e.path === folder)) continue;
      entries.push({ ...base, path: folder as RelPath, type: "dir", mode });
    }
    entries.push({ ...base, path, type: "secret", mode: 0o600, secret, version: versionOf(file.value, b3) });
  }
  return { entries, problems };
}

const OWNER = { owner: "root", group: "root" };

/** What is in the store is nobody's business but root's, the names of credentials included. */
const FOLDERS: readonly (readonly [string, number])[] = [
  ["lib", 0o755],
  [CREDENTIAL_FOLDER, 0o700],
];

function origin(layer: LayerName | "machine", source: string): SecretEntry["origin"] {
  return { layer, source, template: false, facts: {} };
}
