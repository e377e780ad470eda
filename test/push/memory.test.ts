/** What is kept of a look: only what a plan can be made from, and believed only where it is whole. Pure. */
import assert from "node:assert/strict";
import test from "node:test";
import type { GenerationId } from "../../src/paths.ts";
import { type Look, parseLook, seenLines, takeLook } from "../../src/push/memory.ts";
import { readProbe } from "../../src/push/probe.ts";
import { parseRecords } from "../../src/push/records.ts";

const ID = "ab".repeat(32) as GenerationId;
const UNIT = "Id=a.service\nActiveState=active\n";

function lookAt(stamp: string): Look | undefined {
  const text =
    `labctl\t1\nhost\tgw\npending\tno\nundo\tno\nwritable\tyes\nrsync\tyes\nsystemd\t257\ndrift\tnone\n` +
    `generation\t3\t${ID}\n${stamp}data\tunits\t${UNIT.length}\n${UNIT}\ndone\tok\n`;
  const probe = readProbe(parseRecords(Buffer.from(text)), new Set(["a.service"]));
  return probe && takeLook(probe, ["a.service"], [], undefined);
}

test("a machine where nothing tells that packages came and went is asked each time", () => {
  assert.equal(lookAt("packages-stamp\tnone\n"), undefined);
  assert.equal(lookAt(""), undefined);
  const look = lookAt("packages-stamp\t12 345 1700000000.5\n");
  assert.ok(look, "control");
  const text = JSON.stringify(look);
  assert.deepEqual(parseLook(text), JSON.parse(text));
});

test("what can't have been a look is believed by nobody, and never becomes an operation of its own", () => {
  const look = lookAt("packages-stamp\t12 345 1700000000.5\n");
  assert.ok(look);
  const wrong: Readonly<Record<string, unknown>>[] = [
    { packagesStamp: "x\nput\t0755\troot\troot\tbin/ls" },
    { packagesStamp: "" },
    { packagesStamp: ["x"] },
    { generation: { number: 1e300, id: ID } },
    { generation: { number: -1, id: ID } },
    { generation: { number: 1.5, id: ID } },
    { generation: { number: 3, id: "0" } },
    { generation: undefined },
    { units: { "a.service": "Id=a.service\0" } },
    { units: { "a.service": ["Id=a.service"] } },
    { units: null },
    { states: { "a.service": 3 } },
    { packages: {} },
    { ownPackages: [3] },
    { host: 5 },
  ];
  for (const change of wrong)
    assert.equal(parseLook(JSON.stringify({ ...look, ...change })), undefined, JSON.stringify(change));
  for (const text of ["", "null", "[]", "3", '"x"', '{"__proto__":{"generation":{}}}', "\0"])
    assert.equal(parseLook(text), undefined, text);
  const lines = seenLines({
    look: { ...look, units: { "a.service": "Id=a.service\nend\nput" } },
    units: ["a.service"],
    runs: new Map([["b.service", true]]),
  });
  assert.deepEqual(lines, [
    `seen\t${ID}\t12 345 1700000000.5`,
    "saw\tId=a.service",
    "saw\tend",
    "saw\tput",
    "seen-runs\tb.service",
  ]);
});
