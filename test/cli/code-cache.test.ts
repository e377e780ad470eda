/** What V8 compiled is kept between runs, and whatever is wrong with it changes nothing that a run does. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, readdirSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { temporaryFolder, writeFiles } from "../temporary-repository.ts";

const ROOT = join(import.meta.dirname, "../..");

test("a kept program that is damaged, cut short, or writable by others is not run", (t) => {
  const home = temporaryFolder("code-cache");
  t.after(() => rmSync(home, { recursive: true, force: true }));
  assert.equal(spawnSync(process.execPath, [join(ROOT, "src/bundle.mjs")]).status, 0);
  writeFiles(home, { "repository/lab.ini": "[lab]\nname = x\n" });
  const run = (): string => {
    const done = spawnSync(process.execPath, [join(ROOT, "dist/labctl.cjs"), "why", "nobody", "etc/x"], {
      cwd: join(home, "repository"),
      env: { PATH: process.env.PATH, HOME: home },
      encoding: "utf8",
    });
    return `${done.status} ${done.stdout}${done.stderr}`;
  };
  const first = run();
  assert.match(first, /^1 error\[no-machines\]/);
  const root = join(home, ".cache/labctl/code");
  const [build = ""] = readdirSync(root);
  const file = join(root, build, "cli-why.cjs.v8");
  assert.ok(existsSync(file), "control: it is kept");
  assert.equal(statSync(join(root, build)).mode & 0o777, 0o700);
  assert.equal(run(), first);
  for (const damage of [
    () => writeFileSync(file, "nonsense"),
    () => truncateSync(file, 1000),
    () => truncateSync(file, 0),
  ]) {
    damage();
    assert.equal(run(), first);
    assert.ok(statSync(file).size > 5000, "it was made anew");
  }
  chmodSync(join(root, build), 0o777);
  writeFileSync(file, "nonsense");
  assert.equal(run(), first);
  assert.equal(statSync(file).size, 8, "a folder that others can write to is left alone");
});
