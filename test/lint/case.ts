/** One broken file with its good twin: what a case is, and short ways to write one. Data only. */

/** Text, or a file with a mode, or a link. */
export type CaseFile =
  | string
  | { readonly text: string; readonly executable?: boolean; readonly mode?: string }
  | { readonly link: string };

export interface LintCase {
  readonly name: string;
  /** In the tree, as the source is named: `.hbs` included. */
  readonly bad: Readonly<Record<string, CaseFile>>;
  readonly good: Readonly<Record<string, CaseFile>>;
  /** Code, source path within the layer, line; the only finding. */
  readonly expect: readonly [code: string, file: string, line?: number];
  readonly packages?: string;
  /** Facts' defaults, as in layer.ini. */
  readonly facts?: readonly string[];
  /** A text that the finding's help must have in it. */
  readonly help?: string;
}

export const SYSTEM = "lib/systemd/system";
export const TRUE = "#!/bin/sh\nexit 0\n";

export const program = (text: string = TRUE): CaseFile => ({ text, executable: true });

/** A sound service, with lines of `[Service]` from line 5 on. */
export function service(...lines: string[]): string {
  return ["[Unit]", "Description=x", "[Service]", "ExecStart=/bin/true", ...lines, ""].join("\n");
}

/** A line of `[Service]` that is wrong, and the one that is right. */
export function line(name: string, bad: string, good: string, code: string, help?: string): LintCase {
  const file = `${SYSTEM}/probe.service`;
  return {
    name,
    bad: { [file]: service(bad) },
    good: { [file]: service(good) },
    expect: [code, file, 5],
    ...(help === undefined ? {} : { help }),
  };
}

/** One whole file that is wrong, and the one that is right. */
export function file(
  name: string,
  path: string,
  bad: CaseFile,
  good: CaseFile,
  code: string,
  at?: number,
  more: Partial<LintCase> = {},
): LintCase {
  const expect = at === undefined ? ([code, path] as const) : ([code, path, at] as const);
  return { name, bad: { [path]: bad }, good: { [path]: good }, expect, ...more };
}

/** A file under a wrong name, and the same under the right one. */
export function named(
  name: string,
  bad: string,
  good: string,
  content: CaseFile,
  code: string,
  help?: string,
): LintCase {
  return {
    name,
    bad: { [bad]: content },
    good: { [good]: content },
    expect: [code, bad],
    ...(help === undefined ? {} : { help }),
  };
}
