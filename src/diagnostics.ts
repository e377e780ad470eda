/**
 * What a refusal is: data first, one printed form for all. Every module that can refuse has a `problems.ts`
 * with its closed union of problems and the one function that words them.
 * This file must not know any particular problem, nor print.
 */

/** Line and column count from 1; column counts UTF-16 units. Absent means "the file as a whole". */
export interface Place {
  /** Relative to the repository where it lies inside it, else absolute. */
  readonly file: string;
  readonly line?: number;
  readonly column?: number;
}

export interface Diagnostic {
  readonly severity: "error" | "warning";
  /** Stable, kebab-case; scripts may match on it. */
  readonly code: string;
  /** Undefined: no file is at fault (a host, an argument). */
  readonly place?: Place;
  /** What happened, lower case, no full stop; may name the machine. */
  readonly message: string;
  /** What was found, what was expected, what state is left; one line each; empty if there is nothing to add. */
  readonly notes: readonly string[];
  /** What to do next. */
  readonly help?: string;
}

/** Expected failures are values. Warnings may accompany a success. */
export type Result<T> =
  | { readonly ok: true; readonly value: T; readonly warnings: readonly Diagnostic[] }
  | { readonly ok: false; readonly problems: readonly Diagnostic[] };

/** A success; `warnings` defaults to none. Pure. */
export function success<T>(value: T, warnings: readonly Diagnostic[] = []): Result<T> {
  return { ok: true, value, warnings };
}

/** A failure with at least one problem. Pure. */
export function failure<T>(...problems: readonly Diagnostic[]): Result<T> {
  return { ok: false, problems };
}

/** Builds an error; leave out what does not apply. Pure. */
export function problem(
  code: string,
  message: string,
  rest: { place?: Place | undefined; notes?: readonly string[]; help?: string | undefined } = {},
): Diagnostic {
  return diagnostic("error", code, message, rest);
}

/** Builds a warning; leave out what does not apply. Pure. */
export function warning(
  code: string,
  message: string,
  rest: { place?: Place | undefined; notes?: readonly string[]; help?: string | undefined } = {},
): Diagnostic {
  return diagnostic("warning", code, message, rest);
}

function diagnostic(
  severity: "error" | "warning",
  code: string,
  message: string,
  rest: { place?: Place | undefined; notes?: readonly string[]; help?: string | undefined },
): Diagnostic {
  return {
    severity,
    code,
    message,
    notes: rest.notes ?? [],
    ...(rest.place ? { place: rest.place } : {}),
    ...(rest.help ? { help: rest.help } : {}),
  };
}

/** `file:line:column`, as far as known. Pure. */
export function formatPlace(place: Place): string {
  let text = place.file;
  if (place.line !== undefined) text += `:${place.line}`;
  if (place.line !== undefined && place.column !== undefined) text += `:${place.column}`;
  return text;
}

/**
 * The printed form, several lines, no newline at its end, no colour. Pure.
 *
 *     error[fact-missing] layers/mail/mail.env.hbs:4:12: fact `MAIL_RELAY` is unset for machine `droplet`
 *       looked in: facts/droplet.json, facts/all.env
 *       help: set it in facts/droplet.json
 */
export function formatDiagnostic(d: Diagnostic): string {
  const place = d.place ? `${printable(formatPlace(d.place))}: ` : "";
  const lines = [`${d.severity}[${d.code}] ${place}${printable(d.message)}`];
  for (const note of d.notes) lines.push(`  ${printable(note)}`);
  if (d.help) lines.push(`  help: ${printable(d.help)}`);
  return lines.join("\n");
}

/** Makes control characters visible (`\x1b`, `\n`): text from a machine or a file name must not steer a terminal. Pure. */
export function printable(text: string): string {
  let out = "";
  for (const char of text) {
    const code = char.codePointAt(0) ?? 0;
    if (char === "\n") out += "\\n";
    else if (code < 0x20 || (code >= 0x7f && code < 0xa0)) out += `\\x${code.toString(16).padStart(2, "0")}`;
    else out += char;
  }
  return out;
}

/** Orders by place then code, so that the same problems print in the same order every time. Pure. */
export function sortDiagnostics(list: readonly Diagnostic[]): Diagnostic[] {
  const key = (d: Diagnostic): [string, number, number, string] => [
    d.place?.file ?? "",
    d.place?.line ?? 0,
    d.place?.column ?? 0,
    d.code,
  ];
  return [...list].sort((a, b) => {
    const x = key(a);
    const y = key(b);
    for (let i = 0; i < x.length; i++) {
      const p = x[i] as string | number;
      const q = y[i] as string | number;
      if (p < q) return -1;
      if (p > q) return 1;
    }
    return 0;
  });
}
