/** Printing for people and for programs: stdout holds data, stderr everything else; colour only where it is wanted. */
import { fstatSync, writeSync } from "node:fs";
import { type Diagnostic, formatDiagnostic, printable } from "../diagnostics.ts";
import { EXIT } from "./exit.ts";
import { tell, told } from "./told.ts";

/** Writes a line to stdout. */
export function printOut(text: string): void {
  writeAll(1, `${text}\n`);
}

/** Writes a line, or several, to stderr. */
export function printErr(text: string): void {
  const print = (): void => writeAll(2, `${text}\n`);
  if (drawing) drawing(print);
  else print();
}

/**
 * Writes a prefix and a machine's line to one of the streams, as one piece. On a terminal control characters show as text;
 * elsewhere the bytes go as they came.
 */
export function printLine(stream: "out" | "err", prefix: string, line: Buffer): void {
  const fd = stream === "out" ? 1 : 2;
  const terminal = (stream === "out" ? process.stdout : process.stderr).isTTY === true;
  const text = terminal ? Buffer.from(printable(line.toString("utf8")).replaceAll("\\x09", "\t")) : line;
  writeAll(fd, Buffer.concat([Buffer.from(prefix), text, Buffer.from("\n")]));
}

/** Writes to stderr as it is, for whoever draws there. */
export function drawErr(text: string): void {
  writeAll(2, text);
}

let drawing: ((print: () => void) => void) | undefined;

/** Has `aside` make room for each line that is printed to stderr, now or later; undefined: nobody draws there any more. */
export function whileDrawing(aside: ((print: () => void) => void) | undefined): void {
  drawing = aside;
}

/** Writes bytes to stdout as they are. */
export function printBytes(data: Uint8Array): void {
  writeAll(1, data);
}

/**
 * Prints one JSON document to stdout; an object without `problems` of its own gets those that were told, if any were.
 * Control characters that JSON leaves as they are would steer a terminal.
 */
export function printJson(value: object): void {
  const { errors } = told();
  const isWhole = errors.length === 0 || Array.isArray(value) || "problems" in value;
  const escaped = (c: string): string => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`;
  const text = JSON.stringify(isWhole ? value : { ...value, problems: errors });
  told().documents += 1;
  writeAll(1, `${text.replace(/[\u007f-\u009f]/g, escaped)}\n`);
}

/** With `--json`, after all else: what went wrong, if nothing was printed that could have it. */
export function printErrorsJson(): void {
  const { documents, errors } = told();
  if (documents === 0 && errors.length > 0) printJson({ problems: errors });
}

/** Prints problems or warnings to stderr, one after another. */
export function printDiagnostics(list: readonly Diagnostic[]): void {
  tell(list);
  for (const d of list) {
    const text = formatDiagnostic(d);
    const head = /^(error|warning)\[[^\]]*\]/.exec(text)?.[0] ?? "";
    printErr(paint(d.severity === "error" ? "red" : "yellow", head) + text.slice(head.length));
  }
}

/** Prints problems; returns the exit code that they come to: wrong arguments have their own. */
export function refuse(problems: readonly Diagnostic[]): number {
  printDiagnostics(problems);
  return problems.some((p) => p.code === "usage") ? EXIT.usage : EXIT.failed;
}

const CODES = { red: 31, green: 32, yellow: 33, blue: 34, bold: 1, dim: 2 } as const;

export type Paint = (style: keyof typeof CODES, text: string) => string;

/** Colours text for stderr where that is a terminal and NO_COLOR is unset (no-color.org). Pure but for reading the environment. */
export const paint: Paint = painter(2, () => process.stderr);

/** The same for stdout, which may be a pipe while stderr is a terminal. */
export const paintOut: Paint = painter(1, () => process.stdout);

function painter(fd: number, stream: () => { readonly isTTY?: boolean }): Paint {
  let colour: boolean | undefined;
  return (style, text) => {
    colour ??=
      !process.env.NO_COLOR && process.env.TERM !== "dumb" && mayBeTerminal(fd) && stream().isTTY === true;
    return text === "" || !colour ? text : `\u001b[${CODES[style]}m${text}\u001b[0m`;
  };
}

/** False for files and pipes. Asking a stream loads its code, which takes longer than most of what is printed. */
function mayBeTerminal(fd: number): boolean {
  try {
    return fstatSync(fd).isCharacterDevice();
  } catch {
    return false;
  }
}

/** Work that takes less long shows no progress. */
const PROGRESS_AFTER_MS = 500;

/**
 * Shows what is being done in one line that replaces itself, on a terminal only and only after half a second; `end` wipes
 * the line before anything else is printed.
 */
export function progressLine(): { readonly show: (what: string) => void; readonly end: () => void } {
  const startedAt = Date.now();
  let shown = false;
  return {
    show: (what) => {
      if (process.stderr.isTTY !== true || Date.now() - startedAt < PROGRESS_AFTER_MS) return;
      const width = Math.max(20, (process.stderr.columns || 80) - 1);
      writeAll(2, `\r\u001b[K${what.slice(0, width)}`);
      shown = true;
    },
    end: () => {
      if (shown) writeAll(2, "\r\u001b[K");
      shown = false;
    },
  };
}

/** `12 ms`, `1.4 s`. Pure. */
export function formatMs(ms: number): string {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

/** A pipe may take less than it is given, or nothing for now. */
function writeAll(fd: number, text: string | Uint8Array): void {
  const data = typeof text === "string" ? Buffer.from(text) : text;
  for (let at = 0; at < data.length; ) {
    try {
      at += writeSync(fd, data, at);
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      if (code === "EPIPE") return;
      if (code !== "EAGAIN") throw error;
    }
  }
}
