/** The INI reader and the suggestions: properties, and the few rules that a table shows best. */
import assert from "node:assert/strict";
import test from "node:test";
import fc from "fast-check";
import { parseIni, splitList } from "../../src/project/ini-file.ts";
import { nearest } from "../../src/suggestion.ts";

const RUNS = { seed: 20260731, numRuns: 500 };

test("what is written is read back with its line", () => {
  const key = fc.stringMatching(/^[A-Za-z*/][A-Za-z0-9./*_-]{0,10}$/);
  const value = fc.stringMatching(/^[A-Za-z0-9;#=,. -]{0,12}$/).map((v) => v.trim());
  const section = fc.tuple(
    fc.stringMatching(/^[a-z]{1,8}$/),
    fc.uniqueArray(fc.tuple(key, value), { selector: ([k]) => k, maxLength: 5 }),
  );
  const property = fc.property(
    fc.uniqueArray(section, { selector: ([n]) => n, maxLength: 4 }),
    (sections) => {
      const lines: string[] = [];
      for (const [name, settings] of sections) {
        lines.push("; note", `[${name}]`, ...settings.map(([k, v]) => `${k} = ${v}`));
      }
      const { ini, problems } = parseIni(lines.join("\r\n"), "f");
      assert.deepEqual(problems, []);
      assert.deepEqual(
        ini.sections.map((s) => [s.name, s.settings.map((x) => [x.key, x.value])]),
        sections,
      );
      for (const s of ini.sections)
        for (const x of s.settings) assert.ok(lines[(x.place.line ?? 0) - 1]?.startsWith(x.key));
    },
  );
  fc.assert(property, RUNS);
});

test("no text makes the reader throw", () => {
  const noise = fc.string({ unit: fc.constantFrom("[", "]", "=", " ", "\n", "a", ";", "\r"), maxLength: 40 });
  fc.assert(
    fc.property(noise, (text) => {
      parseIni(text, "f");
    }),
    RUNS,
  );
});

test("a list is separated by commas and blanks", () => {
  assert.deepEqual(splitList(" a, b  c,,d "), ["a", "b", "c", "d"]);
  assert.deepEqual(splitList("  "), []);
});

test("a suggestion is near: one slip in a short word, a swap counts as one, and nothing for another word", () => {
  assert.equal(nearest("prot", ["user", "port"]), "port");
  assert.equal(nearest("hosst", ["host"]), "host");
  assert.equal(nearest("layer", ["layers", "tags"]), "layers");
  assert.equal(nearest("zebra", ["host", "layers"]), undefined);
});
