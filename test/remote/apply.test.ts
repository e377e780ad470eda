/** What the remote program runs after the renames, in which order, and what a failure among it undoes. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { newMachine, op, PROGRAM } from "./machine.ts";

function script(path: string, text: string): Record<string, string> {
  return { [path]: `#!/bin/sh\n${text}\n` };
}

test("actions run in systemd's order whatever the order of the list", (t) => {
  const machine = newMachine(t);
  const ops = [
    "check\tcheck",
    "unit\tstart\tnew.service",
    "unit\treload\tr1.service",
    "unit\trestart\tdev-\\x2d@1:a.service",
    "unit\trestart\tx.service",
    "trigger\ttmpfiles\t/usr/local/lib/tmpfiles.d/a b.conf",
    "trigger\tsysusers\t/usr/local/lib/sysusers.d/u.conf",
    "unit\treload\tnftables.service",
    "unit\ttry-restart\tnot-there.service",
    "unit\ttry-restart\tthere.service",
    "trigger\tnetworkd",
    "trigger\tudev",
    "daemon-reload",
    "unit\tstop\told.service",
  ];
  const conf = { "lib/tmpfiles.d/a b.conf": "", "lib/sysusers.d/u.conf": "" };
  const files = { ...script("check", "echo fine"), ...conf };
  const puts = Object.keys(conf).map((path) => op("put", path));
  const answer = machine.commit(1, files, [op("put", "check", "755"), ...puts, ...ops]);
  assert.equal(answer.done, "ok", answer.stdout + answer.stderr);
  assert.deepEqual(machine.calls(), [
    // Before anything changes: a staged file may belong to the new user.
    "systemd-sysusers -- <stage>/lib/sysusers.d/u.conf",
    "systemctl stop -- old.service",
    "systemctl daemon-reload",
    "systemd-sysusers -- u.conf",
    "systemd-tmpfiles --create -- a b.conf",
    "systemctl reload -- nftables.service",
    "systemctl --quiet is-active systemd-networkd.service",
    "networkctl reload",
    "systemctl --quiet is-active not-there.service",
    "systemctl --quiet is-active there.service",
    "systemctl reset-failed -- dev-\\x2d@1:a.service x.service there.service",
    "systemctl restart -- dev-\\x2d@1:a.service x.service there.service",
    "systemctl reload -- r1.service",
    "systemctl reset-failed -- new.service",
    "systemctl start -- new.service",
  ]);
  assert.match(answer.stdout, /^unit\trestart\tx\.service\tok\t\d+\t/m);
  assert.match(answer.stdout, /^check\tcheck\tok\t\d+\nout\tfine$/m);
  assert.equal(machine.state("pending"), undefined);
});

test("a unit that fails takes the tree and the other units back", (t) => {
  const machine = newMachine(t);
  machine.commit(1, { a: "1" }, [op("put", "a")]);
  const before = machine.snapshot();
  machine.calls();
  const ops = [
    op("put", "a"),
    "daemon-reload",
    "unit\tstop\told.service",
    "unit\trestart\ty.service",
    "unit\tstart\tbad.service",
  ];
  const answer = machine.commit(2, { a: "2" }, ops, { FAKE_FAIL: "bad.service" });
  assert.equal(answer.done, "failed-reverted", answer.stdout);
  assert.equal(answer.status, 1);
  assert.match(answer.problems.join("\n"), /^unit-failed bad\.service$/m);
  assert.match(answer.stdout, /^unit\tstart\tbad\.service\tfailed\t\d+\t.*Job for bad\.service failed$/m);
  assert.deepEqual(machine.snapshot(), before);
  assert.deepEqual(machine.calls(), [
    "systemctl stop -- old.service",
    "systemctl daemon-reload",
    "systemctl reset-failed -- y.service",
    "systemctl restart -- y.service",
    "systemctl reset-failed -- bad.service",
    "systemctl start -- bad.service",
    "journalctl -q -u bad.service --since=@<time> -n 20 --no-pager -o cat",
    "systemctl stop -- bad.service",
    "systemctl daemon-reload",
    "systemctl reset-failed -- old.service y.service bad.service",
    "systemctl reset-failed -- y.service",
    "systemctl restart -- y.service",
    "systemctl reset-failed -- old.service",
    "systemctl start -- old.service",
  ]);
});

test("a failing check takes the tree back and its last lines come along, unable to forge a record", (t) => {
  const machine = newMachine(t);
  const files = script("bad check", "seq 100; printf 'done\\tok\\nlast'; exit 3");
  const answer = machine.commit(1, files, [op("put", "bad check", "755"), "check\tbad check"]);
  assert.equal(answer.done, "failed-reverted");
  assert.match(answer.stdout, /^check\tbad check\tfailed\t\d+\texit status 3\nout\t53\n/m);
  assert.match(answer.stdout, /^out\tdone ok\nout\tlast\nproblem|^out\tdone ok\n/m);
  assert.deepEqual(machine.snapshot(), {});
  assert.equal(machine.state("generation"), undefined);
});

test("a unit that failed before is no reason to undo, one that fails now is", (t) => {
  const machine = newMachine(t);
  const failed = join(machine.root, "../calls.failed");
  writeFileSync(failed, "old.service loaded failed failed x\n");
  const ops = [op("put", "a"), "unit\trestart\tx.service"];
  assert.equal(machine.commit(1, { a: "1" }, ops).done, "ok");
  const check = script("check", `echo 'new.service loaded failed failed x' >>'${failed}'`);
  const answer = machine.commit(2, { ...check, a: "2" }, [...ops, op("put", "check", "755"), "check\tcheck"]);
  assert.equal(answer.done, "failed-reverted");
  assert.deepEqual(answer.problems, ["unit-failed new.service"]);
});

test("a trigger that fails is named and undone", (t) => {
  const machine = newMachine(t);
  const answer = machine.commit(1, { a: "1" }, [op("put", "a"), "trigger\tsysctl"], {
    FAKE_BROKEN: "systemd-sysctl",
  });
  assert.equal(answer.done, "failed-reverted");
  assert.match(answer.problems.join("\n"), /^trigger-failed sysctl$/m);
  assert.deepEqual(machine.snapshot(), {});
});

test("a push after an interrupted one does what that one left undone, too", (t) => {
  const machine = newMachine(t);
  const units = { "lib/systemd/system/gone.service": "", "lib/tmpfiles.d/gone.conf": "", a: "1" };
  const ops = [
    ...Object.keys(units).map((path) => op("put", path)),
    "daemon-reload",
    `trigger\ttmpfiles\t${machine.root}/lib/tmpfiles.d/gone.conf`,
    "unit\trestart\tx.service",
    "unit\treload\ty.service",
    "unit\tstart\tgone.service",
  ];
  assert.equal(machine.commit(1, units, ops, { LABCTL_TEST_KILL_AT: "committed" }).signal, "SIGKILL");
  machine.calls();
  const next = [
    op("put", "a"),
    "del\tlib/systemd/system/gone.service",
    "del\tlib/tmpfiles.d/gone.conf",
    "unit\trestart\ty.service",
  ];
  assert.equal(machine.commit(2, { a: "2" }, next).done, "ok");
  assert.deepEqual(
    machine.calls().filter((call) => !call.includes("reset-failed")),
    ["systemctl daemon-reload", "systemctl restart -- x.service y.service"],
  );
  assert.equal(machine.state("pending"), undefined);
});

test("a push that is undone leaves undone what the interrupted one before it left", (t) => {
  const machine = newMachine(t);
  const ops = [op("put", "a"), "unit\trestart\tx.service"];
  assert.equal(machine.commit(1, { a: "1" }, ops, { LABCTL_TEST_KILL_AT: "committed" }).signal, "SIGKILL");
  const next = [op("put", "a"), "unit\tstart\tbad.service"];
  assert.equal(machine.commit(2, { a: "2" }, next, { FAKE_FAIL: "bad.service" }).done, "failed-reverted");
  assert.match(machine.state("pending") ?? "", /^unit\trestart\tx\.service$/m);
});

test("actions that an interruption left pending are reported and can be run", (t) => {
  const machine = newMachine(t);
  const ops = [op("put", "a"), "unit\trestart\tx.service"];
  assert.equal(machine.commit(1, { a: "1" }, ops, { LABCTL_TEST_KILL_AT: "committed" }).signal, "SIGKILL");
  machine.calls();
  assert.match(machine.run("probe").stdout, /^pending\tyes$/m);
  assert.equal(machine.run("apply").done, "ok");
  assert.deepEqual(machine.calls(), [
    "systemctl reset-failed -- x.service",
    "systemctl restart -- x.service",
  ]);
  assert.match(machine.run("probe").stdout, /^pending\tno$/m);
});

test("a probe of a machine never seen says so, and makes nothing there", (t) => {
  const machine = newMachine(t);
  const asked = ["--package", "bash", "--package", "no-such-package", "x.service"];
  const answer = machine.run("probe", asked);
  assert.equal(answer.done, "ok", answer.stderr);
  const has = (line: string): void =>
    assert.ok(answer.stdout.includes(`${line}\n`), `${line} in\n${answer.stdout}`);
  for (const line of [
    "labctl\t1",
    "generation\t0\t-",
    "drift\tunknown",
    "writable\tyes",
    "systemd\t252",
    "undo\tno",
  ])
    has(line);
  has("package\tno-such-package\tmissing");
  has("data\tunits\t48\nId=x.service\nActiveState=active\nSubState=running");
  assert.deepEqual(machine.snapshot(), {});
  assert.equal(existsSync(join(machine.root, ".labctl")), false);
});

test("the manifest comes along when the pusher does not know it", async (t) => {
  const machine = newMachine(t);
  machine.commit(1, { a: "1" }, [op("put", "a")]);
  const { gunzipSync } = await import("node:zlib");
  const answer = machine.run("probe", ["--manifest-unless", "other"]);
  const sent = answer.records[answer.records.findIndex((r) => r[1] === "manifest.gz.base64") + 1]?.[0] ?? "";
  assert.equal(gunzipSync(Buffer.from(sent, "base64")).toString(), '{"generation":1}\n');
  assert.doesNotMatch(machine.run("probe", ["--manifest-unless", "1".padStart(64, "0")]).stdout, /manifest/);
});

test("500 changed files in 50 folders take no process each to commit", (t) => {
  const machine = newMachine(t);
  const paths = Array.from({ length: 500 }, (_, i) => `folder-${i % 50}/file-${i}`);
  const folders = Array.from({ length: 50 }, (_, i) => op("dir", `folder-${i}`));
  const files = Object.fromEntries(paths.map((path) => [path, path]));
  const first = machine.commit(1, files, [...folders, ...paths.map((path) => op("put", path))]);
  assert.equal(first.done, "ok", first.stdout);
  const second = machine.commit(
    2,
    files,
    paths.map((path) => op("put", path)),
  );
  assert.equal(second.done, "ok", second.stdout);
  let began = performance.now();
  const probe = machine.run("probe");
  const probeMs = performance.now() - began;
  assert.match(probe.stdout, /^drift\tnone$/m);
  began = performance.now();
  machine.run("none");
  const emptyMs = performance.now() - began;
  const steps = second.records.filter((r) => r[0] === "step");
  const total = steps.reduce((sum, r) => sum + Number(r[2]), 0);
  t.diagnostic(`replace 500: ${steps.map((r) => `${r[1]} ${r[2]}`).join(", ")}; total ${total} ms`);
  t.diagnostic(
    `probe ${probeMs.toFixed(0)} ms, of which start ${emptyMs.toFixed(0)} ms; program ${PROGRAM.length} bytes`,
  );
  began = performance.now();
  spawnSync("bash", ["-c", "for i in {1..50}; do /bin/true; done"]);
  const processesMs = performance.now() - began;
  // A process for each folder, and not one for each file: 500 would take as long as 500 others.
  assert.ok(total < 20 * processesMs, `${total} ms, where 50 processes took ${processesMs.toFixed(0)} ms`);
});
