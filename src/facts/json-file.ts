/** Reads a `.json` fact file: one object whose keys are facts. Pure; must not know what facts mean. */
import type { Diagnostic, Place } from "../diagnostics.ts";
import { problem } from "../diagnostics.ts";
import type { FactValue } from "./fact.ts";
import { readJson } from "./json-reader.ts";

export interface JsonSetting {
  readonly name: string;
  readonly value: FactValue;
  readonly place: Place;
}

/** Parses text; a problem carries line and column, and then there are no settings. A name may stand twice. Pure. */
export function parseFactJson(
  text: string,
  file: string,
): { readonly settings: readonly JsonSetting[]; readonly problems: readonly Diagnostic[] } {
  const source = text.replace(/^\uFEFF/, "");
  const place = (offset: number): Place => {
    const before = source.slice(0, offset);
    return { file, line: before.split("\n").length, column: offset - before.lastIndexOf("\n") };
  };
  const read = readJson(source);
  if (!read.ok) {
    const refused = problem("fact-syntax", `no valid JSON: ${read.message}`, {
      place: place(read.offset),
      help: "correct the file; JSON has no comments and no comma before a closing bracket",
    });
    return { settings: [], problems: [refused] };
  }
  const { value } = read;
  if (value === null || typeof value !== "object" || Array.isArray(value)) {
    const refused = problem("fact-syntax", "a fact file holds one JSON object", {
      place: { file, line: 1, column: 1 },
      help: 'write `{"NAME": value, …}`',
    });
    return { settings: [], problems: [refused] };
  }
  const object = value as Readonly<Record<string, FactValue>>;
  const settings = read.names.map(({ name, offset }) => ({
    name,
    value: object[name] ?? null,
    place: place(offset),
  }));
  return { settings, problems: [] };
}
