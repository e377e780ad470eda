/** Files that someone else wrote, with the content that is wanted: what happens to units by when they read them. */
import assert from "node:assert/strict";
import test from "node:test";
import type { RelPath, UnitName } from "../../src/paths.ts";
import { readLiveAnswer } from "../../src/push/live/live-answer.ts";
import { decideUnread } from "../../src/push/live/unread.ts";
import { parseRecords } from "../../src/push/records.ts";
import { liveUnit, memorySet, SYSTEM } from "../units/memory-tree.ts";

const RUNS = `[Service]
ExecStart=/usr/local/bin/run
ExecReload=/bin/true
[X-Labctl]
ReloadOn=/usr/local/etc/run.d
`;
const FILES = { [`${SYSTEM}/run.service`]: RUNS, "etc/run.d/a": "1", "bin/run": "x" };
const START = 1_700_000_000.5;

/** Each path with the seconds after the unit's start at which it was written. */
function decide(
  written: Readonly<Record<string, number>>,
  rest: { reload?: string; changed?: string[] } = {},
) {
  const block = `Id=run.service\nNames=run.service\nLoadState=loaded\nActiveState=active\nMainPID=1\n${rest.reload ?? ""}ExecMainStartTimestamp=Tue 2023-11-14 22:13:20.500000 UTC\nStateChangeTimestamp=Tue 2023-11-14 22:13:30.000000 UTC\n`;
  const text = `labctl\t1\ngeneration\t0\t-\ndata\tunits\t${block.length}\n${block}\ndone\tok\n`;
  const services = readLiveAnswer(parseRecords(Buffer.from(text)))?.units;
  assert.ok(services);
  const set = memorySet(FILES);
  const decision = decideUnread(
    {
      before: set,
      after: set,
      changed: (rest.changed ?? []).map((path) => ({
        path: path as RelPath,
        change: "changed",
        cause: "edit",
      })),
      live: new Map([["run.service" as UnitName, liveUnit("run.service", { canReload: true })]]),
    },
    {
      changedAtS: new Map(Object.entries(written).map(([path, after]) => [path as RelPath, START + after])),
      attributes: new Set(),
      services,
    },
  );
  const actions = decision.actions.map((a) => `${a.action} ${a.unit}`);
  return decision.daemonReload ? ["daemon-reload", ...actions] : actions;
}

test("a unit that read the file since is left alone, one that did not is acted upon", () => {
  assert.deepEqual(decide({ "bin/run": -1 }), []);
  assert.deepEqual(decide({ "bin/run": 1 }), ["restart run.service"]);
  assert.deepEqual(decide({ "etc/run.d/a": 1 }), [], "it was reloaded 9.5 s after its start");
  assert.deepEqual(decide({ "etc/run.d/a": 20 }), ["reload run.service"]);
  assert.deepEqual(decide({ "etc/run.d/a": 20, "bin/run": -1 }), ["reload run.service"]);
});

test("a unit file that was written since a start is read anew, and so is one that systemd has not read", () => {
  const path = `${SYSTEM}/run.service`;
  assert.deepEqual(decide({ [path]: -1 }), []);
  assert.deepEqual(decide({ [path]: 1 }), ["daemon-reload", "restart run.service"]);
  assert.deepEqual(decide({ [path]: -1 }, { reload: "NeedDaemonReload=yes\n" }), [
    "daemon-reload",
    "restart run.service",
  ]);
});

test("what the push itself changes counts as before", () => {
  assert.deepEqual(decide({ "etc/run.d/a": -1 }, { changed: ["bin/run"] }), ["restart run.service"]);
  assert.deepEqual(decide({ "bin/run": 1 }, { changed: ["etc/run.d/a"] }), ["restart run.service"]);
});
