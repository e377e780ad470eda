/**
 * What Git and lab.ini say of the repository that is pushed from: its commit, and by what a machine tells it from other
 * repositories. Must not know what is done with either.
 */
import { spawn } from "node:child_process";
import type { AbsPath } from "../paths.ts";

/** The repository's commit and whether it differs from it; both undefined outside Git. */
export async function gitState(root: AbsPath): Promise<{ commit?: string; dirty?: boolean }> {
  const status = await outputOf(root, ["status", "--porcelain=v2", "--branch", "--untracked-files=normal"]);
  // Headers come first; a repository without a commit has `(initial)` there (git-status(1), "Branch Headers").
  const commit = /^# branch\.oid ([0-9a-f]{40,64})$/m.exec(status ?? "")?.[1];
  return commit === undefined ? {} : { commit, dirty: /^[^#]/m.test(status ?? "") };
}

/**
 * The same for every clone: the name that lab.ini gives, else the first commit. Undefined: there is neither, or only a
 * part of the history, as in a shallow clone. Why not the folder: docs/decisions/0016-repository-identity.md.
 */
export async function repositoryIdentity(
  root: AbsPath,
  givenName: string | undefined,
): Promise<string | undefined> {
  if (givenName !== undefined) return givenName;
  const [shallow, commits] = await Promise.all([
    outputOf(root, ["rev-parse", "--is-shallow-repository"]),
    outputOf(root, ["rev-list", "--max-parents=0", "HEAD"]),
  ]);
  // Unrelated histories that were joined have several; the oldest comes last.
  const first = commits?.trim().split("\n").at(-1);
  if (shallow?.trim() !== "false" || first === undefined || !/^[0-9a-f]{40,64}$/.test(first))
    return undefined;
  return `commit:${first.slice(0, 16)}`;
}

function outputOf(cwd: string, args: readonly string[]): Promise<string | undefined> {
  return new Promise((resolve) => {
    const child = spawn("git", ["--no-optional-locks", ...args], {
      cwd,
      stdio: ["ignore", "pipe", "ignore"],
    });
    let out = "";
    child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
      out += chunk;
    });
    child.on("error", () => resolve(undefined));
    child.on("close", (code) => resolve(code === 0 ? out : undefined));
  });
}
