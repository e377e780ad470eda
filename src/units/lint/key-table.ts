/**
 * Which sections and keys systemd knows, and what kind of value each takes. Reads the compact table of `unit-keys.ts`
 * once, when first asked. Must not know files or values.
 */
import { UNIT_KEYS } from "./unit-keys.ts";

export interface KeyFacts {
  /** As `value-kinds.ts` names it; `free` if any text will do. */
  readonly kind: string;
  /** `new`: 257 knows it, 252 does not. `gone`: the other way round. */
  readonly since: "both" | "new" | "gone";
}

type Section = ReadonlyMap<string, KeyFacts>;

let parsed: ReadonlyMap<string, Section> | undefined;

/** Keys of a section by name; undefined for a section that systemd does not know. Pure. */
export function sectionKeys(section: string): Section | undefined {
  parsed ??= parseTable(UNIT_KEYS);
  return parsed.get(section);
}

/**
 * Reads the table's format: `[A B]` begins the keys that sections A and B share, `kind: Key +Key -Key` gives keys of a
 * kind, `+` for new and `-` for gone; a line that begins with a blank goes on with the kind before. Pure.
 */
export function parseTable(text: string): ReadonlyMap<string, Section> {
  const out = new Map<string, Map<string, KeyFacts>>();
  let sections: string[] = [];
  let kind = "free";
  for (const line of text.split("\n")) {
    const header = /^\[(.*)\]$/.exec(line);
    if (header) {
      sections = (header[1] ?? "").split(" ");
      for (const name of sections) if (!out.has(name)) out.set(name, new Map());
      continue;
    }
    const start = /^([^\s:]+(?::[A-Za-z0-9]+)?): /.exec(line);
    if (start) kind = start[1] ?? "free";
    for (const word of line.slice(start?.[0].length ?? 0).split(" ")) {
      const key = word.replace(/^[+-]/, "");
      const since = word.startsWith("+") ? "new" : word.startsWith("-") ? "gone" : "both";
      if (key !== "") for (const name of sections) out.get(name)?.set(key, { kind, since });
    }
  }
  return out;
}
