/**
 * The grammar of unit names, and the drop-in folders that a name looks into. Rules: systemd.unit(5) and systemd's
 * unit-name.c, dropin.c. Must not know trees or file contents.
 */
import type { UnitName } from "../paths.ts";

/** Unit types that can have a file; `scope` units have none but may have drop-ins. */
export const UNIT_TYPES = [
  "service",
  "socket",
  "target",
  "device",
  "mount",
  "automount",
  "swap",
  "timer",
  "path",
  "slice",
  "scope",
] as const;
export type UnitType = (typeof UNIT_TYPES)[number];

/** UNIT_NAME_MAX of systemd's unit-name.h, in bytes. */
const NAME_MAX_BYTES = 255;
const NAME = /^([A-Za-z0-9:_.\\-]+)(@[A-Za-z0-9:_.\\@-]*)?\.([a-z]+)$/;

/** True for a plain, template or instance name with a known type, within systemd's length limit. Pure. */
export function isUnitName(text: string): text is UnitName {
  const match = NAME.exec(text);
  return match !== null && isUnitType(match[3] ?? "") && Buffer.byteLength(text) <= NAME_MAX_BYTES;
}

/** True for `service` and the other ten. Pure. */
export function isUnitType(text: string): text is UnitType {
  return (UNIT_TYPES as readonly string[]).includes(text);
}

export interface UnitNameParts {
  /** What stands before `@`, or before the type where there is no `@`. Never empty. */
  readonly prefix: string;
  /** Undefined: a plain name. Empty: a template. Else the instance, still escaped. */
  readonly instance: string | undefined;
  readonly type: UnitType;
}

/** Takes a name apart: `foo@bar.service` is prefix `foo`, instance `bar`, type `service`. Pure. */
export function splitUnitName(name: UnitName): UnitNameParts {
  const dot = name.lastIndexOf(".");
  const type = name.slice(dot + 1) as UnitType;
  const stem = name.slice(0, dot);
  const at = stem.indexOf("@");
  if (at < 0) return { prefix: stem, instance: undefined, type };
  return { prefix: stem.slice(0, at), instance: stem.slice(at + 1), type };
}

/** The inverse of `splitUnitName`. Pure. */
export function joinUnitName(parts: UnitNameParts): UnitName {
  const middle = parts.instance === undefined ? "" : `@${parts.instance}`;
  return `${parts.prefix}${middle}.${parts.type}` as UnitName;
}

/** The type after the last dot. Pure. */
export function unitType(name: UnitName): UnitType {
  return splitUnitName(name).type;
}

/** True for `foo@.service`. Pure. */
export function isTemplate(name: UnitName): boolean {
  return splitUnitName(name).instance === "";
}

/** `foo@.service` for `foo@bar.service`; undefined for a plain name and for a template itself. Pure. */
export function templateOf(name: UnitName): UnitName | undefined {
  const parts = splitUnitName(name);
  return parts.instance ? joinUnitName({ ...parts, instance: "" }) : undefined;
}

/**
 * Names of the drop-in folders of a unit, most specific first, without the search path before them. Where two
 * folders hold a file of the same name, the earlier folder's counts and the other's is ignored. Pure.
 *
 * `foo-bar@x.service`: itself, its template, then the same for each prefix cut after a dash, then `service.d`.
 * Seen so in systemd 252 (`systemd --test` with one file name in all folders).
 */
export function dropInFolders(name: UnitName): string[] {
  const out: string[] = [];
  for (let current: UnitName | undefined = name; current; current = shorterPrefix(current)) {
    out.push(`${current}.d`);
    const template = templateOf(current);
    if (template) out.push(`${template}.d`);
  }
  out.push(`${unitType(name)}.d`);
  return [...new Set(out)];
}

/** `foo-bar.service` gives `foo-.service`; a trailing dash is dropped first; undefined where no dash is left. */
function shorterPrefix(name: UnitName): UnitName | undefined {
  const parts = splitUnitName(name);
  const prefix = parts.prefix.endsWith("-") ? parts.prefix.slice(0, -1) : parts.prefix;
  const dash = prefix.lastIndexOf("-");
  if (dash <= 0) return undefined;
  return joinUnitName({ ...parts, prefix: prefix.slice(0, dash + 1) });
}

/** What a drop-in folder's name (`….d`) applies to. */
export type DropInScope =
  | { readonly kind: "unit"; readonly unit: UnitName }
  /** `foo@.service.d`: every instance. */
  | { readonly kind: "template"; readonly unit: UnitName }
  /** `foo-.service.d`: every name that begins so. */
  | { readonly kind: "prefix"; readonly unit: UnitName }
  /** `service.d`: every unit of the type. */
  | { readonly kind: "type"; readonly type: UnitType };

/** Reads a drop-in folder's name; undefined if systemd would not look into such a folder. Pure. */
export function dropInScope(folder: string): DropInScope | undefined {
  if (!folder.endsWith(".d")) return undefined;
  const stem = folder.slice(0, -2);
  if (isUnitType(stem)) return { kind: "type", type: stem };
  if (!isUnitName(stem)) return undefined;
  if (splitUnitName(stem).prefix.endsWith("-")) return { kind: "prefix", unit: stem };
  return isTemplate(stem) ? { kind: "template", unit: stem } : { kind: "unit", unit: stem };
}

/**
 * A pattern that `systemctl` expands to every loaded unit of a scope: a name, `foo@*.service`, `foo-*.service`,
 * `*.service`. fnmatch(3) takes a backslash as an escape, so those of a name are doubled in a pattern. Pure.
 */
export function unitPattern(scope: DropInScope): string {
  const literal = (text: string): string => text.replaceAll("\\", "\\\\");
  if (scope.kind === "type") return `*.${scope.type}`;
  if (scope.kind === "unit") return scope.unit;
  const { prefix, instance, type } = splitUnitName(scope.unit);
  if (scope.kind === "template") return `${literal(prefix)}@*.${type}`;
  return instance ? `${literal(prefix)}*@${literal(instance)}.${type}` : `${literal(prefix)}*.${type}`;
}
