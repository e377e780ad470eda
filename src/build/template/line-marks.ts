/**
 * Tells which line of which template each line of a rendering comes from: marks are put into the syntax tree before
 * every line of content and every value, are rendered along, and are taken out again. Only `labctl verify` renders so.
 * Pure; must not know facts or files.
 */
import type { Place } from "../../diagnostics.ts";

/** Private to this file: neither can stand in a tree's text that is worth checking. */
const OPEN = "\u0002";
const CLOSE = "\u0003";
const MARK = new RegExp(`${OPEN}([^${CLOSE}]*):([0-9]+)${CLOSE}`, "g");

/** Puts marks into a parsed template; `file` is what they carry. Changes `program`. */
export function markLines(program: hbs.AST.Program, file: string): void {
  const mark = (line: number): string => `${OPEN}${file}:${line}${CLOSE}`;
  program.body = program.body.flatMap((node): hbs.AST.Statement[] => {
    if (node.type === "ContentStatement") {
      const content = node as hbs.AST.ContentStatement;
      content.value = markContent(content, mark);
      return [content];
    }
    if (node.type === "MustacheStatement") {
      const value = mark(node.loc.start.line);
      return [
        {
          type: "ContentStatement",
          value,
          original: value,
          loc: node.loc,
        } as unknown as hbs.AST.ContentStatement,
        node,
      ];
    }
    const block = node as hbs.AST.BlockStatement;
    if (block.program) markLines(block.program, file);
    if (block.inverse) markLines(block.inverse, file);
    return [node];
  });
}

function markContent(content: hbs.AST.ContentStatement, mark: (line: number) => string): string {
  const { value } = content;
  // The type declarations mean something else by it; in a parsed template it is the text before stripping.
  const original = String(content.original);
  if (value === "") return value;
  // Handlebars strips blanks around blocks that stand alone: the value may begin lines below its node.
  const stripped = original.slice(0, Math.max(0, original.indexOf(value)));
  let line = content.loc.start.line + stripped.split("\n").length - 1;
  const lines = value.split("\n");
  return lines
    .map((text, i) => {
      // No mark after the last line end: a partial's indentation would take it for a line.
      const marked = i === lines.length - 1 && text === "" ? "" : mark(line) + text;
      line++;
      return marked;
    })
    .join("\n");
}

export interface MarkedText {
  /** Without marks: what an ordinary rendering gives. */
  readonly text: string;
  /** For each line of the text, from index 0, where it comes from; undefined before the first mark. */
  readonly places: readonly (Place | undefined)[];
}

/** Takes the marks out. Pure. */
export function readMarks(marked: string): MarkedText {
  const places: (Place | undefined)[] = [];
  let last: Place | undefined;
  const lines = marked.split("\n").map((line) => {
    let own: Place | undefined;
    for (const match of line.matchAll(MARK)) {
      last = { file: match[1] ?? "?", line: Number(match[2]) };
      const rest = line.slice(match.index + match[0].length);
      // What a line begins with says where it comes from; a mark before nothing does not count.
      if (own === undefined && rest !== "" && !rest.startsWith(OPEN)) own = last;
    }
    // A value of several lines: all of them come from where the value stands.
    places.push(own ?? last);
    return line.replace(MARK, "");
  });
  return { text: lines.join("\n"), places };
}
