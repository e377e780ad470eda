/**
 * The rules of CONTRIBUTING.md that a program can check, each as a function from files to complaints, with a snippet
 * that breaks it. Must not know where files come from; `tidy.test.ts` hands them in. Pure.
 */

/** A file of the repository; `text` is empty for rules that look at names only. */
export interface ProjectFile {
  /** Repository-relative. */
  readonly path: string;
  readonly text: string;
}

export interface Rule {
  /** Sentence of behaviour; the test's name. */
  readonly name: string;
  /** One line each: what, where, and how to mend it. Empty: nothing to complain about. */
  check(files: readonly ProjectFile[]): readonly string[];
  /** Files that break the rule, so that it is known to be able to fail. */
  readonly broken: readonly (readonly ProjectFile[])[];
}

/** Lower ranks may not import higher ones; modules of equal rank may share types. */
const RANKS: readonly (readonly string[])[] = [
  ["src"],
  ["src/facts", "src/units", "src/ipam", "src/project", "src/secrets"],
  ["src/guests"],
  ["src/images"],
  ["src/build"],
  ["src/push", "src/graph", "src/lint"],
  ["src/twin"],
  ["src/cli", "src/demo"],
  ["bin"],
];

const SOURCE = /^(src|bin|test|bench)\/.*\.ts$/;
const SHIPPED = /^(src|bin)\/.*\.ts$/;

function file(path: string, text: string): ProjectFile {
  return { path, text };
}

function eachLine(
  files: readonly ProjectFile[],
  wanted: RegExp,
  judge: (line: string, file: ProjectFile, lines: readonly string[], at: number) => string | undefined,
): string[] {
  const out: string[] = [];
  for (const f of files.filter((one) => wanted.test(one.path))) {
    const lines = f.text.split("\n");
    for (const [at, line] of lines.entries()) {
      const complaint = judge(line, f, lines, at);
      if (complaint !== undefined) out.push(`${f.path}:${at + 1}: ${complaint}`);
    }
  }
  return out;
}

/** The module a path belongs to: its folder below src, `src` for the files in it, `bin`; undefined for tests. Pure. */
function moduleOf(path: string): string | undefined {
  const [top = "", second = "", third] = path.split("/");
  if (top === "src") return third === undefined ? "src" : `src/${second}`;
  return top === "bin" ? "bin" : undefined;
}

function rankOf(module: string): number {
  return RANKS.findIndex((rank) => rank.includes(module));
}

/** `a/b/../c` without its dots. Pure. */
function resolvePath(from: string, to: string): string {
  const parts = from.split("/").slice(0, -1);
  for (const part of to.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== ".") parts.push(part);
  }
  return parts.join("/");
}

function judgeImport(path: string, specifier: string, typesOnly: boolean): string | undefined {
  const from = moduleOf(path);
  if (from === undefined) return undefined;
  const target = resolvePath(path, specifier);
  const to = moduleOf(target);
  if (to === undefined) return `imports ${target}: nothing that ships imports tests or benchmarks; move it`;
  if (from === to) return undefined;
  if (rankOf(from) < 0)
    return `${from} has no place in the import order; add it to RANKS and ARCHITECTURE.md`;
  if (rankOf(from) > rankOf(to)) return undefined;
  if (rankOf(from) === rankOf(to) && typesOnly) return undefined;
  return `imports ${target}: ${from} stands below ${to} in ARCHITECTURE.md; hand the value in as an argument`;
}

function checkImports(files: readonly ProjectFile[]): string[] {
  const out: string[] = [];
  for (const { path, text } of files.filter((f) => SHIPPED.test(f.path))) {
    for (const found of text.matchAll(/^(?:import|export)\b([^;"]*?)(?:from\s*)?"(\.[^"]+)"/gm)) {
      const names = found[1] ?? "";
      const braces = /^\s*\{([^}]*)\}/.exec(names)?.[1]?.split(",") ?? [];
      const eachType = braces.length > 0 && braces.every((n) => n.trim() === "" || /^\s*type\s/.test(n));
      const complaint = judgeImport(path, found[2] ?? "", /^\s*type\s/.test(names) || eachType);
      if (complaint) out.push(`${path}: ${complaint}`);
    }
    for (const found of text.matchAll(/\bimport\("(\.[^"]+)"\)/g)) {
      const complaint = judgeImport(path, found[1] ?? "", false);
      if (complaint) out.push(`${path}: ${complaint}`);
    }
  }
  return out;
}

/** Comments, strings and regular expressions blanked, so that words in them are no code. Pure. */
function codeOf(text: string): string[] {
  return text
    .replace(/\/\*[\s\S]*?\*\//g, (c) => c.replace(/[^\n]/g, " "))
    .split("\n")
    .map((line) =>
      line
        .replace(/"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`(?:\\.|[^`\\])*`/g, '""')
        .replace(/(^|[=(,:?&|!]\s*|return\s+)\/(?![/*])(?:\\.|\[(?:\\.|[^\]])*\]|[^/\\])+\/[a-z]*/g, '$1""')
        .replace(/\/\/.*$/, ""),
    );
}

/** A comment on the line or right above it says why. Pure. */
function hasReason(lines: readonly string[], at: number): boolean {
  return /\/\/ \S/.test(lines[at] ?? "") || /^\s*\/\/ \S/.test(lines[at - 1] ?? "");
}

function checkTypes(files: readonly ProjectFile[]): string[] {
  return files
    .filter((f) => SOURCE.test(f.path))
    .flatMap((f) => {
      const lines = f.text.split("\n");
      return codeOf(f.text).flatMap((code, at) => {
        if (hasReason(lines, at)) return [];
        const out: string[] = [];
        const where = `${f.path}:${at + 1}`;
        if (/(?::|<|\bas|,|\||=>)\s*any\b/.test(code))
          out.push(`${where}: \`any\` switches checking off; write \`unknown\` and narrow it`);
        if (/[\w)\]]!(?=[.;,)\]}\s[]|$)(?!\s*=)/.test(code))
          out.push(`${where}: \`!\` without a reason; narrow the type, or say above it why it holds`);
        return out;
      });
    });
}

/** Most lines a file may have, by what it is; undefined: any number. Pure. */
function mostLines(path: string): number | undefined {
  if (/\.(sh|bash)$/.test(path)) return 400;
  if (/^test\/.*\.ts$/.test(path)) return 600;
  return /^(src|bin|bench)\/.*\.m?ts$/.test(path) ? 400 : undefined;
}

const long = (lines: number): string => "// a line\n".repeat(lines);

/** Words that must not stand in text, put together here so that this file does not have them. */
const word = (...parts: string[]): string => parts.join("");
const UNFINISHED = new RegExp(
  `\\b(${word("TO", "DO")}|${word("FIX", "ME")}|${word("XX", "X")}|${word("HA", "CK")})\\b`,
);
const MACHINE_TALK = new RegExp(
  `\\b(${word("L", "LM")}s?|${word("A", "I")}|${word("language", " model")}s?|${word("chat", " ?bot")}s?|${word("sub", "-?agent")}s?)\\b`,
);
const AGENT = new RegExp(`\\b${word("ag", "ent")}s?\\b`, "i");
/** What makes the word mean the holder of SSH keys, or a program installed on a machine, which labctl is without. */
const KNOWN_AGENT =
  /ssh|\bkeys?\b|IdentityAgent|SSH_AUTH_SOCK|agentSocket|no agent|agent to update|agent: false|agent@?\.service|agent's|socket|forward/i;
const REGISTRY = new RegExp(
  word(
    "\\bregistry",
    "\\.[a-z]+\\.[a-z]+|\\bnpm",
    "js\\.(org|com)|\\bpypi",
    "\\.org|\\bproxy\\.golang",
    "\\.org|\\bcrates",
    "\\.io",
  ),
);
const OWN_PATH = new RegExp(
  `(^|[\\s"'\`(=:])(${word("/wo", "rk/")}|${word("/ro", "ot/")}|/home/[a-z]+/|/Users/[A-Za-z]+/)`,
);
const WORKSHOP = new RegExp(`(^|[\\s"'\`(=:])${word("/wo", "rk/")}`);
const PROSE = /^(?!package-lock\.json$|test\/tidy).*\.(ts|mjs|sh|md|ini|hbs|conf|service|yml|json|env)$/;

function judgeWords(line: string, f: ProjectFile): string | undefined {
  if (UNFINISHED.test(line.replace(/X{4,}/g, "")))
    return "an unfinished place; finish it, or open an issue and say its number";
  if (MACHINE_TALK.test(line)) return "a word that is not about this project; describe what the code does";
  if (AGENT.test(line) && !/\/ssh\//.test(f.path) && !KNOWN_AGENT.test(line))
    return "`agent` means the holder of SSH keys here; use another word";
  if (REGISTRY.test(line))
    return "names a package registry; leave that to the user's own npm and apt settings";
  // A machine under test has such paths of its own.
  const own = f.path.startsWith("test/") ? WORKSHOP : OWN_PATH;
  if (own.test(line)) return "a path of one developer's machine; use a relative path or a temporary folder";
  return undefined;
}

function judgeDocstring(
  line: string,
  _f: ProjectFile,
  lines: readonly string[],
  at: number,
): string | undefined {
  const name = /^export (?:default )?(?:async )?function\*? ?(\w+)/.exec(line)?.[1];
  if (name === undefined || /\*\/\s*$/.test(lines[at - 1] ?? "")) return undefined;
  return `\`${name}\` is exported and undescribed; say shapes, units, errors and effects in a /** comment */`;
}

function judgeTestSwitch(line: string): string | undefined {
  if (/\b(test|it|suite|describe|t)\.only\(|\bonly: true/.test(line))
    return "`only` leaves all other tests out; remove it";
  if (/\b(test|it|suite|describe)\.(skip|todo)\(/.test(line))
    return "skips for good; remove the test, or make it pass";
  if (/\bt\.(skip|todo)\((?!["'`]\S|\w)/.test(line) || /\bskip: true/.test(line))
    return "skips without saying why; give the reason as a string";
  return undefined;
}

/** All rules, in the order of CONTRIBUTING.md. */
export const RULES: readonly Rule[] = [
  {
    name: "imports point one way",
    check: checkImports,
    broken: [
      [file("src/build/a.ts", 'import { x } from "../push/plan.ts";')],
      [file("src/build/a.ts", 'import type { X } from "../push/plan.ts";')],
      [file("src/facts/a.ts", 'import {\n  x,\n  type Y,\n} from "../project/b.ts";')],
      [file("src/paths.ts", 'export * from "./units/b.ts";')],
      [file("src/push/a.ts", 'const a = await import("../cli/main.ts");')],
      [file("src/push/ssh/a.ts", 'import "../../twin/bed.ts";')],
      [file("bin/a.ts", 'import { x } from "../test/b.ts";')],
      [file("src/novel/a.ts", 'import { x } from "../paths.ts";')],
    ],
  },
  {
    name: "files stay small enough to be read at once",
    check: (files) =>
      files.flatMap((f) => {
        const most = mostLines(f.path);
        const lines = f.text.split("\n").length - 1;
        if (most === undefined || lines <= most) return [];
        return [`${f.path}: ${lines} lines, at most ${most}; split it where it does two things`];
      }),
    broken: [
      [file("src/a.ts", long(401))],
      [file("test/a.test.ts", long(601))],
      [file("src/push/remote/a.sh", long(401))],
    ],
  },
  {
    name: "file names say what a file owns",
    check: (files) =>
      files.flatMap(({ path }) => {
        const stem = path.split("/").at(-1)?.split(".")[0] ?? "";
        const empty = /^(utils?|helpers?|common|misc)$/i.test(stem) || /manager/i.test(stem);
        if (!/^(src|bin|test|bench)\//.test(path) || !/\.(m?ts|sh)$/.test(path)) return [];
        if (empty) return [`${path}: says nothing about what it owns; name it after that`];
        return /^[a-z0-9]+(-[a-z0-9]+)*$/.test(stem) ? [] : [`${path}: names are kebab-case; rename it`];
      }),
    broken: [
      [file("src/build/utils.ts", "")],
      [file("test/helpers.ts", "")],
      [file("src/push/connection-manager.ts", "")],
      [file("src/push/PushPlan.ts", "")],
    ],
  },
  {
    name: "text is about the project, finished, and true on any machine",
    check: (files) => eachLine(files, PROSE, judgeWords),
    broken: [
      [file("src/a.ts", `// ${word("TO", "DO")}: later`)],
      [file("docs/a.md", `written by an ${word("A", "I")}`)],
      [file("docs/a.md", `the ${word("ag", "ent")} decides`)],
      [file("test/a.ts", `"https://registry${""}.example.com/x"`)],
      [file("README.md", `cd ${word("/wo", "rk/")}main`)],
      [file("README.md", "cd /home/ada/lab")],
      [file("test/a.ts", `const root = "${word("/wo", "rk/")}main";`)],
    ],
  },
  {
    name: "no `any`, and no `!` without its reason",
    check: checkTypes,
    broken: [
      [file("src/a.ts", "const a: any = 1;")],
      [file("src/a.ts", "const a = b as any;")],
      [file("src/a.ts", "type A = Map<string, any>;")],
      [file("src/a.ts", "const a = list[0]!.name;")],
      [file("test/a.ts", "use(found!);")],
    ],
  },
  {
    name: "no test is switched off in silence, and none switches the others off",
    check: (files) => eachLine(files, /^test\/(?!tidy).*\.ts$/, judgeTestSwitch),
    broken: [
      [file("test/a.test.ts", 'test.only("x", f);')],
      [file("test/a.test.ts", 'test.skip("x", f);')],
      [file("test/a.test.ts", "t.skip();")],
      [file("test/a.test.ts", 'test("x", { skip: true }, f);')],
    ],
  },
  {
    name: "every source file opens with what it owns",
    check: (files) =>
      files.flatMap(({ path, text }) => {
        if (!/^(src|bin)\/.*\.(ts|mjs|sh)$/.test(path)) return [];
        const opens = path.endsWith(".sh") ? /^(#!.*\n)?# \S/ : /^(#!.*\n)?\/\*\*/;
        return opens.test(text) ? [] : [`${path}: begin with a comment: what it owns, what it must not know`];
      }),
    broken: [[file("src/a.ts", "export {};")], [file("src/push/remote/a.sh", "x=1\n")]],
  },
  {
    name: "every exported function says what it takes, gives and does",
    check: (files) => eachLine(files, SHIPPED, judgeDocstring),
    broken: [
      [file("src/a.ts", "\nexport function a(): void {}")],
      [file("src/a.ts", "// not this\nexport async function a(): Promise<void> {}")],
    ],
  },
  {
    name: "every layer tells how to live with it",
    check: (files) => {
      const layers = new Set(files.flatMap((f) => /^layers\/([^/]+)\//.exec(f.path)?.[1] ?? []));
      return [...layers].flatMap((layer) =>
        ["README.md", "layer.ini"]
          .filter((name) => !files.some((f) => f.path === `layers/${layer}/${name}`))
          .map(
            (name) => `layers/${layer} has no ${name}; say what it does, its ports, its state, its removal`,
          ),
      );
    },
    broken: [[file("layers/x/layer.ini", "")], [file("layers/x/README.md", "")]],
  },
  {
    name: "every command and every helper is documented",
    check: (files) => {
      const textOf = (path: string): string => files.find((f) => f.path === path)?.text ?? "";
      const commands = [...textOf("src/cli/commands.ts").matchAll(/^ {4}name: "([a-z-]+)",\n {4}args:/gm)];
      const table =
        /export function helperTable[\s\S]*?\n}\n/.exec(textOf("src/build/template/helper-table.ts"))?.[0] ??
        "";
      const helpers = [...table.matchAll(/^ {4}"?([A-Za-z][\w-]*)"?: (?:\(|one\()/gm)];
      const missing = (
        names: readonly RegExpMatchArray[],
        page: string,
        form: (name: string) => string,
      ): string[] =>
        names.flatMap(([, name = ""]) =>
          textOf(page).includes(form(name))
            ? []
            : [`${page} does not have \`${name}\`; add a row with an example`],
        );
      return [
        ...missing(commands, "README.md", (name) => `labctl ${name}`),
        ...missing(helpers, "docs/layers.md", (name) => `\`${name}\``),
      ];
    },
    broken: [
      [
        file("src/cli/commands.ts", '  {\n    name: "novel",\n    args: "",'),
        file("README.md", "labctl build"),
      ],
      [
        file(
          "src/build/template/helper-table.ts",
          "export function helperTable() {\n    novel: ([a]) => a,\n}\n",
        ),
        file("docs/layers.md", "`default`"),
      ],
    ],
  },
  {
    name: "the lock file names no host to download from",
    check: (files) =>
      eachLine(files, /^package-lock\.json$/, (line) =>
        /"resolved":/.test(line)
          ? "binds everyone to one registry; write the file with `npm install --omit-lockfile-registry-resolved`"
          : undefined,
      ),
    broken: [[file("package-lock.json", '      "resolved": "https://example.com/a.tgz",')]],
  },
  {
    name: "nothing that is made from sources is committed",
    check: (files) =>
      files.flatMap(({ path }) =>
        /^(dist|var|node_modules)\/|(^|\/)node_modules\/|\.tsbuildinfo$/.test(path)
          ? [`${path}: is generated; \`git rm --cached\` it and see .gitignore`]
          : [],
      ),
    broken: [
      [file("dist/labctl.cjs", "")],
      [file("var/tree/demo/manifest.json", "")],
      [file("node_modules/a/index.js", "")],
    ],
  },
];
