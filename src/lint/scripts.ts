/** Checks of scripts: `bash -n`, shellcheck and `node --check`. What a script is, its first line or its suffix says. */
import { join } from "node:path";
import { type Diagnostic, problem, warning } from "../diagnostics.ts";
import { type Check, type Found, type Job, uniqueFiles } from "./check.ts";
import type { MachineTree } from "./machine-tree.ts";
import { runProgram } from "./program.ts";

/** `bash`, `sh`, `dash` or `ksh`; undefined for anything else. */
function shellOf(path: string, tree: MachineTree): string | undefined {
  const suffixed = /\.(sh|bash)$/.exec(path)?.[1];
  const mode = tree.stat(path)?.mode ?? 0;
  // What is neither executable nor called a script is not run by its first line.
  if (suffixed === undefined && (mode & 0o111) === 0) return undefined;
  const first = tree.head(path).split("\n", 1)[0] ?? "";
  const interpreter = /^#!\s*(?:\S*\/env\s+(?:-\S+\s+)*)?(\S+)/.exec(first)?.[1]?.split("/").at(-1);
  if (interpreter !== undefined) return /^(bash|sh|dash|ksh)$/.test(interpreter) ? interpreter : undefined;
  return suffixed === undefined || first.startsWith("#!") ? undefined : suffixed === "bash" ? "bash" : "sh";
}

/** `bash -n` reads without running; it also reads what other shells take, except where they differ. */
export const shellSyntax: Check = {
  name: "bash -n",
  program: "bash",
  plan: (trees) =>
    uniqueFiles(trees, (path, tree) => /^(bash|sh|dash)$/.test(shellOf(path, tree) ?? "")).map(
      ({ tree, path }): Job =>
        async ({ find }) => {
          const file = join(tree.folder, path);
          const said = await runProgram(find("bash") ?? "bash", ["-n", "--", file]);
          const found: Found[] = [];
          for (const text of said.stderr.split("\n")) {
            const match = /: line ([0-9]+): (?:(?:syntax )?error[^:]*: )?(.*)$/.exec(text);
            // bash shows the line once more, in quotes.
            if (!match || /^`.*'$/.test(match[2] ?? "")) continue;
            const place = { file: path, line: Number(match[1]) };
            found.push({
              tree,
              diagnostic: problem("shell-syntax", `bash can't read the script: ${match[2]}`, {
                place,
                help: "correct the script",
              }),
            });
            break;
          }
          return { found };
        },
    ),
};

interface ShellcheckComment {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly level: string;
  readonly code: number;
  readonly message: string;
}

/** One process reads many files, and starting it takes longer than reading; but several can work at a time. */
const FILES_A_PROCESS = 4;

export const shellcheck: Check = {
  name: "shellcheck",
  program: "shellcheck",
  plan: (trees) => {
    const files = uniqueFiles(trees, (path, tree) => shellOf(path, tree) !== undefined);
    const jobs: Job[] = [];
    for (let at = 0; at < files.length; at += FILES_A_PROCESS) {
      const part = files.slice(at, at + FILES_A_PROCESS);
      jobs.push(async ({ find }) => {
        const byFile = new Map(part.map((f) => [join(f.tree.folder, f.path), f]));
        const said = await runProgram(find("shellcheck") ?? "shellcheck", [
          "--norc",
          "--format=json1",
          "--severity=warning",
          // SC1091: a sourced file is on the machine, or elsewhere in the tree.
          "--exclude=SC1090,SC1091",
          "--",
          ...byFile.keys(),
        ]);
        const found: Found[] = [];
        for (const c of shellcheckComments(said.stdout)) {
          const f = byFile.get(c.file);
          if (f) found.push({ tree: f.tree, diagnostic: shellcheckDiagnostic(c, f.path) });
        }
        // 0: clean, 1: findings.
        const failed = said.status !== 0 && said.status !== 1 && found.length === 0;
        return failed ? { found, skipped: said.stderr.split("\n")[0] ?? "it failed" } : { found };
      });
    }
    return jobs;
  },
};

function shellcheckComments(json: string): readonly ShellcheckComment[] {
  try {
    return (JSON.parse(json) as { comments?: ShellcheckComment[] }).comments ?? [];
  } catch {
    return [];
  }
}

function shellcheckDiagnostic(c: ShellcheckComment, path: string): Diagnostic {
  const place = { file: path, line: c.line, column: c.column };
  const message = c.message.charAt(0).toLowerCase() + c.message.slice(1).replace(/\.$/, "");
  const say = c.level === "error" ? problem : warning;
  return say(`shellcheck-sc${c.code}`, message, {
    place,
    help: `see shellcheck.net/wiki/SC${c.code}, or allow it with \`# shellcheck disable=SC${c.code}\` and a reason`,
  });
}

/** Modules that a layer ships as they are; those that the build bundled were read by it already. */
export const nodeSyntax: Check = {
  name: "node --check",
  plan: (trees) =>
    uniqueFiles(
      trees,
      (path, tree) => /\.[cm]js$/.test(path) && !tree.entry(path)?.origin.source.endsWith(".ts"),
    ).map(
      ({ tree, path }): Job =>
        async () => {
          const file = join(tree.folder, path);
          const said = await runProgram(process.execPath, ["--check", file]);
          if (said.status === 0) return { found: [] };
          const line = /:([0-9]+)\n/.exec(said.stderr)?.[1];
          const message = /^SyntaxError: (.*)$/m.exec(said.stderr)?.[1] ?? "it refuses the file";
          const place = { file: path, ...(line === undefined ? {} : { line: Number(line) }) };
          return {
            found: [
              {
                tree,
                diagnostic: problem("node-syntax", `Node.js can't read the module: ${message}`, {
                  place,
                  help: "correct the module",
                }),
              },
            ],
          };
        },
    ),
};
