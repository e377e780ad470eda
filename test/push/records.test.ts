/** Records of the remote program: whole ones however they are cut, and refusal of what no program of ours prints. */
import assert from "node:assert/strict";
import test from "node:test";
import { parseRecords, RecordReader } from "../../src/push/records.ts";
import { seededRandom } from "../seeded-random.ts";

const TEXT = Buffer.from("labctl\t1\nfile\ta b\t7\nx\n\t\ny\0z\nout\t\ndata\tempty\t0\n\ndone\tok\n");

test("records come out the same wherever the output is cut", () => {
  const whole = parseRecords(TEXT);
  assert.deepEqual(
    whole.map((r) => [r.name, ...r.fields, r.data?.toString() ?? ""]),
    [
      ["labctl", "1", ""],
      ["file", "a b", "7", "x\n\t\ny\0z"],
      ["out", "", ""],
      ["data", "empty", "0", ""],
      ["done", "ok", ""],
    ],
  );
  const random = seededRandom(5);
  for (let round = 0; round < 200; round++) {
    const reader = new RecordReader();
    const out = [];
    for (let at = 0; at < TEXT.length; ) {
      const size = 1 + random.below(9);
      out.push(...reader.push(TEXT.subarray(at, at + size)));
      at += size;
    }
    assert.deepEqual(out, whole);
    assert.equal(reader.nonsense, undefined);
  }
});

test("nonsense is refused: counts that are none, records that lie about their length, lines without end", () => {
  const cases: readonly (readonly [text: string, nonsense: string])[] = [
    ["data\tx\t-1\n", "a record of `-1` bytes"],
    ["data\tx\t1e3\n", "a record of `1e3` bytes"],
    ["data\tx\n", "a record of `x` bytes"],
    ["data\n", "a record of `` bytes"],
    ["file\tx\t999999999\n", "a record of `999999999` bytes"],
    ["file\tx\t99999999999999999999\n", "a record of `99999999999999999999` bytes"],
    ["data\tx\t2\nabcd\n", "a record that is longer than it says"],
  ];
  for (const [text, nonsense] of cases) {
    const reader = new RecordReader();
    assert.deepEqual(reader.push(Buffer.from(text)), [], text);
    assert.equal(reader.nonsense, nonsense);
    assert.deepEqual(reader.push(Buffer.from("done\tok\n")), [], "nothing after it is believed");
  }
  const reader = new RecordReader();
  for (let i = 0; i < 40 && reader.nonsense === undefined; i++) reader.push(Buffer.alloc(1 << 16, "x"));
  assert.equal(reader.nonsense, "a line of more than 1048576 bytes");
});

test("a record of 60 MB in pieces of 16 KB is read in time proportional to its size", (t) => {
  const reader = new RecordReader();
  const size = 60 << 20;
  const startedAt = performance.now();
  const out = reader.push(Buffer.from(`data\tbig\t${size}\n`));
  const piece = Buffer.alloc(1 << 14, "x");
  for (let at = 0; at < size; at += piece.length) out.push(...reader.push(piece));
  out.push(...reader.push(Buffer.from("\ndone\tok\n")));
  const ms = performance.now() - startedAt;
  t.diagnostic(`${ms.toFixed(0)} ms`);
  assert.deepEqual(
    out.map((r) => [r.name, r.data?.length]),
    [
      ["data", size],
      ["done", undefined],
    ],
  );
  // Quadratic, it takes minutes.
  assert.ok(ms < 5000, `${ms} ms`);
});
