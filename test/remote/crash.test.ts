/** Killed at any named instant, the tree after recovery is the old one or the new one, never a mix. */
import assert from "node:assert/strict";
import { existsSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import test, { type TestContext } from "node:test";
import { type Machine, newMachine, op, PROGRAM } from "./machine.ts";

const NEW_FILES = { "etc/a": "a2", "etc/new": "n2", "was-file/z": "z", "was-folder": "->etc", "d/e/f": "f" };
const CHANGE = [
  op("put", "etc/a", "600"),
  op("put", "etc/new"),
  "del\tetc/b",
  "del\tgone/x",
  "rmdir\tgone",
  "del\twas-file",
  op("dir", "was-file"),
  op("put", "was-file/z"),
  "del\twas-folder/y",
  "rmdir\twas-folder",
  op("put", "was-folder"),
  op("dir", "d"),
  op("dir", "d/e", "711"),
  op("put", "d/e/f"),
  op("attr", "etc/c", "400"),
  "unit\trestart\tx.service",
];

function oldMachine(t: TestContext): Machine {
  const machine = newMachine(t);
  const files = {
    "etc/a": "a1",
    "etc/b": "b1",
    "etc/c": "c1",
    "gone/x": "x",
    "was-file": "w",
    "was-folder/y": "y",
  };
  const dirs = ["etc", "gone", "was-folder"].map((path) => op("dir", path, "750"));
  const answer = machine.commit(1, files, [...dirs, ...Object.keys(files).map((path) => op("put", path))]);
  assert.equal(answer.done, "ok", answer.stdout + answer.stderr);
  machine.write({ "etc/admin": "mine", "was-file-not": "mine" });
  return machine;
}

/** Every name given to `at` in the program, but for those inside a folder's name. */
const POINTS = [
  ...new Set([...PROGRAM.matchAll(/\bat ([a-z][a-z-]*)\b/g)].map((match) => match[1] ?? "")),
  "moved-etc",
  "moved-d/e",
].filter((point) => !["moved-", "a", "boot", "work", "once"].includes(point));
const FORWARD = POINTS.filter((point) => !point.startsWith("back-"));
const BACKWARD = POINTS.filter((point) => point.startsWith("back-"));

test("a commit killed anywhere recovers to the old or the new tree", (t) => {
  const machine = oldMachine(t);
  const before = machine.snapshot();
  assert.equal(machine.commit(2, NEW_FILES, CHANGE).done, "ok");
  const after = machine.snapshot();
  assert.notDeepEqual(after, before);
  assert.equal(machine.run("revert", ["2"]).done, "reverted");
  assert.deepEqual(machine.snapshot(), before);

  let mixed = 0;
  const outcomes: string[] = [];
  for (const point of FORWARD) {
    const killed = machine.commit(2, NEW_FILES, CHANGE, { LABCTL_TEST_KILL_AT: point });
    if (killed.signal !== "SIGKILL") {
      assert.match(killed.done ?? "", /^ok$/, `${point}: ${killed.stdout}${killed.stderr}`);
      machine.run("revert", ["2"]);
      continue;
    }
    const middle = JSON.stringify(machine.snapshot());
    if (middle !== JSON.stringify(before) && middle !== JSON.stringify(after)) mixed++;
    const recovered = machine.run("recover", ["contact"]);
    assert.equal(recovered.done, "ok", `${point}: ${recovered.stdout}${recovered.stderr}`);
    const isNew = machine.state("generation")?.startsWith("2 ") ?? false;
    assert.deepEqual(machine.snapshot(), isNew ? after : before, point);
    assert.equal(existsSync(join(machine.root, ".labctl/journal")), false, point);
    assert.match(machine.run("probe").stdout, /^drift\tnone$/m, point);
    outcomes.push(`${point}:${isNew ? "new" : "old"}`);
    if (isNew) assert.equal(machine.run("revert", ["2"]).done, "reverted", point);
    assert.deepEqual(machine.snapshot(), before, point);
    assert.match(machine.run("probe").stdout, /^drift\tnone$/m, `${point} reverted`);
  }
  assert.ok(outcomes.length >= 21, outcomes.join(" "));
  // The control: without recovery some of these are a mix.
  assert.ok(mixed >= 5, `${mixed} of ${outcomes.length}`);
  t.diagnostic(`${outcomes.length} instants, ${mixed} of them mixed before recovery`);
});

/** The real `mv`, but for the one call that renames labctl's own files: that one stops after the first so many. */
const STOPPING_MV = `#!/bin/bash
if [[ $* == *'/own/generation' ]]; then
  /usr/bin/mv "\${@:1:4 + LABCTL_TEST_RENAMES}"
  kill -9 "$PPID"
  exit
fi
exec /usr/bin/mv "$@"
`;

test("killed between the renames of labctl's own files, the new tree and its records stand", (t) => {
  const machine = oldMachine(t);
  const before = machine.snapshot();
  const mv = join(dirname(machine.root), "bin", "mv");
  for (const renamed of ["1", "2", "3", "4", "5"]) {
    writeFileSync(mv, STOPPING_MV, { mode: 0o755 });
    const killed = machine.commit(2, NEW_FILES, CHANGE, { LABCTL_TEST_RENAMES: renamed });
    assert.equal(killed.signal, "SIGKILL", killed.stdout + killed.stderr);
    assert.equal(machine.state("pending") !== undefined, true, renamed);
    assert.equal(machine.state("generation")?.startsWith("2 "), renamed === "5", renamed);
    writeFileSync(mv, '#!/bin/sh\nexec /usr/bin/mv "$@"\n', { mode: 0o755 });
    assert.equal(machine.run("recover", ["contact"]).done, "ok", renamed);
    assert.match(machine.state("generation") ?? "", /^2 /);
    assert.match(machine.run("probe").stdout, /^drift\tnone$/m, renamed);
    assert.equal(machine.run("revert", ["2"]).done, "reverted", renamed);
    assert.deepEqual(machine.snapshot(), before, renamed);
  }
});

test("recovery itself killed anywhere, and then again, still ends with one tree", (t) => {
  const machine = oldMachine(t);
  const before = machine.snapshot();
  for (const point of ["folders-made", "moved-etc", "moved", "deleted", "generation-written", "synced"]) {
    assert.equal(
      machine.commit(2, NEW_FILES, CHANGE, { LABCTL_TEST_KILL_AT: "journal-stands" }).signal,
      "SIGKILL",
    );
    assert.equal(machine.run("recover", [], "", { LABCTL_TEST_KILL_AT: point }).signal, "SIGKILL", point);
    assert.match(machine.run("probe").stdout, /^recovered\tforward\t2$/m);
    assert.match(machine.state("generation") ?? "", /^2 /);
    assert.match(machine.state("pending") ?? "", /unit\trestart\tx\.service/);
    assert.equal(machine.run("revert", ["2"]).done, "reverted", point);
    assert.deepEqual(machine.snapshot(), before, point);
  }
});

test("a way back killed anywhere goes on backwards", (t) => {
  const machine = oldMachine(t);
  const before = machine.snapshot();
  let count = 0;
  for (const point of BACKWARD) {
    const env = { LABCTL_TEST_FAIL_AT: "deleted", LABCTL_TEST_KILL_AT: point };
    const killed = machine.commit(2, NEW_FILES, CHANGE, env);
    assert.equal(killed.signal, "SIGKILL", `${point}: ${killed.stdout}`);
    const recovered = machine.run("recover");
    assert.equal(recovered.done, "ok", recovered.stdout + recovered.stderr);
    assert.deepEqual(machine.snapshot(), before, point);
    assert.match(machine.run("probe").stdout, /^drift\tnone$/m, point);
    count++;
  }
  assert.ok(count >= 8);
});

test("at boot an unconfirmed generation is taken back, and a confirmed one is not", (t) => {
  const machine = oldMachine(t);
  const before = machine.snapshot();
  const answer = machine.commit(2, NEW_FILES, [...CHANGE, "confirm\t60"]);
  assert.equal(answer.done, "unconfirmed", answer.stdout + answer.stderr);
  assert.match(machine.calls().join("\n"), /^systemd-run .*--on-active=60s .*remote\.sh undo 2$/m);
  assert.match(machine.run("probe").stdout, /^undo\t2\t(59|60)$/m);
  assert.equal(machine.run("recover", ["boot"]).done, "ok");
  assert.deepEqual(machine.snapshot(), before);
  assert.match(machine.run("probe").stdout, /^undo\tno$/m);

  assert.equal(machine.commit(2, NEW_FILES, [...CHANGE, "confirm\t60"]).done, "unconfirmed");
  const after = machine.snapshot();
  assert.equal(machine.run("confirm", ["1"]).done, "failed-unchanged");
  assert.equal(machine.run("confirm", ["2"]).done, "ok");
  assert.equal(machine.run("recover", ["boot"]).done, "ok");
  assert.deepEqual(machine.snapshot(), after);
});

test("the timer's program undoes after the deadline, and does nothing once confirmed", (t) => {
  const machine = oldMachine(t);
  const before = machine.snapshot();
  assert.equal(machine.commit(2, NEW_FILES, [...CHANGE, "confirm\t1"]).done, "unconfirmed");
  machine.calls();
  assert.equal(machine.run("undo", ["2"]).done, "reverted");
  assert.deepEqual(machine.snapshot(), before);
  assert.match(machine.calls().join("\n"), /daemon-reload[\s\S]*restart -- x\.service/);
  assert.equal(machine.run("undo", ["2"]).done, "ok");
  assert.deepEqual(machine.snapshot(), before);
});

test("a probe finds an overdue generation whose timer is gone, and takes it back", (t) => {
  const machine = oldMachine(t);
  const before = machine.snapshot();
  assert.equal(machine.commit(2, NEW_FILES, [...CHANGE, "confirm\t60"]).done, "unconfirmed");
  writeFileSync(join(machine.root, ".labctl/undo"), "2 another-boot 9999999 60\n");
  assert.match(machine.run("probe").stdout, /^undo\t2\t0$/m);
  const probed = machine.run("probe", [], "", { FAKE_BROKEN: "systemctl" });
  assert.match(probed.stdout, /^problem\tnot-confirmed/m);
  assert.match(probed.stdout, /^undo\tno$/m);
  assert.deepEqual(machine.snapshot(), before);
});

test("a machine that cannot arm the timer is not changed", (t) => {
  const machine = oldMachine(t);
  const before = machine.snapshot();
  const answer = machine.commit(2, NEW_FILES, [...CHANGE, "confirm\t60"], { FAKE_BROKEN: "systemd-run" });
  assert.equal(answer.done, "failed-unchanged");
  assert.match(answer.problems.join("\n"), /^confirm-not-armed/);
  assert.deepEqual(machine.snapshot(), before);
  assert.equal(machine.state("undo"), undefined);
});

test("a damaged journal costs neither the tree nor labctl's own records; control: a whole one goes forward", (t) => {
  const machine = oldMachine(t);
  const before = machine.snapshot();
  const state = join(machine.root, ".labctl");
  const records = ["generation", "paths", "manifest.json", "generations/1/meta"];
  const kept = records.map((name) => machine.state(name));
  for (const name of ["journal", "journal.back"]) {
    for (const text of ["", "junk\n", "generation\t\n", "generation\t0\t-\n", "generation\t7\tx\nend\n"]) {
      writeFileSync(join(state, name), text);
      const recovered = machine.run("recover", ["contact"]);
      assert.equal(recovered.done, "ok", `${name} ${JSON.stringify(text)}: ${recovered.stdout}`);
      assert.match(recovered.stdout, /^recovered\tdamaged\t1$/m);
      assert.equal(existsSync(join(state, name)), false);
      assert.deepEqual(machine.snapshot(), before);
      assert.deepEqual(
        records.map((record) => machine.state(record)),
        kept,
      );
    }
  }
  for (const [lines, expected] of [
    [undefined, "2 "],
    [0, "1 "],
    [2, "1 "],
    [5, "1 "],
  ] as const) {
    machine.commit(2, NEW_FILES, CHANGE, { LABCTL_TEST_KILL_AT: "early-deleted" });
    const journal = join(state, "journal");
    const whole = (machine.state("journal") ?? "").trimEnd().split("\n");
    writeFileSync(journal, `${whole.slice(0, lines).join("\n")}\n`);
    const recovered = machine.run("recover", ["contact"]);
    assert.equal(recovered.done, "ok", `${lines}: ${recovered.stdout}`);
    assert.ok(machine.state("generation")?.startsWith(expected), `${lines} lines`);
    if (expected === "1 ") assert.deepEqual(machine.snapshot(), before, `${lines} lines`);
    else assert.equal(machine.run("revert", ["2"]).done, "reverted");
  }
});
