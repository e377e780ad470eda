/** The remote program's text, put together from its parts. Bundled builds have the parts inside; the source reads them. */
import { readFileSync } from "node:fs";

/** Filled in when the program is bundled: file name without `.sh` → text. */
declare const LABCTL_REMOTE_PARTS: Readonly<Record<string, string>>;

const LOOKING = ["prelude", "state", "mend", "probe", "main"];
/** What a few verbs need besides `prelude` and `main`, who are not worth the whole text. */
const FEW: Readonly<Record<string, readonly string[]>> = {
  confirm: ["state", "mend", "checks", "way-in", "undo"],
  contents: ["state", "contents"],
  "install-packages": ["packages"],
  "remove-packages": ["packages"],
  verify: ["state", "probe", "verify"],
  "stage-secrets": ["secrets"],
};
const ALL = [
  "prelude",
  "state",
  "mend",
  "probe",
  "plan",
  "journal",
  "triggers",
  "apply",
  "checks",
  "way-in",
  "undo",
  "parcel",
  "access",
  "seen",
  "reach",
  "commit",
  "generations",
  "main",
];

/** Verbs that the short program knows (docs/remote-protocol.md). */
const SHORT_VERBS = new Set(["probe", "read", "list", "stage-begin", "stage-drop", "manifests", "occupied"]);

const texts = new Map<string, string>();

/** The text that knows `verb`; short for verbs that only look. */
export function remoteProgram(verb: string): string {
  const [key, parts]: readonly [string, readonly string[]] = SHORT_VERBS.has(verb)
    ? ["short", LOOKING]
    : FEW[verb]
      ? [verb, ["prelude", ...FEW[verb], "main"]]
      : ["all", ALL];
  let text = texts.get(key);
  if (text === undefined) {
    text = parts.map(readPart).join("");
    texts.set(key, text);
  }
  return text;
}

/** The text that asks for a machine's facts; for `sh -s`. */
export function factsProgram(): string {
  return readPart("facts");
}

/** Without its comments, which are a third of it and travel with every call. */
function readPart(name: string): string {
  const text =
    typeof LABCTL_REMOTE_PARTS === "object"
      ? (LABCTL_REMOTE_PARTS[name] ?? "")
      : readFileSync(new URL(`${name}.sh`, import.meta.url), "utf8");
  return text.replace(/^[ \t]*#.*\n/gm, "");
}
