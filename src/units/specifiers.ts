/**
 * Expands `%` specifiers that follow from a unit's name or are fixed for the system manager. Source:
 * systemd.unit(5) "Specifiers". What depends on the machine (host name, boot id …) stays unknown here. Pure.
 */
import type { UnitName } from "../paths.ts";
import { unescapeName, unescapePath } from "./unit-escape.ts";
import { splitUnitName } from "./unit-name.ts";

export interface Expansion {
  readonly text: string;
  /** True if an unknown specifier was met: `text` then ends before it, and all that can be said is the prefix. */
  readonly partial: boolean;
}

/** Fixed values of the system manager. `%T`, `%V` assume that its environment does not move them. */
const FIXED: Readonly<Record<string, string>> = {
  "%": "%",
  C: "/var/cache",
  E: "/etc",
  G: "0",
  L: "/var/log",
  S: "/var/lib",
  T: "/tmp",
  U: "0",
  V: "/var/tmp",
  g: "root",
  h: "/root",
  t: "/run",
  u: "root",
};

/** Expands what can be known about `unit`; in a template the instance is unknown. Pure. */
export function expandSpecifiers(text: string, unit: UnitName): Expansion {
  let out = "";
  for (let i = 0; i < text.length; i++) {
    const char = text[i] ?? "";
    if (char !== "%" || i + 1 >= text.length) {
      out += char;
      continue;
    }
    const value = specifier(text[i + 1] ?? "", unit);
    if (value === undefined) return { text: out, partial: true };
    out += value;
    i++;
  }
  return { text: out, partial: false };
}

function specifier(letter: string, unit: UnitName): string | undefined {
  const { prefix, instance, type } = splitUnitName(unit);
  // A template's own name is not what `%n` will be, so all that derives from the instance is unknown.
  const known = instance !== "";
  const last = prefix.slice(prefix.lastIndexOf("-") + 1);
  switch (letter) {
    case "n":
      return known ? unit : undefined;
    case "N":
      return known ? unit.slice(0, -(type.length + 1)) : undefined;
    case "p":
      return prefix;
    case "P":
      return unescapeName(prefix);
    case "j":
      return last;
    case "J":
      return unescapeName(last);
    case "i":
      return known ? (instance ?? "") : undefined;
    case "I":
      return known ? unescapeName(instance ?? "") : undefined;
    case "f":
      return known
        ? (unescapePath(instance ?? prefix) ?? `/${unescapeName(instance ?? prefix) ?? ""}`)
        : undefined;
    default:
      return FIXED[letter];
  }
}
