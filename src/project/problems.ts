/** What can be wrong with a repository's shape, and how each is worded. Pure. */
import type { Diagnostic, Place } from "../diagnostics.ts";
import { problem } from "../diagnostics.ts";
import { suggestion } from "../suggestion.ts";

export type ProjectProblem =
  | { readonly kind: "no-root"; readonly start: string }
  | { readonly kind: "no-machines"; readonly root: string }
  | {
      readonly kind: "bad-name";
      readonly what: "machine" | "layer";
      readonly name: string;
      readonly place: Place;
    }
  | { readonly kind: "taken-name"; readonly name: string; readonly place: Place }
  | {
      readonly kind: "missing-setting";
      readonly key: string;
      readonly section: string;
      readonly place: Place;
      readonly example: string;
    }
  | {
      readonly kind: "bad-value";
      readonly key: string;
      readonly value: string;
      readonly expected: string;
      readonly place: Place;
    }
  | {
      readonly kind: "unknown-layer";
      readonly name: string;
      readonly wantedBy: string;
      readonly known: readonly string[];
      readonly place: Place;
    }
  | {
      readonly kind: "layer-cycle";
      readonly cycle: readonly { readonly layer: string; readonly place: Place }[];
    }
  | {
      readonly kind: "unknown-machine";
      readonly pattern: string;
      readonly known: readonly string[];
      readonly tags: readonly string[];
    }
  | {
      readonly kind: "no-machine-left";
      readonly patterns: readonly string[];
      readonly limits: readonly string[];
    }
  | { readonly kind: "unreadable"; readonly file: string; readonly why: string };

/** Words a problem. Pure. */
export function describe(p: ProjectProblem): Diagnostic {
  switch (p.kind) {
    case "no-root":
      return problem("no-root", `no lab.ini in ${p.start} or any folder above it`, {
        help: "go into a repository that has one, or name it with -C DIR; an empty lab.ini is enough to make one",
      });
    case "no-machines":
      return problem("no-machines", "the repository has no machine", {
        place: { file: "machines/" },
        notes: [`looked for machines/<name>/machine.ini in ${p.root}`],
        help: "make machines/<name>/machine.ini with `[machine]`, `host = …` and `layers = …`",
      });
    case "bad-name":
      return problem("bad-name", `\`${p.name}\` can't be the name of a ${p.what}`, {
        place: p.place,
        notes: [
          "a name has letters, digits, `.`, `_` and `-`, begins with a letter or digit, and has at most 64 characters",
        ],
        help: "rename it",
      });
    case "taken-name":
      return problem("bad-name", `\`${p.name}\` can't be the name of a machine`, {
        place: p.place,
        notes: [`facts/${p.name}.* and facts/${p.name}/ are for something else`],
        help: "rename it",
      });
    case "missing-setting":
      return problem("missing-setting", `[${p.section}] lacks \`${p.key}\``, {
        place: p.place,
        help: `add \`${p.example}\``,
      });
    case "bad-value":
      return problem("bad-value", `\`${p.key} = ${p.value}\` is not ${p.expected}`, {
        place: p.place,
        help: "correct the value",
      });
    case "unknown-layer":
      return problem("unknown-layer", `there is no layer \`${p.name}\`, wanted by ${p.wantedBy}`, {
        place: p.place,
        notes: [`looked in: layers/${p.name}/ and the built-in layers`],
        help: suggestion(p.name, p.known),
      });
    case "layer-cycle": {
      const first = p.cycle[0];
      const names = [...p.cycle.map((c) => c.layer), first?.layer ?? ""];
      return problem("layer-cycle", `layers need each other in a circle: ${names.join(" → ")}`, {
        ...(first ? { place: first.place } : {}),
        notes: p.cycle.map((c, i) => `${c.layer} needs ${names[i + 1]} (${c.place.file}:${c.place.line})`),
        help: "drop one `needs`, or move what both share into a layer of its own",
      });
    }
    case "unknown-machine": {
      const tag = /^!?(?:tag:|@)(.*)$/.exec(p.pattern)?.[1];
      const name = p.pattern.replace(/^!/, "");
      const tags =
        p.tags.length === 0
          ? "tags stand in machines/*/machine.ini, `tags = …`"
          : suggestion(tag ?? "", p.tags);
      const help = tag === undefined ? suggestion(name, p.known) : tags;
      return problem("unknown-machine", `no machine matches \`${p.pattern}\``, { help });
    }
    case "no-machine-left":
      return problem("no-machine-left", "no machine is left", {
        notes: [
          `named: ${p.patterns.length === 0 ? "all" : p.patterns.join(" ")}`,
          ...(p.limits.length === 0 ? [] : [`limited to: ${p.limits.join(" ")}`]),
        ],
        help: "each pattern matches machines, and no machine matches all that was asked; drop one",
      });
    case "unreadable":
      return problem("unreadable", `can't read it: ${p.why}`, {
        place: { file: p.file },
        help: "make it readable for the user who builds",
      });
  }
}
