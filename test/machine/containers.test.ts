/**
 * Containers on a real machine: refused where they can't be, ready with address, name and keys, limited, stopped, removed
 * without a trace, many at once, and killed half-way.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { guestMac, parseMachineId } from "../../src/ipam/ula.ts";
import type { Machine } from "../../src/twin/machine.ts";
import { isInNamespaces } from "../../src/twin/namespace.ts";
import { seededRandom } from "../seeded-random.ts";
import { enterNamespaces, sharedBed } from "./bed-fixture.ts";
import { guestImage, guestMachine } from "./guest-fixture.ts";
import { inside, type Lab } from "./push-fixture.ts";
import { assertSandboxed } from "./sandbox.ts";

// Where there is a network.
if (!isInNamespaces()) await guestImage();
await enterNamespaces(import.meta.url);
const theBed = sharedBed();

/** Random moments at which something is killed; `LABCTL_KILLS=40` for a long run. */
const KILLS = Number(process.env.LABCTL_KILLS ?? 3);
const AT_ONCE = 20;
/** How many of those are whole systems; `LABCTL_SYSTEMS=20` on a host whose limit allows for as many. */
const SYSTEMS = Number(process.env.LABCTL_SYSTEMS ?? 5);
/** inotify instances of one guest's systemd and networkd, and what all else on the host may have of root's. */
const WATCHES_PER_GUEST = 7;
const OTHER_WATCHES = 90;

const SECTIONS = `[network lab]
ipv4 = /24
[network tiny]
ipv4 = /30
[guest api]
image = debian
network = lab
cpu = 50%
memory = 256M
tasks = 500
io = 50
pinned = yes
mounts = /srv/shared /srv/shared, /srv/shared /srv/look ro
[guest full]
image = debian
network = lab
disk = 40M
[guest late]
image = debian
network = lab
ready = 4
stop = 3
mounts = /srv/late.conf /etc/systemd/system/ssh.service.d/late.conf ro
[guest far]
image = debian
mounts = nfs files.lan:/srv /srv/far
[guest disk]
image = debian
mounts = iscsi files.lan/iqn.2026-11.lan.files:one /srv/far
`;

const SEED = Number(process.env.LABCTL_SEED ?? 20261121);

let prepared: Promise<{ lab: Lab; machine: Machine }> | undefined;

function theMachine(): Promise<{ lab: Lab; machine: Machine }> {
  prepared ??= theBed().then(async (bed) => {
    const made = await guestMachine(bed, SECTIONS);
    await inside(
      made.machine,
      `mkdir -p /srv/shared; echo from the machine >/srv/shared/file
       printf '[Service]\\nExecStartPre=/bin/sh -c "echo the database is not there yet >/dev/console; exec sleep 100"\\n' >/srv/late.conf
       systemctl start bridge@lab bridge@tiny`,
    );
    return made;
  });
  return prepared;
}

/**
 * Everything that a guest could leave behind. That a bridge lost its last carrier the kernel says some time later. An
 * nspawn that is killed leaves its lock's file to the next one that starts from the same inode: those are left out.
 */
const traces = (machine: Machine): Promise<string> =>
  inside(
    machine,
    `for i in $(seq 100); do systemctl list-jobs | grep -q '@' || break; sleep 0.1; done
     ip -o link | sed -E 's/^[0-9]*: //; s/<[^>]*>//; s/ state [A-Z]+//'; ip -o address | grep -v fe80: | sed 's/^[0-9]*: //; s/valid_lft.*//'; ip route | sed 's/ linkdown//'; ip -6 route | grep -v fe80: | sed 's/ linkdown//'; ip netns
     nft list ruleset | sed 's/counter packets.*bytes [0-9]*/counter/'; cut -d' ' -f5- /proc/self/mountinfo | grep -v ^/run/user/ | sed 's/ shared.* - / /' | sort
     find /run/local /run/systemd/nspawn /run/systemd/nspawn-uid /run/systemd/network ! -type d ! -name lock ! -path '*/bridge-dhcp/*' ! -path '*/locks/inode-*' | sort
     find /run/local/guests/*/* /run/systemd/nspawn/*/* /var/lib/local/guests/* /etc/systemd/system/*@*.d ! -path '*/locks/inode-*' 2>/dev/null; btrfs subvolume list -o / | sed 's/.*path //'; pgrep -l dnsmasq; pgrep -l nspawn
     cat /run/local/bridge-dhcp/*/leases; ls /var/log/journal /var/lib/machines 2>&1
     systemctl list-units --state=active,failed,activating,deactivating --plain --no-legend 'container@*' 'guest-*@*' 'ip@*' 'bridge*@*'`,
  );

const start = (lab: Lab, name: string, ...more: string[]): Promise<unknown> =>
  lab.expect(0, ["guest", "start", "demo", name, "--image", "debian", "--network", "lab", ...more]);

test("a guest that can't be is refused with what is wrong and what to do, and nothing of it is left", async () => {
  const { lab, machine } = await theMachine();
  const before = await traces(machine);
  const long = await lab.expect(1, ["guest", "start", "demo", "averylongname", "--image", "debian"]);
  assert.match(long.stderr, /^error\[guest-name\] .*`averylongname` can't be the name of a guest$/m);
  assert.match(long.stderr, /at most 11 characters; this one has 13/);
  const unknown = await lab.expect(1, ["guest", "start", "demo", "nobody"]);
  assert.match(unknown.stderr, /^error\[guest-unknown\] this machine has no guest `nobody`$/m);
  assert.equal((await lab.run(["guest", "start", "demo", "x", "--network", "lab"])).code, 64);
  assert.equal((await lab.run(["guest", "melt", "demo", "x"])).code, 64);
  assert.match(
    (await lab.expect(1, ["guest", "start", "demo", "api", "--image", "debian"])).stderr,
    /error\[guest-declared\] guest `api` is declared in machine\.ini/,
  );
  const image = await lab.expect(1, ["guest", "start", "demo", "x", "--image", "nothere"]);
  assert.match(
    image.stderr,
    /^error\[guest-start\] guest `x` did not start: image@nothere\.service failed$/m,
  );
  // There is nothing in it yet: another image is no loss.
  const other = await lab.expect(1, ["guest", "start", "demo", "x", "--image", "norhere"]);
  assert.match(other.stderr, /image@norhere\.service failed$/m);
  await lab.expect(0, ["guest", "rm", "demo", "x"]);
  const vm = await lab.expect(1, ["guest", "start", "demo", "x", "--image", "debian", "--kind", "vm"]);
  assert.match(vm.stderr, /error\[layer-missing\] .* guests of kind `vm`\n {2}help: add `qemu` to `layers`/);
  await lab.expect(0, ["guest", "rm", "demo", "x"]);
  // A guest's folder that leads elsewhere: what is there is not emptied.
  await inside(
    machine,
    "mkdir /srv/kept; echo kept >/srv/kept/file; ln -s /srv/kept /var/lib/local/guests/alink",
  );
  for (const words of [["rm"], ["stop"], ["start", "--image", "debian"]]) {
    const [verb = "", ...more] = words;
    const said = await lab.expect(1, ["guest", verb, "demo", "alink", ...more]);
    assert.match(said.stderr, /^error\[guest-folder\] \/var\/lib\/local\/guests\/alink is a link$/m);
  }
  assert.match((await lab.expect(0, ["guest", "list", "demo"])).stdout, /^alink +left over$/m);
  await inside(machine, "rm /var/lib/local/guests/alink /srv/kept/file && rmdir /srv/kept");
  // The image that is not there any more failed, and was asked for by nobody else; the first name's was another guest's.
  assert.equal(await inside(machine, "systemctl is-failed image@norhere || true"), "inactive\n");
  await inside(machine, "systemctl reset-failed 'image@*'");
  const dry = await lab.expect(2, ["guest", "start", "demo", "y", "--image", "debian", "--dry-run"]);
  assert.match(dry.stderr, /demo: would make guest y: .*\ndemo: would start guest y/);
  assert.equal((await lab.run(["guest", "stop", "nobody", "y", "--dry-run"])).code, 1);
  assert.equal((await lab.run(["guest", "stop", "demo", "a\nb", "--dry-run"])).code, 1);
  assert.equal(await traces(machine), before);
});

test("mounts that the machine's kernel can't make refuse the start and say so", async () => {
  const { lab } = await theMachine();
  for (const [name, what] of [
    ["far", "mounts by NFS, and this machine's kernel has no NFS client"],
    ["disk", "mounts by iSCSI, and this machine's kernel has no iSCSI initiator"],
  ] as const) {
    const said = (await lab.expect(1, ["guest", "start", "demo", name])).stderr;
    assert.match(said, new RegExp(`error\\[guest-mount\\] guest ${name} ${what}`));
    await lab.expect(0, ["guest", "rm", "demo", name]);
  }
});

test("a guest that never says ready is ended after its time, and its console's last lines are shown", async () => {
  const { lab, machine } = await theMachine();
  const beganAt = performance.now();
  const { stderr } = await lab.expect(1, ["guest", "start", "demo", "late"]);
  assert.match(stderr, /^error\[guest-late\] guest `late` did not say READY within 4 s, and was ended$/m);
  assert.match(
    stderr,
    /\n {2}the last lines of its console:\n( {4}.*\n)* {4}.*the database is not there yet/,
  );
  assert.match(stderr, /\n {2}help: labctl guest logs demo late$/m);
  // They end where systemd's patience did; the control: its shutdown is in the journal, too.
  const shutdown = /Stopping|Stopped target|System (Power|Halt)|Powering off|Sending SIGTERM/;
  assert.doesNotMatch(stderr, shutdown);
  assert.match((await lab.expect(0, ["guest", "logs", "demo", "late"])).stdout, shutdown);
  const status = await inside(machine, "systemctl status --no-pager --lines=20 container@late || true");
  assert.match(
    status,
    /error\[guest-late\] guest late did not say READY within 4s[\s\S]*the database is not there yet/,
  );
  assert.ok(performance.now() - beganAt < 25_000);
  assert.equal(await inside(machine, "pgrep nspawn || true"), "");
  await lab.expect(0, ["guest", "rm", "demo", "late"]);
});

test("a guest is ready with its address, name, keys, id and users of its own, and rm leaves nothing of it", async (t) => {
  const { lab, machine } = await theMachine();
  const before = await traces(machine);
  const key = readFileSync(`${lab.bed.identityFile}.pub`, "utf8").trim();
  lab.write({ "key.pub": key });
  const answer = await lab.expect(0, [
    ...[
      "guest",
      "start",
      "demo",
      "web",
      "--image",
      "debian",
      "--network",
      "lab",
      "--key",
      "key.pub",
      "--json",
    ],
  ]);
  const { guest, phases, requestMs } = JSON.parse(answer.stdout);
  t.diagnostic(
    `ready in ${requestMs} ms: ${phases.map((p: { name: string; durationMs: number }) => `${p.name} ${p.durationMs}`).join(", ")}`,
  );
  assert.deepEqual(phases.map((p: { name: string }) => p.name).sort(), [
    "addresses",
    "answer",
    "boot",
    "fork",
    "nspawn",
  ]);
  // It answers by name at once, under both addresses; the machine's resolver asks the network's DNS.
  await inside(machine, `ping -4 -c1 -W1 web.lab.demo.lan; ping -6 -c1 -W1 web.lab.demo.lan`);
  assert.equal(
    await inside(machine, "getent ahostsv4 web.lab.demo.lan | cut -d' ' -f1 | head -1"),
    `${guest.ipv4}\n`,
  );
  const host = (await inside(machine, "cat /etc/machine-id")).trim();
  const id = await inside(machine, "cat /run/local/guests/web.env");
  const own = parseMachineId(/GUEST_ID=(.*)/.exec(id)?.[1] ?? "");
  assert.ok(own);
  assert.match(id, new RegExp(`GUEST_MAC=${guestMac(own)}`));
  const shell = async (...words: string[]): Promise<string> =>
    (await lab.expect(0, ["guest", "shell", "demo", "web", "--", ...words])).stdout;
  assert.equal((await shell("sh", "-c", "cat /etc/machine-id; hostname")).trim(), `${own}\nweb`);
  assert.notEqual(own, host);
  assert.match(await shell("cat", "/proc/self/uid_map"), /^ +0 +(?!0 )\d+ +65536$/m);
  assert.match(await shell("ip", "-o", "link", "show", "host0"), new RegExp(guestMac(own)));
  assert.equal((await lab.run(["guest", "shell", "demo", "web", "--", "false"])).code, 1);
  // Another guest's name, from inside, and the way out.
  assert.match(await shell("getent", "ahostsv4", "demo.lab.demo.lan"), /^\d/);
  await shell("ping", "-c1", "-W2", "10.97.0.1");
  // Its host key is the one that the machine made for it; the key that was given opens the door.
  const hostKey = (
    await inside(machine, "cut -d' ' -f2 /var/lib/local/guests/web/ssh_host_ed25519_key.pub")
  ).trim();
  assert.match(
    await inside(machine, `ssh-keyscan -t ed25519 ${guest.ipv4} 2>/dev/null`),
    new RegExp(hostKey.replace(/[+/]/g, "\\$&")),
  );
  const config = `Host *\n IdentityFile ${lab.bed.identityFile}\n StrictHostKeyChecking no\n UserKnownHostsFile /dev/null\n LogLevel ERROR\n ProxyCommand ssh -F ${lab.bed.sshConfigFile} -W %h:%p ${machine.name}\n`;
  lab.write({ "guest-ssh": config });
  const ssh = spawnSync("ssh", ["-F", join(lab.root, "guest-ssh"), `root@${guest.ipv4}`, "hostname"], {
    encoding: "utf8",
  });
  assert.equal(ssh.stdout, "web\n", ssh.stderr);
  const listed = JSON.parse((await lab.expect(0, ["guest", "list", "demo", "--json"])).stdout);
  assert.equal(listed.guests.find((g: { name: string }) => g.name === "web").state, "active");
  assert.match((await lab.expect(0, ["guest", "logs", "demo", "web"])).stdout, /Welcome to Debian/);
  // No file of the root changed its owner.
  assert.equal(
    await inside(
      machine,
      "stat -c %u /var/lib/local/guests/web/root/etc/hostname /var/lib/local/guests/web/root/usr | sort -u",
    ),
    "0\n",
  );
  await inside(machine, "/usr/local/lib/labctl/check.d/nspawn; /usr/local/lib/labctl/check.d/guests");
  assert.match((await lab.expect(0, ["guest", "start", "demo", "web"])).stderr, /guest web runs already/);
  await lab.expect(0, ["guest", "rm", "demo", "web"]);
  assert.equal(await traces(machine), before);
});

test("a declared guest has its limits and mounts; stop shuts it down properly; pinned, it can't be removed", async () => {
  const { lab, machine } = await theMachine();
  const { stdout } = await lab.expect(0, ["guest", "start", "demo", "api", "--stats"]);
  assert.match(stdout, /^connect .*, definition .*, start .*, all /m);
  assert.match(stdout, /^ {2}boot +█+ +\d.* +\d+ %$/m);
  const shown = await inside(
    machine,
    "systemctl show -p CPUQuotaPerSecUSec -p MemoryMax -p TasksMax -p IOWeight -p TimeoutStartUSec container@api",
  );
  for (const property of [
    "CPUQuotaPerSecUSec=500ms",
    "MemoryMax=268435456",
    "TasksMax=500",
    "IOWeight=50",
    "TimeoutStartUSec=30s",
  ])
    assert.match(shown, new RegExp(`^${property}$`, "m"));
  const shell = (line: string): Promise<{ stdout: string }> =>
    lab.expect(0, ["guest", "shell", "demo", "api", "--", "sh", "-c", line]);
  assert.equal(
    (await shell("cat /srv/shared/file; stat -c %u /srv/shared/file")).stdout,
    "from the machine\n0\n",
  );
  await shell("echo from the guest >/srv/shared/back; ! touch /srv/look/x 2>/dev/null");
  assert.equal(
    await inside(machine, "stat -c %u /srv/shared/back; cat /srv/shared/back"),
    "0\nfrom the guest\n",
  );
  // A service of the guest that says farewell.
  await shell(
    "systemd-run -q -u bye -p Type=oneshot -p RemainAfterExit=yes -p ExecStop='/bin/sh -c \"echo farewell >/var/bye\"' true",
  );
  const stopped = JSON.parse((await lab.expect(0, ["guest", "stop", "demo", "api", "--json"])).stdout);
  assert.equal(stopped.killed, false);
  assert.equal(await inside(machine, "cat /var/lib/local/guests/api/root/var/bye"), "farewell\n");
  const refused = await lab.expect(1, ["guest", "rm", "demo", "api"]);
  assert.match(
    refused.stderr,
    /error\[guest-pinned\] guest `api` is pinned, and a pinned guest can't be removed/,
  );
  assert.match(refused.stderr, /help: set `pinned = no` in its section of machine\.ini and push/);
  await inside(machine, "test -d /var/lib/local/guests/api/root");
  // What was in it is there when it starts again.
  await lab.expect(0, ["guest", "start", "demo", "api"]);
  assert.equal((await shell("cat /var/bye")).stdout, "farewell\n");
  await lab.expect(0, ["guest", "stop", "demo", "api"]);
});

test("a guest can't write more than its disk may hold, and can again once there is room", async () => {
  const { lab, machine } = await theMachine();
  const starts = async (): Promise<string> =>
    (await lab.expect(0, ["guest", "start", "demo", "full"])).stderr;
  let said = await starts();
  if (!/--simple/.test(await inside(machine, "btrfs quota enable --help"))) {
    // Debian 12: nothing that slows down a whole file system is switched on by itself.
    assert.match(said, /^warning\[disk-unlimited\] nothing holds .*\n.*\n {2}help: `btrfs quota enable /m);
    await lab.expect(0, ["guest", "stop", "demo", "full"]);
    await inside(
      machine,
      "btrfs quota enable /var/lib/local/guests && btrfs quota rescan -w /var/lib/local/guests",
    );
    said = await starts();
  }
  assert.doesNotMatch(said, /warning\[/);
  const write = async (megabytes: number): Promise<string> => {
    const dd = `dd if=/dev/urandom of=/var/much bs=1M count=${megabytes} conv=fsync`;
    const said = await lab.run(["guest", "shell", "demo", "full", "--", "sh", "-c", dd]);
    return `${said.code} ${said.stdout}${said.stderr}`;
  };
  assert.match(await write(10), /^0 /);
  assert.match(await write(80), /^1 [\s\S]*(Disk quota exceeded|No space left on device)/);
  const bytes = Number(await inside(machine, "stat -c %s /var/lib/local/guests/full/root/var/much"));
  assert.ok(bytes > 20e6 && bytes <= 40 * 1024 ** 2, `${bytes} bytes`);
  // The machine itself has room, and so has another guest.
  await inside(machine, "head -c 80M /dev/urandom >/srv/much; rm /srv/much");
  await inside(machine, "rm /var/lib/local/guests/full/root/var/much");
  await lab.expect(0, ["guest", "stop", "demo", "full"]);
  await lab.expect(0, ["guest", "start", "demo", "full"]);
  assert.match(await write(10), /^0 /);
  await lab.expect(0, ["guest", "rm", "demo", "full"]);
});

test("what a guest's shell runs counts to the guest's limits, has its filter of system calls, and ends with it", async () => {
  const { lab, machine } = await theMachine();
  await start(lab, "shell");
  const run = "node /usr/local/libexec/guests/shell.mjs shell";
  /** Where a command of such a shell runs, and how many filters it and the guest's first process have. */
  const sleeper = (seconds: number): Promise<string> =>
    inside(
      machine,
      `${run} sleep ${seconds} </dev/null >/dev/null 2>&1 & for i in $(seq 50); do p=$(pgrep -xf 'sleep ${seconds}') && break; sleep 0.1; done
       cat /proc/$p/cgroup; for q in $p $(pgrep --oldest --parent $(systemctl show -P MainPID container@shell)); do sed -n 's/^Seccomp_filters:\t//p' /proc/$q/status; done`,
    );
  const own = await sleeper(4321);
  assert.match(own, /container@shell\.service\/payload\/system\.slice\/run-/);
  const [mine = 0, guests = 1] = own.trim().split("\n").slice(-2).map(Number);
  assert.ok(guests > 0 && mine >= guests, own);
  const code = async (...words: string[]): Promise<number | null> =>
    (await lab.run(["guest", "shell", "demo", "shell", "--", ...words])).code;
  assert.deepEqual([await code("sh", "-c", "exit 7"), await code("no-such-program")], [7, 127]);
  // One without a bus, as while it boots: joined from outside, no less within its limits.
  await inside(
    machine,
    `${run} sh -c 'systemctl -q stop dbus.socket dbus.service; rm -f /run/dbus/system_bus_socket' 2>/dev/null`,
  );
  assert.match(await sleeper(4322), /container@shell\.service\/payload\/init\.scope\n/);
  assert.deepEqual([await code("sh", "-c", "exit 7"), await code("no-such-program")], [7, 127]);
  await lab.expect(0, ["guest", "stop", "demo", "shell"]);
  assert.equal(await inside(machine, "pgrep -xf 'sleep 432[12]' || true"), "");
  assert.match(
    (await lab.expect(1, ["guest", "shell", "demo", "shell"])).stderr,
    /is no container that runs/,
  );
  await lab.expect(0, ["guest", "rm", "demo", "shell"]);
});

test("a start that somebody else's stop or removal ends says so, and leaves no unit failed", async () => {
  const { lab, machine } = await theMachine();
  const before = await traces(machine);
  for (const verb of ["stop", "rm"]) {
    const started = start(lab, "brief").then(
      () => assert.fail("it started"),
      (error: Error) => error.message,
    );
    await inside(
      machine,
      "until [ $(systemctl show -P SubState container@brief) = start ]; do sleep 0.05; done",
    );
    await lab.expect(0, ["guest", verb, "demo", "brief"]);
    assert.match(await started, /error\[guest-stopped\] guest `brief` was stopped while it started/);
  }
  assert.equal(await traces(machine), before);
});

test("an ephemeral guest's root goes when it stops; one that is pinned by hand stays until it is unpinned", async () => {
  const { lab, machine } = await theMachine();
  const before = await traces(machine);
  await start(lab, "temp", "--ephemeral");
  await inside(machine, "test -d /var/lib/local/guests/temp/root/usr");
  await lab.expect(0, ["guest", "stop", "demo", "temp"]);
  await inside(
    machine,
    "for i in $(seq 50); do [ -e /var/lib/local/guests/temp/root ] || exit 0; sleep 0.1; done; exit 1",
  );
  await lab.expect(0, ["guest", "rm", "demo", "temp"]);
  await start(lab, "keep", "--pinned");
  assert.match(
    (await lab.expect(1, ["guest", "rm", "demo", "keep"])).stderr,
    /help: labctl guest unpin demo keep/,
  );
  await lab.expect(0, ["guest", "enable", "demo", "keep"]);
  await inside(machine, "test -L /etc/systemd/system/machines.target.wants/container@keep.service");
  await lab.expect(0, ["guest", "unpin", "demo", "keep"]);
  await lab.expect(0, ["guest", "rm", "demo", "keep"]);
  assert.equal(await traces(machine), before);
});

test("a network without a free address refuses the guest, and counts who has them", async () => {
  const { lab, machine } = await theMachine();
  const before = await traces(machine);
  const tiny = (name: string): string[] => [
    "guest",
    "start",
    "demo",
    name,
    "--image",
    "debian",
    "--network",
    "tiny",
  ];
  await lab.expect(0, tiny("one"));
  const { stderr } = await lab.expect(1, tiny("two"));
  assert.match(stderr, /error\[guest-addresses\] network `tiny` has no free IPv4 address for guest `two`/);
  assert.match(stderr, /has 2 addresses: one is the machine's, 1 are of guests, 0 were given by DHCP/);
  // A claim that a killed guest left is no hindrance.
  await lab.expect(0, ["guest", "rm", "demo", "one"]);
  await inside(
    machine,
    "mkdir -p /run/local/guests/claims/tiny; ln -s ghost /run/local/guests/claims/tiny/$(sed -n s/IP4_LAST=//p /run/local/ip/tiny.env)",
  );
  await lab.expect(0, tiny("two"));
  await lab.expect(0, ["guest", "rm", "demo", "two"]);
  assert.equal(await traces(machine), before);
});

/** A machine's layer raises the limit; a machine of the bed can't raise the host's, so some guests are no whole systems. */
function wholeSystems(): number {
  const limit = Number(readFileSync("/proc/sys/fs/inotify/max_user_instances", "utf8"));
  const most = process.env.LABCTL_SYSTEMS ? AT_ONCE : Math.floor((limit - OTHER_WATCHES) / WATCHES_PER_GUEST);
  return Math.max(1, Math.min(AT_ONCE, SYSTEMS, most));
}

const MANY: readonly string[] = Array.from({ length: AT_ONCE }, (_, i) => `n${i}`);
const PROGRAM = "node /usr/local/libexec/guests/guest.mjs";

/** An image `sleep`, with the tree of `debian`, that is no system: it only sleeps. */
const withSleepers = (machine: Machine): Promise<string> =>
  inside(
    machine,
    `mkdir -p /etc/systemd/system/image@sleep.service.d
     printf '[Service]\\nExecStart=\\nExecStart=true\\n' >/etc/systemd/system/image@sleep.service.d/x.conf; systemctl daemon-reload
     echo '{"argv":["/bin/sleep","infinity"],"env":["GREETING=two words"],"user":"nobody","cwd":"/var"}' >/srv/command.json
     sed 's#^IMAGE_COMMAND=.*##' /var/lib/local/images/debian.env >/var/lib/local/images/sleep.env
     echo IMAGE_COMMAND=/srv/command.json >>/var/lib/local/images/sleep.env; systemctl start image@sleep`,
  );

/** Line of a shell script: starts the guest whose name is $1, the $2-th of `MANY`. */
const startLine = (systems: number): string =>
  `start() { image=debian; [ $2 -lt ${systems} ] || image=sleep
     echo '{"definition":{"name":"'$1'","kind":"container","image":"'$image'","network":"lab","readySeconds":200}}' | ${PROGRAM} start $1; }`;

/** Starts all of them at once, and answers what each start answered, load and memory at their most. */
async function startMany(machine: Machine, systems: number) {
  const beganAt = performance.now();
  let load = 0;
  let leastKb = Number.POSITIVE_INFINITY;
  const watch = setInterval(() => {
    load = Math.max(load, Number(readFileSync("/proc/loadavg", "utf8").split(" ")[0]));
    const available = /^MemAvailable: *(\d+)/m.exec(readFileSync("/proc/meminfo", "utf8"))?.[1];
    leastKb = Math.min(leastKb, Number(available));
  }, 250);
  const before = Number(/^MemAvailable: *(\d+)/m.exec(readFileSync("/proc/meminfo", "utf8"))?.[1]);
  const said = await inside(
    machine,
    `${startLine(systems)}
     i=0; for n in ${MANY.join(" ")}; do start $n $i & i=$((i + 1)); done; wait`,
  ).finally(() => clearInterval(watch));
  const answers = said
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  assert.deepEqual(
    answers.filter((a) => !a.ok),
    [],
  );
  assert.equal(new Set(answers.map((a) => a.guest.ipv4)).size, AT_ONCE);
  await inside(
    machine,
    `for n in ${MANY.join(" ")}; do ping -c1 -W2 -q $n.lab.demo.lan >/dev/null || { echo $n; exit 1; }; done`,
  );
  const ms = answers.map((a) => a.requestMs as number).sort((a, b) => a - b);
  return `${AT_ONCE}, ${systems} of them whole systems, in ${Math.round(performance.now() - beganAt)} ms (each: ${ms[0]} to ${ms.at(-1)} ms, median ${ms[AT_ONCE / 2]}), load ${load}, ${Math.round((before - leastKb) / 1024)} MiB`;
}

const removeMany = (machine: Machine): Promise<string> =>
  inside(machine, `for n in ${MANY.join(" ")}; do ${PROGRAM} rm $n & done; wait`);

test(`${AT_ONCE} guests that are started at once all come up, each with an address of its own`, async (t) => {
  const { machine } = await theMachine();
  const systems = wholeSystems();
  await withSleepers(machine);
  const before = await traces(machine);
  t.diagnostic(await startMany(machine, systems));
  // What an image runs that is no system has its environment, its folder, its user and no more rights.
  if (systems < AT_ONCE) {
    const shell = `node /usr/local/libexec/guests/shell.mjs n${AT_ONCE - 1} sh -c`;
    assert.match(
      await inside(
        machine,
        `${shell} 'for p in /proc/[0-9]*; do [ "$(cat $p/comm)" = sleep ] && { tr "\\0" "\\n" <$p/environ; readlink $p/cwd; stat -c %U $p; }; done; true'`,
      ),
      /GREETING=two words\n[\s\S]*^\/var\nnobody$/m,
    );
  }
  await removeMany(machine);
  assert.equal(await traces(machine), before);
});

test(`${AT_ONCE} guests of which half are killed while all start come up at the next start, and rm leaves nothing`, async (t) => {
  const { machine } = await theMachine();
  const systems = wholeSystems();
  await withSleepers(machine);
  const before = await traces(machine);
  const random = seededRandom(SEED);
  const killed = MANY.map((name) => ({ name, at: random.below(1000) })).sort((x, y) => x.at - y.at);
  const kills = killed.slice(0, AT_ONCE / 2).map(({ name }) => {
    const unit = random.pick(["container", "container", "guest-root", "guest-net"]);
    // A short run is killed as soon as it is there, a container some time into its start.
    const seconds = unit === "container" ? random.below(600) / 100 : 0;
    return `(sleep ${seconds}; for i in $(seq 40); do
       systemctl kill --kill-whom=all-fail -s KILL ${unit}@${name} 2>/dev/null && { echo killed; break; }; sleep 0.02; done) &`;
  });
  const said = await inside(
    machine,
    `${startLine(systems)}
     i=0; for n in ${MANY.join(" ")}; do start $n $i & i=$((i + 1)); done; ${kills.join(" ")} wait`,
  );
  const count = (line: string): number => said.split("\n").filter((each) => each.startsWith(line)).length;
  t.diagnostic(
    `seed ${SEED}: ${count("killed")} kills, ${count('{"ok":false')} starts failed; then ${await startMany(machine, systems)}`,
  );
  assert.ok(count("killed") > 0, "nothing was killed");
  await removeMany(machine);
  assert.equal(await traces(machine), before);
});

test(`killed at ${KILLS} random moments, the next start succeeds, and rm leaves nothing`, async (t) => {
  const { machine } = await theMachine();
  const before = await traces(machine);
  const random = seededRandom(SEED);
  const definition = `{"definition":{"name":"cut","kind":"container","image":"debian","network":"lab"}}`;
  const victims = [
    "kill -9 $p",
    "systemctl kill --kill-whom=main -s KILL container@cut 2>/dev/null",
    "systemctl kill --kill-whom=all -s KILL container@cut guest-root@cut guest-net@cut 2>/dev/null",
  ];
  for (let i = 0; i < KILLS; i++) {
    const victim = victims[i % victims.length] ?? "";
    const seconds = (random.below(120) / 100).toFixed(2);
    await inside(
      machine,
      `(echo '${definition}' | exec ${PROGRAM} start cut >/tmp/cut.out 2>&1) & p=$!; sleep ${seconds}; ${victim}; true`,
    );
    const again = await inside(
      machine,
      `echo '${definition}' | ${PROGRAM} start cut; ping -c1 -W2 -q cut.lab.demo.lan >/dev/null`,
    );
    assert.match(again, /^\{"ok":true/, `${victim} after ${seconds} s: ${again}`);
    await inside(machine, `${PROGRAM} rm cut`);
    assert.equal(await traces(machine), before, `${victim} after ${seconds} s`);
  }
  t.diagnostic(`seed ${SEED}, ${KILLS} kills`);
});

test("what the layers run is sandboxed, but for the container itself", async (t) => {
  const { machine } = await theMachine();
  // A container's unit holds a whole system, which has sandboxes of its own: its README says so.
  await assertSandboxed(t, machine, ["guest-root@x", "guest-net@x"]);
});
