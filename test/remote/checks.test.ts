/** Checks that layers ship: what each way of going wrong is called, what is shown of it, and how long it may hold up. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import test from "node:test";
import { type Answer, newMachine, op } from "./machine.ts";

/** Commits one tree whose checks are these shell scripts. */
function pushed(t: test.TestContext, scripts: Readonly<Record<string, string>>, mode = "755"): Answer {
  const machine = newMachine(t);
  const files = Object.fromEntries(
    Object.entries(scripts).map(([name, text]) => [name, `#!/bin/bash\n${text}\n`]),
  );
  const names = Object.keys(scripts);
  const ops = [...names.map((name) => op("put", name, mode)), ...names.map((name) => `check\t${name}`)];
  const answer = machine.commit(1, files, ops);
  if (answer.done !== "ok") assert.deepEqual(machine.snapshot(), {}, answer.stdout);
  return answer;
}

/** The verdict and its detail. */
function verdict(answer: Answer, name: string): string {
  const [, , word, , detail] = answer.records.find((r) => r[0] === "check" && r[1] === name) ?? [];
  return [word, detail].filter((x) => x !== undefined).join(": ");
}

test("each way of failing has its name", (t) => {
  const cases: readonly (readonly [text: string, expected: string])[] = [
    ["exit 3", "failed: exit status 3"],
    ["kill -9 $$", "failed: killed by signal 9"],
    ["kill -SEGV $$", "failed: killed by signal 11"],
    ["exec /no/such/program", "failed: it, or the program its first line names, is not there"],
  ];
  for (const [text, expected] of cases) {
    const answer = pushed(t, { bad: text });
    assert.equal(answer.done, "failed-reverted", text);
    assert.equal(verdict(answer, "bad"), expected);
    assert.deepEqual(answer.problems, [`check-failed bad: ${expected.slice("failed: ".length)}`]);
  }
  const answer = pushed(t, { bad: "exit 0" }, "644");
  assert.equal(verdict(answer, "bad"), "failed: it can not be executed");
  assert.equal(answer.done, "failed-reverted");
});

test("control: checks that do their work are a success, and run at the same time", (t) => {
  const answer = pushed(t, { a: "sleep 1; echo fine", b: "sleep 1", c: "sleep 1" });
  assert.equal(answer.done, "ok", answer.stdout);
  const took = Number(answer.records.find((r) => r[0] === "step" && r[1] === "checks")?.[2]);
  // One after the other they take three seconds.
  assert.ok(took < 2900, `${took} ms`);
  assert.match(answer.stdout, /^out\tfine$/m);
});

test("a check that hangs is given up, with its children", (t) => {
  const answer = pushed(t, { slow: "echo begun; sleep 1234.5 & sleep 1234.5" });
  assert.equal(verdict(answer, "slow"), "timeout: it did not end within 10 s");
  assert.match(answer.stdout, /^out\tbegun$/m);
  assert.equal(answer.done, "failed-reverted");
  assert.equal(spawnSync("pgrep", ["-f", "^sleep 1234.5"]).status, 1, "no child is left");
});

test("one that failed does not wait for one that hangs: all is back long before", (t) => {
  const startedAt = performance.now();
  const answer = pushed(t, { bad: "echo 'the milk is sour'; exit 1", slow: "sleep 60" });
  // One second on a quiet host; the one that hangs would hold it for ten.
  assert.ok(performance.now() - startedAt < 9500);
  assert.equal(verdict(answer, "bad"), "failed: exit status 1");
  assert.equal(verdict(answer, "slow"), "cut: cut short, since another one had failed");
  assert.deepEqual(answer.problems, ["check-failed bad: exit status 1"]);
  assert.match(answer.stdout, /^out\tthe milk is sour$/m);
});

test("a child in the background holds up nothing, whether it keeps the output open or not", (t) => {
  const startedAt = performance.now();
  const answer = pushed(t, {
    child: "sleep 1235.5 & echo ended",
    stranger: "setsid sleep 30 & echo ended, too",
  });
  assert.equal(answer.done, "ok", answer.stdout);
  assert.ok(performance.now() - startedAt < 20_000);
  assert.match(answer.stdout, /^out\tended$/m);
  assert.match(answer.stdout, /^out\tended, too$/m);
  assert.equal(spawnSync("pgrep", ["-f", "^sleep 1235.5"]).status, 1, "a child of its group is ended");
});

test("100 MB of output cost neither the disk nor the push; what came last of the first MiB is shown", (t) => {
  const machine = newMachine(t);
  const files = { loud: "#!/bin/bash\nyes 'blah blah blah' | head -c 100000000\nexit 1\n" };
  const answer = machine.commit(1, files, [op("put", "loud", "755"), "check\tloud"]);
  assert.equal(verdict(answer, "loud"), "failed: exit status 1");
  assert.ok(answer.stdout.length < 10_000, `${answer.stdout.length}`);
  assert.match(answer.stdout, /^out\t\(it printed more than 1024 KiB\)$/m);
});

test("a line of any length, and bytes that are no text, come through as bounded lines", (t) => {
  const answer = pushed(t, {
    odd: String.raw`head -c 500000 /dev/zero | tr '\0' x; printf '\nclear \033[2J\n\377\nlast\n'; exit 1`,
  });
  const lines = answer.records.filter((r) => r[0] === "out").map((r) => r[1] ?? "");
  assert.equal(lines[0]?.length, 1000);
  assert.equal(lines.at(-1), "last");
  assert.equal(answer.done, "failed-reverted");
});
