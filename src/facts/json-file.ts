/** Reads a `.json` fact file: one object whose keys are facts. Pure; must not know what facts mean. */
import type { Diagnostic, Place } from "../diagnostics.ts";
import { problem } from "../diagnostics.ts";
import type { FactValue } from "./fact.ts";

/** Parses text; a problem carries line and column. Pure. */
export function parseFactJson(
  text: string,
  file: string,
): { readonly object: Readonly<Record<string, FactValue>>; readonly problems: readonly Diagnostic[] } {
  let value: unknown;
  try {
    value = JSON.parse(text.replace(/^\uFEFF/, ""));
  } catch (error) {
    const message = (error as Error).message;
    const place = placeOfJsonError(text, file, message);
    const what = message.replace(/ in JSON at position.*$/s, "").replace(/, ".*$/s, "");
    return {
      object: {},
      problems: [
        problem("fact-syntax", `no valid JSON: ${what.charAt(0).toLowerCase()}${what.slice(1)}`, {
          place,
          help: "correct the file; JSON has no comments and no comma before a closing bracket",
        }),
      ],
    };
  }
  if (value === null || typeof value !== "object" || Array.isArray(value)) {
    return {
      object: {},
      problems: [
        problem("fact-syntax", "a fact file holds one JSON object", {
          place: { file, line: 1, column: 1 },
          help: 'write `{"NAME": value, …}`',
        }),
      ],
    };
  }
  return { object: value as Record<string, FactValue>, problems: [] };
}

/** V8 words the offset as `at position N`; without one the text ended too early. */
function placeOfJsonError(text: string, file: string, message: string): Place {
  const match = /at position (\d+)/.exec(message);
  const offset = match ? Number(match[1]) : text.trimEnd().length;
  const before = text.slice(0, offset);
  return { file, line: before.split("\n").length, column: offset - before.lastIndexOf("\n") };
}
