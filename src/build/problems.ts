/** What can go wrong in a build, and how each is worded. Pure. */
import type { Diagnostic, Place } from "../diagnostics.ts";
import { problem } from "../diagnostics.ts";
import { type PathFault, STATE_FOLDER, TREE_ROOT } from "../paths.ts";
import { suggestion } from "../suggestion.ts";

export type BuildProblem =
  | {
      readonly kind: "collision";
      readonly path: string;
      readonly machine: string;
      readonly first: Writer;
      readonly second: Writer;
    }
  | {
      readonly kind: "type-collision";
      readonly path: string;
      readonly machine: string;
      readonly first: Writer;
      readonly second: Writer;
    }
  | { readonly kind: "bad-path"; readonly fault: PathFault; readonly path: string; readonly place: Place }
  | { readonly kind: "special-file"; readonly place: Place }
  | { readonly kind: "deref-outside"; readonly place: Place; readonly target: string; readonly real: string }
  | { readonly kind: "deref-dangling"; readonly place: Place; readonly target: string }
  | { readonly kind: "deref-cycle"; readonly place: Place; readonly target: string }
  | { readonly kind: "link-escapes"; readonly place: Place; readonly target: string }
  | {
      readonly kind: "override-unused";
      readonly path: string;
      readonly layer: string;
      readonly of: string;
      readonly place: Place;
    }
  | {
      readonly kind: "fact-missing";
      readonly fact: string;
      readonly machine: string;
      readonly layer: string;
      readonly place: Place;
      readonly searched: readonly string[];
    }
  | {
      readonly kind: "template-syntax";
      readonly place: Place;
      readonly message: string;
      readonly help?: string;
      readonly excerpt: readonly string[];
    }
  | {
      readonly kind: "template-failed";
      readonly place: Place;
      readonly message: string;
      readonly machine: string;
      readonly help: string;
    }
  | { readonly kind: "changed-while-read"; readonly place: Place }
  | { readonly kind: "guest-tree-taken"; readonly path: string; readonly place: Place }
  | {
      readonly kind: "guest-layer-missing";
      readonly guest: string;
      readonly machine: string;
      readonly path: string;
      readonly layer: string;
      readonly place: Place;
    }
  | {
      readonly kind: "guest-image";
      readonly guest: string;
      readonly image: string;
      readonly machine: string;
      readonly known: readonly string[];
      readonly place: Place;
    }
  | {
      readonly kind: "guest-unfit";
      /** `MACHINE/GUEST`. */
      readonly guest: string;
      readonly layer: string;
      readonly why: string;
      readonly place: Place;
    }
  | { readonly kind: "unreadable"; readonly place: Place; readonly why: string }
  | { readonly kind: "write-failed"; readonly path: string; readonly why: string }
  | { readonly kind: "locked"; readonly holder: string; readonly waitedMs: number };

/** One of two sources of a path. */
export interface Writer {
  readonly layer: string;
  readonly source: string;
}

const FAULTS: Readonly<Record<PathFault, string>> = {
  empty: "it has no name left",
  absolute: "it is absolute",
  escapes: `it leaves ${TREE_ROOT}`,
  "control-character": "its name has a control character (a newline, a tab …)",
  reserved: `\`${STATE_FOLDER}\` is labctl's own folder on the machine`,
  "too-long": "a name has more than 255 bytes, or the path more than 4000",
  "not-utf8": "its name is not UTF-8",
};

/** Words a problem. Pure. */
export function describe(p: BuildProblem): Diagnostic {
  switch (p.kind) {
    case "collision":
      return problem(
        "collision",
        `${p.first.layer === p.second.layer ? "two files" : "two layers"} write \`${p.path}\` for machine \`${p.machine}\``,
        {
          place: { file: p.second.source },
          notes: [
            `layer \`${p.first.layer}\`: ${p.first.source}`,
            `layer \`${p.second.layer}\`: ${p.second.source}`,
          ],
          help:
            p.first.layer === p.second.layer
              ? "remove or rename one of the two"
              : `rename one (drop-ins: NN-purpose.conf), or declare \`${p.path} = ${p.first.layer}\` under [overrides] in layers/${p.second.layer}/layer.ini`,
        },
      );
    case "type-collision":
      return problem(
        "collision",
        `\`${p.path}\` is a folder in one place and none in another, for machine \`${p.machine}\``,
        {
          place: { file: p.second.source },
          notes: [
            `layer \`${p.first.layer}\`: ${p.first.source}`,
            `layer \`${p.second.layer}\`: ${p.second.source}`,
          ],
          help: "rename one of the two",
        },
      );
    case "bad-path":
      return problem("bad-path", `\`${p.path}\` can't be part of a tree: ${FAULTS[p.fault]}`, {
        place: p.place,
        help:
          p.fault === "escapes" ? `every path of a layer lies below ${TREE_ROOT}; rename it` : "rename it",
      });
    case "special-file":
      return problem(
        "special-file",
        "only files, folders and links can be part of a tree; this is a socket, pipe or device",
        {
          place: p.place,
          help: "remove it, or make it on the machine with a tmpfiles.d line",
        },
      );
    case "deref-outside":
      return problem("deref-outside", `the link points outside the repository: ${p.target}`, {
        place: p.place,
        notes: [`it leads to ${p.real}`],
        help: "copy what it points to into the repository; a build reads nothing outside of it",
      });
    case "deref-dangling":
      return problem("deref-dangling", `the \`!\` link points to nothing: ${p.target}`, {
        place: p.place,
        help: "correct its target, or remove the link",
      });
    case "deref-cycle":
      return problem("deref-cycle", `the \`!\` link leads back to itself: ${p.target}`, {
        place: p.place,
        help: "point it at a folder that does not hold the link",
      });
    case "link-escapes":
      return problem("bad-path", `the link's target leaves ${TREE_ROOT} by \`..\`: ${p.target}`, {
        place: p.place,
        help: "give the target as an absolute path if that is meant",
      });
    case "override-unused":
      return problem(
        "override-unused",
        `layer \`${p.layer}\` declares that it overrides \`${p.path}\` of \`${p.of}\`, and does not`,
        {
          place: p.place,
          help: "correct the path, or drop the line",
        },
      );
    case "fact-missing":
      return problem("fact-missing", `fact \`${p.fact}\` is unset for machine \`${p.machine}\``, {
        place: p.place,
        notes: [`looked in: ${p.searched.join(", ")}`],
        help: helpForMissing(p.fact, p.machine, p.layer),
      });
    case "template-syntax":
      return problem("template-syntax", p.message, {
        place: p.place,
        notes: p.excerpt,
        help: p.help ?? "correct the template",
      });
    case "template-failed":
      return problem("template-failed", `${p.message}, for machine \`${p.machine}\``, {
        place: p.place,
        help: p.help,
      });
    case "changed-while-read":
      return problem("changed-while-read", "it changed while it was being copied", {
        place: p.place,
        notes: ["the tree still has the old content"],
        help: "run the build again",
      });
    case "guest-tree-taken":
      return problem("guest-tree", `\`${p.path}\` lies where the trees of guests are built`, {
        place: p.place,
        help: "give a guest files by a layer, or in machines/MACHINE/_guests/GUEST/",
      });
    case "guest-layer-missing":
      return problem(
        "guest-layer",
        `guest \`${p.guest}\` needs ${p.path}, which \`${p.machine}\` does not have`,
        {
          place: p.place,
          help: `add \`${p.layer}\` to \`layers\` of [machine]`,
        },
      );
    case "guest-image":
      return problem(
        "guest-image",
        `guest \`${p.guest}\` wants image \`${p.image}\`, which \`${p.machine}\` does not have`,
        {
          place: p.place,
          notes: [`looked for: etc/images/${p.image}.ini in the tree of \`${p.machine}\``],
          help:
            p.known.length === 0
              ? `make machines/${p.machine}/etc/images/${p.image}.ini, or add a layer that has it`
              : suggestion(p.image, p.known),
        },
      );
    case "guest-unfit":
      return problem(
        "guest-unfit",
        `guest \`${p.guest}\` can't have ${p.layer === "machine" ? "this file of its own" : `layer \`${p.layer}\``}, which ${p.why}`,
        {
          place: p.place,
          help:
            p.layer === "machine"
              ? "give that to the machine instead"
              : "give that layer to the machine, or split what guests can have into one of its own",
        },
      );
    case "unreadable":
      return problem("unreadable", `can't read it: ${p.why}`, {
        place: p.place,
        help: "make it readable for the user who builds",
      });
    case "write-failed":
      return problem("write-failed", `can't write ${p.path}: ${p.why}`, {
        notes: ["the tree is incomplete; nothing was sent anywhere"],
        help: /^(ENOTDIR|EEXIST|EISDIR|ENOENT|ELOOP):/.test(p.why)
          ? "`var/` holds what labctl builds: move away what is in its way there, then build again"
          : "make room or correct the permissions, then build again",
      });
    case "locked":
      return problem("locked", `another build is at work: ${p.holder}`, {
        notes: [`waited ${Math.round(p.waitedMs / 1000)} s for it`],
        help: "wait for it to end, then run this again",
      });
  }
}

function helpForMissing(fact: string, machine: string, layer: string): string {
  if (/^HOST_|^machine\.(networks|fleet)\..*6$/.test(fact))
    return `ask the machine: \`labctl facts probe ${machine.split("/")[0]}\``;
  const network = /^machine\.networks\.([^.]+)$/.exec(fact)?.[1];
  if (network !== undefined)
    return `declare it in machines/${machine}/machine.ini, \`[network ${network}]\`, then run \`labctl ip plan --write\``;
  return layer === "machine"
    ? `set it in facts/${machine}.env, or ask for it openly: {{default ${fact} "…"}}, {{#if (isSet ${fact})}}`
    : `set it in facts/${machine}.env, or drop layer \`${layer}\` from machines/${machine}/machine.ini`;
}
