/** What can be wrong with the definition of a guest, and how each is worded. Pure. */
import type { Diagnostic, Place } from "../diagnostics.ts";
import { problem } from "../diagnostics.ts";
import { suggestion } from "../suggestion.ts";

export type GuestProblem =
  | { readonly kind: "syntax"; readonly why: string; readonly place: Place }
  | { readonly kind: "no-object"; readonly place: Place }
  | { readonly kind: "twice"; readonly what: string; readonly place: Place }
  | { readonly kind: "missing"; readonly what: string; readonly example: string; readonly place: Place }
  | {
      readonly kind: "unknown";
      readonly what: string;
      readonly known: readonly string[];
      readonly place: Place;
    }
  | { readonly kind: "name"; readonly name: string; readonly place: Place }
  | {
      readonly kind: "value";
      readonly what: string;
      readonly found: string;
      readonly expected: string;
      readonly place: Place;
    }
  | { readonly kind: "misplaced"; readonly what: string; readonly why: string; readonly place: Place };

/** Words a problem. Pure. */
export function describe(p: GuestProblem): Diagnostic {
  const { place } = p;
  switch (p.kind) {
    case "syntax":
      return problem("guest-syntax", `no valid JSON: ${p.why}`, {
        place,
        help: "correct the file; JSON has no comments and no comma before a closing bracket",
      });
    case "no-object":
      return problem("guest-syntax", "the definition of a guest is one JSON object", {
        place,
        help: 'write `{"name": …, "kind": "container", "image": …}`',
      });
    case "twice":
      return problem("guest-twice", `\`${p.what}\` stands twice`, { place, help: "keep one of the two" });
    case "missing":
      return problem("guest-missing", `\`${p.what}\` is missing`, { place, help: `add \`${p.example}\`` });
    case "unknown":
      return problem("guest-unknown", `a guest has no \`${p.what}\``, {
        place,
        help: suggestion(p.what.split(".").at(-1) ?? p.what, p.known),
      });
    case "name":
      return problem("guest-name", `\`${p.name}\` can't be the name of a guest`, {
        place,
        notes: [
          p.name.length > 11
            ? `it becomes part of an interface's name, so it has at most 11 characters; this one has ${p.name.length}`
            : "it becomes part of an interface's name and of a domain: lower-case letters, digits and `-`, first a letter, last no `-`",
        ],
        help: "rename it",
      });
    case "value":
      return problem("guest-value", `\`${p.what}\` is \`${p.found}\``, {
        place,
        notes: [`expected: ${p.expected}`],
        help: "correct the value",
      });
    case "misplaced":
      return problem("guest-misplaced", `\`${p.what}\` has no place here: ${p.why}`, {
        place,
        help: "leave it out, or change what it contradicts",
      });
  }
}
