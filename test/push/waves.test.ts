/** How machines are cut into waves. */
import assert from "node:assert/strict";
import test from "node:test";
import { parseWaves, splitWaves } from "../../src/push/fleet/waves.ts";

test("what is no size is refused, also beside one that is", () => {
  for (const text of [
    "",
    "0",
    "-1",
    "1.5",
    "x",
    "1,,2",
    "0%",
    "101%",
    "50%%",
    "rest,1",
    "1,rest,2",
    "01",
    "1;2",
  ])
    assert.equal(parseWaves(text), undefined, text);
});

test("the last size counts for all that follow, `rest` takes all, a percentage is of all machines", () => {
  const cases: readonly (readonly [string, number, readonly number[]])[] = [
    ["2", 5, [2, 2, 1]],
    ["5", 5, [5]],
    ["9", 5, [5]],
    ["1,2", 6, [1, 2, 2, 1]],
    ["1, 5, rest", 20, [1, 5, 14]],
    ["rest", 3, [3]],
    ["1,rest", 1, [1]],
    ["25%", 8, [2, 2, 2, 2]],
    ["1,50%", 9, [1, 4, 4]],
    // Never nothing.
    ["1%", 3, [1, 1, 1]],
    ["100%", 3, [3]],
    ["3", 0, []],
  ];
  for (const [text, machines, wanted] of cases) {
    const items = Array.from({ length: machines }, (_, i) => i);
    const sizes = parseWaves(text);
    assert.ok(sizes, text);
    const waves = splitWaves(items, sizes);
    assert.deepEqual(
      waves.map((w) => w.length),
      wanted,
      text,
    );
    assert.deepEqual(waves.flat(), items, `${text}: each machine once, in order`);
  }
});
