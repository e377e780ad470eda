/** The remote program's commit and revert on a folder: what each operation does and what is refused untouched. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, lstatSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { type Answer, type Machine, newMachine, op, setMode } from "./machine.ts";

function committed(answer: Answer): void {
  assert.equal(answer.done, "ok", answer.stdout + answer.stderr);
  assert.equal(answer.stderr, "");
}

/** Generation 1: etc/a, etc/b, bin/run. */
function first(machine: Machine): void {
  committed(
    machine.commit(1, { "etc/a": "a1", "etc/b": "b1", "bin/run": "run1" }, [
      op("dir", "etc"),
      op("dir", "bin"),
      op("put", "etc/a"),
      op("put", "etc/b", "640"),
      op("put", "bin/run", "755"),
    ]),
  );
}

function refused(machine: Machine, answer: Answer, problem: RegExp): void {
  assert.equal(answer.done, "failed-unchanged", answer.stdout + answer.stderr);
  assert.equal(answer.status, 1);
  assert.match(answer.problems.join("\n"), problem);
  assert.equal(existsSync(join(machine.root, ".labctl/journal")), false);
}

test("an operation list that hides an escape, a control character or labctl's own folder is refused whole", (t) => {
  const machine = newMachine(t);
  first(machine);
  const before = machine.snapshot();
  const hostile = [
    op("put", "../x"),
    op("put", "/etc/passwd"),
    op("put", "etc/../../x"),
    op("put", "etc//x"),
    op("put", "etc/x\u0001"),
    op("put", "etc/x\u0085"),
    op("put", ".labctl/x"),
    op("put", "etc/\tx"),
    op("put", "etc/a", "999"),
    op("put", "etc/a").replace("644\t", "644\t-R"),
    "del\t../x",
    "rmdir\t.labctl",
    "del",
    "format\tdisk",
    "unit\tkill\ta.service",
    "unit\tstart\t--now",
    "unit\tstart\ta.service b.service",
    "trigger\ttmpfiles\t-h",
    "trigger\ttmpfiles\tlib/tmpfiles.d/x.conf",
    "trigger\tformat\t/dev/sda",
    "check\t../../bin/true",
    "meta\tA B\tx",
  ];
  for (const line of hostile)
    refused(machine, machine.commit(2, { "etc/a": "a2" }, [line]), /^bad-operation/);
  assert.deepEqual(machine.snapshot(), before);
});

test("a list cut short by a lost connection is refused", (t) => {
  const machine = newMachine(t);
  first(machine);
  machine.run("stage-begin", ["s1"]);
  refused(machine, machine.run("commit", ["s1"], "expect\t1\ngeneration\t2\tab\n"), /^operations-truncated/);
});

test("a generation that moved meanwhile is refused", (t) => {
  const machine = newMachine(t);
  first(machine);
  refused(machine, machine.commit(3, {}, []), /^generation-moved 1 /);
});

test("a staged file that is missing is refused", (t) => {
  const machine = newMachine(t);
  first(machine);
  refused(machine, machine.commit(2, {}, [op("put", "etc/a")]), /^stage-incomplete etc\/a$/);
});

test("an unknown owner is refused before anything changes", (t) => {
  const machine = newMachine(t);
  first(machine);
  const before = machine.snapshot();
  const line = "put\t644\tnobody-such\troot\tetc/a";
  refused(machine, machine.commit(2, { "etc/a": "a2" }, [line]), /^commit-refused .*nobody-such/);
  refused(
    machine,
    machine.commit(2, {}, ["dir\t755\tnobody-such\troot\tnew"]),
    /^commit-refused .*nobody-such/,
  );
  assert.deepEqual(machine.snapshot(), before);
});

test("a failure before the journal leaves tree, state and fingerprint as they were", (t) => {
  const machine = newMachine(t);
  first(machine);
  const before = machine.snapshot();
  for (const point of ["prepare-begun", "stage-attributes-set", "backed-up", "prepared", "journal-written"]) {
    const answer = machine.commit(2, { "etc/a": "a2" }, [op("put", "etc/a"), "del\tetc/b"], {
      LABCTL_TEST_FAIL_AT: point,
    });
    refused(machine, answer, /^commit-refused/);
    assert.deepEqual(machine.snapshot(), before, point);
    assert.equal(existsSync(join(machine.root, ".labctl/generations/2")), false);
  }
  assert.match(machine.run("probe").stdout, /^drift\tnone$/m);
});

test("a failure after the journal puts everything back", (t) => {
  const machine = newMachine(t);
  first(machine);
  const before = machine.snapshot();
  for (const point of ["moved-etc", "moved", "deleted", "generation-written", "synced"]) {
    const ops = [op("put", "etc/a"), op("put", "etc/new"), "del\tetc/b"];
    const answer = machine.commit(2, { "etc/a": "a2", "etc/new": "n" }, ops, { LABCTL_TEST_FAIL_AT: point });
    assert.equal(answer.done, "failed-reverted", answer.stdout + answer.stderr);
    assert.deepEqual(machine.snapshot(), before, point);
    assert.match(machine.state("generation") ?? "", /^1 /);
  }
  assert.match(machine.run("probe").stdout, /^drift\tnone$/m);
});

test("the lock held by another names the holder", async (t) => {
  const machine = newMachine(t);
  first(machine);
  const lock = join(machine.root, ".labctl/lock");
  const other = spawn("flock", [lock, "sh", "-c", `echo 'ann@desk 7 99' >"$0"; echo; sleep 20`, lock]);
  t.after(() => other.kill());
  await new Promise((resolve) => other.stdout.once("data", resolve));
  refused(machine, machine.commit(2, {}, []), /^lock-held ann@desk 7 99$/);
});

test("an administrator's file in the way is named and kept; `adopt` takes it over and a revert gives it back", (t) => {
  const machine = newMachine(t);
  first(machine);
  machine.write({ "etc/mine": "mine", "etc/other": "other" });
  const before = machine.snapshot();
  const put = op("put", "etc/mine");
  refused(machine, machine.commit(2, { "etc/mine": "theirs" }, [put]), /^foreign-file etc\/mine$/);
  assert.deepEqual(machine.snapshot(), before);
  committed(machine.commit(2, { "etc/mine": "theirs" }, [`${put}\tadopt`]));
  assert.equal(machine.snapshot()["etc/mine"], "f 644 theirs");
  assert.equal(machine.run("revert", ["2"]).done, "reverted");
  assert.deepEqual(machine.snapshot(), before);
});

test("a folder replaced by a link that leads elsewhere is not followed", (t) => {
  const machine = newMachine(t);
  first(machine);
  machine.write({ "../outside/a": "precious" });
  symlinkSync("../outside", join(machine.root, "lnk"));
  refused(machine, machine.commit(2, { "lnk/a": "x" }, [op("put", "lnk/a")]), /^foreign-file lnk$/);
  committed(machine.commit(2, { x: "x" }, [op("put", "x"), "del\tlnk/a"]));
  assert.equal(readFileSync(join(machine.root, "../outside/a"), "utf8"), "precious");
});

test("put, attr, del and rmdir do what they say and a revert undoes each", (t) => {
  const machine = newMachine(t);
  first(machine);
  machine.write({ "etc/admin": "kept", "bin/admin": "kept" });
  const before = machine.snapshot();
  const ops = [
    op("dir", "var"),
    op("dir", "var/deep", "700"),
    op("put", "etc/a", "600"),
    op("put", "var/deep/link"),
    op("attr", "etc/b", "444"),
    "del\tbin/run",
    "rmdir\tbin",
  ];
  committed(machine.commit(2, { "etc/a": "a2", "var/deep/link": "->../../etc/a" }, ops));
  assert.deepEqual(machine.snapshot(), {
    bin: "d 755",
    "bin/admin": "f 644 kept",
    etc: "d 755",
    "etc/a": "f 600 a2",
    "etc/admin": "f 644 kept",
    "etc/b": "f 444 b1",
    var: "d 755",
    "var/deep": "d 700",
    "var/deep/link": "l ../../etc/a",
  });
  assert.match(machine.run("probe").stdout, /^drift\tnone$/m);
  assert.equal(machine.state("generations/2/replaced/bin/run"), "run1");
  assert.equal(machine.run("revert", ["2"]).done, "reverted");
  assert.deepEqual(machine.snapshot(), before);
  assert.match(machine.run("probe").stdout, /^generation\t1\t0+1$/m);
  assert.match(machine.run("probe").stdout, /^drift\tnone$/m);
});

test("folders that empty out go; a folder that was there before labctl stays", (t) => {
  const machine = newMachine(t);
  machine.write({ share: "/" });
  setMode(machine, "share", 0o2775);
  const files = { "share/x": "x", "deep/er/y": "y" };
  const dirs = [op("dir", "share"), op("dir", "deep"), op("dir", "deep/er")];
  committed(machine.commit(1, files, [...dirs, op("put", "share/x"), op("put", "deep/er/y")]));
  const removals = ["del\tshare/x", "del\tdeep/er/y", "rmdir\tshare", "rmdir\tdeep", "rmdir\tdeep/er"];
  committed(machine.commit(2, {}, removals));
  assert.deepEqual(machine.snapshot(), { share: "d 2775" });
});

test("a replaced folder keeps its inode and so does every unchanged file", (t) => {
  const machine = newMachine(t);
  first(machine);
  const inode = (path: string): number => lstatSync(join(machine.root, path)).ino;
  const [folder, kept, replaced] = [inode("etc"), inode("etc/b"), inode("etc/a")];
  committed(machine.commit(2, { "etc/a": "a2" }, [op("put", "etc/a")]));
  assert.deepEqual([inode("etc"), inode("etc/b")], [folder, kept]);
  assert.notEqual(inode("etc/a"), replaced);
  assert.equal(inode(".labctl/generations/2/replaced/etc/a"), replaced);
});

test("names that a shell could misread pass through commit, probe, read and revert", (t) => {
  const machine = newMachine(t);
  const names = [
    "-rf",
    "a b",
    "*",
    "@",
    "[x]",
    "dev-\\x2d.mount",
    "ü/ß ok",
    "$(touch pwned)",
    "`id`",
    "a'b\"c",
    "-d/-e",
    "%s",
    "#x",
    "!",
  ];
  const folders = ["ü", "-d"];
  const files = Object.fromEntries(names.map((name) => [name, `1 ${name}`]));
  committed(
    machine.commit(1, files, [...folders.map((n) => op("dir", n)), ...names.map((n) => op("put", n))]),
  );
  const before = machine.snapshot();
  for (const name of names) assert.equal(before[name], `f 644 1 ${name}`);
  assert.equal(Object.keys(before).length, names.length + folders.length);
  const read = machine.run("read", [], `${names.join("\n")}\n`);
  assert.ok(read.stdout.includes("file\tdev-\\x2d.mount\t16\n1 dev-\\x2d.mount\n"), read.stdout);
  const next = Object.fromEntries(names.map((name) => [name, "2"]));
  committed(
    machine.commit(
      2,
      next,
      names.map((n) => op("put", n)),
    ),
  );
  writeFileSync(join(machine.root, "*"), "by hand");
  assert.match(machine.run("probe").stdout, /^drift\tchanged\t1\ndrifted\t\*$/m);
  assert.equal(machine.run("revert", ["2"]).done, "reverted");
  assert.deepEqual(machine.snapshot(), before);
  committed(machine.commit(2, {}, [...names.map((n) => `del\t${n}`), ...folders.map((n) => `rmdir\t${n}`)]));
  assert.deepEqual(machine.snapshot(), {});
});

test("a file becomes a folder and a folder becomes a file or a link, both ways", (t) => {
  const machine = newMachine(t);
  const one = { a: "file", "b/in/x": "x", "c/y": "y" };
  const ops = [
    op("put", "a"),
    op("dir", "b"),
    op("dir", "b/in"),
    op("put", "b/in/x"),
    op("dir", "c"),
    op("put", "c/y"),
  ];
  committed(machine.commit(1, one, ops));
  const before = machine.snapshot();
  const change = [
    "del\ta",
    op("dir", "a"),
    op("put", "a/z"),
    "del\tb/in/x",
    "rmdir\tb/in",
    "rmdir\tb",
    op("put", "b"),
    "del\tc/y",
    "rmdir\tc",
    op("put", "c"),
  ];
  committed(machine.commit(2, { "a/z": "z", b: "file", c: "->a" }, change));
  assert.deepEqual(machine.snapshot(), { a: "d 755", "a/z": "f 644 z", b: "f 644 file", c: "l a" });
  assert.equal(machine.run("revert", ["2"]).done, "reverted");
  assert.deepEqual(machine.snapshot(), before);
  machine.write({ "b/in/mine": "mine" });
  refused(
    machine,
    machine.commit(2, { "a/z": "z", b: "file", c: "->a" }, change),
    /^foreign-file b\/in\/mine$/,
  );
});

test("what drifted before a commit still shows after one that did not touch it", (t) => {
  const machine = newMachine(t);
  first(machine);
  writeFileSync(join(machine.root, "etc/b"), "by hand");
  committed(machine.commit(2, { "etc/a": "a2" }, [op("put", "etc/a")]));
  assert.match(machine.run("probe").stdout, /^drift\tchanged\t1\ndrifted\tetc\/b$/m);
  committed(machine.commit(3, { "etc/b": "b3" }, [op("put", "etc/b", "640")]));
  assert.match(machine.run("probe").stdout, /^drift\tnone$/m);
});

test("old generations are pruned and a kept one gives its files back to a stage", (t) => {
  const machine = newMachine(t);
  first(machine);
  for (const n of [2, 3, 4]) {
    committed(
      machine.commit(n, { "etc/a": `a${n}` }, [op("put", "etc/a"), "keep\t2", "meta\tcommit\tabc def"]),
    );
  }
  const listed = machine.run("list").stdout;
  assert.match(listed, /^meta\t4\tcommit=abc def$/m);
  assert.match(listed, /^meta\t3\tnumber=3$/m);
  assert.doesNotMatch(listed, /^meta\t2\t/m);
  machine.run("stage-begin", ["s9"]);
  assert.equal(machine.run("stage-from-generations", ["s9"], "4\tetc/a\n").done, "ok");
  assert.equal(machine.state("stage/s9/tree/etc/a"), "a3");
  assert.equal(machine.run("stage-from-generations", ["s9"], "4\t../../x\n").status, 1);
});

test("a live file that someone else wrote as it is wanted stays, with what it is kept; a revert leaves its content", (t) => {
  const m = newMachine(t);
  m.commit(1, { "etc/a": "one" }, [op("dir", "etc"), op("put", "etc/a")]);
  m.write({ "etc/a": "two" });
  const inode = lstatSync(join(m.root, "etc/a")).ino;
  assert.match(m.run("probe").stdout, /drifted\tetc\/a/);
  const taken = m.commit(2, {}, [op("attr", "etc/a").replace(/^attr/, "take")]);
  assert.equal(taken.done, "ok", taken.stdout);
  assert.equal(lstatSync(join(m.root, "etc/a")).ino, inode);
  assert.equal(m.state("generations/2/replaced/etc/a"), "two");
  assert.match(m.run("probe").stdout, /drift\tnone/);
  assert.equal(m.run("revert", ["2"]).done, "reverted");
  assert.equal(m.snapshot()["etc/a"], "f 644 two");
  assert.match(m.run("probe").stdout, /drifted\tetc\/a/, "it is drift again");
});
