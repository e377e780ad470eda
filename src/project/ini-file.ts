/**
 * Reads the INI files of a repository (`lab.ini`, `machine.ini`, `layer.ini`) and keeps file and line of every
 * setting, so that a refusal can point at it. Why not npm's `ini`: docs/decisions/0003-own-ini-reader.md.
 * Must not know what any section means.
 *
 * Grammar: `[section]`, `key = value`, whole-line comments with `;` or `#`, blank lines. No inline comments: a value
 * may hold `;` and `#`. The first `=` separates, unless the line holds ` = `, which then does (glob keys may hold `=`).
 */
import type { Diagnostic, Place } from "../diagnostics.ts";
import { problem } from "../diagnostics.ts";
import { suggestion } from "../suggestion.ts";

export interface IniSetting {
  readonly key: string;
  /** Trimmed; may be empty. */
  readonly value: string;
  readonly place: Place;
}

export interface IniSection {
  readonly name: string;
  readonly place: Place;
  readonly settings: readonly IniSetting[];
}

export interface IniFile {
  readonly file: string;
  readonly sections: readonly IniSection[];
}

/** Parses text; problems are collected, and what could be read is returned beside them. Pure. */
export function parseIni(
  text: string,
  file: string,
): { readonly ini: IniFile; readonly problems: readonly Diagnostic[] } {
  const problems: Diagnostic[] = [];
  const sections: { name: string; place: Place; settings: IniSetting[] }[] = [];
  const lines = text.replace(/^\uFEFF/, "").split(/\r?\n/);
  for (const [index, raw] of lines.entries()) {
    const line = raw.trim();
    const place: Place = { file, line: index + 1, column: 1 + (raw.length - raw.trimStart().length) };
    if (line === "" || line.startsWith(";") || line.startsWith("#")) continue;
    if (line.startsWith("[")) {
      const name = line.endsWith("]") ? line.slice(1, -1).trim() : "";
      if (name === "") {
        problems.push(
          problem("ini-syntax", `\`${line}\` is no section heading`, {
            place,
            help: "write it as `[name]` on a line of its own",
          }),
        );
        continue;
      }
      const twin = sections.find((s) => s.name === name);
      if (twin) {
        problems.push(
          problem("ini-duplicate", `section [${name}] stands twice`, {
            place,
            notes: [`first at line ${twin.place.line}`],
            help: "join the two",
          }),
        );
      }
      sections.push({ name, place, settings: [] });
      continue;
    }
    const spaced = line.indexOf(" = ");
    const at = spaced > 0 ? spaced + 1 : line.indexOf("=");
    if (at <= 0) {
      problems.push(
        problem("ini-syntax", `\`${line}\` is neither a setting nor a section`, {
          place,
          help: "write settings as `key = value`, comments with `;` or `#` at the start of a line",
        }),
      );
      continue;
    }
    const section = sections.at(-1);
    const key = line.slice(0, at).trim();
    if (!section) {
      problems.push(
        problem("ini-syntax", `setting \`${key}\` stands before any section`, {
          place,
          help: "put a `[section]` line above it",
        }),
      );
      continue;
    }
    const before = section.settings.find((s) => s.key === key);
    if (before) {
      problems.push(
        problem("ini-duplicate", `\`${key}\` is set twice in [${section.name}]`, {
          place,
          notes: [`first at line ${before.place.line}: \`${before.value}\``],
          help: "keep one of the two",
        }),
      );
      continue;
    }
    section.settings.push({ key, value: line.slice(at + 1).trim(), place });
  }
  return { ini: { file, sections }, problems };
}

/** The settings of a section; empty if the file has no such section. Pure. */
export function settingsOf(ini: IniFile, section: string): readonly IniSetting[] {
  return ini.sections.find((s) => s.name === section)?.settings ?? [];
}

/** `a, b c` as a list: commas and blanks separate; empty text is an empty list. Pure. */
export function splitList(value: string): string[] {
  return value.split(/[\s,]+/).filter((item) => item !== "");
}

/**
 * Reports sections and keys that a file of this kind does not have, with the nearest known name. Pure.
 * `known` maps a section to its keys, or to `any` where keys are free (fact names, paths).
 */
export function checkVocabulary(
  ini: IniFile,
  known: Readonly<Record<string, readonly string[] | "any">>,
): Diagnostic[] {
  const problems: Diagnostic[] = [];
  for (const section of ini.sections) {
    const keys = Object.hasOwn(known, section.name) ? known[section.name] : undefined;
    if (keys === undefined) {
      problems.push(
        problem("ini-unknown", `unknown section [${section.name}]`, {
          place: section.place,
          help: suggestion(section.name, Object.keys(known)),
        }),
      );
      continue;
    }
    if (keys === "any") continue;
    for (const setting of section.settings) {
      if (keys.includes(setting.key)) continue;
      problems.push(
        problem("ini-unknown", `unknown setting \`${setting.key}\` in [${section.name}]`, {
          place: setting.place,
          help: suggestion(setting.key, keys),
        }),
      );
    }
  }
  return problems;
}
