/** The line diff: its hunks, applied to the old text, give the new one; tables for their form. */
import assert from "node:assert/strict";
import test from "node:test";
import { diffHunks, type Hunk, hunkHeader } from "../../src/push/diff/line-diff.ts";
import { seededRandom } from "../seeded-random.ts";

/** Applies hunks as patch(1) does, and checks the line numbers on the way. */
function applyHunks(before: string, hunks: readonly Hunk[]): string {
  const old = before.match(/[^\n]*\n|[^\n]+$/g) ?? [];
  const out: string[] = [];
  let at = 0;
  for (const h of hunks) {
    const start = h.oldCount === 0 ? h.oldStart : h.oldStart - 1;
    out.push(...old.slice(at, start));
    at = start;
    assert.equal(out.length, h.newCount === 0 ? h.newStart : h.newStart - 1, hunkHeader(h));
    for (const { kind, text, unended } of h.lines) {
      const line = unended ? text : `${text}\n`;
      if (kind !== "+") assert.equal(old[at++], line);
      if (kind !== "-") out.push(line);
    }
  }
  return [...out, ...old.slice(at)].join("");
}

function shown(before: string, after: string): string {
  return diffHunks(before, after)
    .flatMap((h) => [hunkHeader(h), ...h.lines.map((l) => `${l.kind}${l.text}${l.unended ? "¬" : ""}`)])
    .join("|");
}

test("hunks have diff(1)'s form", () => {
  const ten = Array.from({ length: 10 }, (_, i) => `${i}\n`).join("");
  const rows: [string, string, string][] = [
    ["a\n", "a\n", ""],
    ["", "a\n", "@@ -0,0 +1 @@|+a"],
    ["a\n", "", "@@ -1 +0,0 @@|-a"],
    ["a\n", "b\n", "@@ -1 +1 @@|-a|+b"],
    ["a", "a\n", "@@ -1 +1 @@|-a¬|+a"],
    ["a\nb\nc\n", "a\nc\n", "@@ -1,3 +1,2 @@| a|-b| c"],
    [ten, ten.replace("5", "x"), "@@ -3,7 +3,7 @@| 2| 3| 4|-5|+x| 6| 7| 8"],
    [ten, `${ten}x\n`, "@@ -8,3 +8,4 @@| 7| 8| 9|+x"],
    [
      ten,
      ten.replace("0\n", "").replace("9\n", ""),
      "@@ -1,4 +1,3 @@|-0| 1| 2| 3|@@ -7,4 +6,3 @@| 6| 7| 8|-9",
    ],
    ["\n\n", "\n", "@@ -1,2 +1 @@| |-"],
  ];
  for (const [before, after, expected] of rows) assert.equal(shown(before, after), expected);
});

test("whatever the texts are, the hunks lead from one to the other", (t) => {
  const seed = 20260611;
  t.diagnostic(`seed ${seed}`);
  const random = seededRandom(seed);
  for (let round = 0; round < 1000; round++) {
    const words = 1 + random.below(20);
    const text = (): string =>
      Array.from({ length: random.below(40) }, () => `l${random.below(words)}`).join("\n") +
      (random.below(3) > 0 ? "\n" : "");
    const before = text();
    const lines = before.split("\n");
    for (let i = random.below(6); i > 0; i--)
      lines.splice(random.below(lines.length + 1), random.below(3), `n${random.below(4)}`);
    const after = random.below(2) > 0 ? lines.join("\n") : text();
    assert.equal(applyHunks(before, diffHunks(before, after)), after);
  }
});

test("a move of a block leaves the rest alone", () => {
  const block = (name: string): string => Array.from({ length: 5 }, (_, i) => `${name}${i}\n`).join("");
  const hunks = diffHunks(block("a") + block("b") + block("c"), block("b") + block("a") + block("c"));
  const changed = hunks.flatMap((h) => h.lines).filter((l) => l.kind !== " ");
  assert.equal(changed.length, 10);
});

test("texts that have nothing in common take no time and no memory", () => {
  const text = (word: string): string =>
    Array.from({ length: 20_000 }, (_, i) => `${word}${i % 7}\n`).join("");
  const startedAt = performance.now();
  const [before, after] = [text("a"), text("b")];
  assert.equal(applyHunks(before, diffHunks(before, after)), after);
  assert.ok(performance.now() - startedAt < 5000);
});
