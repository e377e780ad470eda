/** Ctrl-C during a push: exit 130, and a word about the state that each moment leaves the machine in, which is true. */
import assert from "node:assert/strict";
import test from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { Machine } from "../../src/twin/machine.ts";
import { enterNamespaces, sharedBed } from "./bed-fixture.ts";
import { type Answer, bootMachine, inside, type Lab, labFor, liveContents } from "./push-fixture.ts";

await enterNamespaces(import.meta.url);
const theBed = sharedBed();

const SLOW = "machines/demo/lib/systemd/system/slow.service";
const BIG = "machines/demo/opt/big";

let prepared: Promise<{ lab: Lab; machine: Machine }> | undefined;

/** One machine with a first generation that has a service which takes two seconds to start. */
function theMachine(): Promise<{ lab: Lab; machine: Machine }> {
  prepared ??= theBed().then(async (bed) => {
    const machine = await bootMachine(bed);
    const lab = labFor(bed, machine.name);
    lab.write({
      [SLOW]: slow(0),
      "machines/demo/lib/systemd/system/multi-user.target.wants/slow.service": { link: "../slow.service" },
    });
    await lab.expect(0, ["push", "demo", "-q", "--no-confirm"]);
    return { machine, lab };
  });
  return prepared;
}

function slow(version: number): string {
  return `[Service]\nType=oneshot\nRemainAfterExit=yes\nEnvironment=V=${version}\nExecStart=sleep 2\n`;
}

/** Starts a push, waits until `when` is true, and interrupts it. */
async function interrupted(when: () => Promise<boolean>, args: readonly string[] = []): Promise<Answer> {
  const { lab } = await theMachine();
  const { child, answer } = lab.start(["push", "demo", "-q", ...args]);
  // Whatever fails below, no pusher stays that would hold the tests open.
  const limit = setTimeout(() => child.kill("SIGKILL"), 60_000);
  answer.finally(() => clearTimeout(limit));
  for (let i = 0; !(await when()); i++) {
    assert.ok(i < 500 && child.exitCode === null, "the moment to interrupt never came");
    await sleep(10);
  }
  const at = Date.now();
  child.kill("SIGINT");
  const said = await answer;
  assert.equal(said.code, 130, said.stderr);
  assert.ok(Date.now() - at < 4500, `it took ${Date.now() - at} ms to stop`);
  assert.equal(said.stdout, "");
  return said;
}

async function there(script: string): Promise<boolean> {
  const { machine } = await theMachine();
  return (await inside(machine, `${script} && echo yes || true`)) === "yes\n";
}

/** Waits until the machine does nothing for labctl any more. */
async function settle(): Promise<void> {
  for (let i = 0; i < 200; i++) {
    if (await there("flock -n /usr/local/.labctl/lock test ! -e /usr/local/.labctl/undo")) return;
    await sleep(100);
  }
  assert.fail("the machine did not settle");
}

test("before the commit: nothing changed, and no stage stays behind", async () => {
  const { lab, machine } = await theMachine();
  const tree = await liveContents(machine);
  // Big enough for rsync: a small change set is a part of the commit.
  lab.write({ [SLOW]: slow(1), [BIG]: "big\n".repeat(100_000) });
  await inside(
    machine,
    "mv /usr/bin/rsync /usr/bin/rsync.off; printf '#!/bin/sh\\nsleep 5\\n' >/usr/bin/rsync; chmod +x /usr/bin/rsync",
  );
  const said = await interrupted(() => there("pgrep -x rsync >/dev/null")).finally(() =>
    inside(machine, "mv /usr/bin/rsync.off /usr/bin/rsync"),
  );
  lab.remove(BIG);
  assert.equal(
    said.stderr,
    "error[interrupted] stopped before anything on machine `demo` changed\n  help: run the same command again\n",
  );
  assert.deepEqual(await liveContents(machine), tree);
  assert.equal(await inside(machine, "ls /usr/local/.labctl/stage"), "");
  assert.match(await inside(machine, "cat /usr/local/.labctl/generation"), /^1 /);
});

test("while it connects: nothing changed", async () => {
  const { machine } = await theMachine();
  await inside(machine, "systemctl kill --signal=STOP --kill-whom=main ssh");
  // The kernel takes the connection, and nobody says a word on it.
  const waiting = "ss -Htn state established '( sport = :22 )' | grep -q .";
  const said = await interrupted(() => there(waiting)).finally(() =>
    inside(machine, "systemctl kill --signal=CONT --kill-whom=main ssh"),
  );
  assert.match(said.stderr, /^error\[interrupted\] stopped before anything on machine `demo` changed\n/);
});

test("in the middle of the commit: the machine ends it and takes it back, as was said", async () => {
  const { lab, machine } = await theMachine();
  const tree = await liveContents(machine);
  lab.write({ [SLOW]: slow(2) });
  const said = await interrupted(
    () => there("test -e /usr/local/.labctl/pending"),
    ["--confirm-seconds", "2"],
  );
  assert.equal(
    said.stderr,
    `error[interrupted] stopped while machine \`demo\` was committing generation 2
  the machine ends the commit by itself, and takes it back 2 s later, tree and units
  help: push again after that; \`labctl generations demo\` tells what it runs
`,
  );
  await settle();
  assert.deepEqual(await liveContents(machine), tree);
  assert.equal(await inside(machine, "systemctl show -P Environment -P ActiveState slow"), "V=0\nactive\n");
});

test("in the middle of a commit that nobody must confirm: it stays, as was said", async () => {
  const { machine } = await theMachine();
  const tree = await liveContents(machine);
  const said = await interrupted(
    () => there("grep -q '^2 ' /usr/local/.labctl/generation"),
    ["--no-confirm"],
  );
  assert.equal(
    said.stderr,
    `error[interrupted] stopped while machine \`demo\` was committing generation 2
  the machine ends the commit by itself; then the generation stays
  help: \`labctl generations demo\` tells what it runs
`,
  );
  await settle();
  assert.notDeepEqual(await liveContents(machine), tree);
  assert.equal(await inside(machine, "systemctl show -P Environment -P ActiveState slow"), "V=2\nactive\n");
  assert.match(await inside(machine, "cat /usr/local/.labctl/generation"), /^2 /);
});

test("after the commit, before it is confirmed: the machine takes it back, as was said", async () => {
  const { lab, machine } = await theMachine();
  const tree = await liveContents(machine);
  lab.write({ [SLOW]: slow(3) });
  // Closed while the unit starts: the push goes on over its connection, and can't make another one.
  const wall =
    "nft add table inet t; nft 'add chain inet t c { type filter hook input priority 0; }'; nft add rule inet t c tcp dport 22 ct state new drop";
  let closed = false;
  const said = await interrupted(async () => {
    if (!closed && (await there("test -e /usr/local/.labctl/pending"))) {
      await inside(machine, wall);
      closed = true;
    }
    const ended = "test ! -e /usr/local/.labctl/pending && flock -n /usr/local/.labctl/lock true";
    return closed && (await there(ended)) && sleep(1000, true);
  }, ["--confirm-seconds", "6"]).finally(() => inside(machine, "nft delete table inet t"));
  assert.equal(
    said.stderr,
    `error[interrupted] stopped before generation 3 of machine \`demo\` was confirmed
  it is in place; the machine itself takes it back within 6 s, tree and units
  help: push again after 6 s; \`labctl generations demo\` tells what it runs
`,
  );
  assert.notDeepEqual(await liveContents(machine), tree, "control: it was in place");
  await settle();
  assert.deepEqual(await liveContents(machine), tree);
  await lab.expect(0, ["push", "demo", "-q"]);
});

test("during a rollback: the same words, and the tree is as it was", async () => {
  const { lab, machine } = await theMachine();
  const tree = await liveContents(machine);
  const { child, answer } = lab.start(["rollback", "demo", "1", "-q", "--confirm-seconds", "1"]);
  while (!(await there("test -e /usr/local/.labctl/pending"))) await sleep(10);
  child.kill("SIGINT");
  const said = await answer;
  assert.equal(said.code, 130);
  assert.match(
    said.stderr,
    /^error\[interrupted\] stopped while machine `demo` was committing generation 4\n/,
  );
  await settle();
  assert.deepEqual(await liveContents(machine), tree);
});
