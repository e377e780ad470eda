/** Which generation a rollback means, and where its contents lie: tables. */
import assert from "node:assert/strict";
import test from "node:test";
import type { Manifest, ManifestEntry } from "../../src/build/manifest.ts";
import type { GenerationId } from "../../src/paths.ts";
import type { Generation } from "../../src/push/generations.ts";
import { chooseTarget, findContents } from "../../src/push/rollback-target.ts";
import { dir, file, link, manifestOf } from "./manifest-of.ts";

/** `1a 2b 3a<1`: number, tree, and what it brought back. */
function generations(text: string): Generation[] {
  return text
    .split(" ")
    .filter(Boolean)
    .map((word) => {
      const [, number = "", id = "", back] = /^(\d+)([a-z])(?:<(\d+))?$/.exec(word) ?? [];
      return {
        number: Number(number),
        id: id as GenerationId,
        time: 0,
        by: "",
        commit: undefined,
        dirty: false,
        repository: undefined,
        message: undefined,
        confirmed: "",
        rollbackTo: back === undefined ? undefined : Number(back),
        files: 0,
        units: undefined,
        drifted: new Set<string>(),
      };
    });
}

test("the previous generation is the newest before with another tree; after a rollback, before what it brought back", () => {
  const rows: [string, number | undefined, number | undefined][] = [
    ["", undefined, undefined],
    ["1a", undefined, undefined],
    ["1a", 1, undefined],
    ["1a 2b", undefined, 1],
    ["1a 2b", 1, 1],
    ["1a 2b", 2, undefined],
    ["1a 2b", 3, undefined],
    ["1a 2b 3b", undefined, 1],
    ["1a 2a", undefined, undefined],
    ["1a 2b 3c 4b<2", undefined, 1],
    ["1a 2b 3c 4b<2 5a<1", undefined, undefined],
    ["1a 2b 3a<1", undefined, undefined],
    ["1a 2b 3a<1", 2, 2],
    ["1a 2b 3a<1 4d", undefined, 3],
    ["5a 6b 9c", undefined, 6],
    ["5a 6b 9c", 4, undefined],
  ];
  for (const [list, wanted, expected] of rows)
    assert.equal(
      chooseTarget(generations(list), wanted)?.number,
      expected,
      `${list} to ${wanted ?? "previous"}`,
    );
});

test("each content lies with the first later generation that replaced it, else it is live", () => {
  const trees: Record<number, readonly ManifestEntry[]> = {
    1: [file("same", "1"), file("edit", "1"), file("gone", "1"), link("l", "a"), dir("d"), file("mode", "1")],
    2: [
      file("same", "1"),
      file("edit", "2"),
      file("gone", "1"),
      link("l", "a"),
      file("mode", "1", { mode: 0o600 }),
    ],
    3: [file("same", "1"), file("edit", "1"), link("l", "b"), file("mode", "1"), file("new", "1")],
    4: [file("same", "1"), file("edit", "1"), file("l", "1"), file("mode", "1")],
  };
  const manifest = (n: number): Manifest | undefined => trees[n] && manifestOf(trees[n]);
  const found = (target: number, current: number) =>
    Object.fromEntries(findContents(target, current, manifest));
  assert.deepEqual(found(1, 4), { edit: 2, gone: 3, l: 3 });
  assert.deepEqual(found(2, 4), { edit: 3, gone: 3, l: 3 });
  assert.deepEqual(found(3, 4), { l: 4, new: 4 });
  assert.deepEqual(found(4, 4), {});
});

test("a path that went and came back is taken from where it was replaced first", () => {
  const trees: Record<number, readonly ManifestEntry[]> = {
    1: [file("x", "1")],
    2: [],
    3: [file("x", "1")],
    4: [file("x", "2")],
  };
  const manifest = (n: number): Manifest | undefined => trees[n] && manifestOf(trees[n]);
  assert.deepEqual(Object.fromEntries(findContents(1, 4, manifest)), { x: 2 });
  assert.deepEqual(Object.fromEntries(findContents(3, 4, manifest)), { x: 4 });
});
