/** What a pusher remembers of machines is checked before it is believed, and mended when it is written again. */
import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { blake3 } from "../../src/hash.ts";
import type { AbsPath, FileHash, GenerationId } from "../../src/paths.ts";
import { knownTrees } from "../../src/push/known-trees.ts";
import { temporaryFolder } from "../temporary-repository.ts";

test("damage is not believed, and the next push writes it anew; what is there already is not written again", async () => {
  const cache = temporaryFolder("known") as AbsPath;
  const b3 = await blake3();
  try {
    const folder = join(cache, "known");
    const text = "[Service]\nExecStart=true\n";
    const hash = b3.hash(text) as string as FileHash;
    const id = b3.hash("a tree") as string as GenerationId;
    mkdirSync(folder);
    writeFileSync(join(folder, hash), "damaged");
    writeFileSync(join(folder, "seen-den"), "damaged");
    assert.equal(knownTrees(cache, b3).text(hash), undefined);
    assert.equal(knownTrees(cache, b3).lastSeen("den"), undefined);
    const known = knownTrees(cache, b3);
    known.rememberText(text);
    known.rememberSeen("den", id);
    assert.equal(knownTrees(cache, b3).text(hash), text);
    assert.equal(knownTrees(cache, b3).lastSeen("den"), id);
    const inodes = (): number[] => readdirSync(folder).map((name) => statSync(join(folder, name)).ino);
    const before = inodes();
    known.rememberText(text);
    known.rememberSeen("den", id);
    knownTrees(cache, b3).rememberText(text);
    assert.deepEqual(inodes(), before);
    known.rememberSeen("den", b3.hash("another") as string as GenerationId);
    assert.notDeepEqual(inodes(), before, "control: what is new is written");
    assert.equal(readFileSync(join(folder, hash), "utf8"), text);
  } finally {
    rmSync(cache, { recursive: true });
  }
});

test("a look that can't be taken back stops nobody", async () => {
  const cache = temporaryFolder("known") as AbsPath;
  const b3 = await blake3();
  try {
    const known = knownTrees(cache, b3);
    known.rememberLook("den", undefined);
    known.rememberLook("den", "{}");
    assert.equal(known.look("den"), "{}");
    known.rememberLook("den", undefined);
    assert.equal(known.look("den"), undefined);
    mkdirSync(join(cache, "known/look-den/x"), { recursive: true });
    assert.equal(known.look("den"), undefined);
    known.rememberLook("den", "{}");
    known.rememberLook("den", undefined);
    // Of root, who may write everywhere, only this is refused everything.
    rmSync(join(cache, "known"), { recursive: true });
    writeFileSync(join(cache, "known"), "");
    known.rememberLook("den", "{}");
    known.rememberLook("den", undefined);
  } finally {
    rmSync(cache, { recursive: true });
  }
});
