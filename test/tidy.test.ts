/** Holds the repository to the rules that a program can check, and each rule to being able to fail. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { type ProjectFile, RULES } from "./tidy-rules.ts";

const root = join(import.meta.dirname, "..");

/** Tracked files, and new ones that Git does not ignore; links and files that are gone have no text. */
function projectFiles(): ProjectFile[] {
  const listed = execFileSync("git", ["ls-files", "-z", "--cached", "--others", "--exclude-standard"], {
    cwd: root,
    encoding: "utf8",
  });
  return [...new Set(listed.split("\0").filter((path) => path !== ""))].map((path) => ({
    path,
    text: textOf(path),
  }));
}

function textOf(path: string): string {
  try {
    return readFileSync(join(root, path), "utf8");
  } catch {
    return "";
  }
}

const files = projectFiles();

test("the files of this project were found", () => {
  for (const path of ["src/paths.ts", "bin/labctl.ts", "package-lock.json", "layers/base/layer.ini"]) {
    assert.ok(
      files.some((f) => f.path === path && f.text !== ""),
      `${path} is missing`,
    );
  }
});

for (const rule of RULES) {
  test(rule.name, () => {
    assert.deepEqual(rule.check(files), []);
  });

  test(`the rule can fail: ${rule.name}`, () => {
    for (const broken of rule.broken) {
      assert.equal(rule.check(broken).length, 1, `no complaint about ${JSON.stringify(broken)}`);
    }
  });
}

const harmless: readonly ProjectFile[] = [
  {
    path: "src/facts/a.ts",
    text: '/** Owns a. */\nimport type { X } from "../project/project.ts";\nif (a !== b && !c) d();',
  },
  {
    path: "src/build/a.ts",
    text: '/** Owns a. */\n// Checked above.\nconst a = list[0]!;\nconst say = "any: any!";',
  },
  { path: "src/push/ssh/agent.ts", text: "/** What an ssh-agent holds. */" },
  { path: "test/a.test.ts", text: 't.skip("no systemd-escape here");\ntest("x", { skip }, f);' },
];

test("what the rules allow is not complained about", () => {
  for (const rule of RULES) assert.deepEqual(rule.check(harmless), []);
});
