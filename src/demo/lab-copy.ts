/**
 * The throwaway copy of this repository that the demo builds, edits and pushes: the clone itself stays clean. Must not
 * know about machines that run.
 */
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { AbsPath } from "../paths.ts";

/** What `labctl` reads of a repository. */
const COPIED = ["lab.ini", "layers", "machines", "facts", "shared"];

export interface Edit {
  /** Relative to the repository. */
  readonly path: string;
  /** Whole lines, one or more, found exactly once. */
  readonly from: string;
  readonly to: string;
}

/** One edit that a running nginx must be restarted for, and one that needs no unit action at all. */
export const EDITS: readonly Edit[] = [
  {
    path: "layers/web/opt/nginx/conf/main.nginx.hbs",
    from: "    server_tokens off;",
    to: "    server_tokens off;\n    charset utf-8;",
  },
  {
    path: "layers/web/opt/nginx/www/index.html.hbs",
    from: "<title>{{WEB_TITLE}}</title>",
    to: "<title>{{WEB_TITLE}}, second edition</title>",
  },
];

/** A new folder under the system's temporary one, with a copy of `packageRoot`'s layers, machines and facts. */
export function makeLabCopy(packageRoot: AbsPath): AbsPath {
  const folder = mkdtempSync(join(tmpdir(), "labctl-demo-")) as AbsPath;
  for (const name of COPIED) {
    const from = join(packageRoot, name);
    if (existsSync(from)) cpSync(from, join(folder, name), { recursive: true, verbatimSymlinks: true });
  }
  return folder;
}

/** Removes the copy; safe to call twice. */
export function removeLabCopy(folder: AbsPath): void {
  rmSync(folder, { recursive: true, force: true });
}

/** Makes an edit, and answers it as lines with `-` and `+` before them. Throws where the text to replace is not there. */
export function applyEdit(lab: AbsPath, edit: Edit): string[] {
  const file = join(lab, edit.path);
  const before = readFileSync(file, "utf8");
  if (before.split(edit.from).length !== 2)
    throw new Error(`${edit.path} should have this text once: ${edit.from}`);
  writeFileSync(
    file,
    before.replace(edit.from, () => edit.to),
  );
  return differenceOf(edit);
}

/** Lines that both sides have are shown once, without a sign. Pure. */
function differenceOf(edit: Edit): string[] {
  const from = edit.from.split("\n");
  const to = edit.to.split("\n");
  return [
    ...from.map((line) => (to.includes(line) ? `  ${line}` : `- ${line}`)),
    ...to.filter((line) => !from.includes(line)).map((line) => `+ ${line}`),
  ];
}
