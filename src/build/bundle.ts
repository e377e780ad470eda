/**
 * Bundles a layer's TypeScript program into one self-contained `.mjs` for the machine's own Node.js, by esbuild.
 * Owns esbuild's options, and the name `labctl/…` by which a program imports labctl's own modules (the arithmetic of
 * addresses, say): a relative path would lead nowhere from a copy of the built-in layers. Must not write files.
 */
import { existsSync, realpathSync } from "node:fs";
import { dirname, join, relative, sep } from "node:path";
import { type BuildFailure, type BuildResult, buildSync, type Metafile } from "esbuild";
import type { Result } from "../diagnostics.ts";
import { failure, problem, success } from "../diagnostics.ts";
import type { AbsPath } from "../paths.ts";
import { linksOnTheWay } from "./link-chain.ts";

export interface Bundled {
  readonly data: Uint8Array;
  /** Files it was made from besides the program itself, absolute, sorted. */
  readonly inputs: readonly string[];
  /** Links that imports went through, absolute, sorted. */
  readonly links: readonly string[];
}

export interface Bundler {
  bundle(source: { readonly file: AbsPath; readonly display: string }): Result<Bundled>;
}

/**
 * `root` is the repository: paths in the output are relative to it, so that the bytes are the same on any host. Refuses what
 * lies neither there nor with the built-in layers: another host would not have it.
 */
export function bundler(root: AbsPath, builtInLayers: AbsPath): Bundler {
  const help = "correct the program; its imports must resolve inside the repository, or begin with `labctl/`";
  const own = ownPackage();
  const homes = [root, builtInLayers, own.root, own.dependencies];
  return {
    bundle: (source) => {
      let result: BuildResult<{ write: false; metafile: true }>;
      try {
        result = buildSync({
          entryPoints: [source.file],
          bundle: true,
          write: false,
          metafile: true,
          absWorkingDir: root,
          alias: { labctl: join(own.root, "src") },
          platform: "node",
          format: "esm",
          // The oldest Node.js that a supported machine's distribution ships (Debian 12).
          target: "node18",
          charset: "utf8",
          legalComments: "inline",
          logLevel: "silent",
          tsconfigRaw: {},
        });
      } catch (error) {
        const messages = (error as BuildFailure).errors ?? [];
        const problems = messages.map((m) =>
          problem("program-broken", m.text, {
            place: m.location
              ? {
                  file: relative(root, join(root, m.location.file)),
                  line: m.location.line,
                  column: m.location.column + 1,
                }
              : { file: source.display },
            help,
          }),
        );
        return failure(
          ...(problems.length > 0
            ? problems
            : [problem("program-broken", (error as Error).message, { place: { file: source.display } })]),
        );
      }
      const inputs = Object.keys(result.metafile.inputs)
        .map((file) => join(root, file))
        .filter((file) => file !== source.file)
        .sort();
      const strange = [source.file, ...inputs].find((file) => !homes.some((home) => isBelow(file, home)));
      if (strange !== undefined) {
        const place = { file: source.display };
        return failure(
          problem("program-broken", "imports a file outside the repository", {
            place,
            notes: [strange],
            help,
          }),
        );
      }
      const links = linksFollowed(result.metafile, root);
      const text = result.outputFiles[0]?.text ?? "";
      const elsewhere = [source.file, ...inputs].filter((file) => !isBelow(file, root));
      const names = new Map(
        elsewhere.map((file) => [
          `// ${relative(root, file)}`,
          `// ${nameOf(file, builtInLayers, own.root)}`,
        ]),
      );
      return success({ data: Buffer.from(renamed(text, names)), inputs, links });
    },
  };
}

/** Where labctl itself is: beside `dist/` when bundled, two folders up in the source; and where npm put what it needs. */
function ownPackage(): { readonly root: string; readonly dependencies: string } {
  const here = typeof __dirname === "string" ? dirname(__dirname) : join(import.meta.dirname, "../..");
  const root = realpathSync(here);
  // A package's dependencies may lie beside it, or further up: npm lifts them, pnpm keeps them in a store.
  const at = `${root}${sep}`.indexOf(`${sep}node_modules${sep}`);
  const dependencies = join(at < 0 ? root : root.slice(0, at), "node_modules");
  return { root, dependencies: existsSync(dependencies) ? realpathSync(dependencies) : dependencies };
}

function isBelow(file: string, folder: string): boolean {
  return file.startsWith(`${folder}${sep}`);
}

/** A file's name in comments of the bundle, the same wherever labctl is installed. */
function nameOf(file: string, builtInLayers: string, packageRoot: string): string {
  const dependency = file.lastIndexOf(`${sep}node_modules${sep}`);
  if (isBelow(file, builtInLayers)) return join("labctl/layers", relative(builtInLayers, file));
  if (isBelow(file, join(packageRoot, "src"))) return join("labctl", relative(packageRoot, file));
  return dependency < 0 ? file : join("labctl", file.slice(dependency + 1));
}

/** esbuild writes above each module where it lies, seen from the repository; there is no option against that. */
function renamed(text: string, names: ReadonlyMap<string, string>): string {
  if (names.size === 0) return text;
  return text
    .split("\n")
    .map((line) => names.get(line) ?? line)
    .join("\n");
}

/** What esbuild may add to an import's path. */
const ENDINGS = ["", ".ts", ".js", ".json", "/index.ts", "/index.js"];

/** esbuild names files by their real paths, so the links that led to them show only in the imports as they are written. */
function linksFollowed({ inputs }: Metafile, root: AbsPath): string[] {
  const out = new Set<string>();
  for (const [file, { imports }] of Object.entries(inputs)) {
    for (const { original } of imports) {
      if (!original || !/^\.{0,2}\//.test(original)) continue;
      const path = original.startsWith("/") ? original : join(dirname(join(root, file)), original);
      for (const ending of ENDINGS) for (const link of linksOnTheWay(path + ending)) out.add(link);
    }
  }
  return [...out].sort();
}
