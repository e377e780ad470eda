/**
 * Damage to labctl's own files on a machine: each is mended where that is exact, refused with its name where it is not,
 * and never taken for something else. The tree stays as it is.
 */
import assert from "node:assert/strict";
import {
  chownSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { type Machine, newMachine, op } from "./machine.ts";

const FILES = { "etc/a": "a", "etc/b": "b", "opt/c": "c" };
const PUTS = Object.keys(FILES).map((path) => op("put", path));

/** Two generations; the second is current. */
function pushedTwice(t: TestContext): Machine {
  const machine = newMachine(t);
  const dirs = [op("dir", "etc"), op("dir", "opt")];
  assert.equal(machine.commit(1, FILES, [...dirs, ...PUTS]).done, "ok");
  assert.equal(machine.commit(2, { "etc/a": "a2" }, [op("put", "etc/a")]).done, "ok");
  machine.write({ "etc/admin": "mine" });
  return machine;
}

type Damage = "empty" | "cut" | "garbage" | "folder" | "link" | "gone" | "stranger's";

function damage(machine: Machine, name: string, how: Damage): void {
  const file = join(machine.root, ".labctl", name);
  if (how === "empty") truncateSync(file, 0);
  else if (how === "cut") truncateSync(file, Math.floor(readFileSync(file).length / 2));
  else if (how === "garbage") writeFileSync(file, "\u0000\u0001 \t\n{]} $(touch /tmp/x) ../../..\n");
  else if (how === "stranger's") chownSync(file, 65534, 65534);
  else {
    rmSync(file, { recursive: true });
    if (how === "folder") mkdirSync(file);
    if (how === "link") symlinkSync("/etc/passwd", file);
  }
}

// To give a file away takes root; elsewhere the other kinds are tested all the same.
const KINDS: readonly Damage[] = [
  "empty",
  "cut",
  "garbage",
  "folder",
  "link",
  "gone",
  ...(process.getuid?.() === 0 ? ["stranger's" as const] : []),
];

test("every damage to every file leaves the tree alone, and the next push goes through", (t) => {
  for (const name of ["generation", "manifest.json", "paths", "fingerprint", "remote.sh"]) {
    for (const how of KINDS) {
      const where = `${name}, ${how}`;
      const machine = pushedTwice(t);
      const before = machine.snapshot();
      damage(machine, name, how);
      const probe = machine.run("probe");
      assert.equal(probe.done, "ok", where);
      assert.equal(probe.stderr, "", where);
      assert.match(probe.stdout, /^generation\t2\t0*2$/m, where);
      assert.doesNotMatch(probe.stdout, /^damaged/m, where);
      assert.deepEqual(machine.snapshot(), before, where);
      assert.ok(existsSync(join(machine.root, ".labctl/generations/1")), `${where}: the past is kept`);
      const next = machine.commit(3, { "etc/b": "b3" }, [op("put", "etc/b"), "del\topt/c", "rmdir\topt"]);
      assert.equal(next.done, "ok", `${where}: ${next.stdout}${next.stderr}`);
      assert.equal(machine.snapshot()["etc/b"], "f 644 b3", where);
      assert.equal(machine.snapshot()["opt/c"], undefined, `${where}: it is still labctl's`);
      assert.equal(machine.snapshot()["etc/admin"], before["etc/admin"], where);
    }
  }
});

test("a mended file is named; control: without damage nothing is", (t) => {
  const machine = pushedTwice(t);
  assert.doesNotMatch(machine.run("probe").stdout, /mended/);
  damage(machine, "manifest.json", "empty");
  assert.match(machine.run("probe").stdout, /^recovered\tmended\tmanifest\.json it is empty or gone$/m);
  damage(machine, "generation", "garbage");
  assert.match(machine.run("probe").stdout, /^recovered\tmended\tgeneration it names no generation$/m);
  assert.doesNotMatch(machine.run("probe").stdout, /mended/);
});

test("a lost fingerprint means that everything counts as changed, so that the next push puts all of it again", (t) => {
  const machine = pushedTwice(t);
  damage(machine, "fingerprint", "gone");
  assert.match(machine.run("probe").stdout, /^drift\tchanged\t5$/m);
});

test("damage that nothing can mend is refused by name, and `forget` begins anew with what labctl owns", (t) => {
  const machine = pushedTwice(t);
  const before = machine.snapshot();
  damage(machine, "generation", "garbage");
  damage(machine, "manifest.json", "gone");
  const probe = machine.run("probe");
  assert.equal(probe.done, "ok");
  assert.match(probe.stdout, /^damaged\tgeneration it names no generation$/m);
  for (const [verb, args] of [
    ["confirm", ["2"]],
    ["revert", ["2"]],
    ["apply", []],
    ["recover", ["contact"]],
    ["prune", ["1"]],
  ] as const) {
    const answer = machine.run(verb, args);
    assert.match(answer.done ?? "", /^failed-(unchanged|half)$/, verb);
    assert.match(answer.problems.join("\n"), /^damaged generation/m, verb);
  }
  assert.equal(machine.commit(1, { x: "" }, [op("put", "x")]).done, "failed-unchanged");
  assert.deepEqual(machine.snapshot(), before);
  assert.ok(existsSync(join(machine.root, ".labctl/generations/1")));

  assert.equal(machine.run("forget").done, "ok");
  assert.deepEqual(machine.snapshot(), before);
  assert.match(machine.run("probe").stdout, /^generation\t0\t-$/m);
  const all = machine.commit(1, { "etc/a": "new", "etc/n": "n" }, [
    op("dir", "etc"),
    op("put", "etc/a"),
    op("put", "etc/n"),
  ]);
  assert.equal(all.done, "ok", all.stdout);
  assert.deepEqual(machine.snapshot(), {
    etc: before["etc"],
    "etc/a": "f 644 new",
    "etc/admin": before["etc/admin"],
    "etc/n": "f 644 n",
  });
});

test("a state folder that is a link, a file or someone else's is refused", (t) => {
  for (const how of ["link", "file", "stranger's"] as const) {
    if (how === "stranger's" && process.getuid?.() !== 0) continue;
    const machine = pushedTwice(t);
    const before = machine.snapshot();
    const state = join(machine.root, ".labctl");
    if (how === "stranger's") chownSync(state, 65534, 65534);
    else {
      rmSync(state, { recursive: true });
      if (how === "link") symlinkSync("/tmp", state);
      else writeFileSync(state, "");
    }
    const probe = machine.run("probe");
    assert.match(probe.stdout, /^damaged\tfolder it /m, how);
    assert.match(machine.run("forget").problems.join(), /^damaged folder/, how);
    const { [".labctl"]: _, ...now } = machine.snapshot();
    assert.deepEqual(now, before, how);
  }
});

test("a damaged or removed `undo` does not keep the timer from taking an unconfirmed generation back", (t) => {
  for (const how of ["empty", "cut", "garbage", "folder", "gone"] as const) {
    const machine = pushedTwice(t);
    const before = machine.snapshot();
    assert.equal(
      machine.commit(3, { "etc/a": "a3" }, [op("put", "etc/a"), "confirm\t60"]).done,
      "unconfirmed",
    );
    damage(machine, "undo", how);
    assert.equal(machine.run("undo", ["3"]).done, "reverted", how);
    assert.deepEqual(machine.snapshot(), before, how);
  }
  const machine = pushedTwice(t);
  machine.commit(3, { "etc/a": "a3" }, [op("put", "etc/a"), "confirm\t60"]);
  damage(machine, "undo", "gone");
  assert.equal(machine.run("confirm", ["3"]).done, "ok", "it is still waited for");
  assert.equal(machine.run("undo", ["3"]).done, "ok", "control: a confirmed one stays");
  assert.equal(machine.snapshot()["etc/a"], "f 644 a3");
});

test("`pending` of another boot is moot, and of this one is not", (t) => {
  const machine = newMachine(t);
  const ops = [op("put", "a"), "unit\trestart\tx.service"];
  assert.equal(machine.commit(1, { a: "1" }, ops, { LABCTL_TEST_KILL_AT: "committed" }).signal, "SIGKILL");
  assert.match(machine.run("probe").stdout, /^pending\tyes$/m);
  const pending = join(machine.root, ".labctl/pending");
  const text = readFileSync(pending, "utf8");
  for (const head of ["boot\t0123-another\n", "", "junk\n"]) {
    writeFileSync(pending, text.replace(/^boot.*\n/, head));
    assert.match(machine.run("probe").stdout, /^pending\tno$/m, JSON.stringify(head));
    machine.calls();
    assert.equal(machine.run("apply").done, "ok");
    assert.deepEqual(machine.calls(), []);
    writeFileSync(pending, text.replace(/^boot.*\n/, head));
  }
});
