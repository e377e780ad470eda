/**
 * Reads one unit file, drop-in or other systemd configuration text into an ordered multimap that keeps line
 * numbers. The rules are those of systemd.syntax(7) and of `config_parse()` in systemd's conf-parser.c.
 * This file must not know where a text comes from, which keys exist, or how files are merged.
 */

export interface Assignment {
  readonly section: string;
  readonly key: string;
  /** Trimmed; the lines of a continuation are joined with the space that replaces the backslash. May be empty. */
  readonly value: string;
  /** Counts from 1: the line on which the key stands. */
  readonly line: number;
}

export type UnitFileFault =
  /** Text that is neither a header, a comment nor `key=value`; systemd ignores the line. */
  | "missing-equals"
  /** `=value`; systemd ignores the line. */
  | "missing-key"
  /** An assignment before the first header; systemd ignores the line. */
  | "outside-section"
  /** `[Unit` and the like; systemd stops reading the file and refuses the unit. */
  | "bad-header"
  /** The text ends inside a continuation; systemd takes what there is. */
  | "open-continuation";

export interface UnitFileProblem {
  readonly fault: UnitFileFault;
  readonly line: number;
  /** The offending text, trimmed; may hold control characters. */
  readonly text: string;
}

export interface UnitFile {
  /** Names of the sections in the order of their first headers; a section that occurs twice is listed once. */
  readonly sections: readonly string[];
  /** In file order. */
  readonly assignments: readonly Assignment[];
  /** In file order; empty for a clean text. */
  readonly problems: readonly UnitFileProblem[];
}

const BYTE_ORDER_MARK = "\ufeff";
/** read_line() of systemd's fileio.c ends a line at any of these, and takes a pair of different ones as one end. */
const LINE_END = /\r\n|\n\r|[\n\r\0]/;
/** WHITESPACE of systemd's string-util.h; JavaScript's own `trim` would take Unicode spaces too. */
const EDGE_SPACE = /^[ \t\n\r]+|[ \t\n\r]+$/g;

/** Parses a text; never throws, whatever the text is. Pure. */
export function parseUnitFile(text: string): UnitFile {
  const sections: string[] = [];
  const assignments: Assignment[] = [];
  const problems: UnitFileProblem[] = [];
  let section: string | undefined;
  let broken = false;

  const take = (raw: string, line: number): void => {
    const statement = trim(raw);
    if (statement === "" || broken) return;
    // A comment that begins inside a continuation is dropped by the caller; this one is a joined line.
    if (statement.startsWith("#") || statement.startsWith(";")) return;
    if (statement.startsWith("[")) {
      if (!statement.endsWith("]")) {
        problems.push({ fault: "bad-header", line, text: statement });
        broken = true;
        return;
      }
      section = statement.slice(1, -1);
      if (!sections.includes(section)) sections.push(section);
      return;
    }
    const equals = statement.indexOf("=");
    if (section === undefined) problems.push({ fault: "outside-section", line, text: statement });
    else if (equals < 0) problems.push({ fault: "missing-equals", line, text: statement });
    else if (trim(statement.slice(0, equals)) === "")
      problems.push({ fault: "missing-key", line, text: statement });
    else {
      const key = trim(statement.slice(0, equals));
      assignments.push({ section, key, value: trim(statement.slice(equals + 1)), line });
    }
  };

  const lines = (text.startsWith(BYTE_ORDER_MARK) ? text.slice(1) : text).split(LINE_END);
  // The piece after the last line end is no line of its own when it is empty.
  if (lines.at(-1) === "") lines.pop();
  let joined: string | undefined;
  let joinedFrom = 0;
  lines.forEach((content, index) => {
    const line = index + 1;
    if (/^[ \t]*[#;]/.test(content)) return;
    const whole = (joined ?? "") + content;
    const start = joined === undefined ? line : joinedFrom;
    if (endsInBackslash(whole)) {
      joined = `${whole.slice(0, -1)} `;
      joinedFrom = start;
      return;
    }
    joined = undefined;
    take(whole, start);
  });
  if (joined !== undefined) {
    problems.push({ fault: "open-continuation", line: joinedFrom, text: trim(joined) });
    take(joined, joinedFrom);
  }
  return { sections, assignments, problems };
}

/**
 * Writes the assignments back, without comments, one section after the other in order of first appearance.
 * Parsing the result gives the same assignments but for their lines. Pure.
 */
export function formatUnitFile(file: UnitFile): string {
  const parts = file.sections.map((name) => {
    const own = file.assignments.filter((assignment) => assignment.section === name);
    return [`[${name}]`, ...own.map((assignment) => `${assignment.key}=${assignment.value}`), ""].join("\n");
  });
  return parts.join("\n");
}

/** Removes the white space that systemd removes (blank, tab, line ends) from both ends. Pure. */
export function trim(text: string): string {
  return text.replace(EDGE_SPACE, "");
}

/** An odd number of backslashes at the end: the last one is not itself escaped. */
function endsInBackslash(text: string): boolean {
  let count = 0;
  while (text[text.length - 1 - count] === "\\") count++;
  return count % 2 === 1;
}
