/** Matches `[attributes]` globs against paths: `*` and `?` within one name, `**` across names. Pure. */
import type { AttributeRule } from "../project/project.ts";

export interface Attributes {
  readonly mode?: number;
  readonly owner?: string;
  readonly group?: string;
}

const compiled = new Map<string, RegExp>();

const NONE: Attributes = {};

/** Later rules win, field by field; no matching rule gives an empty object. Pure. */
export function attributesFor(path: string, rules: readonly AttributeRule[]): Attributes {
  let out: Attributes = NONE;
  for (const rule of rules) {
    if (!globToRegExp(rule.glob).test(path)) continue;
    out = {
      ...out,
      ...(rule.mode === undefined ? {} : { mode: rule.mode }),
      ...(rule.owner === undefined ? {} : { owner: rule.owner }),
      ...(rule.group === undefined ? {} : { group: rule.group }),
    };
  }
  return out;
}

/** The glob as a regular expression over a whole path. Pure; remembers what it compiled. */
export function globToRegExp(glob: string): RegExp {
  const known = compiled.get(glob);
  if (known) return known;
  let source = "";
  for (let i = 0; i < glob.length; i++) {
    const char = glob[i] ?? "";
    if (glob.startsWith("**/", i)) {
      source += "(?:.*/)?";
      i += 2;
    } else if (glob.startsWith("**", i)) {
      source += ".*";
      i++;
    } else if (char === "*") source += "[^/]*";
    else if (char === "?") source += "[^/]";
    else source += char.replace(/[\\^$.|+()[\]{}]/g, "\\$&");
  }
  const pattern = new RegExp(`^${source}$`);
  compiled.set(glob, pattern);
  return pattern;
}
