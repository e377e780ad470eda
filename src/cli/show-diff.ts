/**
 * How differences of contents read on a terminal: unified hunks, hashes where contents must not be shown. Owns that
 * nothing in a file can steer a terminal. Returns lines; prints nothing.
 */
import { printable } from "../diagnostics.ts";
import { TREE_ROOT } from "../paths.ts";
import type { FileDiff, Side } from "../push/diff/file-diff.ts";
import { type HunkLine, hunkHeader } from "../push/diff/line-diff.ts";
import type { Paint } from "./print.ts";

/** A longer line is cut: nobody reads a minified script. */
const LONGEST_LINE = 1000;

const STYLE = { "-": "red", "+": "green", " ": undefined } as const;

/** Lines of all differences, in their order; empty if there are none. Pure but for colour. */
export function diffLines(diffs: readonly FileDiff[], paint: Paint): string[] {
  return diffs.flatMap((diff) => [
    paint("bold", `--- ${diff.before.kind === "absent" ? "/dev/null" : `machine:${fullPath(diff)}`}`),
    paint("bold", `+++ ${diff.after.kind === "absent" ? "/dev/null" : `build:${fullPath(diff)}`}`),
    ...diff.attributes.map((a) => paint("yellow", `    ${visible(a).replace("->", "→")}`)),
    ...contentLines(diff, paint),
  ]);
}

function fullPath({ path }: FileDiff): string {
  return visible(`${TREE_ROOT}/${path}`);
}

function contentLines({ before, after, hunks }: FileDiff, paint: Paint): string[] {
  const isText = (side: Side): boolean => side.kind === "text" || side.kind === "absent";
  if (isText(before) && isText(after)) {
    const empty = hunks.length === 0 && before.kind !== after.kind ? [paint("dim", "    empty file")] : [];
    return [
      ...empty,
      ...hunks.flatMap((h) => [paint("blue", hunkHeader(h)), ...h.lines.flatMap((l) => lineOf(l, paint))]),
    ];
  }
  return [
    ...(before.kind === "absent" ? [] : [paint("red", `-${sideText(before)}`)]),
    ...(after.kind === "absent" ? [] : [paint("green", `+${sideText(after)}`)]),
  ];
}

function lineOf({ kind, text, unended }: HunkLine, paint: Paint): string[] {
  const cut = text.length > LONGEST_LINE ? ` … (${text.length - LONGEST_LINE} more characters)` : "";
  const line = `${kind}${visible(text.slice(0, LONGEST_LINE))}${cut}`;
  const style = STYLE[kind];
  return [
    style ? paint(style, line) : line,
    ...(unended ? [paint("dim", "\\ no newline at the end of the file")] : []),
  ];
}

function sideText(side: Side): string {
  switch (side.kind) {
    case "absent":
      return "";
    case "dir":
      return "folder";
    case "link":
      return `link to ${visible(side.target)}`;
    case "text":
      return `text, ${side.text.length} characters`;
    case "opaque": {
      const size = side.why === "secret" ? "" : `, ${side.sizeBytes} bytes`;
      return `${side.why}${size}, ${side.hash.slice(0, side.hash.indexOf(":") + 13)}`;
    }
  }
}

/**
 * Control characters as `\x1b`, but for the tab; characters that turn the direction of writing as `\u{202e}`, since
 * they can make a line read as another one than it is (CVE-2021-42574). Pure.
 */
export function visible(text: string): string {
  return text
    .split("\t")
    .map(printable)
    .join("\t")
    .replace(
      /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g,
      (c) => `\\u{${c.charCodeAt(0).toString(16)}}`,
    );
}
