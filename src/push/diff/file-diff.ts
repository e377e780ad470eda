/**
 * What a change of a file is in contents: old and new side, compared for people. Decides what may be shown at all:
 * secrets, binary and big files are hashes only. Pure; must not know where contents come from, nor terminals.
 */
import { isUtf8 } from "node:buffer";
import { createHash } from "node:crypto";
import type { Manifest, ManifestEntry } from "../../build/manifest.ts";
import { foldersAbove, type RelPath } from "../../paths.ts";
import { diffHunks, type Hunk, hunkHeader } from "./line-diff.ts";

/** Texts beyond this are not compared line by line, on either side. */
export const MOST_TEXT_BYTES = 256 * 1024;

/**
 * One side of a change. `hash`: `sha256:` and 64 hex digits, or `version:` and those of a secret's version; a secret's
 * size is nobody's business either.
 */
export type Side =
  | { readonly kind: "absent" }
  | { readonly kind: "dir" }
  | { readonly kind: "link"; readonly target: string }
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "opaque"; readonly why: Opaque; readonly sizeBytes: number; readonly hash: string };

export type Opaque = "secret" | "binary" | "big";

/** Mode and owner of what stands at a path. */
export interface Attributes {
  readonly mode: number;
  readonly owner: string;
  readonly group: string;
}

export interface FileDiff {
  readonly path: RelPath;
  readonly before: Side;
  readonly after: Side;
  /** Of texts; empty where contents are equal or can't be shown. */
  readonly hunks: readonly Hunk[];
  /** `mode 0644 -> 0600`, `owner root:root -> www-data:root`; empty: as before, or one side is absent. */
  readonly attributes: readonly string[];
}

/** Encrypted or not, these exist to hold secrets (systemd-creds(1), systemd.exec(5) on credentials). */
const SECRET_PATH = /\.cred$|(^|\/)credstore(\.encrypted)?\//;

/** Paths whose contents must not be shown: by their name, or because others on the machine may not read them. Pure. */
export function secretPaths(...manifests: readonly (Manifest | undefined)[]): (path: string) => boolean {
  const closed = new Set<string>();
  for (const manifest of manifests)
    for (const e of manifest?.entries ?? []) if (isClosed(e)) closed.add(e.path);
  return (path) =>
    SECRET_PATH.test(path) || closed.has(path) || foldersAbove(path).some((folder) => closed.has(folder));
}

/** Others can't read a file, or get into a folder. */
function isClosed(e: ManifestEntry): boolean {
  if (e.type === "link") return false;
  return (e.mode & (e.type === "dir" ? 0o001 : 0o004)) === 0;
}

/** A file's bytes as a side. Pure. */
export function sideOf(bytes: Buffer, secret: boolean): Side {
  const why: Opaque | undefined = secret
    ? "secret"
    : bytes.length > MOST_TEXT_BYTES
      ? "big"
      : bytes.includes(0) || !isUtf8(bytes)
        ? "binary"
        : undefined;
  return why ? opaque(bytes, why) : { kind: "text", text: bytes.toString("utf8") };
}

function opaque(bytes: Buffer | string, why: Opaque): Side {
  const hash = `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
  return { kind: "opaque", why, sizeBytes: Buffer.byteLength(bytes), hash };
}

/** `side` as it may be shown beside `other`: where one can't be shown, hashes of both are compared. Pure. */
function beside(side: Side, other: Side): Side {
  return side.kind === "text" && other.kind === "opaque" ? opaque(side.text, other.why) : side;
}

function isSame(a: Side, b: Side): boolean {
  if (a.kind === "opaque" && b.kind === "opaque") return a.hash === b.hash;
  return JSON.stringify(a) === JSON.stringify(b);
}

/** What stands at a path, or shall. */
export interface Standing {
  readonly side: Side;
  /** Undefined: nothing does. */
  readonly attributes?: Attributes;
}

/** Compares both sides of one change; undefined: they are the same. Pure. */
export function compareSides(path: RelPath, before: Standing, after: Standing): FileDiff | undefined {
  const textOf = (side: Side): string | undefined =>
    side.kind === "text" ? side.text : side.kind === "absent" ? "" : undefined;
  const old = beside(before.side, after.side);
  const fresh = beside(after.side, before.side);
  const [a, b] = [textOf(old), textOf(fresh)];
  const attributes = compareAttributes(before, after);
  if (isSame(old, fresh) && attributes.length === 0) return undefined;
  return {
    path,
    before: old,
    after: fresh,
    hunks: a === undefined || b === undefined ? [] : diffHunks(a, b),
    attributes,
  };
}

/** What `--json` prints of a difference: sides without their texts, hunks as lines of a unified diff. Pure. */
export function diffJson({ path, before, after, hunks, attributes }: FileDiff): object {
  const side = (s: Side): object => (s.kind === "text" ? { kind: s.kind } : publicSide(s));
  return {
    path,
    before: side(before),
    after: side(after),
    attributes,
    hunks: hunks.map((h) => ({
      header: hunkHeader(h),
      lines: h.lines.map((l) => `${l.kind}${l.text}${l.unended ? "" : "\n"}`),
    })),
  };
}

/** A secret's size says something about it. */
function publicSide(s: Side): object {
  return s.kind === "opaque" && s.why === "secret" ? { kind: s.kind, why: s.why, hash: s.hash } : s;
}

function compareAttributes(before: Standing, after: Standing): string[] {
  const [a, b] = [before.attributes, after.attributes];
  if (!b) return [];
  const link = after.side.kind === "link";
  const mode = (of: Attributes): string => of.mode.toString(8).padStart(4, "0");
  const owner = (of: Attributes): string => `${of.owner}:${of.group}`;
  if (!a) {
    // What is usual needs no word.
    const usual = link || b.mode === 0o644;
    return [
      ...(usual ? [] : [`mode ${mode(b)}`]),
      ...(owner(b) === "root:root" ? [] : [`owner ${owner(b)}`]),
    ];
  }
  return [
    ...(a.mode === b.mode || link || before.side.kind === "link" ? [] : [`mode ${mode(a)} -> ${mode(b)}`]),
    ...(owner(a) === owner(b) ? [] : [`owner ${owner(a)} -> ${owner(b)}`]),
  ];
}
