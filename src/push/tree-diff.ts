/**
 * What differs between two manifests, path by path, each with its cause down to layer and fact. Pure; must not know
 * units, transports or machines.
 */
import type { Manifest, ManifestEntry, SecretEntry } from "../build/manifest.ts";
import { compareBytes, type RelPath } from "../paths.ts";
import { shortVersion } from "../secrets/age-file.ts";

export type Change = "added" | "changed" | "removed" | "attributes";

export interface FileChange {
  readonly path: RelPath;
  readonly change: Change;
  /** Undefined for an added path. */
  readonly before?: ManifestEntry;
  /** Undefined for a removed path. */
  readonly after?: ManifestEntry;
  /** For people, one line: `fact WEB_TITLE (layers/web/…/index.html.hbs)`. */
  readonly cause: string;
}

/** `drifted`: paths that the machine no longer has as the old manifest says; they are put again. Sorted by path. Pure. */
export function diffTrees(
  before: Manifest | undefined,
  after: Manifest,
  drifted: ReadonlySet<string> = new Set(),
): FileChange[] {
  const old = new Map<string, ManifestEntry>((before?.entries ?? []).map((e) => [e.path, e]));
  const out: FileChange[] = [];
  for (const entry of after.entries) {
    const was = old.get(entry.path);
    old.delete(entry.path);
    const change = compareEntries(was, entry) ?? (drifted.has(entry.path) ? "changed" : undefined);
    if (!change) continue;
    const cause =
      drifted.has(entry.path) && was && !compareEntries(was, entry)
        ? "changed on the machine by someone else"
        : causeOf(was, entry);
    out.push({ path: entry.path, change, ...(was ? { before: was } : {}), after: entry, cause });
  }
  for (const was of old.values()) {
    out.push({
      path: was.path,
      change: "removed",
      before: was,
      cause:
        was.type === "secret"
          ? `nobody wants secret ${was.secret} there any more`
          : `${writer(was)} no longer has ${was.origin.source}`,
    });
  }
  return out.sort((a, b) => compareBytes(a.path, b.path));
}

function compareEntries(was: ManifestEntry | undefined, is: ManifestEntry): Change | undefined {
  if (!was) return "added";
  if (was.type !== is.type) return "changed";
  if (was.type === "file" && is.type === "file" && was.hash !== is.hash) return "changed";
  if (was.type === "link" && is.type === "link" && was.target !== is.target) return "changed";
  if (was.type === "secret" && is.type === "secret" && was.version !== is.version) return "changed";
  return was.mode !== is.mode || was.owner !== is.owner || was.group !== is.group ? "attributes" : undefined;
}

function causeOf(was: ManifestEntry | undefined, is: ManifestEntry): string {
  if (is.type === "secret") return secretCause(was, is);
  if (!was) return is.type === "dir" ? `folder of ${writer(is)}` : `${writer(is)} has ${is.origin.source}`;
  if (was.origin.source !== is.origin.source)
    return `${is.origin.source} takes the place of ${was.origin.source}`;
  const facts = changedFacts(was, is);
  if (facts.length > 0)
    return `${facts.length === 1 ? "fact" : "facts"} ${facts.join(", ")} in ${is.origin.source}`;
  return `${is.origin.source} was edited`;
}

/** Versions tell that a secret differs, and nothing about it. */
function secretCause(was: ManifestEntry | undefined, is: SecretEntry): string {
  const version = shortVersion(is.version);
  if (was?.type !== "secret") return `${writer(is)} wants secret ${is.secret}, version ${version}`;
  if (was.secret !== is.secret) return `secret ${is.secret} takes the place of ${was.secret}`;
  if (was.version === is.version) return `attributes of secret ${is.secret} were edited`;
  return `secret ${is.secret} was rotated, version ${shortVersion(was.version)} to ${version}`;
}

function changedFacts(was: ManifestEntry, is: ManifestEntry): string[] {
  const names = new Set([...Object.keys(was.origin.facts), ...Object.keys(is.origin.facts)]);
  return [...names]
    .filter(
      (n) =>
        Object.hasOwn(was.origin.facts, n) &&
        Object.hasOwn(is.origin.facts, n) &&
        was.origin.facts[n] !== is.origin.facts[n],
    )
    .sort();
}

function writer(entry: ManifestEntry): string {
  return entry.origin.layer === "machine" ? "the machine itself" : `layer ${entry.origin.layer}`;
}
