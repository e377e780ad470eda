/**
 * Scenario tests: a literal repository, the real bundled program, its whole answer. Bundles the program once if a
 * source is newer than it. Knows nothing of any command.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { type Files, temporaryFolder, writeFiles } from "./temporary-repository.ts";

export const PACKAGE_ROOT = join(import.meta.dirname, "..");
export const PROGRAM = join(PACKAGE_ROOT, "dist/labctl.cjs");

export interface Answer {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Scenario {
  readonly root: string;
  write(files: Files): void;
  /** Runs in the repository, with no variable of the caller's environment but PATH; `input` is its standard input. */
  run(args: readonly string[], env?: Readonly<Record<string, string>>, input?: string): Answer;
  end(): void;
}

let bundled = false;

/** A temporary repository; `lab.ini` is added unless `files` has one, or says so by `noRoot`. */
export function scenario(files: Files, noRoot = false): Scenario {
  if (!bundled) {
    bundleIfStale();
    bundled = true;
  }
  const root = temporaryFolder("scenario", true);
  if (!noRoot) writeFiles(root, { "lab.ini": "[lab]\n" });
  writeFiles(root, files);
  return {
    root,
    write: (more) => writeFiles(root, more),
    run: (args, env = {}, input = "") => {
      const done = spawnSync(process.execPath, [PROGRAM, ...args], {
        cwd: root,
        env: { PATH: process.env.PATH, ...env },
        encoding: "utf8",
        input,
      });
      return {
        code: done.status,
        stdout: withoutChance(done.stdout, root),
        stderr: withoutChance(done.stderr, root),
      };
    },
    end: () => rmSync(root, { recursive: true, force: true }),
  };
}

/** Runs one command on one repository. */
export function answer(
  files: Files,
  args: readonly string[],
  env?: Readonly<Record<string, string>>,
): Answer {
  const s = scenario(files);
  try {
    return s.run(args, env);
  } finally {
    s.end();
  }
}

/** A repository with one machine `m` of these layers, and nothing in its `base`. */
export function oneMachine(layers: string, more = ""): Files {
  return {
    "machines/m/machine.ini": `[machine]\nlayers = ${layers}\n${more}`,
    "layers/base/layer.ini": "[layer]\n",
  };
}

/** The command must fail with exactly this on stderr, nothing on stdout, and leave no tree. */
export function refuses(files: Files, stderr: string, args: readonly string[] = ["build"], code = 1): void {
  const s = scenario(files);
  try {
    assert.deepEqual(s.run(args), { code, stdout: "", stderr });
    const trees = join(s.root, "var/tree");
    const left = existsSync(trees) ? readdirSync(trees, { recursive: true }).map(String) : [];
    assert.deepEqual(
      left.filter((path) => !/^(\.new|[^/]+(\/usr(\/local)?)?)$/.test(path)),
      [],
      "a refused build wrote something",
    );
  } finally {
    s.end();
  }
}

/** Takes out what differs from run to run: the temporary folder and times. Pure. */
function withoutChance(text: string, root: string): string {
  return text
    .replaceAll(root, "<repo>")
    .replace(/\d+(\.\d+)? (ms|s)\b/g, "<ms>")
    .trimEnd();
}

function bundleIfStale(): void {
  const builtAt = existsSync(PROGRAM) ? statSync(PROGRAM).mtimeMs : 0;
  if (builtAt > Math.max(newest(join(PACKAGE_ROOT, "src")), newest(join(PACKAGE_ROOT, "bin")))) return;
  const done = spawnSync(process.execPath, [join(PACKAGE_ROOT, "src/bundle.mjs")], { encoding: "utf8" });
  if (done.status !== 0) throw new Error(`the program can't be bundled: ${done.stderr}`);
}

function newest(folder: string): number {
  return Math.max(
    statSync(folder).mtimeMs,
    ...readdirSync(folder, { withFileTypes: true }).map((item) =>
      item.isDirectory() ? newest(join(folder, item.name)) : statSync(join(folder, item.name)).mtimeMs,
    ),
  );
}
