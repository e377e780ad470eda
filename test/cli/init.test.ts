/** `labctl init`: a repository that builds and has no findings; refusals that leave everything as it was. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { type Answer, type Scenario, scenario } from "../scenario.ts";
import type { Files } from "../temporary-repository.ts";

function inFolder(files: Files, check: (s: Scenario) => void): void {
  const s = scenario(files, true);
  try {
    check(s);
  } finally {
    s.end();
  }
}

function refused(files: Files, args: readonly string[], said: RegExp, code = 1): void {
  inFolder(files, (s) => {
    const before = readdirSync(s.root, { recursive: true, encoding: "utf8" }).sort();
    const done: Answer = s.run(["init", ...args]);
    assert.equal(done.code, code, done.stderr);
    assert.match(done.stderr, said);
    assert.match(done.stderr, /\n {2}help: /);
    assert.deepEqual(readdirSync(s.root, { recursive: true, encoding: "utf8" }).sort(), before);
  });
}

test("a repository that is there already, and a folder inside one, are refused", () => {
  refused({ "lab.ini": "[lab]\n" }, [], /^error\[exists\] .* is a repository already/);
  refused({ "lab.ini": "[lab]\n", "a/b": "" }, ["a"], /^error\[exists\] .* lies in a repository: /);
});

test("files in the way, a file for a folder, names that can't be: refused, and nothing is written", () => {
  refused({ "facts/all.env": "A=1\n" }, [], /nothing was written\n {2}facts\/all\.env\n/);
  refused({ x: "" }, ["x/y"], /^error\[exists\] .*\/x is no folder/);
  refused({ layers: "a file" }, [], /nothing was written\n {2}layers\n/);
  refused({ ".gitignore/x": "" }, [], /nothing was written\n {2}\.gitignore\n/);
  refused({}, [`a/${"x".repeat(300)}`], /^error\[init-write\] can't write below .*ENAMETOOLONG/);
  refused({}, ["/proc/x"], /^error\[init-write\] can't write below \/proc\/x: /);
  refused(
    {},
    ["--machine", "../x"],
    /^error\[usage\] --machine: `\.\.\/x` can't be the name of a machine/,
    64,
  );
  refused({}, ["--host", "-oProxyCommand=x"], /argument is ambiguous|is no host name/, 64);
  refused({}, ["--host=-oProxyCommand=x"], /^error\[usage\] --host: `-oProxyCommand=x` is no host name/, 64);
  refused({}, ["--host=a\nb"], /is no host name/, 64);
});

test("a link that leads nowhere is no folder to begin in", () => {
  inFolder({}, (s) => {
    symlinkSync("/nowhere/at/all", join(s.root, "link"));
    const done = s.run(["init", "link"]);
    assert.equal(done.code, 1);
    assert.match(done.stderr, /^error\[exists\] .*\/link is no folder\n/);
  });
});

test("what is printed to be typed next can be typed, whatever the folder is called", () => {
  inFolder({}, (s) => assert.match(s.run(["init", "my lab"]).stderr, /\n {2}cd 'my lab'\n/));
});

test("what it writes builds, has no findings, and builds the same from another folder", () => {
  inFolder({ "README.md": "mine\n", ".gitignore": "*.log" }, (s) => {
    const done = s.run(["init", "--machine", "hut", "--host", "hut.example"]);
    assert.equal(done.code, 0, done.stderr);
    assert.match(done.stderr, /^wrote 7 files in /);
    assert.equal(readFileSync(join(s.root, ".gitignore"), "utf8"), "*.log\n/var/\n");
    assert.equal(readFileSync(join(s.root, "README.md"), "utf8"), "mine\n");
    assert.equal(s.run(["build"]).code, 0);
    const page = readFileSync(join(s.root, "var/tree/hut/usr/local/opt/nginx/www/notes/index.html"), "utf8");
    assert.match(page, /<h1>What hut knows<\/h1>\n<p>Served by hut\.<\/p>/);
    const verified = s.run(["verify"]);
    assert.equal(verified.code, 0, verified.stdout + verified.stderr);
    assert.equal(s.run(["init"]).code, 1);
  });
});

test("--dry-run names the files, and writes none", () => {
  inFolder({}, (s) => {
    const done = s.run(["init", "new/place", "--dry-run", "--json"]);
    assert.equal(done.code, 2);
    const { files, machine, host, repository } = JSON.parse(done.stdout);
    assert.deepEqual({ machine, host, repository }, { machine: "den", host: "den.lan", repository: "place" });
    assert.equal(files.length, 7);
    assert.equal(existsSync(join(s.root, "new")), false);
  });
});
