import assert from "node:assert/strict";
import test from "node:test";
import { affectedUnits } from "../../src/units/affected.ts";
import { formatAction, type LiveUnit } from "../../src/units/unit-change.ts";
import {
  A,
  changes,
  DOWN,
  DROPIN,
  decide,
  NGINX,
  ONE,
  RELOADS,
  SOCKET,
  service,
  TWO,
  UP,
  WANTED,
} from "./decision-table.ts";
import { type Files, memorySet, SYSTEM } from "./memory-tree.ts";

test("the stale bind is said in full, with its cause and its line", () => {
  const unit = {
    [DROPIN]: "[Service]\nBindReadOnlyPaths=/usr/local/opt/nginx/conf/main.nginx:/etc/nginx/nginx.conf\n",
  };
  const main = "opt/nginx/conf/main.nginx";
  const [action] = decide({ ...unit, [main]: "1" }, { ...unit, [main]: "2" }, NGINX).actions;
  assert.ok(action);
  assert.equal(
    formatAction(action),
    "restart nginx.service: binds opt/nginx/conf/main.nginx, which was replaced (a reload would re-read the old file)",
  );
  assert.deepEqual(action.causes, [`edit of ${main}`]);
  assert.deepEqual(action.place, { file: DROPIN, line: 2 });
});

const REASONS: readonly [before: Files, after: Files, live: readonly LiveUnit[], want: string][] = [
  [ONE, TWO, UP, `restart a.service: Service.User (${A}:2) changed`],
  [ONE, TWO, DOWN, "none a.service: is inactive and stays so"],
  [
    { ...ONE, [`${SYSTEM}/a.timer`]: "[Timer]\n" },
    { ...TWO, [`${SYSTEM}/a.timer`]: "[Timer]\n" },
    DOWN,
    "none a.service: is inactive and stays so; a.timer starts it when it is due",
  ],
  [{}, { ...ONE, ...WANTED }, [], "start a.service: is new, and multi-user.target wants it"],
  [{}, ONE, [], "none a.service: is new, and nothing in the tree starts it"],
  [ONE, {}, UP, `stop a.service: ${A} was removed, and no other unit file stands behind it`],
  [
    { ...service("", RELOADS), "etc/a": "1" },
    { ...service("", RELOADS), "etc/a": "2" },
    UP,
    "restart a.service: ReloadOn= names etc/a, which was replaced (it can't reload)",
  ],
];
for (const [before, after, live, want] of REASONS) {
  test(`a reason reads: ${want}`, () => {
    assert.deepEqual(decide(before, after, live).actions.map(formatAction), [want]);
  });
}

const AFFECTED: readonly [what: string, before: Files, after: Files, want: string[]][] = [
  ["a file that no unit names", ONE, { ...ONE, "etc/x": "1" }, []],
  [
    "a unit's file, and what pulls it in",
    { ...ONE, ...WANTED },
    { ...TWO, ...WANTED },
    ["a.service", "multi-user.target"],
  ],
  ["a removed drop-in", { [DROPIN]: "[Service]\n" }, {}, ["nginx.service"]],
  ["a template", {}, { [`${SYSTEM}/t@.service`]: "[Service]\n" }, ["t@*.service"]],
  [
    "a file that a template names by instance",
    { [`${SYSTEM}/t@.service`]: "[Service]\nEnvironmentFile=/usr/local/etc/%i" },
    { [`${SYSTEM}/t@.service`]: "[Service]\nEnvironmentFile=/usr/local/etc/%i", "etc/1": "" },
    ["t@*.service"],
  ],
  [
    "drop-ins for a prefix and for a type",
    {},
    { [`${SYSTEM}/a-.service.d/1.conf`]: "", [`${SYSTEM}/socket.d/1.conf`]: "" },
    ["*.socket", "a-*.service"],
  ],
  ["a socket, with its service", {}, { [SOCKET]: "[Socket]\n" }, ["a.service", "a.socket"]],
  [
    "an alias, with the real unit",
    ONE,
    { ...ONE, [`${SYSTEM}/b.service`]: "-> a.service" },
    ["a.service", "b.service"],
  ],
];
for (const [what, before, after, want] of AFFECTED) {
  test(`to ask the machine about: ${what}`, () => {
    assert.deepEqual(affectedUnits(memorySet(before), memorySet(after), changes(before, after)), want);
  });
}
