/**
 * What goes wrong after the commit: a service that refuses, a check that fails, a machine that can't be reached any
 * more. Each time the machine takes everything back by itself, and the push says so and fails.
 */
import assert from "node:assert/strict";
import test from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { Machine } from "../../src/twin/machine.ts";
import { runProgram } from "../../src/twin/run-program.ts";
import { enterNamespaces, sharedBed } from "./bed-fixture.ts";
import { type Answer, bootMachine, inside, type Lab, labFor, liveContents, page } from "./push-fixture.ts";

await enterNamespaces(import.meta.url);
const theBed = sharedBed();

let prepared: Promise<{ lab: Lab; machine: Machine }> | undefined;

function theMachine(): Promise<{ lab: Lab; machine: Machine }> {
  prepared ??= theBed().then(async (bed) => {
    const machine = await bootMachine(bed);
    const lab = labFor(bed, machine.name);
    lab.write({
      "machines/demo/lib/systemd/system/hello.service": "[Service]\nExecStart=/bin/sleep infinity\n",
      "machines/demo/lib/systemd/system/multi-user.target.wants/hello.service": { link: "../hello.service" },
    });
    await lab.expect(0, ["push", "demo", "--no-confirm"]);
    return { machine, lab };
  });
  return prepared;
}

/** Makes an edit, pushes it, and sees that the old tree and the old behaviour are back within 5 s; undoes the edit. */
async function revertedAfter(files: Readonly<Record<string, string>>): Promise<Answer> {
  const { lab, machine } = await theMachine();
  const tree = await liveContents(machine);
  const title = await page(machine);
  const old = new Map(Object.keys(files).map((path) => [path, readOrNothing(lab, path)] as const));
  lab.write(files);
  lab.edit("facts/demo.env", "Built", "Never; built");
  try {
    const pushed = await lab.expect(1, ["push", "demo"]);
    // 5 s on a quiet machine, where it takes one; what waits for a deadline would wait for 60.
    assert.ok(pushed.ms < 40_000, `${pushed.ms} ms`);
    assert.deepEqual(await liveContents(machine), tree);
    assert.equal(await page(machine), title);
    assert.equal(await inside(machine, "systemctl --failed --no-legend --plain"), "");
    assert.equal(await inside(machine, "systemctl is-active nginx ssh hello | sort -u"), "active\n");
    assert.equal(
      await inside(
        machine,
        "cd /usr/local/.labctl; ls -d journal* undo pending way-in 2>/dev/null; cut -d' ' -f1 generation; ls generations",
      ),
      "1\n1\n",
    );
    assert.equal(await inside(machine, "systemctl list-units --no-legend --plain 'labctl-revert*'"), "");
    return pushed;
  } finally {
    lab.edit("facts/demo.env", "Never; built", "Built");
    for (const [path, text] of old) {
      if (text === undefined) lab.remove(path);
      else lab.write({ [path]: text });
    }
    assert.match((await lab.expect(0, ["push", "demo"])).stderr, /nothing to do/);
  }
}

function readOrNothing(lab: Lab, path: string): string | undefined {
  try {
    return lab.read(path);
  } catch {
    return undefined;
  }
}

/** The diagnostics of a push, without the lines that tell its course. */
function problems(answer: Answer): string {
  return answer.stderr.slice(answer.stderr.indexOf("error["));
}

const BACK = "everything was taken back: the machine runs what it ran before";
const SITE = "machines/demo/opt/nginx/conf/sites.d/10-bad.nginx";
const HELLO = "machines/demo/lib/systemd/system/hello.service";

test("a site that nginx refuses: its reload fails, and the old page is served", async () => {
  const pushed = await revertedAfter({ [SITE]: "server { listen 81; no_such_directive on; }\n" });
  assert.match(pushed.stderr, /failed: reload nginx\.service/);
  assert.match(pushed.stderr, /\| .*unknown directive "no_such_directive"/);
  assert.equal(
    problems(pushed),
    `error[unit-failed] nginx.service failed on machine \`demo\`
  ${BACK}
  help: see \`journalctl -u nginx.service\` there; correct the layer and push again
`,
  );
});

test("a main.nginx that nginx refuses: its restart fails, and it runs again with the old one", async () => {
  const { lab } = await theMachine();
  const main = "layers/web/opt/nginx/conf/main.nginx.hbs";
  const pushed = await revertedAfter({ [main]: lab.read(main).replace("sendfile on;", "sendfile maybe;") });
  assert.match(pushed.stderr, /failed: restart nginx\.service/);
  assert.match(
    problems(pushed),
    /^error\[unit-failed\] nginx\.service failed on machine `demo`\n {2}everything was/,
  );
});

test("a check that fails: what it printed is shown", async () => {
  const pushed = await revertedAfter({
    "machines/demo/lib/labctl/check.d/sour": "#!/bin/sh\necho 'the milk is sour'\nexit 3\n",
    "machines/demo/machine.ini": (await theMachine()).lab
      .read("machines/demo/machine.ini")
      .replace("[ssh]", "[attributes]\nlib/labctl/check.d/sour = mode 0755\n[ssh]"),
  });
  assert.match(
    pushed.stderr,
    /check lib\/labctl\/check\.d\/sour failed \(<ms>\)\ndemo: {3}\| the milk is sour\n/,
  );
  assert.equal(
    problems(pushed),
    `error[check-failed] the check lib/labctl/check.d/sour failed on machine \`demo\`: exit status 3
  ${BACK}
  help: correct what it says and push again
`,
  );
});

test("a unit that does not start", async () => {
  const pushed = await revertedAfter({ [HELLO]: "[Service]\nType=oneshot\nExecStart=/bin/false\n" });
  assert.match(
    problems(pushed),
    /^error\[unit-failed\] hello\.service failed on machine `demo`\n {2}everything was/,
  );
});

test("a unit that dies over and over", async () => {
  const pushed = await revertedAfter({
    [HELLO]: "[Service]\nExecStart=/bin/false\nRestart=always\nRestartSec=50ms\nStartLimitIntervalSec=0\n",
  });
  assert.match(problems(pushed), /^error\[unit-(failed|restarting)\] hello\.service /);
});

test("a unit that systemd can't load", async () => {
  const pushed = await revertedAfter({ [HELLO]: "[Service]\nExecStart=no/absolute/path --\n" });
  assert.match(problems(pushed), /^error\[unit-failed\] hello\.service failed/);
});

/** Seconds until a fresh ssh connection works again. */
async function reachableAfter(lab: Lab, machine: Machine, limitS: number): Promise<number> {
  const startedAt = Date.now();
  for (;;) {
    const ssh = ["ssh", "-F", lab.bed.sshConfigFile, "-o", "ConnectTimeout=1", machine.name, "true"];
    if ((await runProgram(ssh, { timeoutMs: 3000 })).status === 0) return (Date.now() - startedAt) / 1000;
    assert.ok(Date.now() - startedAt < limitS * 1000, `still unreachable after ${limitS} s`);
    await sleep(100);
  }
}

/** Pushes a tree that cuts the machine off, and sees it come back by itself with the old one. */
async function healsAfter(
  files: Readonly<Record<string, string | { link: string }>>,
  seconds = 3,
): Promise<Answer> {
  const { lab, machine } = await theMachine();
  const tree = await liveContents(machine);
  lab.write(files);
  const pushed = await lab.expect(1, ["push", "demo", "--confirm-seconds", `${seconds}`, "--timeout", "2"]);
  assert.match(pushed.stderr, /^demo: committed/m, "control: the change was there");
  await reachableAfter(lab, machine, 45);
  assert.deepEqual(await liveContents(machine), tree);
  for (const path of Object.keys(files)) lab.remove(path);
  assert.match((await lab.expect(0, ["push", "demo"])).stderr, /nothing to do/);
  return pushed;
}

test("sshd on another port: the machine takes it back when told over the old connection", async () => {
  const { machine } = await theMachine();
  const pushed = await healsAfter({ "machines/demo/etc/ssh/sshd_config.d/05-port.conf": "Port 2222\n" });
  assert.equal(
    problems(pushed),
    `error[not-confirmed] no fresh connection to machine \`demo\` could be made after the change
  why: [ssh-refused] root@${machine.name}:22 refused the connection
  generation 2 was taken back, tree and units: the machine was told over the connection that still stood
  help: look at what the change did to sshd, the firewall or the network; \`--no-confirm\` skips this safeguard
`,
  );
});

/** A service of a firewall with one rule. */
function wall(rule: string): Readonly<Record<string, string | { link: string }>> {
  return {
    "machines/demo/etc/wall.nft": `table inet wall {
  chain in {
    type filter hook input priority 0;
    ${rule}
  }
}
`,
    "machines/demo/lib/systemd/system/wall.service": `[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=nft -f /usr/local/etc/wall.nft
ExecStop=nft delete table inet wall
`,
    "machines/demo/lib/systemd/system/multi-user.target.wants/wall.service": { link: "../wall.service" },
  };
}

test("a firewall that lets no new ssh in: the machine opens it again by itself", async () => {
  const pushed = await healsAfter(wall("tcp dport 22 ct state new drop;"));
  assert.match(problems(pushed), /^error\[not-confirmed\] .*\n {2}why: \[ssh-timeout\]/);
});

test("a firewall that cuts the push itself off: it waits, and says what became of the machine", async () => {
  const pushed = await healsAfter(wall("tcp dport 22 drop;"), 5);
  // The machine's last words may still get out, since only what comes in is dropped; then it is the confirmation that fails.
  const [head, why, state, help] = problems(pushed).split("\n");
  assert.equal(
    head,
    "error[not-confirmed] no fresh connection to machine `demo` could be made after the change",
  );
  assert.match(why ?? "", /^ {2}why: \[ssh-(lost|timeout)\] /);
  assert.match(
    state ?? "",
    /^ {2}generation 2 was taken back, tree and units, by the machine itself; it answers again \(after <ms>\)$/,
  );
  assert.match(help ?? "", /^ {2}help: look at what the change did to sshd, the firewall or the network/);
});

test("a generation that waits for its confirmation is not pushed over", async () => {
  const { lab, machine } = await theMachine();
  lab.write({ "machines/demo/etc/ssh/sshd_config.d/05-port.conf": "Port 22\nPort 2222\nMaxSessions 10\n" });
  const started = lab.start(["push", "demo", "--confirm-seconds", "5"]);
  for (;;) {
    if ((await inside(machine, "test -e /usr/local/.labctl/undo && echo yes || true")) !== "") break;
    await sleep(10);
  }
  started.child.kill("SIGKILL");
  await started.answer;
  const waiting = await lab.run(["push", "demo", "-q"]);
  assert.equal(waiting.code, 1);
  assert.match(waiting.stderr, /^error\[(undo-waits|lock-held|confirm-pending)\] /);
  for (let i = 0; i < 100; i++) {
    if ((await inside(machine, "test -e /usr/local/.labctl/undo && echo yes || true")) === "") break;
    await sleep(100);
  }
  lab.remove("machines/demo/etc/ssh/sshd_config.d/05-port.conf");
  assert.match((await lab.expect(0, ["push", "demo"])).stderr, /nothing to do/);
});
