import assert from "node:assert/strict";
import test from "node:test";
import {
  A,
  DOWN,
  DROPIN,
  decide,
  FAILED,
  NGINX,
  ONE,
  row,
  service,
  TWO,
  testRows,
  UP,
  up,
  verdicts,
  WANTED,
} from "./decision-table.ts";
import { liveUnit, SYSTEM } from "./memory-tree.ts";

testRows([
  row("nothing changed does nothing", ONE, ONE, UP, []),
  row("a comment does nothing", ONE, { [A]: "# c\n[Service]\nUser=x\n" }, UP, []),
  row("a changed setting restarts a running unit", ONE, TWO, UP, ["daemon-reload", "restart a.service"]),
  row("an inactive unit stays stopped", ONE, TWO, DOWN, ["daemon-reload", "none a.service"]),
  row("a failed unit stays stopped", ONE, TWO, FAILED, ["daemon-reload", "none a.service"]),
  row("a unit never loaded stays so", ONE, TWO, [], ["daemon-reload", "none a.service"]),
  row(
    "a unit in a crash loop is restarted",
    ONE,
    TWO,
    [up({ activeState: "activating", subState: "auto-restart" })],
    ["daemon-reload", "restart a.service"],
  ),
  row("a live setting needs a daemon-reload only", service("Restart=no"), service("Restart=always"), UP, [
    "daemon-reload",
    "none a.service",
  ]),

  row("a removed unit is stopped", ONE, {}, UP, ["daemon-reload", "stop a.service"]),
  row("a removed unit that was stopped is left", ONE, {}, DOWN, ["daemon-reload", "none a.service"]),
  row(
    "a removed unit with a vendor's file behind it restarts",
    ONE,
    {},
    [up({ vendorFragment: true })],
    ["daemon-reload", "restart a.service"],
  ),
  row("a masked unit is stopped", ONE, { [A]: "-> /dev/null" }, UP, ["daemon-reload", "stop a.service"]),
  row("a masked vendor unit is stopped", {}, { [A]: "-> /dev/null" }, UP, [
    "daemon-reload",
    "stop a.service",
  ]),
  row("a unit that stays masked is not touched", { [A]: "-> /dev/null" }, { [A]: "" }, DOWN, [
    "daemon-reload",
  ]),

  row("a new unit that nothing wants is not started", {}, ONE, [], ["daemon-reload", "none a.service"]),
  row(
    "a new unit with [Install] but no link is not started",
    {},
    service("", "[Install]\nWantedBy=multi-user.target"),
    [],
    ["daemon-reload", "none a.service"],
  ),
  row(
    "a new unit that a target wants is started",
    {},
    { ...ONE, ...WANTED },
    [],
    ["daemon-reload", "start a.service"],
  ),
  row(
    "a new unit of a target that is down is not started",
    {},
    { ...ONE, ...WANTED },
    [liveUnit("multi-user.target", { activeState: "inactive" })],
    ["daemon-reload", "none a.service"],
  ),
  row("an old unit that gets a link is started", ONE, { ...ONE, ...WANTED }, DOWN, [
    "daemon-reload",
    "start a.service",
  ]),
  row("a unit that loses its link keeps running", { ...ONE, ...WANTED }, ONE, UP, ["daemon-reload"]),
  row("an unmasked, wanted unit is started", { ...WANTED, [A]: "" }, { ...WANTED, ...ONE }, DOWN, [
    "daemon-reload",
    "start a.service",
  ]),
  row("a file over a running vendor unit restarts it", {}, ONE, UP, ["daemon-reload", "restart a.service"]),

  row("a first drop-in restarts a running vendor unit", {}, { [DROPIN]: "[Service]\nNice=1" }, NGINX, [
    "daemon-reload",
    "restart nginx.service",
  ]),
  row("a first drop-in with a live setting does not", {}, { [DROPIN]: "[Service]\nMemoryMax=1G" }, NGINX, [
    "daemon-reload",
    "none nginx.service",
  ]),
  row("a drop-in of comments does nothing", {}, { [DROPIN]: "# later\n" }, NGINX, []),
  row("a removed drop-in restarts the vendor unit", { [DROPIN]: "[Service]\nNice=1" }, {}, NGINX, [
    "daemon-reload",
    "restart nginx.service",
  ]),
  row(
    "a drop-in for all services restarts those that run",
    {},
    { [`${SYSTEM}/service.d/10-x.conf`]: "[Service]\nNice=1" },
    [...NGINX, liveUnit("z.socket")],
    ["daemon-reload", "restart nginx.service"],
  ),

  row(
    "a changed template restarts every running instance",
    { [`${SYSTEM}/t@.service`]: "[Service]\nUser=x" },
    { [`${SYSTEM}/t@.service`]: "[Service]\nUser=y" },
    [liveUnit("t@1.service"), liveUnit("t@2.service"), liveUnit("t@3.service", { activeState: "inactive" })],
    ["daemon-reload", "restart t@1.service", "restart t@2.service", "none t@3.service"],
  ),
  row(
    "an instance's own file touches that instance only",
    { [`${SYSTEM}/t@.service`]: "[Service]\nEnvironmentFile=/usr/local/etc/%i", "etc/1": "1", "etc/2": "1" },
    { [`${SYSTEM}/t@.service`]: "[Service]\nEnvironmentFile=/usr/local/etc/%i", "etc/1": "2", "etc/2": "1" },
    [liveUnit("t@1.service"), liveUnit("t@2.service")],
    ["restart t@1.service"],
  ),
]);

test("actions come in one order whatever order the live states have", () => {
  const before = {
    ...ONE,
    [`${SYSTEM}/b.service`]: "[Service]\nUser=x",
    [`${SYSTEM}/c.service`]: "[Service]\nUser=x",
  };
  const after = {
    [`${SYSTEM}/b.service`]: "[Service]\nUser=y",
    [`${SYSTEM}/c.service`]: "[Service]\nUser=y",
  };
  const live = [up(), liveUnit("b.service"), liveUnit("c.service")];
  const want = ["daemon-reload", "stop a.service", "restart b.service", "restart c.service"];
  assert.deepEqual(verdicts(decide(before, after, live)), want);
  assert.deepEqual(verdicts(decide(before, after, [...live].reverse())), want);
});
