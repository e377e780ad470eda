/** `labctl init [dir]`: a repository with one machine that builds, for a folder that has none. Overwrites nothing. */
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join, relative, resolve } from "node:path";
import { type Diagnostic, printable, problem } from "../../diagnostics.ts";
import { isName } from "../../paths.ts";
import { findRoot } from "../../project/find-root.ts";
import { shellWord } from "../../push/shell-word.ts";
import type { CommandRun, ParsedArguments } from "../commands.ts";
import { EXIT } from "../exit.ts";
import { printErr, printJson, refuse } from "../print.ts";
import { type ScaffoldNames, scaffoldFiles } from "./scaffold.ts";

const GITIGNORE = ".gitignore";
const IGNORED = "/var/";

export const run: CommandRun = async (args) => {
  const root = resolve(args.value("directory") ?? ".", args.positionals[0] ?? ".");
  const names = namesOf(args, root);
  const files = scaffoldFiles(names);
  const problems = [...wrongNames(names), ...inTheWay(root, files)];
  if (problems.length > 0) return refuse(problems);
  const dryRun = args.flag("dry-run");
  const gitignore = ignoring(join(root, GITIGNORE));
  const written = [...(gitignore === undefined ? [] : [[GITIGNORE, gitignore] as const]), ...files];
  const failed = dryRun ? undefined : writeAll(root, written);
  if (failed) return refuse([failed]);
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
  if (!isFolder(top)) return [problem("exists", `${top} is no folder`, { help: "name another one" })];
  const there = new Set(files.flatMap(([path]) => obstacle(root, path) ?? []));
  const gitignore = join(root, GITIGNORE);
  if (isThere(gitignore) && !statSync(gitignore, { throwIfNoEntry: false })?.isFile()) there.add(GITIGNORE);
  if (there.size === 0) return [];
  return [
    problem("exists", `files in ${root} are in the way, and nothing was written`, {
      notes: [...there],
      help: "move them aside, or name another folder",
    }),
  ];
}

/** What stands where the file would, or where a folder that leads to it would, as a path below the root. */
function obstacle(root: string, path: string): string | undefined {
  const parts = path.split("/");
  for (const length of parts.keys()) {
    const part = parts.slice(0, length + 1).join("/");
    if (!isThere(join(root, part))) return undefined;
    if (part === path || !isFolder(join(root, part))) return part;
  }
  return undefined;
}

/** The nearest path upward that exists. */
function existing(path: string): string {
  let at = path;
  while (!isThere(at) && at !== dirname(at)) at = dirname(at);
  return at;
}

/** A link that leads nowhere is there, too. */
function isThere(path: string): boolean {
  try {
    return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
  } catch {
    // Below a file, or with a name that no file can have: making it says which.
    return false;
  }
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}

/** Writes all, or takes back what it wrote and says why. */
function writeAll(root: string, files: readonly (readonly [string, string])[]): Diagnostic | undefined {
  const undo: (() => void)[] = [];
  try {
    for (const [path, text] of files) {
      const file = join(root, path);
      makeFolder(dirname(file), undo);
      const before = isThere(file) ? readFileSync(file) : undefined;
      undo.unshift(() =>
        before === undefined ? rmSync(file, { force: true }) : writeFileSync(file, before),
      );
      writeFileSync(file, text);
    }
    return undefined;
  } catch (error) {
    for (const step of undo) step();
    return problem("init-write", `can't write below ${root}: ${(error as Error).message}`, {
      notes: ["nothing was left there"],
      help: "name a folder that you may write to",
    });
  }
}

/** One at a time: on some file systems, such as /proc, Node's own `recursive` never ends. */
function makeFolder(folder: string, undo: (() => void)[]): void {
  if (isThere(folder)) return;
  makeFolder(dirname(folder), undo);
  mkdirSync(folder);
  undo.unshift(() => rmdirSync(folder));
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
  printErr(`${dryRun ? "would write" : "wrote"} ${paths.length} files in ${printable(root)}`);
  for (const path of paths) printErr(`  ${path}`);
  if (dryRun) return;
  const into = relative(process.cwd(), root);
  const steps: (readonly [string, string])[] = [
    ...(into === "" ? [] : [[`cd ${shellWord(printable(into))}`, ""] as const]),
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
