/**
 * Virtual machines on a real machine: what is refused, a microVM and a whole PC from request to ready, their consoles, display
 * and TPM, and that stopping leaves nothing. Booted by emulation: elsewhere KVM may not work, and the tests are the same.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import type { Machine } from "../../src/twin/machine.ts";
import { EXTRA_PACKAGES, enterNamespaces, sharedBed } from "./bed-fixture.ts";
import { inside, type Lab } from "./push-fixture.ts";
import { assertSandboxed } from "./sandbox.ts";
import { FAST_KERNEL as FAST, vmMachine } from "./vm-fixture.ts";

await enterNamespaces(import.meta.url);
const theBed = sharedBed(EXTRA_PACKAGES["vms.test.ts"]);

/** How often a guest is started to measure how long that takes; 20 by hand. */
const STARTS = Number(process.env.LABCTL_VM_STARTS ?? "3");
const KILLS = Number(process.env.LABCTL_KILLS ?? "3");

const SECTIONS = `
[network lan]
ipv4 = /26

[guest micro]
kind = vm
image = tiny
network = lan
accelerator = tcg
memory = 384M
ready = 300
stop = 20
append = ${FAST}

[guest pc]
kind = vm
image = tiny
network = lan
machine = q35
firmware = uefi
display = yes
accelerator = tcg
memory = 512M
disk = 1G
ready = 400
stop = 8
append = ${FAST} systemd.mask=guest-button.service

[guest fast]
kind = vm
image = tiny

[guest mute]
kind = vm
image = tiny
accelerator = tcg
ready = 10
append = earlyprintk=serial,ttyS0
`;

let prepared: Promise<{ lab: Lab; machine: Machine }> | undefined;

/** A machine with the layer and four guests declared, none of which runs. */
function theMachine(): Promise<{ lab: Lab; machine: Machine }> {
  prepared ??= theBed().then((bed) => vmMachine(bed, SECTIONS));
  return prepared;
}

/** Everything that a guest could leave behind but its disk. */
const traces = (machine: Machine): Promise<string> =>
  inside(
    machine,
    `for i in $(seq 100); do systemctl list-jobs | grep -q '@' || break; sleep 0.1; done
     ls /sys/class/net; find /run/local/vm /run/local/vm-prepared /run/local/swtpm /run/local/guests -mindepth 1 ! -path '*/claims*' 2>/dev/null; find /run/local/guests/claims -type l 2>/dev/null
     pgrep -la 'qemu-system|swtpm'; nft list ruleset | grep -v counter
     systemctl list-units --state=active,failed,activating,deactivating --plain --no-legend 'vm@*' 'guest-*@*' 'swtpm@*'`,
  );

/** What the unit's last run said. */
const journal = (machine: Machine, guest: string): Promise<string> =>
  inside(
    machine,
    `journalctl -o cat _SYSTEMD_INVOCATION_ID=$(systemctl show -P InvocationID vm@${guest}) ; journalctl -o cat -u vm@${guest} -n 30`,
  );

/** Starts the guest and answers what its console said. */
async function boot(t: TestContext, lab: Lab, guest: string): Promise<string> {
  const startedAt = performance.now();
  const started = await lab.expect(0, ["guest", "start", "demo", guest, "--stats"]);
  t.diagnostic(`${guest}: ready after ${Math.round(performance.now() - startedAt)} ms, emulated`);
  // What came before QEMU, QEMU's own part, and the guest's.
  assert.match(started.stdout, /addresses .* m?s[\s\S]*prepare .* m?s[\s\S]*qemu .* m?s[\s\S]*boot .* m?s/);
  for (const line of started.stdout.trim().split("\n")) t.diagnostic(line);
  const shown = await lab.expect(0, ["guest", "console", "demo", guest]);
  return shown.stdout;
}

test("a guest that wants KVM where it does not work is refused with help, and leaves nothing", async () => {
  const { machine } = await theMachine();
  const abilities = JSON.parse(await inside(machine, "cat /run/local/vm-host/abilities.json"));
  const before = await traces(machine);
  // The same refusal where it does work: what the probe found is replaced.
  if (abilities.kvm.works)
    await inside(
      machine,
      'sed -i \'s/"works": true/"works": false, "why": "a test"/\' /run/local/vm-host/abilities.json',
    );
  await inside(machine, "! systemctl start vm@fast");
  assert.match(
    await journal(machine, "fast"),
    /error\[vm-no-kvm\] guest `fast` wants KVM, which does not work on this machine[\s\S]*help: say `"accelerator":"tcg"`/,
  );
  await inside(machine, "systemctl reset-failed");
  assert.equal(await traces(machine), before);
  if (abilities.kvm.works) await inside(machine, "systemctl restart vm-host");
});

test("a guest that never says that it is ready is stopped in time, and its console's last lines are shown", async () => {
  const { machine } = await theMachine();
  const before = await traces(machine);
  await inside(machine, "! systemctl start vm@mute");
  assert.match(
    await journal(machine, "mute"),
    /error\[vm-not-ready\] guest `mute` did not say that it is ready within 10 s, and is stopped\n {2}the last lines of its console:\n {4} *\S.*\n[\s\S]*help: raise/,
  );
  await inside(machine, "systemctl reset-failed");
  assert.equal(await traces(machine), before);
});

test("from request to first instruction; a start that was killed keeps nobody from the next", async (t) => {
  const { machine } = await theMachine();
  const before = await traces(machine);
  const times: number[] = [];
  for (let n = 0; n < STARTS; n++) {
    const said = await inside(
      machine,
      `asked=$(date +%s%3N); systemctl start --no-block vm@micro
       for i in $(seq 100); do sleep 0.5; grep -qs 'running 1' /run/local/vm/micro/states && break; [ $(systemctl is-active vm@micro) = failed ] && exit 1; done
       read -r first </run/local/vm/micro/states; first=\${first#*@}; first=\${first%%:*}
       echo $(( \${first/./} / 1000 - asked ))
       ${n === 0 ? "systemctl kill --signal=KILL vm@micro; sleep 0.5" : ":"}; systemctl stop vm@micro; systemctl reset-failed`,
    );
    times.push(Number(said.trim()));
  }
  times.sort((a, b) => a - b);
  t.diagnostic(
    `request to first instruction: median ${times[times.length >> 1]} ms of ${times.length} (${times.join(" ")})`,
  );
  assert.ok((times[times.length >> 1] ?? Number.NaN) < 30_000, times.join());
  assert.equal(await traces(machine), before);
});

/**
 * Does `before`, starts `micro` until its first instruction ran, or it failed, and ends it; answers whether it ran, and all that
 * was written and linked for it.
 */
const tryStart = (machine: Machine, before = ":"): Promise<string> =>
  inside(
    machine,
    `${before}
     systemctl start --no-block vm@micro
     for i in $(seq 1000); do grep -qs 'running 1' /run/local/vm/micro/states && break; case $(systemctl is-active vm@micro guest-net@micro) in *failed*) break;; esac; sleep 0.05; done
     sed 's/^.*:vm/vm/' /run/local/vm/micro/states 2>/dev/null
     find /run/local/guests/micro* /run/local/bridge/lan.hosts/micro /run/local/bridge/lan.dhcp/micro -type f -printf '%m ' -exec sha256sum {} \\; 2>/dev/null | sort
     find /run/local/guests/claims /run/local/vm-prepared/micro -printf '%p %y %m %U %l\n' 2>/dev/null | sed 's/arguments-[0-9a-f]*/arguments/' | sort; ip -o -d link show vb-micro 2>/dev/null | grep -oE 'master lan|vnet_hdr on|user [0-9]*'
     systemctl kill --kill-whom=main --signal=KILL vm@micro 2>/dev/null
     for i in $(seq 200); do case $(systemctl is-active vm@micro) in failed|inactive) break;; esac; sleep 0.05; done
     umount -q /usr/bin/node; systemctl stop vm@micro guest-net@micro guest-root@micro; systemctl reset-failed`,
  );

test("a start for which nothing has changed does what the last one did, without a program of Node.js before QEMU", async () => {
  const { machine } = await theMachine();
  const before = await traces(machine);
  // In its place, one that does nothing but wait for the guest's end.
  await inside(
    machine,
    `printf '#!/bin/bash\ncase $1 in *monitor.mjs) exec tail --pid=$MAINPID -f /dev/null;; esac\nexit 1\n' >/run/no-node; chmod 755 /run/no-node`,
  );
  const none = "mount --bind /run/no-node /usr/bin/node";
  const made = await tryStart(machine, "rm -rf /var/cache/local/guests/micro");
  assert.match(made, /vm_state_notify running 1[\s\S]*master lan/);
  assert.equal(await tryStart(machine, none), made);

  // An address that someone else has by now is left alone.
  const claims = "/run/local/guests/claims/lan";
  const [, own] = /claims\/lan\/(\S+) l /.exec(made) ?? [];
  const other = await tryStart(machine, `mkdir -p ${claims}; ln -s other ${claims}/${own}; ${none}`);
  assert.match(other, /vm_state_notify running 1/);
  assert.deepEqual(
    [...other.matchAll(/claims\/lan\/(\S+) l .* (\S+)$/gm)].map((m) => [m[1] === own, m[2]]),
    [
      [true, "other"],
      [false, "micro"],
    ],
  );
  await inside(machine, `rm -r ${claims}`);

  // The control: what is no longer so, or left by a run that was killed, can't be taken up without Node.js.
  for (const change of [
    "touch /run/local/guests/micro.env",
    "mkdir -p /run/local/vm-prepared/micro",
    "echo >>/run/local/ip/lan.env",
    "echo >>/run/local/vm-host/abilities.json",
  ]) {
    assert.doesNotMatch(await tryStart(machine, `${change}; ${none}`), /running 1/, change);
    assert.equal(await tryStart(machine, change.replace(/^echo.*/, ":")), made, change);
  }
  await inside(machine, "rm /run/no-node");
  assert.equal(await traces(machine), before);
});

test(`killed at ${KILLS} random moments of its start, the next start succeeds, and then nothing is left`, async (t) => {
  const { machine } = await theMachine();
  const before = await traces(machine);
  const seed = Number(process.env.LABCTL_SEED ?? Math.floor(Math.random() * 1e9));
  t.diagnostic(`seed ${seed}, ${KILLS} kills`);
  let state = seed;
  const units = "vm@micro guest-net@micro guest-root@micro";
  for (let n = 0; n < KILLS; n++) {
    // Numerical Recipes' linear congruential generator.
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const ms = state % 600;
    await inside(
      machine,
      `systemctl start --no-block vm@micro; sleep ${(ms / 1000).toFixed(3)}; systemctl kill --signal=KILL ${units} 2>/dev/null
       systemctl stop ${units}; systemctl reset-failed`,
    );
    // What clears up can have been killed, too.
    if (n % 3 === 2)
      assert.match(await tryStart(machine), /vm_state_notify running 1[\s\S]*master lan/, `${ms} ms`);
  }
  assert.match(await tryStart(machine), /vm_state_notify running 1[\s\S]*master lan/);
  assert.equal(await traces(machine), before);
});

test("a microVM is ready, named, reached, and knows who it is; its power button stops it, and nothing is left", async (t) => {
  const { lab, machine } = await theMachine();
  const before = await traces(machine);
  const said = await boot(t, lab, "micro");
  const env = await inside(machine, "cat /run/local/guests/micro.env");
  const value = (name: string): string => new RegExp(`^${name}=(.*)$`, "m").exec(env)?.[1] ?? "";

  // Addresses were known before it ran, and its name answers.
  assert.match(said, new RegExp(`guest: address .* inet ${value("GUEST_IP4")}/26 `));
  assert.match(
    await inside(machine, "resolvectl query -4 micro.lan.demo.lan"),
    new RegExp(value("GUEST_IP4")),
  );
  await inside(machine, `ping -c1 -W5 ${value("GUEST_IP4")}`);
  assert.match(await inside(machine, "ip -o link show vb-micro"), /master lan /);
  // Credentials by fw_cfg, and the seed.
  assert.match(said, new RegExp(`guest: kernel \\S+ host micro id ${value("GUEST_ID")}`));
  for (const name of [
    "system.machine_id",
    "network.network.50-labctl",
    "systemd.extra-unit.labctl-ready.service",
  ])
    assert.match(said, new RegExp(`guest: credential ${name}`));
  assert.match(said, /guest: seed meta-data: .*"local-hostname": "micro"/);
  assert.match(said, new RegExp(`guest: seed network-config: .*"macaddress": "${value("GUEST_MAC")}"`));
  assert.doesNotMatch(said, /guest: has/);
  // Emulated, and it says so.
  assert.match(
    await journal(machine, "micro"),
    /warning\[vm-emulated\] guest `micro` runs on an emulated processor/,
  );
  const state = JSON.parse(await inside(machine, "node /usr/local/libexec/qemu/monitor.mjs state micro"));
  assert.deepEqual(state, { name: "micro", status: "running", running: true, accelerator: "tcg" });

  await inside(machine, "/usr/local/lib/labctl/check.d/qemu");
  const shot = await lab.run(["guest", "screenshot", "demo", "micro"]);
  assert.equal(shot.code, 1);
  assert.match(shot.stderr, /shows nothing[\s\S]*help: say `"display":true`/);
  await assertSandboxed(t, machine, ["vm@micro", "vm-host", "swtpm@pc"]);
  // A push while it runs leaves it alone.
  const pid = await inside(machine, "systemctl show -P MainPID vm@micro");
  await lab.expect(0, ["push", "demo"]);
  assert.equal(await inside(machine, "systemctl show -P MainPID vm@micro"), pid);

  await inside(machine, "systemctl stop vm@micro");
  assert.doesNotMatch(await journal(machine, "micro"), /vm-forced/);
  assert.equal(await traces(machine), before);
});

test("a PC has UEFI, a TPM and a display; a guest that ignores its power button is ended when its time is up", async (t) => {
  const { lab, machine } = await theMachine();
  const before = await traces(machine);
  const said = await boot(t, lab, "pc");
  assert.match(said, /guest: has \/dev\/tpm0\r?\nguest: has \/sys\/firmware\/efi/);
  // By SMBIOS.
  assert.match(said, /guest: credential system\.machine_id/);
  assert.match(
    await inside(
      machine,
      "test -S /run/local/vm/pc/display; qemu-img info -U /var/lib/local/guests/pc/disk.*",
    ),
    /virtual size: 1 GiB/,
  );
  const file = join(lab.root, "pc.png");
  await lab.expect(0, ["guest", "screenshot", "demo", "pc", file]);
  assert.equal(readFileSync(file).subarray(0, 8).toString("hex"), "89504e470d0a1a0a");

  const startedAt = performance.now();
  await inside(machine, "systemctl stop vm@pc");
  t.diagnostic(`ended by force after ${Math.round(performance.now() - startedAt)} ms`);
  assert.match(
    await journal(machine, "pc"),
    /warning\[vm-forced\] guest `pc` did not shut down within 6 s of its power button, and is ended by force/,
  );
  assert.equal(await traces(machine), before);
});
