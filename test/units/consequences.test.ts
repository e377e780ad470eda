/** What a decided action carries along to other units, and what removal means beyond a stop. Tables, no machine. */
import assert from "node:assert/strict";
import test from "node:test";
import { A, decide, ONE, type Row, row, service, TWO, testRows, up } from "./decision-table.ts";
import { type Files, liveUnit, SYSTEM } from "./memory-tree.ts";

const unit = (name: string, text: string): Files => ({ [`${SYSTEM}/${name}`]: text });
const needs = (how: string): Files =>
  unit("b.service", `[Unit]\n${how}=a.service\n[Service]\nExecStart=/b\n`);
const B = liveUnit("b.service");
const B_DOWN = liveUnit("b.service", { activeState: "inactive", subState: "dead" });
const LINK = { [`${SYSTEM}/x.target.wants/w@1.service`]: "-> ../w@.service" };
const WORKER = unit("w@.service", "[Service]\nExecStart=/w\n");
const W1 = liveUnit("w@1.service");

const ALL = (nice: string): Files => unit("service.d/10-x.conf", `[Service]\nNice=${nice}\n`);

const ROWS: readonly Row[] = [
  ...["Requires", "Requisite", "BindsTo", "PartOf"].map((how) =>
    row(
      `${how}= restarts along`,
      { ...ONE, ...needs(how) },
      { ...TWO, ...needs(how) },
      [up(), B],
      ["daemon-reload", "restart a.service", "restart b.service"],
    ),
  ),
  row(
    "Wants= does not restart along",
    { ...ONE, ...needs("Wants") },
    { ...TWO, ...needs("Wants") },
    [up(), B],
    ["daemon-reload", "restart a.service"],
  ),
  row(
    "what is down stays down",
    { ...ONE, ...needs("PartOf") },
    { ...TWO, ...needs("PartOf") },
    [up(), B_DOWN],
    ["daemon-reload", "restart a.service"],
  ),
  row(
    "a dependent of which only systemd knows",
    ONE,
    TWO,
    [up({ dependents: [B.name] }), B],
    ["daemon-reload", "restart a.service", "restart b.service"],
  ),
  row(
    "a dependency that the same change takes away",
    { ...ONE, ...needs("PartOf") },
    { ...TWO, ...needs("After") },
    [up(), B],
    ["daemon-reload", "restart a.service", "none b.service"],
  ),
  row(
    "a stop takes what requires it along",
    { ...ONE, ...needs("Requires") },
    needs("Requires"),
    [up(), B],
    ["daemon-reload", "stop a.service", "stop b.service"],
  ),
  row(
    "what no longer requires the stopped one starts again",
    { ...ONE, ...needs("Requires") },
    needs("After"),
    [up(), B],
    ["daemon-reload", "stop a.service", "restart b.service"],
  ),
  row(
    "a restart starts what it pulls in, as systemctl does",
    { ...service("Nice=1", "[Unit]\nWants=b.service"), ...needs("After") },
    { ...service("Nice=2", "[Unit]\nWants=b.service"), ...needs("After") },
    [up(), B_DOWN],
    ["daemon-reload", "restart a.service", "start b.service"],
  ),
  row(
    "a restart stops what it conflicts with",
    { ...service("Nice=1", "[Unit]\nConflicts=b.service"), ...needs("After") },
    { ...service("Nice=2", "[Unit]\nConflicts=b.service"), ...needs("After") },
    [up(), B],
    ["daemon-reload", "stop b.service", "restart a.service"],
  ),
  row(
    "a restart takes the place of a reload",
    { ...ONE, ...needs("PartOf"), "etc/b": "1" },
    { ...TWO, ...needs("PartOf") },
    [up(), B],
    ["daemon-reload", "restart a.service", "restart b.service"],
  ),
  row(
    "two that require each other",
    { ...ONE, ...needs("PartOf"), ...unit("a.service", "[Unit]\nPartOf=b.service\n[Service]\nNice=1") },
    { ...needs("PartOf"), ...unit("a.service", "[Unit]\nPartOf=b.service\n[Service]\nNice=2") },
    [up(), B],
    ["daemon-reload", "restart a.service", "restart b.service"],
  ),
  row(
    "an instance whose only link is gone stops",
    { ...WORKER, ...LINK },
    WORKER,
    [W1],
    ["daemon-reload", "stop w@1.service"],
  ),
  row(
    "an instance that someone enabled stays",
    { ...WORKER, ...LINK },
    WORKER,
    [{ ...W1, unitFileState: "enabled" }],
    ["daemon-reload"],
  ),
  row(
    "a slice whose file is gone holds its units",
    unit("a.slice", "[Slice]\nCPUWeight=5\n"),
    {},
    [liveUnit("a.slice")],
    ["daemon-reload", "none a.slice"],
  ),
  row(
    "a connection of an Accept=yes socket is left alone",
    { ...WORKER, ...unit("w.socket", "[Socket]\nListenStream=1\nAccept=yes\n") },
    {
      ...unit("w@.service", "[Service]\nExecStart=/v\n"),
      ...unit("w.socket", "[Socket]\nListenStream=1\nAccept=yes\n"),
    },
    [W1],
    ["daemon-reload", "none w@1.service"],
  ),
  ...[
    "dbus.service",
    "user@1000.service",
    "getty@tty1.service",
    "sshd@3-10.0.0.1:22-10.0.0.2:40000.service",
    "ssh@1-[fd00::1]:22-[fd00::2]:40000.service",
    "vendor@7-4242-0.service",
  ].map((name) =>
    row(
      `a setting for all services leaves ${name} alone`,
      ALL("1"),
      ALL("2"),
      [liveUnit(name)],
      ["daemon-reload", `none ${name}`],
    ),
  ),
  row(
    "a setting for all services does not run a step of the boot again",
    ALL("1"),
    ALL("2"),
    [liveUnit("setup.service", { type: "oneshot", subState: "exited" })],
    ["daemon-reload", "none setup.service"],
  ),
  row(
    "a drop-in of its own does, control",
    unit("setup.service.d/10-x.conf", "[Service]\nNice=1\n"),
    unit("setup.service.d/10-x.conf", "[Service]\nNice=2\n"),
    [liveUnit("setup.service", { type: "oneshot", subState: "exited" })],
    ["daemon-reload", "restart setup.service"],
  ),
  row(
    "and restarts any other, control",
    ALL("1"),
    ALL("2"),
    [liveUnit("cron.service"), liveUnit("getty-like@3.service")],
    ["daemon-reload", "restart cron.service", "restart getty-like@3.service"],
  ),
];
testRows(ROWS);

test("a unit that is gone is forgotten where there is something to forget", () => {
  const forgets = (live: Parameters<typeof up>[0]): boolean[] =>
    decide(ONE, {}, [up(live)]).actions.map((a) => a.forget === true);
  assert.deepEqual(forgets({}), [true], "its end may count as a failure");
  assert.deepEqual(forgets({ activeState: "failed" }), [true]);
  assert.deepEqual(forgets({ activeState: "inactive", unitFileState: "enabled" }), [true]);
  assert.deepEqual(forgets({ activeState: "inactive" }), [false]);
  assert.deepEqual(forgets({ vendorFragment: true }), [false], "control: the vendor's unit stays");
  const masked = decide(ONE, { [A]: "-> /dev/null" }, [up()]).actions;
  assert.deepEqual(
    masked.map((a) => [a.action, a.forget]),
    [["stop", true]],
  );
});

test("what refuses to be asked is not asked, and listed all the same", () => {
  const b = unit("b.service", "[Unit]\nPartOf=a.service\nRefuseManualStop=yes\n[Service]\nExecStart=/b\n");
  const { actions } = decide({ ...ONE, ...b }, { ...TWO, ...b }, [up(), B]);
  assert.deepEqual(
    actions.map((a) => [a.unit, a.action, a.implied]),
    [
      ["a.service", "restart", undefined],
      ["b.service", "restart", true],
    ],
  );
});
