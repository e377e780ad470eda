/**
 * Branded path and name types, and the one check that decides whether a path may enter a tree.
 * Pure string work: this file must not know about file systems.
 */

declare const brand: unique symbol;
type Brand<T, B extends string> = T & { readonly [brand]: B };

/** Relative to a tree's root (`/usr/local` on the machine): no leading `/`, no `.`/`..`, no control characters. */
export type RelPath = Brand<string, "RelPath">;
/** Absolute path on this host. */
export type AbsPath = Brand<string, "AbsPath">;
/** 64 lower-case hex digits: BLAKE3 of a file's bytes. */
export type FileHash = Brand<string, "FileHash">;
/** BLAKE3 of a `manifest.json`'s bytes, 64 hex digits: two equal ids mean two equal trees. */
export type GenerationId = Brand<string, "GenerationId">;
/** Name of a folder under `machines/`: letters, digits, `.`, `_`, `-`, first a letter or digit, at most 64. */
export type MachineName = Brand<string, "MachineName">;
/** Name of a layer, same alphabet as a machine's. */
export type LayerName = Brand<string, "LayerName">;
/** Full systemd unit name with its suffix, e.g. `nginx.service`. */
export type UnitName = Brand<string, "UnitName">;
/** A fact's name as templates write it: `[A-Za-z_][A-Za-z0-9_]*`. */
export type FactName = Brand<string, "FactName">;

/** Where a tree lives on every machine. */
export const TREE_ROOT = "/usr/local";
/** labctl's own folder inside the tree root; no layer may write into it. */
export const STATE_FOLDER = ".labctl";

/**
 * labctl's folder for what can be made again: `$XDG_CACHE_HOME/labctl`, else `~/.cache/labctl` (XDG Base Directory
 * Specification 0.8, which has relative values ignored). Pure.
 */
export function cacheFolder(
  environment: Readonly<Record<string, string | undefined>>,
  home: string,
): AbsPath {
  const base = environment.XDG_CACHE_HOME;
  return `${base?.startsWith("/") ? base : `${home}/.cache`}/labctl` as AbsPath;
}

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/** True for a name that can be a machine or a layer. Pure. */
export function isName(text: string): text is MachineName & LayerName {
  return NAME.test(text);
}

/** Why a path may not enter a tree; each value has its wording in `src/build/problems.ts`. */
export type PathFault =
  | "empty"
  | "absolute"
  | "escapes"
  | "control-character"
  | "reserved"
  | "too-long"
  | "not-utf8";

/**
 * Judges a path relative to the tree root. Pure.
 * Limits are Linux's: NAME_MAX 255 bytes a component, and PATH_MAX 4096 for the whole with `/usr/local/` before it.
 */
export function pathFault(path: string): PathFault | undefined {
  if (path === "") return "empty";
  if (path.startsWith("/")) return "absolute";
  if (hasControlCharacter(path)) return "control-character";
  if (path.includes("\ufffd")) return "not-utf8";
  const parts = path.split("/");
  for (const part of parts) {
    if (part === "" || part === "." || part === "..") return "escapes";
    if (Buffer.byteLength(part) > 255) return "too-long";
  }
  if (Buffer.byteLength(path) > 4000) return "too-long";
  if (parts[0] === STATE_FOLDER) return "reserved";
  return undefined;
}

/** C0, DEL and C1 control characters: a tab or newline in a name would end a field of the commit list. Pure. */
export function hasControlCharacter(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code < 0x20 || (code >= 0x7f && code < 0xa0)) return true;
  }
  return false;
}

/** Orders by UTF-8 bytes, so that the order is the same under every locale. Pure. */
export function compareBytes(a: string, b: string): number {
  if (a === b) return 0;
  // Code-unit order equals byte order unless a surrogate meets a character above it.
  for (let i = 0; ; i++) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    if (Number.isNaN(x)) return -1;
    if (Number.isNaN(y)) return 1;
    if (x === y) continue;
    const xs = x >= 0xd800 && x <= 0xdfff;
    const ys = y >= 0xd800 && y <= 0xdfff;
    if (xs !== ys) return xs ? 1 : -1;
    return x - y;
  }
}

/** Every folder above a path, outermost first; `a/b/c` gives `a`, `a/b`. Pure. */
export function foldersAbove(path: string): string[] {
  const out: string[] = [];
  for (let i = path.indexOf("/"); i >= 0; i = path.indexOf("/", i + 1)) out.push(path.slice(0, i));
  return out;
}
