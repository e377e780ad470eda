/** What editors leave beside files is no part of a tree; a dry run changes nothing, whatever stands in the tree's place. */
import assert from "node:assert/strict";
import { existsSync, lstatSync, mkdirSync, readdirSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { oneMachine, scenario } from "../scenario.ts";

test("editors' files, .git and .DS_Store stay out of the tree; names that only look alike do not", () => {
  const names = ["x", "x.swp", "a~b", ".hidden", "#x"];
  const leftovers = [".x.swp", ".x.swo", "x~", "#x#", ".#x", "4913", ".DS_Store", ".git/config"];
  const files = Object.fromEntries(
    [...names, ...leftovers].map((name) => [`layers/a/etc/${name}`, "text\n"]),
  );
  const s = scenario({ ...oneMachine("a"), ...files });
  try {
    assert.equal(s.run(["build"]).code, 0);
    assert.deepEqual(readdirSync(join(s.root, "var/tree/m/usr/local/etc")).sort(), [...names].sort());
    // They come and go while a file is edited, and no step follows from it.
    s.write({ "layers/a/etc/.y.swp": "swap" });
    assert.match(s.run(["build", "--explain"]).stderr, /m: nothing to do/);
    rmSync(join(s.root, "layers/a/etc/.y.swp"));
    assert.match(s.run(["build", "--explain"]).stderr, /m: nothing to do/);
  } finally {
    s.end();
  }
});

test("a dry run leaves alone what stands in the tree's place; control: a build replaces it", () => {
  const s = scenario({ ...oneMachine("a"), "layers/a/etc/x": "text\n" });
  try {
    assert.equal(s.run(["build"]).code, 0);
    const tree = join(s.root, "var/tree/m/usr/local");
    rmSync(tree, { recursive: true });
    mkdirSync(join(s.root, "elsewhere"));
    symlinkSync(join(s.root, "elsewhere"), tree);
    assert.equal(s.run(["build", "--dry-run"]).code, 2);
    assert.ok(lstatSync(tree).isSymbolicLink());
    assert.equal(s.run(["build"]).code, 0);
    assert.ok(existsSync(join(tree, "etc/x")) && !lstatSync(tree).isSymbolicLink());
    assert.deepEqual(readdirSync(join(s.root, "elsewhere")), []);
  } finally {
    s.end();
  }
});
