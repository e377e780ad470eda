/** `labctl init [dir]`: a repository with one machine that builds, for a folder that has none. Overwrites nothing. */
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { basename, dirname, join, relative, resolve } from "node:path";
import type { Diagnostic } from "../../diagnostics.ts";
import { problem } from "../../diagnostics.ts";
import { isName } from "../../paths.ts";
import { findRoot } from "../../project/find-root.ts";
import type { CommandRun, ParsedArguments } from "../commands.ts";
import { EXIT } from "../exit.ts";
import { printErr, printJson, refuse } from "../print.ts";
import { type ScaffoldNames, scaffoldFiles } from "./scaffold.ts";

const IGNORED = "/var/";

export const run: CommandRun = async (args) => {
  const root = resolve(args.value("directory") ?? ".", args.positionals[0] ?? ".");
  const names = namesOf(args, root);
  const files = scaffoldFiles(names);
  const problems = [...wrongNames(names), ...inTheWay(root, files)];
  if (problems.length > 0) return refuse(problems);
  const dryRun = args.flag("dry-run");
  const gitignore = ignoring(join(root, ".gitignore"));
  const written = [...(gitignore === undefined ? [] : [[".gitignore", gitignore] as const]), ...files];
  if (!dryRun) {
    for (const [path, text] of written) {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      writeFileSync(join(root, path), text);
    }
  }
  const paths = written.map(([path]) => path).sort();
  if (args.flag("json")) printJson({ root, dryRun, files: paths, ...names });
  else tell(root, paths, names, dryRun);
  return dryRun ? EXIT.changes : EXIT.done;
};

function namesOf(args: ParsedArguments, root: string): ScaffoldNames {
  const machine = args.value("machine") ?? "den";
  const folder = basename(root)
    .toLowerCase()
    .replace(/[^a-z0-9-]+/g, "-")
    .replace(/^-+|-+$/g, "");
  return { repository: folder || "lab", machine, host: args.value("host") ?? `${machine}.lan` };
}

function wrongNames({ machine, host }: ScaffoldNames): Diagnostic[] {
  const out: Diagnostic[] = [];
  if (!isName(machine))
    out.push(
      problem("usage", `--machine: \`${machine}\` can't be the name of a machine`, {
        help: "begin with a letter or digit; then letters, digits, `.`, `_` and `-`",
      }),
    );
  if (!/^[A-Za-z0-9:][A-Za-z0-9.:_%-]*$/.test(host))
    out.push(
      problem("usage", `--host: \`${host}\` is no host name and no address`, {
        help: "name it as `ssh` would take it",
      }),
    );
  return out;
}

/** A repository that is there already, and files that the new ones would replace. */
function inTheWay(root: string, files: readonly (readonly [string, string])[]): Diagnostic[] {
  const around = findRoot(root);
  if (around.ok) {
    const same = existsSync(join(root, "lab.ini"));
    return [
      problem(
        "exists",
        same ? `${root} is a repository already` : `${root} lies in a repository: ${around.value}`,
        {
          help: same
            ? "`labctl build` builds it; a machine is a folder machines/NAME with a machine.ini"
            : "name a folder outside of it, or add machines/NAME/machine.ini there",
        },
      ),
    ];
  }
  const top = existing(root);
  if (top !== undefined && !statSync(top).isDirectory())
    return [problem("exists", `${top} is no folder`, { help: "name another one" })];
  const there = files.map(([path]) => path).filter((path) => existsSync(join(root, path)));
  if (there.length === 0) return [];
  return [
    problem("exists", `files in ${root} are in the way, and nothing was written`, {
      notes: there,
      help: "move them aside, or name another folder",
    }),
  ];
}

/** The nearest path upward that exists. */
function existing(path: string): string | undefined {
  for (let at = path; ; at = dirname(at)) {
    if (existsSync(at)) return at;
    if (at === dirname(at)) return undefined;
  }
}

/** The text of .gitignore once it has what labctl builds; undefined: it has that. */
function ignoring(file: string): string | undefined {
  const text = existsSync(file) ? readFileSync(file, "utf8") : "";
  if (text.split("\n").some((line) => /^\/?var\/?$/.test(line.trim()))) return undefined;
  return `${text}${text === "" || text.endsWith("\n") ? "" : "\n"}${IGNORED}\n`;
}

function tell(
  root: string,
  paths: readonly string[],
  { machine, host }: ScaffoldNames,
  dryRun: boolean,
): void {
  printErr(`${dryRun ? "would write" : "wrote"} ${paths.length} files in ${root}`);
  for (const path of paths) printErr(`  ${path}`);
  if (dryRun) return;
  const into = relative(process.cwd(), root);
  const steps: (readonly [string, string])[] = [
    ...(into === "" ? [] : [[`cd ${into}`, ""] as const]),
    ["labctl build", `the tree of ${machine}: see var/tree/${machine}/usr/local`],
    ["labctl verify", "what would not work there"],
    [`labctl plan ${machine} --accept-new`, `what a push would do on ${host}, and why; changes nothing`],
    [`labctl push ${machine}`, `does it; then http://${host}/notes/ answers`],
  ];
  const width = Math.max(...steps.map(([command]) => command.length));
  printErr("\nnext:");
  for (const [command, says] of steps) printErr(`  ${command.padEnd(width)}  ${says}`.trimEnd());
  printErr(
    `\nsshd there will take keys only from then on: have one in ${host}'s authorized_keys before the push.`,
  );
}
