/** The quick comparer says what the documented function says, of every kind of path, and sees every change. */
import assert from "node:assert/strict";
import { chmodSync, linkSync, lstatSync, rmSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { type LooksAs, looksAs, quickLooksAs } from "../../src/build/raw-look.ts";
import { temporaryFolder } from "../temporary-repository.ts";

function numbersOf(path: string): Float64Array {
  const stats = lstatSync(path, { throwIfNoEntry: false });
  if (!stats) return Float64Array.of(-1, 0, 0, 0, 0);
  return Float64Array.of(stats.size, stats.mtimeMs, stats.ctimeMs, stats.ino, stats.mode);
}

/** Runs with the comparer that the system's Node.js gives; a Node.js without one makes the test say so. */
function withFiles(run: (folder: string, quick: LooksAs) => void): void {
  const folder = temporaryFolder("raw-look");
  try {
    writeFileSync(join(folder, "file"), "text");
    const quick = quickLooksAs(join(folder, "file"));
    assert.notEqual(quick, looksAs, "this Node.js has no bare lstat, and builds take longer");
    run(folder, quick);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

test("without a file to try it on, the documented function is used", () => {
  assert.equal(quickLooksAs("/nowhere/at-all"), looksAs);
});

test("where asking for the bare function would print a warning, the documented one is used", () => {
  for (const [name, value] of [
    ["NODE_PENDING_DEPRECATION", "1"],
    ["NODE_OPTIONS", "--enable-source-maps --pending-deprecation"],
  ] as const) {
    const before = process.env[name];
    process.env[name] = value;
    try {
      assert.equal(quickLooksAs(import.meta.filename), looksAs, name);
    } finally {
      if (before === undefined) delete process.env[name];
      else process.env[name] = before;
    }
  }
});

test("every kind of path looks as lstat says, and each of the five numbers counts", () => {
  withFiles((folder, quick) => {
    symlinkSync("file", join(folder, "link"));
    symlinkSync("nowhere", join(folder, "dangling"));
    symlinkSync("circle", join(folder, "circle"));
    const there = ["file", "link", "dangling", "circle", "."].map((name) => join(folder, name));
    const absent = ["none", "file/below", "circle/below", "x".repeat(300)].map((name) => join(folder, name));
    for (const path of [...there, ...absent, "/dev/null"]) {
      const numbers = numbersOf(absent.includes(path) ? join(folder, "none") : path);
      for (const same of [quick, looksAs]) {
        assert.equal(same(path, numbers, 0), true, path);
        assert.equal(same(path, Float64Array.of(7, ...numbers), 1), true, path);
        for (let i = 0; i < (absent.includes(path) ? 1 : numbers.length); i++) {
          const other = numbers.slice();
          other[i] = Number.NaN;
          assert.equal(same(path, other, 0), false, `${path}: number ${i}`);
        }
      }
    }
  });
});

test("an edit of the same size, a change of mode, a new hard link and a set time are seen", () => {
  withFiles((folder, quick) => {
    const file = join(folder, "file");
    for (const edit of [
      () => writeFileSync(file, "TEXT"),
      () => chmodSync(file, 0o600),
      () => linkSync(file, join(folder, "other")),
      () => utimesSync(file, 1, 1),
      () => rmSync(file),
    ]) {
      const before = numbersOf(file);
      assert.equal(quick(file, before, 0), true);
      // Longer than a tick of the clock that stamps files.
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 15);
      edit();
      assert.equal(quick(file, before, 0), false, String(edit));
    }
  });
});
