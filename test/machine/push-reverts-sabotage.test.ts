/**
 * Every way to lock oneself out that we could think of, pushed by the real program to booted machines: within 60 s the
 * pusher gets in again, the tree is the one before, what ran before runs, what was not touched did not notice, and the
 * push told the truth. LABCTL_SABOTAGES=TEXT runs those whose name has the text.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createSocket } from "node:dgram";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test, { after, type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { BED_ADDRESS } from "../../src/twin/bed.ts";
import type { Machine } from "../../src/twin/machine.ts";
import { runProgram } from "../../src/twin/run-program.ts";
import { enterNamespaces, sharedBed } from "./bed-fixture.ts";
import { bootMachine, inside, type Lab, labFor, liveContents, unitStates } from "./push-fixture.ts";
import { SABOTAGES, type Sabotage } from "./sabotages.ts";

await enterNamespaces(import.meta.url);
const theBed = sharedBed();

/** Machines at work at the same time. */
const AT_ONCE = 2;
const CONFIRM_SECONDS = 6;
const LIMIT_S = 60;

/** Answers every question for an address with one of the bed's; RFC 1035 section 4.1. */
function nameServer(): void {
  const socket = createSocket("udp4");
  socket.on("message", (question, from) => {
    const end = question.indexOf(0, 12) + 5;
    const isA = question.readUInt16BE(end - 4) === 1;
    const head = Buffer.from(question.subarray(0, end));
    head.writeUInt16BE(0x8180, 2);
    head.writeUInt16BE(isA ? 1 : 0, 6);
    head.writeUInt16BE(0, 8);
    head.writeUInt16BE(0, 10);
    const answer = Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 97, 0, 1]);
    socket.send(isA ? Buffer.concat([head, answer]) : head, from.port, from.address);
  });
  socket.bind(53, BED_ADDRESS);
  after(() => socket.close());
}

interface Place {
  readonly lab: Lab;
  readonly machine: Machine;
}

async function prepare(): Promise<Place> {
  const bed = await theBed();
  const machine = await bootMachine(bed);
  const lab = labFor(bed, machine.name);
  const key = readFileSync(`${bed.identityFile}.pub`, "utf8");
  await inside(
    machine,
    `systemctl mask --quiet --now systemd-ask-password-wall.path systemd-ask-password-console.path; systemctl reset-failed
     useradd -m -s /bin/bash pat; install -d -o pat -m 0700 /home/pat/.ssh; echo '${key}' >/home/pat/.ssh/authorized_keys
     echo 'pat ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/pat; chmod 0440 /etc/sudoers.d/pat
     rm -rf /etc/apt/sources.list.d; echo 'deb http://packages.example trixie main' >/etc/apt/sources.list`,
  );
  lab.write({ "machines/demo/lib/systemd/resolved.conf.d/10-dns.conf": `[Resolve]\nDNS=${BED_ADDRESS}\n` });
  await lab.expect(0, ["push", "demo", "--no-confirm"]);
  assert.match(await inside(machine, "getent ahostsv4 packages.example"), /^10\.97\.0\.1 /);
  return { machine, lab };
}

/** Seconds until a fresh ssh connection works again. */
async function reachableAfter({ lab, machine }: Place, user: string): Promise<number> {
  const startedAt = Date.now();
  for (;;) {
    const ssh = [
      "ssh",
      "-F",
      lab.bed.sshConfigFile,
      "-o",
      "ConnectTimeout=2",
      "-l",
      user,
      machine.name,
      "true",
    ];
    if ((await runProgram(ssh, { timeoutMs: 5000 })).status === 0) return (Date.now() - startedAt) / 1000;
    assert.ok(Date.now() - startedAt < LIMIT_S * 1000, `still unreachable after ${LIMIT_S} s`);
    await sleep(200);
  }
}

async function suffer(t: TestContext, place: Place, sabotage: Sabotage): Promise<void> {
  const { lab, machine } = place;
  const user = sabotage.bySudo ? "pat" : "root";
  const ini = lab.read("machines/demo/machine.ini");
  const [tree, units, generation, network] = await Promise.all([
    liveContents(machine),
    unitStates(machine),
    inside(machine, "cat /usr/local/.labctl/generation"),
    networkOf(machine),
  ]);
  const files = sabotage.files(machine.address);
  lab.write(Object.fromEntries(Object.entries(files).map(([path, what]) => [`machines/demo/${path}`, what])));
  const attributes = sabotage.attributes ? `[attributes]\n${sabotage.attributes.join("\n")}\n` : "";
  lab.write({ "machines/demo/machine.ini": ini.replace("user = root", `user = ${user}`) + attributes });
  const startedAt = Date.now();
  const pushed = await lab.run(["push", "demo", "--confirm-seconds", `${CONFIRM_SECONDS}`, "--timeout", "3"]);
  const pushedS = (Date.now() - startedAt) / 1000;
  const backS = await reachableAfter(place, user);
  for (const path of Object.keys(files)) lab.remove(`machines/demo/${path}`);
  execFileSync("find", [join(lab.root, "machines/demo"), "-type", "d", "-empty", "-delete"]);
  lab.write({ "machines/demo/machine.ini": ini });
  const said = pushed.stderr.slice(Math.max(0, pushed.stderr.indexOf("error[")));
  t.diagnostic(
    `${sabotage.name}: push ended after ${pushedS.toFixed(1)} s, reachable ${backS.toFixed(1)} s later: ${/error\[[^\n]*/.exec(said)?.[0]}`,
  );
  assert.equal(pushed.code, 1, pushed.stderr);
  assert.ok(pushedS + backS < LIMIT_S);
  assert.match(/^error\[([a-z-]+)\]/.exec(said)?.[1] ?? "", sabotage.code, said);
  await inside(machine, "flock -w 20 /usr/local/.labctl/lock true");
  // A restart of sshd or a reconfigured link may be under way still.
  await inside(
    machine,
    'for i in $(seq 50); do [ -z "$(systemctl list-jobs --no-legend)" ] && break; sleep 0.2; done',
  );
  assert.deepEqual(await liveContents(machine), tree, "the tree is the one before");
  assert.equal(await inside(machine, "cat /usr/local/.labctl/generation"), generation);
  assert.equal(
    await inside(machine, "cd /usr/local/.labctl; ls -d journal* undo pending way-in 2>/dev/null || true"),
    "",
  );
  assert.equal(
    await inside(machine, "systemctl list-units --all --no-legend --plain 'labctl-revert*' evil.service"),
    "",
  );
  assert.equal(await inside(machine, "systemctl --failed --no-legend --plain"), "");
  const now = await unitStates(machine);
  for (const [name, before] of units) {
    const after = now.get(name);
    assert.equal(after?.state ?? "inactive", before.state, `${name} is as it was`);
    if (before.state === "active" && !sabotage.touched.includes(name))
      assert.equal(after?.invocation, before.invocation, `${name} did not notice`);
  }
  assert.equal(await networkOf(machine), network);
  const again = await lab.run(["push", "demo"]);
  assert.match(again.stderr, /nothing to do/, again.stderr);
}

/** Addresses, routes and rules, without what counts down; a link-local address is looked for on its link for a second. */
function networkOf(machine: Machine): Promise<string> {
  return inside(
    machine,
    "(ip -o addr show dev host0; ip -o route; ip -o -6 route show table main) | sed 's/ proto [a-z]*//; s/ tentative//; s/\\\\.*//' | sort; nft -s list ruleset",
  );
}

const wanted = process.env.LABCTL_SABOTAGES;
const queue = SABOTAGES.filter((s) => wanted === undefined || s.name.includes(wanted));

test("every sabotage is taken back, and the pusher gets in again", { concurrency: AT_ONCE }, async (t) => {
  await theBed();
  nameServer();
  const left = [...queue];
  const failed: string[] = [];
  // One boot after the other: together they outrun their deadline on a busy host.
  let booting: Promise<unknown> = Promise.resolve();
  const boot = (): Promise<Place> => {
    const place = booting.then(prepare, prepare);
    booting = place.catch(() => {});
    return place;
  };
  const worker = async (): Promise<void> => {
    let place = boot();
    for (let sabotage = left.shift(); sabotage; sabotage = left.shift()) {
      const one = sabotage;
      const ready = await place;
      await t.test(one.name, async (sub) => {
        try {
          await suffer(sub, ready, one);
        } catch (error) {
          failed.push(one.name);
          // What it left must not be blamed on the next one.
          await ready.machine.kill();
          place = boot();
          throw error;
        }
      });
    }
  };
  await Promise.all(Array.from({ length: Math.min(AT_ONCE, queue.length) }, worker));
  assert.deepEqual(failed, []);
  assert.ok(wanted !== undefined || queue.length >= 10);
});
