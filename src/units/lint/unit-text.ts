/**
 * Rules for one unit file or drop-in by itself: syntax, sections, keys, values. Must not know other files: what a
 * merged unit means is judged in `definitions.ts` and `unit-references.ts`.
 */
import type { Diagnostic } from "../../diagnostics.ts";
import { nearest } from "../../suggestion.ts";
import { strayTriggerDiagnostic, unitFileDiagnostic } from "../problems.ts";
import { splitWords } from "../quoted-words.ts";
import { type Assignment, parseUnitFile } from "../unit-file.ts";
import type { UnitType } from "../unit-name.ts";
import { sectionKeys } from "./key-table.ts";
import { describeUnitFault } from "./problems.ts";
import { valueFault } from "./value-kinds.ts";

const LABCTL_SECTION = "X-Labctl";
/** labctl's own keys; `OnChange=` is read in src/units/actions.ts. */
const LABCTL_KEYS = ["ReloadOn", "RestartOn", "OnChange"];
const ON_CHANGE = ["restart", "reload", "none"];

/** `[Service]` for a service; undefined for types that have no section of their own. */
function ownSection(type: UnitType): string | undefined {
  const name = type.charAt(0).toUpperCase() + type.slice(1);
  return sectionKeys(name) ? name : undefined;
}

/** All that is wrong with the text of a unit of this type, in file order; `path` is in the tree. Pure. */
export function lintUnitText(path: string, text: string, type: UnitType): Diagnostic[] {
  const file = parseUnitFile(text);
  const out: Diagnostic[] = file.problems.map((found) => unitFileDiagnostic(found, path));
  const own = ownSection(type);
  const known = ["Unit", "Install", ...(own === undefined ? [] : [own])];
  const headers = headerLines(text);
  for (const section of file.sections) {
    if (known.includes(section)) continue;
    // systemd leaves X- sections alone; one that nearly is labctl's own is a slip.
    const names = section.startsWith("X-") ? [LABCTL_SECTION] : known;
    if (section === LABCTL_SECTION) continue;
    const near = nearest(section, names);
    if (section.startsWith("X-") && near === undefined) continue;
    const place = { file: path, line: headers.get(section) ?? 1 };
    out.push(describeUnitFault({ kind: "unknown-section", section, near }, place));
  }
  for (const a of file.assignments) {
    if (a.section === LABCTL_SECTION) out.push(...lintLabctl(a, path));
    else if (known.includes(a.section)) out.push(...lintAssignment(a, path, known));
  }
  return out;
}

function lintAssignment(a: Assignment, path: string, known: readonly string[]): Diagnostic[] {
  const place = { file: path, line: a.line };
  const keys = sectionKeys(a.section);
  const facts = keys?.get(a.key);
  if (!facts) {
    // systemd leaves keys that begin with X- alone.
    if (a.key.startsWith("X-")) return [];
    const elsewhere = known.filter((name) => sectionKeys(name)?.has(a.key));
    const near = nearest(a.key, [...(keys?.keys() ?? [])]);
    return [
      describeUnitFault({ kind: "unknown-key", section: a.section, key: a.key, near, elsewhere }, place),
    ];
  }
  const fault = valueFault(facts.kind, a.key, a.value);
  if (!fault) return [];
  const { found, expected, names } = fault;
  return [
    describeUnitFault({ kind: "bad-value", key: a.key, found, expected, near: nearest(found, names) }, place),
  ];
}

function lintLabctl(a: Assignment, path: string): Diagnostic[] {
  const place = { file: path, line: a.line };
  if (!LABCTL_KEYS.includes(a.key)) {
    const near = nearest(a.key, LABCTL_KEYS);
    return [
      describeUnitFault({ kind: "unknown-key", section: a.section, key: a.key, near, elsewhere: [] }, place),
    ];
  }
  if (a.key === "OnChange") {
    if (a.value === "" || ON_CHANGE.includes(a.value)) return [];
    const expected = `one of ${ON_CHANGE.join(", ")}`;
    const near = nearest(a.value, ON_CHANGE);
    return [describeUnitFault({ kind: "bad-value", key: a.key, found: a.value, expected, near }, place)];
  }
  return splitWords(a.value)
    .filter((word) => !word.startsWith("/usr/local/"))
    .map((text) => strayTriggerDiagnostic({ key: a.key, text, place }));
}

/** The line of each section's first header. */
function headerLines(text: string): Map<string, number> {
  const out = new Map<string, number>();
  text.split("\n").forEach((content, i) => {
    const name = /^\s*\[(.*)\]\s*$/.exec(content)?.[1];
    if (name !== undefined && !out.has(name)) out.set(name, i + 1);
  });
  return out;
}
