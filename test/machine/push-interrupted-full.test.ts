/**
 * A machine whose /usr/local has no room, no inodes, or can't be written: before the push, in its middle, and because of
 * it. Nothing is ever half done, and the message says where room is wanted.
 */
import assert from "node:assert/strict";
import test from "node:test";
import type { Machine } from "../../src/twin/machine.ts";
import { enterNamespaces, sharedBed } from "./bed-fixture.ts";
import { type Answer, bootMachine, inside, type Lab, labFor, liveContents } from "./push-fixture.ts";

await enterNamespaces(import.meta.url);
const theBed = sharedBed();

let prepared: Promise<{ lab: Lab; machine: Machine }> | undefined;

/** A machine with 24 MiB and 1,500 inodes below /usr/local, on which a first push stands. */
function theMachine(): Promise<{ lab: Lab; machine: Machine }> {
  prepared ??= theBed().then(async (bed) => {
    const machine = await bootMachine(bed);
    const lab = labFor(bed, machine.name);
    await inside(machine, "mount -t tmpfs -o size=24m,nr_inodes=1500,mode=755 small /usr/local");
    await lab.expect(0, ["push", "demo", "--no-confirm"]);
    return { machine, lab };
  });
  return prepared;
}

/** Pushes one more file while something is wrong, and sees that nothing changed; then that the push goes through. */
async function refusedWhile(wrong: string, mended: string, push: readonly string[] = []): Promise<Answer> {
  const { lab, machine } = await theMachine();
  const generation = await inside(machine, "cat /usr/local/.labctl/generation");
  const tree = await liveContents(machine);
  lab.write({ "machines/demo/etc/more": `${"more ".repeat(20_000)}\n` });
  await inside(machine, wrong);
  const pushed = await lab.run(["push", "demo", ...push]);
  await inside(machine, mended);
  assert.equal(pushed.code, 1, pushed.stderr);
  assert.equal(await inside(machine, "cat /usr/local/.labctl/generation"), generation);
  assert.deepEqual(await liveContents(machine), tree);
  assert.equal(
    await inside(
      machine,
      "cd /usr/local/.labctl; ls -d journal* undo pending way-in *.new 2>/dev/null; ls stage",
    ),
    "",
  );
  await lab.expect(0, ["push", "demo", "--no-confirm"]);
  lab.remove("machines/demo/etc/more");
  await lab.expect(0, ["push", "demo", "--no-confirm"]);
  return pushed;
}

function problems(answer: Answer): string {
  return answer.stderr.slice(answer.stderr.indexOf("error["));
}

test("no room before the push", async () => {
  const pushed = await refusedWhile(
    "head -c 100M /dev/zero >/usr/local/fill 2>/dev/null || true",
    "rm /usr/local/fill",
  );
  assert.match(problems(pushed), /^error\[(disk-full|commit-refused)\] .*no space/);
  assert.match(
    pushed.stderr,
    /\n {2}nothing on the machine changed\n {2}help: make room in \/usr\/local there, then push again\n$/,
  );
});

test("no inodes before the push", async () => {
  const pushed = await refusedWhile(
    "mkdir /usr/local/fill; i=0; while : >/usr/local/fill/$i; do i=$((i+1)); done 2>/dev/null || true",
    "rm -r /usr/local/fill",
  );
  assert.match(problems(pushed), /^error\[(disk-full|commit-refused|not-writable)\] /);
  assert.match(pushed.stderr, /nothing on the machine changed/);
});

test("a file system that is read-only", async () => {
  const { machine } = await theMachine();
  const pushed = await refusedWhile("mount -o remount,ro /usr/local", "mount -o remount,rw /usr/local");
  assert.equal(
    problems(pushed),
    `error[not-writable] /usr/local on machine \`demo\` (root@${machine.name}:22) is not writable: read-only file system
  nothing on the machine changed
  help: remount it: \`mount -o remount,rw /usr/local\`
`,
  );
});

test("room that is gone between the journal and the end of the commit: it is taken back with what was kept for that", async (t) => {
  const { machine } = await theMachine();
  // Fills it the moment the journal stands, and goes on taking what comes free.
  await inside(
    machine,
    `cat >/root/filler <<'END'
while [ ! -e /usr/local/.labctl/journal ]; do :; done
while [ -e /root/go ]; do cat /dev/zero >>/usr/local/fill; sleep 0.01; done 2>/dev/null
END
touch /root/go; systemd-run --quiet --unit=filler bash /root/filler`,
  );
  const { lab } = await theMachine();
  const generation = await inside(machine, "cut -d' ' -f1 /usr/local/.labctl/generation");
  const tree = await liveContents(machine);
  lab.write({ "machines/demo/etc/more": "more\n" });
  const pushed = await lab.run(["push", "demo", "--no-confirm"]);
  await inside(machine, "rm /root/go; systemctl stop filler; rm -f /usr/local/fill");
  const now = await liveContents(machine);
  t.diagnostic(problems(pushed) || "it went through");
  // Whoever wins the race for the last block: one tree or the other, and the push says which.
  if (pushed.code === 0) assert.equal(now.has("etc/more"), true);
  else {
    const again = await lab.run(["plan", "demo"]);
    assert.notEqual(again.code, 1, again.stderr);
    const settled = await liveContents(machine);
    const number = await inside(machine, "cut -d' ' -f1 /usr/local/.labctl/generation");
    // Where even the way back found no room, the push says so, and the next contact goes to one end or the other.
    const forward =
      /the machine is between two generations/.test(pushed.stderr) && settled.delete("etc/more");
    assert.deepEqual(settled, tree, pushed.stderr);
    assert.equal(Number(number), Number(generation) + (forward ? 1 : 0));
  }
  lab.remove("machines/demo/etc/more");
  await lab.run(["push", "demo", "--no-confirm"]);
  assert.match((await lab.expect(0, ["push", "demo"])).stderr, /nothing to do/);
});

test("a service of the push that fills it: the push is taken back, its room too", async () => {
  const { lab, machine } = await theMachine();
  const tree = await liveContents(machine);
  const files = {
    "machines/demo/lib/systemd/system/filler.service": `[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=-/bin/sh -c 'exec cat /dev/zero >/usr/local/.labctl-fill'
ExecStop=/bin/rm -f /usr/local/.labctl-fill
`,
    "machines/demo/lib/systemd/system/multi-user.target.wants/filler.service": { link: "../filler.service" },
  };
  lab.write(files);
  const pushed = await lab.expect(1, ["push", "demo"]);
  assert.equal(
    problems(pushed),
    `error[no-space] the change filled /usr/local on machine \`demo\`
  everything was taken back: the machine runs what it ran before
  help: see what of the change writes there; state belongs in /var/lib/local
`,
  );
  assert.deepEqual(await liveContents(machine), tree);
  for (const path of Object.keys(files)) lab.remove(path);
  assert.match((await lab.expect(0, ["push", "demo"])).stderr, /nothing to do/);
});
