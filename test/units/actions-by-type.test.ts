import { DOWN, ONE, row, SOCKET, service, TWO, testRows, UP, up } from "./decision-table.ts";
import { liveUnit, SYSTEM } from "./memory-tree.ts";

testRows([
  row(
    "a running service restarts and its socket stays",
    { ...ONE, [SOCKET]: "[Socket]\nListenStream=1" },
    { ...TWO, [SOCKET]: "[Socket]\nListenStream=1" },
    [up(), liveUnit("a.socket")],
    ["daemon-reload", "restart a.service"],
  ),
  row(
    "a changed socket takes its running service along",
    { ...ONE, [SOCKET]: "[Socket]\nListenStream=1" },
    { ...ONE, [SOCKET]: "[Socket]\nListenStream=2" },
    [up(), liveUnit("a.socket")],
    ["daemon-reload", "restart a.socket", "restart a.service"],
  ),
  row(
    "a changed socket leaves its stopped service",
    { ...ONE, [SOCKET]: "[Socket]\nListenStream=1" },
    { ...ONE, [SOCKET]: "[Socket]\nListenStream=2" },
    [...DOWN, liveUnit("a.socket")],
    ["daemon-reload", "restart a.socket"],
  ),
  row(
    "a changed timer restarts the timer, not its service",
    { ...ONE, [`${SYSTEM}/a.timer`]: "[Timer]\nOnCalendar=daily" },
    { ...ONE, [`${SYSTEM}/a.timer`]: "[Timer]\nOnCalendar=weekly" },
    [...DOWN, liveUnit("a.timer")],
    ["daemon-reload", "restart a.timer"],
  ),
  row(
    "a oneshot in the middle of a run is not cut short",
    service("Type=oneshot\nUser=x"),
    service("Type=oneshot\nUser=y"),
    [up({ activeState: "activating", subState: "start" })],
    ["daemon-reload", "none a.service"],
  ),
  row(
    "a oneshot that remains after its exit runs again",
    service("Type=oneshot\nRemainAfterExit=yes\nUser=x"),
    service("Type=oneshot\nRemainAfterExit=yes\nUser=y"),
    [up({ subState: "exited" })],
    ["daemon-reload", "restart a.service"],
  ),
  row(
    "a target is not restarted",
    { [`${SYSTEM}/t.target`]: "[Unit]\nWants=x.service" },
    { [`${SYSTEM}/t.target`]: "[Unit]\nWants=y.service" },
    [liveUnit("t.target")],
    ["daemon-reload", "none t.target"],
  ),
  row(
    "a mount takes new options by a reload",
    { [`${SYSTEM}/m.mount`]: "[Mount]\nOptions=ro" },
    { [`${SYSTEM}/m.mount`]: "[Mount]\nOptions=rw" },
    [liveUnit("m.mount", { canReload: true })],
    ["daemon-reload", "reload m.mount"],
  ),

  row(
    "a change below an alias acts on the real unit",
    { ...ONE, [`${SYSTEM}/b.service`]: "-> a.service" },
    { ...TWO, [`${SYSTEM}/b.service`]: "-> a.service" },
    UP,
    ["daemon-reload", "restart a.service"],
  ),
  row(
    "a removed alias stops nothing",
    { ...ONE, [`${SYSTEM}/b.service`]: "-> a.service" },
    ONE,
    [up(), liveUnit("b.service")],
    ["daemon-reload"],
  ),
  row(
    "a link on the way to a bound file restarts",
    { ...service("BindPaths=/usr/local/opt/now/x"), "opt/now": "-> v1", "opt/v1/x": "1", "opt/v2/x": "2" },
    { ...service("BindPaths=/usr/local/opt/now/x"), "opt/now": "-> v2", "opt/v1/x": "1", "opt/v2/x": "2" },
    UP,
    ["restart a.service"],
  ),
  row(
    "a bound file behind a link restarts",
    { ...service("BindPaths=/usr/local/opt/now/x"), "opt/now": "-> v1", "opt/v1/x": "1" },
    { ...service("BindPaths=/usr/local/opt/now/x"), "opt/now": "-> v1", "opt/v1/x": "2" },
    UP,
    ["restart a.service"],
  ),
  row("a generator asks for a daemon-reload", {}, { "lib/systemd/system-generators/g": "#!/bin/sh" }, UP, [
    "daemon-reload",
  ]),
  row(
    "a user unit is none of the system manager's business",
    {},
    { "lib/systemd/user/a.service": "[Service]\nUser=y" },
    UP,
    [],
  ),
]);
