/** Reads `[attributes]` of a layer.ini or machine.ini. Pure; must not know which paths there are. */
import type { Diagnostic, Place } from "../diagnostics.ts";
import { problem } from "../diagnostics.ts";
import { type IniFile, settingsOf } from "./ini-file.ts";
import type { AttributeRule } from "./project.ts";

/** The rules in the order written; what is no attribute is reported. Pure but for `problems`. */
export function readAttributes(ini: IniFile, problems: Diagnostic[]): AttributeRule[] {
  return settingsOf(ini, "attributes").map((s) => {
    const rule: { glob: string; mode?: number; owner?: string; group?: string; place: Place } = {
      glob: s.key,
      place: s.place,
    };
    for (const part of s.value.split(",")) {
      const [word = "", value = "", ...extra] = part.trim().split(/\s+/);
      const name = /^[a-z_][a-z0-9_-]{0,31}$/;
      if (word === "mode" && /^0?[0-7]{3,4}$/.test(value) && extra.length === 0)
        rule.mode = Number.parseInt(value, 8);
      else if (word === "owner" && name.test(value) && extra.length === 0) rule.owner = value;
      else if (word === "group" && name.test(value) && extra.length === 0) rule.group = value;
      else {
        problems.push(
          problem("bad-value", `\`${part.trim()}\` is no attribute`, {
            place: s.place,
            help: "write `mode 0640, owner NAME, group NAME`, or one or two of them",
          }),
        );
      }
    }
    return rule;
  });
}
