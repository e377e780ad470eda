/** The set-up's list of Debian packages, against what the code asks for. Installs nothing. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { packagesNeeded } from "../../src/twin/host-support.ts";

const ROOT = join(import.meta.dirname, "../..");

function listed(use: string): string[] {
  return readFileSync(join(ROOT, "setup/packages.txt"), "utf8")
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => line.split(/ +/))
    .filter((columns) => columns[1] === use)
    .map((columns) => columns[0] ?? "");
}

test("the set-up installs every package without which machines can't boot", () => {
  assert.deepEqual(
    packagesNeeded().filter((name) => !listed("demo").includes(name)),
    [],
  );
});

test("every line of the list names a package, its use and a reason, in order", () => {
  const all = [...listed("demo"), ...listed("test")];
  const lines = readFileSync(join(ROOT, "setup/packages.txt"), "utf8").split("\n");
  assert.equal(all.length, lines.filter((line) => line !== "" && !line.startsWith("#")).length);
  for (const use of ["demo", "test"]) assert.deepEqual(listed(use), [...listed(use)].sort());
});

test("the set-up script and .ci/run are accepted by shellcheck", () => {
  const done = spawnSync("shellcheck", ["setup/setup.sh", ".ci/run"], { cwd: ROOT, encoding: "utf8" });
  assert.equal(done.status, 0, done.stdout + done.stderr);
});

test("a Node.js that is too old is refused with what to do, before anything is installed", () => {
  const script = 'node() { echo v18.20.4; }; set -- test; . "$0"';
  const done = spawnSync("sh", ["-c", script, join(ROOT, "setup/setup.sh")], { encoding: "utf8", cwd: ROOT });
  assert.equal(
    done.stderr,
    "error[node-old] Node.js is v18.20.4; labctl needs 20.19 or later\n" +
      "  help: https://nodejs.org/en/download has newer ones; Debian 13 has 20.19\n",
  );
  assert.equal(done.status, 1);
});

test("an unknown purpose is wrong usage", () => {
  const done = spawnSync("sh", [join(ROOT, "setup/setup.sh"), "party"], { encoding: "utf8" });
  assert.equal(done.stderr, "error[usage] setup.sh wants `demo` or `test`\n");
  assert.equal(done.status, 64);
});
