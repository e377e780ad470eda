/** What stops a push before anything changes: each refusal's whole text, and a machine that is as it was. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import type { Machine } from "../../src/twin/machine.ts";
import { runProgram } from "../../src/twin/run-program.ts";
import { enterNamespaces, sharedBed } from "./bed-fixture.ts";
import {
  bootMachine,
  inside,
  type Lab,
  labFor,
  liveContents,
  page,
  unitDifference,
  unitStates,
} from "./push-fixture.ts";

await enterNamespaces(import.meta.url);
const theBed = sharedBed();

let prepared: Promise<{ lab: Lab; machine: Machine }> | undefined;

/** One machine with a first generation; the tests below push a second one in vain. */
function theMachine(): Promise<{ lab: Lab; machine: Machine }> {
  prepared ??= theBed().then(async (bed) => {
    const machine = await bootMachine(bed);
    const lab = labFor(bed, machine.name);
    await lab.expect(0, ["push", "demo", "--no-confirm"]);
    lab.edit("facts/demo.env", "Built", "Never to be seen; built");
    return { machine, lab };
  });
  return prepared;
}

/** Runs a push that must be refused; answers what it printed. */
async function refused(t: TestContext, args: readonly string[] = [], sshConfig?: string): Promise<string> {
  const { lab, machine } = await theMachine();
  const before = [await unitStates(machine), await liveContents(machine)] as const;
  const pushed = await lab.expect(1, ["push", "demo", "-q", ...args], sshConfig ? { sshConfig } : {});
  t.diagnostic(pushed.stderr);
  // systemd may notice a test's own mount a moment late.
  const touched = unitDifference(before[0], await unitStates(machine)).filter(
    (d) => !/ usr-local\.mount$/.test(d),
  );
  assert.deepEqual(touched, []);
  assert.deepEqual(await liveContents(machine), before[1]);
  assert.doesNotMatch(await page(machine), /Never to be seen/);
  assert.equal(pushed.stdout, "");
  return pushed.stderr;
}

/** The bed's ssh configuration with other lines before it, which win. */
async function configWith(name: string, lines: readonly string[]): Promise<string> {
  const { lab } = await theMachine();
  const file = join(lab.root, name);
  writeFileSync(file, `${lines.join("\n")}\n${readFileSync(lab.bed.sshConfigFile, "utf8")}`);
  return file;
}

test("no rsync on the machine", async (t) => {
  const { machine } = await theMachine();
  await inside(machine, "mv /usr/bin/rsync /usr/bin/rsync.off");
  // What a test takes away comes back whatever it finds: the ones after it need it.
  const text = await refused(t).finally(() => inside(machine, "mv /usr/bin/rsync.off /usr/bin/rsync"));
  assert.equal(
    text,
    `error[rsync-missing] machine \`demo\` (root@${machine.name}:22) has no rsync
  nothing on the machine changed
  help: install it there: \`apt-get install rsync\`
`,
  );
});

test("/usr/local is mounted read-only", async (t) => {
  const { machine } = await theMachine();
  await inside(machine, "mount --bind /usr/local /usr/local && mount -o remount,bind,ro /usr/local");
  const text = await refused(t).finally(() => inside(machine, "umount /usr/local"));
  assert.equal(
    text,
    `error[not-writable] /usr/local on machine \`demo\` (root@${machine.name}:22) is not writable: read-only file system
  nothing on the machine changed
  help: remount it: \`mount -o remount,rw /usr/local\`
`,
  );
});

test("no room on the machine", async (t) => {
  const { machine, lab } = await theMachine();
  // Its own small file system, which holds the whole tree and nothing more.
  await inside(
    machine,
    `mkdir /run/full && cp -a /usr/local /run/full/copy && mount -t tmpfs -o size=4m none /usr/local &&
     cp -a /run/full/copy/. /usr/local && head -c 100M /dev/zero >/usr/local/.labctl/fill 2>/dev/null; true`,
  );
  try {
    const pushed = await lab.expect(1, ["push", "demo", "-q"]);
    t.diagnostic(pushed.stderr);
    assert.match(pushed.stderr, /^error\[(disk-full|commit-refused|remote|not-writable)\] /);
    assert.match(pushed.stderr, /nothing (live was|on the machine) changed/);
  } finally {
    await inside(machine, "umount /usr/local; rm -r /run/full");
  }
});

test("a host key that changed", async (t) => {
  const { machine, lab } = await theMachine();
  const other = join(lab.root, "known_other");
  const key = readFileSync(`${lab.bed.identityFile}.pub`, "utf8").split(" ")[1];
  writeFileSync(other, `${machine.name},${machine.address} ssh-ed25519 ${key}\n`);
  for (const more of [[], ["--accept-new"]]) {
    const text = await refused(t, more, await configWith("changed", [`UserKnownHostsFile ${other}`]));
    assert.equal(
      text,
      `error[host-key-changed] <repo>/known_other:1: root@${machine.name}:22 presents another host key than the one known for \`${machine.address}\`
  known:     ED25519 SHA256:<print> (<repo>/known_other:1)
  presented: ED25519 SHA256:<print>
  either the machine was installed anew, or someone stands between you and it
  nothing was sent to the machine
  help: compare with \`ssh-keygen -lf\` on the machine's own console; if the new key is right, forget the old one: ssh-keygen -f <repo>/known_other -R ${machine.address}
`,
    );
  }
});

test("an unknown host key without a terminal; with --accept-new it is remembered and the push goes on", async (t) => {
  const { machine, lab } = await theMachine();
  const empty = join(lab.root, "known_none");
  writeFileSync(empty, "");
  const config = await configWith("unknown", [`UserKnownHostsFile ${empty}`, "StrictHostKeyChecking ask"]);
  assert.equal(
    await refused(t, [], config),
    `error[host-key-unknown] the host key of root@${machine.name}:22 is unknown
  presented: ED25519 SHA256:<print>
  no known_hosts file has a key for \`${machine.address}\`, and there is no terminal to ask on
  nothing was sent to the machine
  help: compare the fingerprint with \`ssh-keygen -lf\` on the machine, then run again with --accept-new
`,
  );
  await lab.expect(2, ["plan", "demo", "--accept-new"], { sshConfig: config });
  assert.ok(readFileSync(empty, "utf8").includes(machine.hostKey));
  await lab.expect(2, ["plan", "demo"], { sshConfig: config });
});

test("a key that the machine does not accept", async (t) => {
  const { machine, lab } = await theMachine();
  const key = join(lab.root, "wrong_key");
  await runProgram(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "wrong", "-f", key]);
  const config = join(lab.root, "wrong");
  const text = readFileSync(lab.bed.sshConfigFile, "utf8");
  writeFileSync(config, text.replace(/IdentityFile .*/, `IdentityFile ${key}`));
  assert.equal(
    await refused(t, [], config),
    `error[ssh-auth] root@${machine.name}:22 accepted none of our keys
  tried ED25519 SHA256:<print> from <repo>/wrong_key
  nothing was sent to the machine
  help: add one of these keys to the user's authorized_keys on the machine, load the right one with ssh-add, or name it as \`identity\` under [ssh] in machine.ini
`,
  );
});

test("no sshd there", async (t) => {
  const { machine } = await theMachine();
  assert.equal(
    await refused(t, [], await configWith("refusing", ["Port 2"])),
    `error[ssh-refused] root@${machine.name}:2 refused the connection
  tried ${machine.address}:2: no program listens there
  nothing was sent to the machine
  help: check that sshd runs on the machine, and that host and port are right
`,
  );
});

test("no answer in time", async (t) => {
  const { machine } = await theMachine();
  // Dropped packets: an address that nobody has is answered at once with "no route".
  await inside(
    machine,
    "nft add table inet t; nft 'add chain inet t c { type filter hook input priority 0; }'; nft add rule inet t c tcp dport 23 drop",
  );
  const text = await refused(t, ["--timeout", "1"], await configWith("silent", ["Port 23"]));
  await inside(machine, "nft delete table inet t");
  assert.equal(
    text,
    `error[ssh-timeout] root@${machine.name}:23 did not answer within 1 s
  tried ${machine.address}:23; it was still opening the connection
  nothing was sent to the machine
  help: check that the machine is up and that no firewall drops the connection
`,
  );
});

test("an address that nobody has", async (t) => {
  const { machine } = await theMachine();
  const text = await refused(t, ["--timeout", "1"], await configWith("nobody", ["HostName 10.97.0.200"]));
  assert.match(
    text,
    new RegExp(
      `^error\\[ssh-(timeout|unreachable)\\] root@${machine.name}:22 (did not answer within 1 s|can't be reached)\n  tried 10\\.97\\.0\\.200:22`,
    ),
  );
});

test("another push is at work", async (t) => {
  const { machine } = await theMachine();
  await inside(
    machine,
    `(printf 'anna@desk 77 1\\n' >/usr/local/.labctl/lock; exec 9<>/usr/local/.labctl/lock; flock 9; exec sleep 300) </dev/null >/dev/null 2>&1 &
     echo $! >/run/holder; sleep 0.2`,
  );
  const text = await refused(t);
  await inside(machine, "kill $(cat /run/holder)");
  assert.equal(
    text,
    `error[lock-held] another push is at work on machine \`demo\`: anna@desk since 1970-01-01 00:00:01 UTC, as process 77 of the machine
  nothing on the machine changed
  help: wait for it to end, then push again
`,
  );
});

test("a user that is not root and may not use sudo; with passwordless sudo the push works", async (t) => {
  const { machine, lab } = await theMachine();
  const key = readFileSync(`${lab.bed.identityFile}.pub`, "utf8");
  await inside(
    machine,
    `useradd -m -s /bin/bash pat; install -d -o pat -m 0700 /home/pat/.ssh; echo '${key}' >/home/pat/.ssh/authorized_keys`,
  );
  lab.edit("machines/demo/machine.ini", "user = root", "user = pat");
  assert.equal(
    await refused(t),
    `error[sudo] sudo on machine \`demo\` (pat@${machine.name}:22) does not let the user run commands
  sudo: a password is required
  nothing on the machine changed
  help: run labctl on a terminal to be asked for the password, let the user run sudo without one, or log in as root ([ssh] user in machine.ini)
`,
  );
  await inside(
    machine,
    "echo 'pat ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/pat; chmod 0440 /etc/sudoers.d/pat",
  );
  const whole = (await liveContents(machine)).size;
  lab.write({ "machines/demo/opt/nginx/www/pat.html": "by pat\n" });
  await lab.expect(0, ["push", "demo", "-q"]);
  assert.equal(await page(machine, "/pat.html"), "by pat\n");
  assert.equal((await liveContents(machine)).size, whole + 1);
  assert.equal(
    await inside(machine, "stat -c '%U:%G %a' /usr/local/opt/nginx/www/pat.html"),
    "root:root 644\n",
  );
  assert.match((await lab.expect(0, ["push", "demo"])).stderr, /nothing to do/);
  lab.edit("facts/demo.env", "Never to be seen; built", "Built");
  await lab.expect(0, ["push", "demo", "-q"]);
  await lab.expect(0, ["rollback", "demo", "-q"]);
  assert.match(await page(machine), /Never to be seen/);
});
