/** Properties of the fact files' parsers: what was written is read back, and every fault has a place inside the text. */
import assert from "node:assert/strict";
import test from "node:test";
import fc from "fast-check";
import { parseEnv } from "../../src/facts/env-file.ts";
import { parseFactJson } from "../../src/facts/json-file.ts";
import { readJson } from "../../src/facts/json-reader.ts";

const RUNS = { seed: 20260731, numRuns: 500 };

const name = fc.stringMatching(/^[A-Za-z_][A-Za-z0-9_]{0,8}$/);
const value = fc.string({ unit: "binary", maxLength: 20 }).filter((v) => !/[\r\uFEFF]/.test(v));

function doubleQuoted(text: string): string {
  return `"${text.replace(/[\\"$]/g, "\\$&").replaceAll("\t", "\\t")}"`;
}

test("what is written in double quotes is read back, over several lines, too", () => {
  const property = fc.property(
    fc.uniqueArray(fc.tuple(name, value), { selector: ([n]) => n }),
    (settings) => {
      const text = settings
        .map(([n, v], i) => `${i % 2 ? "export " : " "}${n}=${doubleQuoted(v)} # note\n`)
        .join("");
      const read = parseEnv(text, "f");
      assert.deepEqual(read.problems, []);
      assert.deepEqual(
        read.settings.map((s) => [s.name, s.value]),
        settings,
      );
      const lines = text.split("\n");
      for (const s of read.settings)
        assert.ok(
          lines[(s.place.line ?? 0) - 1]?.startsWith(s.name, (s.place.column ?? 0) - 1),
          "the place is the name's",
        );
    },
  );
  fc.assert(property, RUNS);
});

test("single quotes are literal, and unquoted values end before a comment", () => {
  const { settings, problems } = parseEnv("A='$x \\n \"q\"'\nB= a#b c  # note\nC=\nD=#x\n", "f");
  assert.deepEqual(problems, []);
  assert.deepEqual(
    settings.map((s) => s.value),
    ['$x \\n "q"', "a#b c", "", ""],
  );
});

test("no text makes the env parser throw or lose its place", () => {
  const noise = fc.string({
    unit: fc.constantFrom("A", "=", '"', "'", "\\", "\n", "#", " ", "\r\n", "ü", "$"),
    maxLength: 40,
  });
  const property = fc.property(noise, (text) => {
    const lines = text.replaceAll("\r\n", "\n").split("\n");
    for (const { place } of parseEnv(text, "f").problems) {
      const line = lines[(place?.line ?? 0) - 1];
      assert.ok(line !== undefined && (place?.column ?? 0) >= 1 && (place?.column ?? 0) <= line.length + 1);
    }
  });
  fc.assert(property, RUNS);
});

test("the JSON reader accepts what JSON.parse accepts, with the same value", () => {
  const property = fc.property(fc.json(), fc.boolean(), (text, spread) => {
    const written = spread ? JSON.stringify(JSON.parse(text), null, "\t") : text;
    const read = readJson(written);
    assert.ok(read.ok);
    assert.deepEqual(read.value, JSON.parse(written));
  });
  fc.assert(property, RUNS);
});

test("the JSON reader refuses what JSON.parse refuses, at a place inside the text", () => {
  const damaged = fc
    .tuple(
      fc.json({ maxDepth: 2 }),
      fc.nat(),
      fc.constantFrom("", ",", "}", '"', "x", "\\", "\n", "1", "-", "."),
    )
    .map(([text, at, extra]) => text.slice(0, at % text.length) + extra + text.slice((at % text.length) + 1));
  const property = fc.property(damaged, (text) => {
    let parsed = true;
    try {
      JSON.parse(text);
    } catch {
      parsed = false;
    }
    const read = readJson(text);
    assert.equal(read.ok, parsed, text);
    if (!read.ok) assert.ok(read.offset >= 0 && read.offset <= text.length);
  });
  fc.assert(property, { ...RUNS, numRuns: 2000 });
});

test("names of a JSON fact file have line and column, also when one stands twice", () => {
  const { settings } = parseFactJson('{\n  "A": {"A": 1},\n "B": 2, "A": 3\n}', "f");
  assert.deepEqual(
    settings.map((s) => [s.name, s.place.line, s.place.column]),
    [
      ["A", 2, 3],
      ["B", 3, 2],
      ["A", 3, 10],
    ],
  );
});

test("values nested without end are refused instead of overflowing the stack", () => {
  const read = readJson("[".repeat(100_000));
  assert.ok(!read.ok && read.message.includes("nested"));
});
