/** Why an edit on a machine can't be folded back into its source, each worded with what to do instead. Pure. */
import { type Diagnostic, problem } from "../../diagnostics.ts";
import { TREE_ROOT } from "../../paths.ts";

interface At {
  readonly machine: string;
  /** Relative to /usr/local. */
  readonly path: string;
}

/** A source as people know it. */
interface From extends At {
  /** Repository-relative. */
  readonly source: string;
}

export type AdoptProblem =
  | (At & { readonly kind: "not-built"; readonly near: string | undefined; readonly onMachine: boolean })
  | (At & { readonly kind: "built-already"; readonly source: string })
  | (From & { readonly kind: "no-file"; readonly what: "a folder" | "a link" })
  | (From & {
      readonly kind: "template";
      readonly lines: readonly string[];
      readonly facts: readonly string[];
    })
  | (From & { readonly kind: "program" })
  | (At & { readonly kind: "secret" })
  | (From & { readonly kind: "behind-link"; readonly users: readonly string[] })
  | (From & { readonly kind: "built-in"; readonly layer: string })
  | (From & { readonly kind: "uncommitted"; readonly diff: readonly string[] })
  | (From & { readonly kind: "moved-on" })
  | (At & { readonly kind: "not-pushed" })
  | (At & { readonly kind: "not-there" })
  | (At & { readonly kind: "not-a-file"; readonly found: string })
  | (At & { readonly kind: "too-big"; readonly sizeBytes: number; readonly mostBytes: number })
  | (At & { readonly kind: "binary" })
  | (At & {
      readonly kind: "attributes-only";
      readonly differences: readonly string[];
      readonly line: string;
      readonly file: string;
    })
  | (At & {
      readonly kind: "attributes-lost";
      readonly differences: readonly string[];
      readonly line: string;
      readonly file: string;
    })
  | (At & { readonly kind: "bad-name"; readonly why: string })
  | (At & { readonly kind: "no-layer"; readonly layer: string; readonly layers: readonly string[] })
  | (From & { readonly kind: "in-the-way" })
  | (From & { readonly kind: "source-moved" })
  | (At & { readonly kind: "half-way" });

const UNCHANGED = "nothing was changed";
const SHOWN = 20;

/** Words a refusal. Pure. */
export function describeAdopt(p: AdoptProblem): Diagnostic {
  const full = `${TREE_ROOT}/${p.path}`;
  const say = (message: string, notes: readonly string[], help: string): Diagnostic =>
    problem(`adopt-${p.kind}`, message, { notes: [...notes, UNCHANGED], help });
  switch (p.kind) {
    case "not-built":
      return say(
        `nothing builds ${full} for machine \`${p.machine}\``,
        p.near === undefined ? [] : [`did you mean ${p.near}?`],
        `--into=machine makes it a file of machines/${p.machine}, --into=LAYER one of a layer`,
      );
    case "built-already":
      return say(
        `${full} is built for machine \`${p.machine}\` already`,
        [`from ${p.source}`],
        "leave --into out to fold the edit back into that source",
      );
    case "no-file":
      return say(`${full} is ${p.what}, which has no content to adopt`, [], `change ${p.source}`);
    case "template":
      return say(
        `${full} is rendered from a template, which can't be told from what it gave`,
        [
          ...p.lines.slice(0, SHOWN),
          ...(p.lines.length > SHOWN ? [`and ${p.lines.length - SHOWN} more lines`] : []),
          ...(p.facts.length > 0 ? [`it reads ${p.facts.join(", ")}`] : []),
        ],
        `edit ${p.source} or its facts, then push`,
      );
    case "program":
      return say(`${full} is bundled from a program`, [], `edit ${p.source}, then push`);
    case "secret":
      return say(
        `${full} holds a secret, which never comes back from a machine`,
        [],
        "change it in the repository, then push",
      );
    case "behind-link":
      return say(
        `${p.source} is taken in by a \`!\` link, and is not this path's alone`,
        p.users.length > SHOWN ? [...p.users.slice(0, SHOWN), `and ${p.users.length - SHOWN} more`] : p.users,
        `edit ${p.source} if all of them shall change, or put a file of its own in place of the link`,
      );
    case "built-in":
      return say(
        `${p.source} is part of labctl, whose layer \`${p.layer}\` is not in this repository`,
        [],
        `copy the layer to layers/${p.layer} first, or have machines/${p.machine}/${p.path} win over it`,
      );
    case "uncommitted":
      return say(
        `${p.source} has changes that were not committed`,
        p.diff.length > SHOWN ? [...p.diff.slice(0, SHOWN), "…"] : p.diff,
        "commit or undo them first, so that nothing is lost",
      );
    case "moved-on":
      return say(
        `${p.source} is no longer what machine \`${p.machine}\` was pushed`,
        ["the edit there was made to an older content"],
        `see \`labctl plan --diff ${p.machine}\`; take over by hand what shall stay, then push`,
      );
    case "not-pushed":
      return say(
        `${full} was never pushed to machine \`${p.machine}\``,
        [],
        `\`labctl plan ${p.machine}\` shows what a push would do`,
      );
    case "not-there":
      return say(
        `machine \`${p.machine}\` has no ${full}`,
        [],
        `\`labctl push ${p.machine}\` puts it back; if it shall go, delete its source`,
      );
    case "not-a-file":
      return say(
        `${full} on machine \`${p.machine}\` is ${p.found}`,
        [],
        `\`labctl push ${p.machine}\` puts the file back`,
      );
    case "too-big":
      return say(
        `${full} on machine \`${p.machine}\` has ${p.sizeBytes} bytes, more than ${p.mostBytes}`,
        [],
        "copy it by hand if it shall be in the repository",
      );
    case "binary":
      return say(
        `${full} on machine \`${p.machine}\` is no text`,
        [],
        "nobody could judge the change; copy it by hand if it shall be in the repository",
      );
    case "attributes-only":
      return say(
        `${full} on machine \`${p.machine}\` has its content, and ${p.differences.join(", ")}`,
        [`Git keeps no modes and owners; [attributes] in ${p.file} does:`, `  ${p.line}`],
        `add that line, or \`labctl push ${p.machine}\` puts them back`,
      );
    case "attributes-lost":
      return say(
        `${full} on machine \`${p.machine}\` has ${p.differences.join(", ")}, which Git does not keep`,
        [`[attributes] in ${p.file} does:`, `  ${p.line}`],
        "add that line first, so that the next push leaves it so",
      );
    case "bad-name":
      return say(`${full} can't be in a layer: ${p.why}`, [], "rename it on the machine first");
    case "no-layer":
      return say(
        `machine \`${p.machine}\` has no layer \`${p.layer}\` in this repository`,
        [`it has ${p.layers.length > 0 ? p.layers.join(", ") : "none"}`],
        "--into=machine, or one of those",
      );
    case "in-the-way":
      return say(
        `${p.source} exists already, and is not what ${full} is built from`,
        [],
        "move it away first",
      );
    case "source-moved":
      return say(`${p.source} changed while the edit was looked at`, [], "adopt again");
    case "half-way":
      return say(
        `a push to machine \`${p.machine}\` was broken off half-way`,
        [],
        `\`labctl plan ${p.machine}\` settles it; then adopt again`,
      );
  }
}
