/**
 * Whether, and into which file, an edit on a machine can be folded back: from what is built, what was pushed, what the
 * machine has, and who else uses the source. Pure; must not know how any of these were found.
 */
import { isUtf8 } from "node:buffer";
import type { Attributes } from "../../build/attributes.ts";
import type { ManifestEntry } from "../../build/manifest.ts";
import type { SourceUser } from "../../build/source-users.ts";
import type { Diagnostic, Result } from "../../diagnostics.ts";
import { failure, success } from "../../diagnostics.ts";
import { TREE_ROOT } from "../../paths.ts";
import { typeWord } from "../live/file-drift.ts";
import type { LivePath } from "../live/live-answer.ts";
import { describeAdopt } from "./problems.ts";

/** A larger file is no hand edit. */
export const MOST_BYTES = 1 << 20;

const SECRET = /(^|\/)credstore(\.encrypted)?\/|\.(cred|age)$/;

/** What a path is built from, before any machine is asked. */
export interface Origin {
  readonly machine: string;
  readonly entry: ManifestEntry;
  /** The layer that has the source is part of labctl, not of the repository. */
  readonly builtIn: boolean;
  readonly users: readonly SourceUser[];
}

/** Refusals that no edit could change. Undefined: the source may be written. A template is no refusal yet. Pure. */
export function refuseOrigin({ machine, entry, builtIn, users }: Origin): Diagnostic | undefined {
  const { path } = entry;
  const { layer, source } = entry.origin;
  const at = { machine, path, source };
  if (SECRET.test(path) || SECRET.test(source)) return describeAdopt({ kind: "secret", machine, path });
  if (entry.type !== "file")
    return describeAdopt({ kind: "no-file", ...at, what: entry.type === "dir" ? "a folder" : "a link" });
  if (entry.origin.template) return undefined;
  if (source.endsWith(".ts") && path.endsWith(".mjs")) return describeAdopt({ kind: "program", ...at });
  const folder = layer === "machine" ? `machines/${machine}` : `layers/${layer}`;
  if (source !== `${folder}/${path}`) {
    const all = users.map((u) => `${u.machine}: ${TREE_ROOT}/${u.path}`);
    return describeAdopt({ kind: "behind-link", ...at, users: all });
  }
  return builtIn ? describeAdopt({ kind: "built-in", ...at, layer }) : undefined;
}

/** What the machine has at the path. */
export interface LiveSide {
  /** What was pushed; undefined: the machine's generation has no such path. */
  readonly pushed: ManifestEntry | undefined;
  /** Undefined: it is as pushed. `absent`: there is nothing. */
  readonly live: LivePath | "absent" | undefined;
}

/** Refusals that need no content. `same`: there is nothing to adopt. Pure. */
export function refuseLive(
  machine: string,
  entry: ManifestEntry,
  side: LiveSide,
): Diagnostic | "same" | undefined {
  const at = { machine, path: entry.path };
  const { pushed, live } = side;
  if (!pushed) return describeAdopt({ kind: "not-pushed", ...at });
  if (live === undefined) return "same";
  if (live === "absent") return describeAdopt({ kind: "not-there", ...at });
  if (live.type !== "f") return describeAdopt({ kind: "not-a-file", ...at, found: typeWord(live.type) });
  if (live.sizeBytes > MOST_BYTES)
    return describeAdopt({ kind: "too-big", ...at, sizeBytes: live.sizeBytes, mostBytes: MOST_BYTES });
  return undefined;
}

export interface Contents {
  /** What is built from the source now. */
  readonly built: Buffer;
  readonly live: Buffer;
}

/** The text to write. `same`: content and attributes are as built. Pure. */
export function judgeContents(
  machine: string,
  entry: ManifestEntry,
  pushed: ManifestEntry,
  live: LivePath,
  { built, live: bytes }: Contents,
): Result<"same" | { readonly text: Buffer; readonly note: string | undefined }> {
  const at = { machine, path: entry.path };
  const differences = attributeDifferences(entry, live);
  if (built.equals(bytes)) {
    if (differences.length === 0) return success("same");
    const layer = entry.origin.layer;
    const file = layer === "machine" ? `machines/${machine}/machine.ini` : `layers/${layer}/layer.ini`;
    return failure(
      describeAdopt({
        kind: "attributes-only",
        ...at,
        differences,
        line: attributeLine(entry.path, live),
        file,
      }),
    );
  }
  if (entry.type !== "file" || pushed.type !== "file" || pushed.hash !== entry.hash)
    return failure(describeAdopt({ kind: "moved-on", ...at, source: entry.origin.source }));
  if (!isText(bytes) || !isText(built)) return failure(describeAdopt({ kind: "binary", ...at }));
  const note =
    differences.length === 0
      ? undefined
      : `${differences.join(", ")}: not adopted; [attributes] would keep it: ${attributeLine(entry.path, live)}`;
  return success({ text: bytes, note });
}

/** No NUL, and UTF-8. Pure. */
export function isText(bytes: Buffer): boolean {
  return !bytes.includes(0) && isUtf8(bytes);
}

/** `mode 0600 instead of 0644`. Pure. */
export function attributeDifferences(wanted: Required<Attributes>, live: Required<Attributes>): string[] {
  const mode = (m: number): string => m.toString(8).padStart(4, "0");
  const owner = (a: Required<Attributes>): string => `${a.owner}:${a.group}`;
  return [
    ...(wanted.mode === live.mode ? [] : [`mode ${mode(live.mode)} instead of ${mode(wanted.mode)}`]),
    ...(owner(wanted) === owner(live) ? [] : [`owner ${owner(live)} instead of ${owner(wanted)}`]),
  ];
}

/** The line of `[attributes]` that gives a path these. Pure. */
export function attributeLine(path: string, a: Required<Attributes>): string {
  return `${path} = mode ${a.mode.toString(8).padStart(4, "0")}, owner ${a.owner}, group ${a.group}`;
}
