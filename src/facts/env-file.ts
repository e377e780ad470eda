/**
 * Reads a `.env` fact file: `NAME=value` lines, `export` allowed, `#` comments, quotes, values over several lines.
 * Own parser because `util.parseEnv` gives neither places nor problems. Pure; must not know what facts mean.
 *
 * `'…'` is literal; `"…"` knows \n \r \t \\ \" \$; an unquoted value ends before ` #` and is trimmed. No `$NAME` expansion.
 */
import type { Diagnostic, Place } from "../diagnostics.ts";
import { problem } from "../diagnostics.ts";

export interface EnvSetting {
  readonly name: string;
  readonly value: string;
  readonly place: Place;
}

/** Parses text; problems carry line and column, and what could be read is returned beside them. Pure. */
export function parseEnv(
  text: string,
  file: string,
): { readonly settings: readonly EnvSetting[]; readonly problems: readonly Diagnostic[] } {
  const settings: EnvSetting[] = [];
  const problems: Diagnostic[] = [];
  const source = text.replace(/^\uFEFF/, "").replaceAll("\r\n", "\n");
  let at = 0;
  let line = 1;
  let lineStart = 0;
  const place = (offset: number): Place => ({ file, line, column: offset - lineStart + 1 });
  const skipLine = (): void => {
    const end = source.indexOf("\n", at);
    if (end < 0) at = source.length;
    else {
      at = end + 1;
      line++;
      lineStart = at;
    }
  };
  while (at < source.length) {
    const rest = source.slice(at, endOfLine(source, at));
    if (/^\s*(#|$)/.test(rest)) {
      skipLine();
      continue;
    }
    const head = /^(\s*(?:export\s+)?)([A-Za-z_][A-Za-z0-9_]*)(\s*=[ \t]*)/.exec(rest);
    if (!head) {
      const column = at + (rest.length - rest.trimStart().length);
      problems.push(
        problem("fact-syntax", `\`${rest.trim()}\` is no setting`, {
          place: place(column),
          help: "write `NAME=value`; names have letters, digits and `_`, and comments begin with `#`",
        }),
      );
      skipLine();
      continue;
    }
    const nameAt = at + (head[1] ?? "").length;
    const settingPlace = place(nameAt);
    const name = head[2] ?? "";
    at += head[0].length;
    const quote = source[at];
    if (quote !== '"' && quote !== "'") {
      const raw = source.slice(at, endOfLine(source, at));
      settings.push({ name, value: raw.replace(/(^|\s)#.*$/, "").trim(), place: settingPlace });
      skipLine();
      continue;
    }
    const openPlace = place(at);
    const quoted = readQuoted(source, at, quote);
    if (quoted === undefined) {
      problems.push(
        problem("fact-syntax", `the ${quote} that opens the value of \`${name}\` is never closed`, {
          place: openPlace,
          help: `add the closing ${quote}, or escape it`,
        }),
      );
      break;
    }
    for (let i = at; i < quoted.end; i++) {
      if (source[i] !== "\n") continue;
      line++;
      lineStart = i + 1;
    }
    at = quoted.end;
    const tail = source.slice(at, endOfLine(source, at));
    if (!/^\s*(#.*)?$/.test(tail)) {
      problems.push(
        problem("fact-syntax", `\`${tail.trim()}\` stands after the closing ${quote}`, {
          place: place(at + (tail.length - tail.trimStart().length)),
          help: "quote the whole value, or begin a comment with `#`",
        }),
      );
    } else settings.push({ name, value: quoted.value, place: settingPlace });
    skipLine();
  }
  return { settings, problems };
}

function endOfLine(source: string, from: number): number {
  const end = source.indexOf("\n", from);
  return end < 0 ? source.length : end;
}

const ESCAPES: Readonly<Record<string, string>> = { n: "\n", r: "\r", t: "\t", "\\": "\\", '"': '"', $: "$" };

/** The value between quotes and the offset after the closing one; undefined if it never closes. */
function readQuoted(source: string, open: number, quote: string): { value: string; end: number } | undefined {
  let value = "";
  for (let i = open + 1; i < source.length; i++) {
    const char = source[i] ?? "";
    if (char === quote) return { value, end: i + 1 };
    if (char === "\\" && quote === '"') {
      const next = source[i + 1] ?? "";
      value += ESCAPES[next] ?? `\\${next}`;
      i++;
    } else value += char;
  }
  return undefined;
}
