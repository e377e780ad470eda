/** Properties of the build's pure parts: manifest text, byte order, globs, and the overlay's independence of listing order. */
import assert from "node:assert/strict";
import test from "node:test";
import fc from "fast-check";
import { globToRegExp } from "../../src/build/attributes.ts";
import { type Manifest, type ManifestEntry, manifestText, parseManifest } from "../../src/build/manifest.ts";
import { overlay } from "../../src/build/overlay.ts";
import type { SourceTree } from "../../src/build/source.ts";
import {
  type AbsPath,
  compareBytes,
  type FileHash,
  type LayerName,
  type MachineName,
  pathFault,
  type RelPath,
} from "../../src/paths.ts";
import type { Machine } from "../../src/project/project.ts";

const RUNS = { seed: 20260731, numRuns: 500 };
const anyText = fc.string({ unit: "binary", maxLength: 12 });
const path = fc
  .array(fc.string({ unit: "grapheme", minLength: 1, maxLength: 6 }), { minLength: 1, maxLength: 3 })
  .map((parts) => parts.join("/"))
  .filter((p) => pathFault(p) === undefined) as fc.Arbitrary<RelPath>;

const entry: fc.Arbitrary<ManifestEntry> = fc
  .record({
    path,
    mode: fc.integer({ min: 0, max: 0o7777 }),
    owner: anyText,
    group: anyText,
    origin: fc.record({
      layer: fc.constant("a" as LayerName),
      source: anyText,
      template: fc.boolean(),
      facts: fc.dictionary(
        fc.stringMatching(/^[A-Za-z][A-Za-z.]{0,6}$/),
        fc.option(fc.stringMatching(/^[0-9a-f]{16}$/)),
        { noNullPrototype: true },
      ),
    }),
  })
  .chain((base) =>
    fc.oneof(
      fc.constant({ ...base, type: "dir" as const }),
      anyText.map((target) => ({ ...base, type: "link" as const, target })),
      fc
        .tuple(fc.nat(), fc.stringMatching(/^[0-9a-f]{64}$/))
        .map(([sizeBytes, h]) => ({ ...base, type: "file" as const, sizeBytes, hash: h as FileHash })),
    ),
  );

const manifest: fc.Arbitrary<Manifest> = fc.record({
  version: fc.constant(1 as const),
  machine: fc.constant("m" as MachineName),
  layers: fc.array(fc.constantFrom("a", "b") as fc.Arbitrary<LayerName>),
  packages: fc.array(fc.record({ name: anyText, layer: fc.constant("a" as LayerName) })),
  entries: fc.array(entry, { maxLength: 6 }),
});

test("a manifest's text is read back as the same manifest, and has one form", () => {
  const property = fc.property(manifest, (m) => {
    const text = manifestText(m);
    const back = parseManifest(text);
    // fast-check's records have no prototype.
    assert.deepEqual(structuredClone(back), structuredClone(m));
    assert.equal(manifestText(back as Manifest), text);
    const reversed = m.entries.map((e) => {
      const facts = Object.fromEntries(Object.entries(e.origin.facts).reverse());
      return { ...e, origin: { ...e.origin, facts } };
    });
    assert.equal(manifestText({ ...m, entries: reversed }), text);
  });
  fc.assert(property, RUNS);
});

test("a manifest that a machine sent is refused if any field is off", () => {
  const good = manifestText({
    version: 1,
    machine: "m" as MachineName,
    layers: [],
    packages: [],
    entries: [],
  });
  assert.ok(parseManifest(good));
  const line =
    '{"path":"a","type":"file","mode":"0644","owner":"root","group":"root","size":1,"hash":"' +
    `${"0".repeat(64)}","origin":{"layer":"a","source":"s","template":false,"facts":{}}}`;
  const withEntry = (text: string): string => good.replace("[\n\n]", `[\n${text}\n]`);
  assert.ok(parseManifest(withEntry(line)));
  for (const [from, to] of [
    ['"a","type"', '"../a","type"'],
    ['"a","type"', '"/a","type"'],
    ['"a","type"', '".labctl/x","type"'],
    ['"0644"', '"644"'],
    ['"0644"', "420"],
    ['"size":1', '"size":"1"'],
    ['"file"', '"socket"'],
    ["000000", "00000"],
  ] as const)
    assert.equal(parseManifest(withEntry(line.replace(from, to))), undefined, `${from} to ${to}`);
});

test("paths are ordered by their UTF-8 bytes", () => {
  const property = fc.property(fc.string({ unit: "grapheme" }), fc.string({ unit: "grapheme" }), (a, b) => {
    assert.equal(Math.sign(compareBytes(a, b)), Buffer.compare(Buffer.from(a), Buffer.from(b)));
  });
  fc.assert(property, { ...RUNS, numRuns: 3000 });
  assert.equal(Math.sign(compareBytes("\uff5e", "\u{1f600}")), -1, "where UTF-16 order differs");
});

test("globs: `*` and `?` stay within a name, `**` crosses names, everything else is itself", () => {
  const table: readonly (readonly [string, string, boolean])[] = [
    ["etc/*", "etc/a", true],
    ["etc/*", "etc/a/b", false],
    ["etc/**", "etc/a/b", true],
    ["**/x", "x", true],
    ["**/x", "a/b/x", true],
    ["**/x", "ax", false],
    ["a?c", "abc", true],
    ["a?c", "a/c", false],
    ["a.c", "abc", false],
    ["[ab]{1}(c)+$^|\\", "[ab]{1}(c)+$^|\\", true],
  ];
  for (const [glob, text, expected] of table)
    assert.equal(globToRegExp(glob).test(text), expected, `${glob} ${text}`);
  fc.assert(
    fc.property(path, (p) => {
      if (!/[*?]/.test(p)) assert.ok(globToRegExp(p).test(p));
      assert.ok(globToRegExp("**").test(p));
    }),
    RUNS,
  );
});

test("the overlay does not depend on the order in which names were listed, nor machines on it", () => {
  const machine = {
    name: "m",
    layers: [{ name: "a", attributes: [], overrides: new Map(), packages: [] }],
    attributes: [],
    instances: [],
  } as unknown as Machine;
  const tree = (paths: readonly string[]): SourceTree => ({
    layer: "a" as LayerName,
    entries: paths.map((p) => ({
      type: "file",
      path: p,
      file: `/r/${p}` as AbsPath,
      display: p,
      signature: "",
      racy: false,
      executable: false,
      sizeBytes: 0,
    })),
  });
  const names = fc
    .uniqueArray(path, { maxLength: 8 })
    .chain((list) => fc.tuple(fc.constant(list), fc.shuffledSubarray(list, { minLength: list.length })));
  const property = fc.property(names, ([list, shuffled]) => {
    const one = overlay(machine, [tree(list)]);
    const other = overlay(machine, [tree(shuffled)]);
    if (one.problems.length > 0) return assert.ok(other.problems.length > 0);
    const bare = (o: typeof one) =>
      o.outputs.map((x) => (x.content.kind === "dir" ? x.path : JSON.stringify(x)));
    assert.deepEqual(bare(other), bare(one));
  });
  fc.assert(property, RUNS);
});
