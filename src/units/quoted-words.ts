/**
 * systemd's word splitting: white space or other separators, single and double quotes, backslashes. Source:
 * systemd.syntax(7) "Quoting" and extract_first_word() in systemd's extract-word.c. Pure.
 */

interface Word {
  readonly text: string;
  /** The separator that ended it; empty at the end of the text. */
  readonly end: string;
}

const SPACE = " \t\n\r";

/**
 * What becomes of a backslash. protect: it goes, and the character after it loses its meaning. decode: C escapes
 * (`\n`, `\x2d`, `\s`) are resolved as in command lines. keep: both characters stay, as in unit names.
 */
export type Escapes = "protect" | "decode" | "keep";

/** Splits at white space; quotes group and vanish. Never fails: an open quote runs to the end. Pure. */
export function splitWords(text: string, escapes: Escapes = "protect"): string[] {
  return scanWords(text, SPACE, escapes).map((word) => word.text);
}

/** Splits into words, each into its fields at unprotected colons: `a:b c\:d` is [[a, b], [c:d]]. Pure. */
export function splitFields(text: string): string[][] {
  const out: string[][] = [];
  let fields: string[] = [];
  for (const word of scanWords(text, `${SPACE}:`, "protect")) {
    fields.push(word.text);
    if (word.end === ":") continue;
    out.push(fields);
    fields = [];
  }
  if (fields.length > 0) out.push(fields);
  return out;
}

function scanWords(text: string, separators: string, escapes: Escapes): Word[] {
  const out: Word[] = [];
  let word = "";
  let begun = false;
  let afterColon = false;
  let quote = "";
  for (let i = 0; i < text.length; i++) {
    const char = text[i] ?? "";
    if (char === "\\" && i + 1 < text.length) {
      const [decoded, used] =
        escapes === "decode" ? decode(text, i) : [text.slice(escapes === "keep" ? i : i + 1, i + 2), 2];
      word += decoded;
      begun = true;
      i += used - 1;
    } else if (quote !== "") {
      if (char === quote) quote = "";
      else word += char;
    } else if ((char === '"' || char === "'") && word === "" && !begun) {
      quote = char;
      begun = true;
    } else if (separators.includes(char)) {
      // White space coalesces, a colon does not: `a::b` has an empty field in the middle.
      if (begun || char === ":" || afterColon) out.push({ text: word, end: char });
      afterColon = char === ":";
      word = "";
      begun = false;
    } else {
      word += char;
      begun = true;
    }
  }
  if (begun || afterColon) out.push({ text: word, end: "" });
  return out;
}

const SIMPLE: Readonly<Record<string, string>> = {
  a: "\u0007",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
  v: "\v",
  s: " ",
  "\\": "\\",
  '"': '"',
  "'": "'",
};

/** Decodes the escape that begins at `at`; gives the text and how many characters it took. */
function decode(text: string, at: number): [string, number] {
  const rest = text.slice(at + 1);
  const hex = /^x([0-9A-Fa-f]{2})|^u([0-9A-Fa-f]{4})|^U([0-9A-Fa-f]{8})/.exec(rest);
  const octal = /^[0-3][0-7]{2}/.exec(rest);
  const code = hex
    ? Number.parseInt(hex[1] ?? hex[2] ?? hex[3] ?? "", 16)
    : Number.parseInt(octal?.[0] ?? "", 8);
  if (code <= 0x10ffff) return [String.fromCodePoint(code), 1 + (hex ?? octal ?? [""])[0].length];
  // What is no escape stays as written, so that `\d` and `d` never look the same.
  return [SIMPLE[rest[0] ?? ""] ?? text.slice(at, at + 2), 2];
}
