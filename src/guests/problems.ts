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
  | { readonly kind: "misplaced"; readonly what: string; readonly why: string; readonly place: Place }
  | {
      readonly kind: "no-network";
      readonly guest: string;
      readonly network: string;
      readonly known: readonly string[];
      readonly place: Place;
    }
  | { readonly kind: "unprobed"; readonly machine: string; readonly place: Place }
  | { readonly kind: "unlimited"; readonly guest: string; readonly key: string; readonly place: Place }
  | {
      readonly kind: "quota";
      readonly machine: string;
      readonly key: string;
      readonly sum: string;
      readonly limit: string;
      /** One line for each guest. */
      readonly shares: readonly string[];
      readonly place: Place;
    }
  | {
      readonly kind: "exhausted";
      readonly machine: string;
      readonly network: string;
      readonly room: number;
      readonly length: number;
      readonly guests: readonly string[];
      readonly place: Place;
    };

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
    case "no-network":
      return problem(
        "guest-network",
        `guest \`${p.guest}\` wants network \`${p.network}\`, which is not declared`,
        {
          place,
          notes: [`looked for: [network ${p.network}] in ${place.file}`],
          help:
            p.known.length === 0
              ? `add a section [network ${p.network}], with \`ipv4 = /24\``
              : suggestion(p.network, p.known),
        },
      );
    case "unprobed":
      return problem("guest-quota", `it is not known how much memory \`${p.machine}\` has`, {
        place,
        notes: ["a share of the machine's own memory is asked for, and HOST_MEMORY_BYTES is unset"],
        help: `\`labctl facts probe ${p.machine}\`, or write a size`,
      });
    case "unlimited":
      return problem(
        "guest-quota",
        `guest \`${p.guest}\` has no \`${p.key}\`, and [guests] limits that of all`,
        {
          place,
          help: `give it a \`${p.key} = …\`, or a \`size = small\`; what has no limit fits no sum`,
        },
      );
    case "quota": {
      const what = p.key === "count" ? `${p.sum} guests` : `${p.sum} of ${p.key}`;
      return problem(
        "guest-quota",
        p.key === "count"
          ? `\`${p.machine}\` has ${what}, and [guests] allows ${p.limit}`
          : `the guests of \`${p.machine}\` have ${what} together, and [guests] allows ${p.limit}`,
        {
          place,
          notes: p.shares,
          help: "make guests smaller or fewer, move one to another machine, or allow more",
        },
      );
    }
    case "exhausted":
      return problem(
        "guest-addresses",
        `network \`${p.network}\` of \`${p.machine}\` has addresses for ${p.room} guests, and ${p.guests.length} want one`,
        {
          place,
          notes: [
            `guests: ${p.guests.join(", ")}`,
            `a /${p.length} has the network's, the machine's and the broadcast address besides`,
          ],
          help: "ask for a larger network, or put guests on another one",
        },
      );
  }
}
