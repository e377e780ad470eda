/**
 * Reads JSON (RFC 8259) and keeps line and column of the outermost object's names and of the first fault. Why not
 * `JSON.parse`: it tells a fault's place in words that differ between versions, or not at all, and drops a name that
 * stands twice. Pure; must not know what facts mean.
 */
import type { FactValue } from "./fact.ts";

/** Offsets count UTF-16 units from 0. */
export type JsonReading =
  | {
      readonly ok: true;
      readonly value: FactValue;
      /** Names of the outermost object in order, with duplicates; empty if it is no object. */
      readonly names: readonly { readonly name: string; readonly offset: number }[];
    }
  | { readonly ok: false; readonly message: string; readonly offset: number };

class Fault extends Error {
  readonly offset: number;
  constructor(message: string, offset: number) {
    super(message);
    this.offset = offset;
  }
}

/** Deeper values would overflow the stack of whoever walks them. */
const DEEPEST = 200;
const STRING = /"(?:[^"\\]|\\.)*"/sy;
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const WORD = /[A-Za-z]+/y;

/** Accepts what `JSON.parse` accepts, to a depth of 200. Pure. */
export function readJson(text: string): JsonReading {
  const names: { name: string; offset: number }[] = [];
  let at = 0;
  const skipBlanks = (): void => {
    while (/[ \t\n\r]/.test(text[at] ?? "")) at++;
  };
  const match = (pattern: RegExp): string | undefined => {
    pattern.lastIndex = at;
    const found = pattern.exec(text)?.[0];
    if (found !== undefined) at += found.length;
    return found;
  };
  const fault = (expected: string): Fault => {
    const char = text.codePointAt(at);
    const found = char === undefined ? "the end of the file" : `\`${String.fromCodePoint(char)}\``;
    return new Fault(`expected ${expected}, found ${found}`, at);
  };
  const string = (what: string): string => {
    const start = at;
    const found = match(STRING);
    if (found === undefined) {
      if (text[at] === '"') throw new Fault("this text is never closed", at);
      throw fault(what);
    }
    try {
      return JSON.parse(found) as string;
    } catch {
      throw new Fault("this text has a line break, a control character or an unknown escape in it", start);
    }
  };
  const value = (depth: number): FactValue => {
    if (depth > DEEPEST) throw new Fault(`values are nested more than ${DEEPEST} deep`, at);
    skipBlanks();
    const char = text[at];
    if (char === "{") return object(depth);
    if (char === "[") return list(depth);
    if (char === '"') return string("a value");
    const number = match(NUMBER);
    if (number !== undefined) return Number(number);
    const start = at;
    const word = match(WORD);
    if (word === "true" || word === "false") return word === "true";
    if (word === "null") return null;
    at = start;
    if (word !== undefined) throw new Fault(`\`${word}\` is no JSON value; text needs double quotes`, at);
    throw fault("a value");
  };
  const object = (depth: number): FactValue => {
    const entries: [string, FactValue][] = [];
    at++;
    skipBlanks();
    if (text[at] === "}") {
      at++;
      return {};
    }
    for (;;) {
      skipBlanks();
      const offset = at;
      const name = string("a name in double quotes");
      if (depth === 0) names.push({ name, offset });
      skipBlanks();
      if (text[at] !== ":") throw fault("`:`");
      at++;
      entries.push([name, value(depth + 1)]);
      skipBlanks();
      if (text[at] === "}") break;
      if (text[at] !== ",") throw fault("`,` or `}`");
      at++;
    }
    at++;
    return Object.fromEntries(entries);
  };
  const list = (depth: number): FactValue => {
    const items: FactValue[] = [];
    at++;
    skipBlanks();
    if (text[at] === "]") {
      at++;
      return items;
    }
    for (;;) {
      items.push(value(depth + 1));
      skipBlanks();
      if (text[at] === "]") break;
      if (text[at] !== ",") throw fault("`,` or `]`");
      at++;
    }
    at++;
    return items;
  };
  try {
    const read = value(0);
    skipBlanks();
    if (at < text.length) throw fault("nothing more");
    return { ok: true, value: read, names };
  } catch (error) {
    if (error instanceof Fault) return { ok: false, message: error.message, offset: error.offset };
    throw error;
  }
}
