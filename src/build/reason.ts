/** Why a step is done: recorded where that is decided, worded here. Pure. */

/** Hashes are shown by their first 8 digits. */
export type Reason =
  | { readonly kind: "new"; readonly layer: string }
  | { readonly kind: "no-state" }
  | {
      readonly kind: "source-changed";
      readonly file: string;
      readonly before: string;
      readonly after: string;
    }
  | {
      readonly kind: "setting-changed";
      readonly file: string;
      readonly before: string;
      readonly after: string;
    }
  | { readonly kind: "source-moved"; readonly before: string; readonly after: string }
  | { readonly kind: "layer-changed"; readonly before: string; readonly after: string }
  | {
      readonly kind: "fact-changed";
      readonly fact: string;
      readonly from: string;
      readonly before: string;
      readonly after: string;
    }
  | { readonly kind: "part-changed"; readonly part: string; readonly before: string; readonly after: string }
  | { readonly kind: "mode-changed"; readonly before: number; readonly after: number }
  | { readonly kind: "type-changed"; readonly before: string; readonly after: string }
  | { readonly kind: "link-changed"; readonly before: string; readonly after: string }
  | { readonly kind: "output-missing" }
  | { readonly kind: "output-edited" }
  | { readonly kind: "not-built"; readonly source: string | undefined };

/** One line, lower case. Pure. */
export function formatReason(r: Reason): string {
  switch (r.kind) {
    case "new":
      return r.layer === "machine" ? "new: the machine's own file" : `new: layer ${r.layer} has it`;
    case "no-state":
      return "no usable record of an earlier build";
    case "source-changed":
      return `source changed: ${r.file} ${short(r.before)} → ${short(r.after)}`;
    case "setting-changed":
      return `what ${r.file} makes of it changed: ${short(r.before)} → ${short(r.after)}`;
    case "source-moved":
      return `another source wins: ${r.before} → ${r.after}`;
    case "layer-changed":
      return `the partials of another layer count: ${r.before} → ${r.after}`;
    case "fact-changed":
      return `fact ${r.fact} changed: ${short(r.before)} → ${short(r.after)} (${r.from})`;
    case "part-changed":
      return `part changed: ${r.part} ${short(r.before)} → ${short(r.after)}`;
    case "mode-changed":
      return `mode changed: ${octal(r.before)} → ${octal(r.after)}`;
    case "type-changed":
      return `was a ${r.before}, is a ${r.after}`;
    case "link-changed":
      return `link target changed: ${r.before} → ${r.after}`;
    case "output-missing":
      return "the output was missing";
    case "output-edited":
      return "the output was edited by hand";
    case "not-built":
      return r.source === undefined
        ? "nothing builds it"
        : `no longer built: ${r.source} is gone or another layer set is in use`;
  }
}

function short(hash: string): string {
  const bare = hash.startsWith("=") ? hash.slice(1) : hash;
  return /^[0-9a-f]{16,}$/.test(bare) ? bare.slice(0, 8) : bare === "" ? "none" : bare;
}

function octal(mode: number): string {
  return mode.toString(8).padStart(4, "0");
}
