/**
 * A declared guest on a real machine: a container whose /usr/local is built of layers of its own comes with a push, changes
 * with one, and goes with one.
 */
import assert from "node:assert/strict";
import test from "node:test";
import type { Machine } from "../../src/twin/machine.ts";
import { enterNamespaces, sharedBed, testImage } from "./bed-fixture.ts";
import { guestMachine } from "./guest-fixture.ts";
import { inside, type Lab } from "./push-fixture.ts";

await enterNamespaces(import.meta.url);
const theBed = sharedBed();

const NETWORK = "[network lab]\nipv4 = /28\n";
const GUEST = `[guest web]
image = debian
network = lab
layers = web
memory = 256M
autostart = yes
stop = 5
`;

let prepared: Promise<{ lab: Lab; machine: Machine }> | undefined;

/** A machine that can have guests, and has none. Its guests' image has what the layer `web` needs. */
function theMachine(): Promise<{ lab: Lab; machine: Machine }> {
  prepared ??= theBed().then(async (bed) => guestMachine(bed, NETWORK, await testImage()));
  return prepared;
}

function withGuest(lab: Lab, sections: string): void {
  const text = lab.read("machines/demo/machine.ini").replace(/\[guest [\s\S]*/, "");
  lab.write({ "machines/demo/machine.ini": text + sections });
}

const fetched = (machine: Machine): Promise<string> =>
  inside(machine, "curl -s --max-time 5 http://web.lab.demo.lan/");

/** The unit's process and when it was started. */
const started = (machine: Machine): Promise<string> =>
  inside(machine, "systemctl show -p ActiveState -p MainPID -p ActiveEnterTimestampMonotonic container@web");

test("a guest that does not fit is refused, and the machine hears nothing of it", async () => {
  const { lab } = await theMachine();
  withGuest(lab, `${GUEST}[guests]\nmemory = 128M\n`);
  const said = await lab.expect(1, ["push", "demo"]);
  assert.match(
    said.stderr,
    /error\[guest-quota\].* have 256M of memory together, and \[guests\] allows 128M\n {2}web: 256M/,
  );
  assert.doesNotMatch(said.stderr, /connected/);
});

test("a declared guest comes with a push, configured by layers of its own, and answers by its name", async (t) => {
  const { lab, machine } = await theMachine();
  withGuest(lab, GUEST);
  lab.write({ "facts/demo/web.env": 'WEB_TITLE="Of the guest"\n' });
  const plan = await lab.expect(2, ["plan", "demo"]);
  assert.match(plan.stdout + plan.stderr, /start container@web\.service/);
  const pushed = await lab.expect(0, ["push", "demo"]);
  t.diagnostic(`pushed in ${Math.round(pushed.ms)} ms`);
  assert.match(await fetched(machine), /Of the guest/);
  // The machine itself has no such layer; what the guest sees is its own, and it can't write there.
  await inside(machine, "test ! -e /usr/local/opt/nginx/conf");
  const inGuest = async (code: number, ...command: string[]): Promise<string> => {
    const said = await lab.expect(code, ["guest", "shell", "demo", "web", "--", ...command]);
    return said.stdout + said.stderr;
  };
  assert.match(await inGuest(0, "cat", "/usr/local/opt/nginx/www/index.html"), /Of the guest/);
  assert.match(await inGuest(1, "touch", "/usr/local/x"), /Read-only file system/);
  assert.equal(await inside(machine, "systemctl show -P MemoryMax container@web"), `${256 * 1024 ** 2}\n`);
  // From the page of docs/addressing.md: its id follows from its host's.
  const facts = await lab.expect(0, ["facts", "show", "demo", "--json"]);
  const id = JSON.parse(facts.stdout).facts.find(
    (f: { machine: string; name: string }) => f.machine === "demo/web" && f.name === "HOST_MACHINE_ID",
  );
  assert.match(await inGuest(0, "cat", "/etc/machine-id"), new RegExp(`^${id.value}$`, "m"));
  const before = await started(machine);
  await lab.expect(0, ["push", "demo"]);
  assert.equal(await started(machine), before, "a second push restarted it");
});

test("an edit of the guest's files restarts it, which the plan says, and keeps what is in it", async (t) => {
  const { lab, machine } = await theMachine();
  await inside(machine, "echo kept >/var/lib/local/guests/web/root/var/kept");
  lab.write({ "machines/demo/_guests/web/opt/nginx/www/index.html": "<p>edited</p>\n" });
  const plan = await lab.expect(2, ["plan", "demo"]);
  assert.match(
    plan.stdout + plan.stderr,
    /restart container@web\.service: RestartOn= names lib\/labctl\/guests\/web, which holds lib\/labctl\/guests\/web\/opt\/nginx\/www\/index\.html/,
  );
  const pushed = await lab.expect(0, ["push", "demo"]);
  t.diagnostic(`pushed in ${Math.round(pushed.ms)} ms`);
  assert.equal(await fetched(machine), "<p>edited</p>\n");
  assert.equal(await inside(machine, "cat /var/lib/local/guests/web/root/var/kept"), "kept\n");
});

test("limits, times, a pin and a start at boot reach a guest that runs without a restart of it", async () => {
  const { lab, machine } = await theMachine();
  const before = await started(machine);
  const limits = (): Promise<string> =>
    inside(
      machine,
      "systemctl show -p CPUQuotaPerSecUSec -p MemoryMax -p TasksMax -p IOWeight -p TimeoutStartUSec -p TimeoutStopUSec container@web | sort",
    );
  const was = await limits();
  const more = "cpu = 200%\ntasks = 900\nio = 50\npinned = yes\nready = 45\n";
  withGuest(
    lab,
    `${GUEST.replace("autostart = yes\n", "").replace("256M", "300M").replace("stop = 5", "stop = 7")}${more}`,
  );
  const plan = await lab.expect(2, ["plan", "demo"]);
  assert.match(plan.stdout, /leave container@web\.service: daemon-reload is enough for Service\.CPUQuota/);
  assert.doesNotMatch(plan.stdout, /(restart|stop|start) container@web/);
  await lab.expect(0, ["push", "demo"]);
  assert.deepEqual((await limits()).trim().split("\n"), [
    "CPUQuotaPerSecUSec=2s",
    "IOWeight=50",
    `MemoryMax=${300 * 1024 ** 2}`,
    "TasksMax=900",
    "TimeoutStartUSec=45s",
    "TimeoutStopUSec=7s",
  ]);
  assert.equal(await started(machine), before, "it was restarted");
  assert.match((await lab.expect(1, ["guest", "rm", "demo", "web"])).stderr, /error\[guest-pinned\]/);
  withGuest(lab, GUEST);
  await lab.expect(0, ["push", "demo"]);
  assert.equal(await limits(), was);
  assert.equal(await started(machine), before, "it was restarted");
});

test("another mount restarts the guest, which has it then, and whose root stays", async () => {
  const { lab, machine } = await theMachine();
  const before = await started(machine);
  await inside(machine, "mkdir -p /srv/more; echo more >/srv/more/file");
  withGuest(lab, `${GUEST}mounts = /srv/more /srv/more ro\n`);
  const plan = await lab.expect(2, ["plan", "demo"]);
  assert.match(
    plan.stdout,
    /restart container@web\.service: depends on guest-net@web\.service, which restarts/,
  );
  assert.match(
    plan.stdout,
    /restart guest-net@web\.service: RestartOn= names etc\/guests\/start\/web\.json, which was replaced/,
  );
  await lab.expect(0, ["push", "demo"]);
  const said = await lab.expect(0, [
    "guest",
    "shell",
    "demo",
    "web",
    "--",
    "cat",
    "/srv/more/file",
    "/var/kept",
  ]);
  assert.equal(said.stdout, "more\nkept\n");
  assert.notEqual(await started(machine), before);
  withGuest(lab, GUEST);
  await lab.expect(0, ["push", "demo"]);
});

test("a guest that never says ready fails the push, which shows its console's last lines and takes all of it back", async (t) => {
  const { lab, machine } = await theMachine();
  const own = "machines/demo/_guests/web/lib/systemd/system";
  withGuest(lab, `${GUEST}ready = 6\n`);
  lab.write({
    [`${own}/stuck.service`]:
      "[Unit]\nDescription=Stuck for good\n[Service]\nType=oneshot\nExecStart=/bin/sleep infinity\n",
    [`${own}/multi-user.target.wants/stuck.service`]: { link: "../stuck.service" },
  });
  const said = await lab.expect(1, ["push", "demo"]);
  t.diagnostic(`failed in ${Math.round(said.ms)} ms`);
  assert.match(said.stderr, /failed: start container@web\.service|failed: restart container@web\.service/);
  // Below all that its shutdown said, as far as it came on this host.
  const told =
    /\| error\[guest-late\] guest web did not say READY within 6s, and was ended\n.*the last lines of its console:\n((?:.*\n)*?).*\| {3}help: /.exec(
      said.stderr,
    )?.[1];
  assert.match(told ?? said.stderr, /(Welcome|Starting|Started|Reached|Stuck for good)/);
  assert.doesNotMatch(told ?? "", /Stopping|Stopped target|Halting|Sending SIGTERM/);
  assert.ok(told !== undefined, said.stderr);
  assert.match(
    said.stderr,
    /error\[unit-failed\] container@web\.service failed.*\n {2}everything was taken back/,
  );
  assert.equal(await fetched(machine), "<p>edited</p>\n");
  lab.remove("machines/demo/_guests/web/lib");
  withGuest(lab, GUEST);
  await lab.expect(0, ["plan", "demo"]);
});

test("a guest whose own layer's check fails takes the push back, which says what the check said", async (t) => {
  const { lab, machine } = await theMachine();
  lab.write({ "machines/demo/_guests/web/opt/nginx/conf/sites.d/10-bad.nginx": "server { listen 80\n" });
  const said = await lab.expect(1, ["push", "demo"]);
  t.diagnostic(`failed in ${Math.round(said.ms)} ms`);
  assert.match(said.stderr, /check lib\/labctl\/check\.d\/containers/);
  assert.match(said.stderr, /containers: check web failed in web: web: 127\.0\.0\.1:80\/health answered/);
  assert.match(said.stderr, /everything was taken back/);
  lab.remove("machines/demo/_guests/web/opt/nginx/conf");
  assert.equal(await fetched(machine), "<p>edited</p>\n");
  await lab.expect(0, ["plan", "demo"]);
});

test("it starts and stops with all guests of the machine, which start at boot", async () => {
  const { machine } = await theMachine();
  await inside(
    machine,
    `set -e; systemctl stop machines.target; ! systemctl is-active -q container@web
     for i in $(seq 50); do systemctl is-active -q guest-root@web || break; sleep 0.1; done
     systemctl start multi-user.target; systemctl is-active -q machines.target container@web`,
  );
  assert.equal(await fetched(machine), "<p>edited</p>\n");
});

test("a guest whose section is gone is stopped and forgotten with the next push; what is in it stays until it is removed", async () => {
  const { lab, machine } = await theMachine();
  // One that does not start at boot is stopped no less.
  withGuest(lab, GUEST.replace("autostart = yes\n", ""));
  await lab.expect(0, ["push", "demo"]);
  assert.match(await started(machine), /^ActiveState=active$/m);
  withGuest(lab, "");
  lab.remove("machines/demo/_guests");
  const plan = await lab.expect(2, ["plan", "demo"]);
  assert.match(plan.stdout + plan.stderr, /stop container@web\.service/);
  await lab.expect(0, ["push", "demo"]);
  await inside(
    machine,
    `for i in $(seq 50); do systemctl is-active -q guest-net@web guest-root@web || break; sleep 0.1; done
     ! systemctl is-active -q container@web && test ! -e /usr/local/lib/labctl/guests && test ! -e /usr/local/etc/guests/web.json
     test ! -e /run/local/guests/web.env && ! ip link show vb-web 2>/dev/null && ! resolvectl query web.lab.demo.lan 2>/dev/null
     test -e /var/lib/local/guests/web/root/var/kept`,
  );
  await lab.expect(0, ["guest", "rm", "demo", "web"]);
  await inside(machine, "test ! -e /var/lib/local/guests/web");
});
