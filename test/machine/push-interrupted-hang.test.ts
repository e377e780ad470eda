/** A machine that stops answering in the middle of a commit: the push notices, asks again, and tells what became of it. */
import assert from "node:assert/strict";
import { lstatSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { enterNamespaces, sharedBed } from "./bed-fixture.ts";
import { bootMachine, inside, labFor, liveContents } from "./push-fixture.ts";

await enterNamespaces(import.meta.url);
const theBed = sharedBed();

test("a machine whose processes all stop is given up after four thirds of --timeout, and its fate is told when it is back", async (t) => {
  const bed = await theBed();
  const machine = await bootMachine(bed);
  const lab = labFor(bed, machine.name);
  await lab.expect(0, ["push", "demo", "--no-confirm"]);
  const tree = await liveContents(machine);
  lab.write({ "machines/demo/etc/more": "more\n" });
  const started = lab.start(["push", "demo", "--timeout", "3", "--confirm-seconds", "4"]);
  const journal = join(machine.rootFolder, "usr/local/.labctl/journal");
  while (lstatSync(journal, { throwIfNoEntry: false }) === undefined) await sleep(1);
  await inside(machine, "kill -STOP -1");
  await sleep(8000);
  await inside(machine, "kill -CONT -1");
  const pushed = await started.answer;
  t.diagnostic(`ended after ${(pushed.ms / 1000).toFixed(1)} s with ${pushed.code}`);
  assert.match(
    pushed.stderr,
    /^demo: note: the connection was lost \(.*\); asking by a new one what became of it, 34 s at most$/m,
  );
  assert.ok(pushed.ms < 60_000);
  const now = await liveContents(machine);
  if (pushed.code === 0) assert.equal(now.has("etc/more"), true);
  else {
    assert.match(pushed.stderr, /generation 2 was taken back, tree and units, by the machine itself/);
    assert.deepEqual(now, tree);
  }
  assert.equal(
    await inside(machine, "cd /usr/local/.labctl; ls -d journal* undo way-in 2>/dev/null || true"),
    "",
  );
});
