/**
 * Each kind of unit, as an administrator expects it to behave: what is removed is stopped and forgotten, what is off
 * stays off, what counts at once does, and what the same push installs runs with the tree's configuration.
 */
import assert from "node:assert/strict";
import test from "node:test";
import type { Machine } from "../../src/twin/machine.ts";
import type { Files } from "../temporary-repository.ts";
import { enterNamespaces, sharedBed } from "./bed-fixture.ts";
import { bootMachine, inside, type Lab, labFor, unitDifference, unitStates } from "./push-fixture.ts";

await enterNamespaces(import.meta.url);
const theBed = sharedBed();
const UNITS = "lib/systemd/system";
const ALL_KINDS = "'*.service' '*.socket' '*.timer' '*.path' '*.mount' '*.slice' '*.target'";
const SLEEPS = "[Service]\nExecStart=/bin/sleep infinity\n";

let prepared: Promise<{ lab: Lab; machine: Machine }> | undefined;

function theMachine(): Promise<{ lab: Lab; machine: Machine }> {
  prepared ??= theBed().then(async (bed) => {
    const machine = await bootMachine(bed);
    const lab = labFor(bed, machine.name);
    lab.edit("machines/demo/machine.ini", "layers = web", "layers = base");
    await lab.expect(0, ["push", "demo", "-q", "--no-confirm"]);
    return { machine, lab };
  });
  return prepared;
}

/** Unit files by name; a value that begins with `->` is a link. */
function units(files: Readonly<Record<string, string>>): Files {
  return Object.fromEntries(
    Object.entries(files).map(([name, text]) => [
      `machines/demo/${name.includes("/") && !name.includes(".wants/") && !name.includes(".d/") ? name : `${UNITS}/${name}`}`,
      text.startsWith("-> ") ? { link: text.slice(3) } : text,
    ]),
  );
}

const wanted = (...names: string[]): Record<string, string> =>
  Object.fromEntries(
    names.map((name) => [`multi-user.target.wants/${name}`, `-> ../${name.replace(/@.*\./, "@.")}`]),
  );

interface PlanJson {
  readonly units: readonly { readonly unit: string; readonly action: string; readonly reason: string }[];
  readonly notes: readonly string[];
}

/** Plans and pushes; what is planned must be `want`, and so must be what happened. */
async function pushed(want: readonly string[], happened: readonly string[] = want): Promise<PlanJson> {
  const { lab, machine } = await theMachine();
  const before = await unitStates(machine, ALL_KINDS);
  const plan = JSON.parse((await lab.expect(2, ["plan", "demo", "--json"])).stdout) as PlanJson;
  const answer = await lab.expect(0, ["push", "demo", "--no-confirm"]);
  const planned = plan.units.filter((u) => u.action !== "none").map((u) => `${u.action} ${u.unit}`);
  assert.deepEqual(planned.sort(), [...want].sort(), answer.stderr);
  assert.deepEqual(
    unitDifference(before, await unitStates(machine, ALL_KINDS)),
    [...happened].sort(),
    answer.stderr,
  );
  await lab.expect(0, ["plan", "demo"]);
  return plan;
}

async function show(unit: string, property: string): Promise<string> {
  const { machine } = await theMachine();
  return (await inside(machine, `systemctl show -P ${property} '${unit}'`)).trim();
}

test("a removed unit is stopped, disabled and forgotten, also if it ends badly; a revert brings all of it back", async () => {
  const { lab, machine } = await theMachine();
  const state =
    "systemctl is-enabled gone.service; systemctl is-active gone.service; systemctl is-failed gone.service; systemctl list-units --failed --plain --no-legend | cut -d' ' -f1";
  const ends =
    "[Service]\nExecStart=/bin/sh -c 'trap \"exit 9\" TERM; while :; do sleep 0.1; done'\n[Install]\nWantedBy=multi-user.target\n";
  lab.write(
    units({
      "gone.service": ends,
      "failing.service": "[Service]\nExecStart=/bin/false\n",
      "other.service": SLEEPS,
      ...wanted("other.service"),
    }),
  );
  await pushed(["start other.service"]);
  await inside(machine, "systemctl enable --now -q gone.service; systemctl start failing.service; sleep 0.3");
  assert.match(await inside(machine, `${state}; true`), /enabled\nactive\nactive\nfailing\.service\n$/);
  for (const name of ["gone", "failing"]) lab.remove(`machines/demo/${UNITS}/${name}.service`);
  lab.write({ "machines/demo/lib/labctl/check.d/no": { text: "#!/bin/sh\nexit 1\n", mode: 0o755 } });
  await lab.expect(1, ["push", "demo", "--no-confirm"]);
  assert.match(await inside(machine, `${state}; true`), /^enabled\nactive\n/, "taken back");
  lab.remove("machines/demo/lib/labctl");
  await pushed(["stop gone.service"]);
  assert.equal(await inside(machine, "systemctl list-units --failed --plain --no-legend"), "");
  assert.equal(await inside(machine, "find /etc/systemd/system -name 'gone*'"), "");
  assert.equal(await show("gone.service", "LoadState"), "not-found");
});

test("masking stops, unmasking starts what is wanted; what an administrator stopped stays so", async () => {
  const { lab, machine } = await theMachine();
  lab.remove(`machines/demo/${UNITS}/other.service`);
  lab.write(units({ "other.service": "-> /dev/null" }));
  await pushed(["stop other.service"]);
  assert.equal(await show("other.service", "LoadState"), "masked");
  lab.remove(`machines/demo/${UNITS}/other.service`);
  lab.write(units({ "other.service": SLEEPS }));
  await pushed(["start other.service"]);
  await inside(machine, "systemctl stop other.service");
  lab.write(units({ "other.service": `${SLEEPS}Nice=3\n` }));
  await pushed([]);
});

test("instances: a change of the template restarts all that run, also those nobody wrote down; a dropped one stops", async () => {
  const { lab, machine } = await theMachine();
  lab.write(units({ "w@.service": SLEEPS, ...wanted("w@a.service", "w@b.service") }));
  await pushed(["start w@a.service", "start w@b.service"]);
  await inside(machine, "systemctl start w@by-hand.service");
  lab.write(units({ "w@.service.d/10-x.conf": "[Service]\nNice=1\n" }));
  await pushed(["restart w@a.service", "restart w@b.service", "restart w@by-hand.service"]);
  lab.write(units({ "w@a.service.d/10-x.conf": "[Service]\nNice=2\n" }));
  await pushed(["restart w@a.service"]);
  lab.remove(`machines/demo/${UNITS}/multi-user.target.wants/w@b.service`);
  await pushed(["stop w@b.service"]);
});

test("timers, paths, slices and mounts take what counts at once, and lose nothing", async () => {
  const { lab, machine } = await theMachine();
  lab.write(
    units({
      "t.timer": "[Timer]\nOnCalendar=2040-01-01\n",
      "t.service": "[Service]\nType=oneshot\nExecStart=/bin/true\n",
      "p.path": "[Path]\nPathExists=/run/p-one\n",
      "p.service": "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n",
      "s.slice": "[Slice]\nCPUWeight=50\n",
      "in-slice.service": `${SLEEPS}Slice=s.slice\n`,
      "srv-m.mount": "[Mount]\nWhat=tmpfs\nWhere=/srv/m\nType=tmpfs\nOptions=size=1M\n",
      ...wanted("t.timer", "p.path", "in-slice.service", "srv-m.mount"),
    }),
  );
  const start = ["start in-slice.service", "start p.path", "start srv-m.mount", "start t.timer"];
  // The slice comes with the first unit in it.
  await pushed(start, [...start, "start s.slice"]);
  await inside(machine, "echo kept >/srv/m/file");
  lab.write(
    units({
      "t.timer": "[Timer]\nOnCalendar=2041-01-01\n",
      "p.path": "[Path]\nPathExists=/run/p-two\n",
      "s.slice": "[Slice]\nCPUWeight=70\n",
      "srv-m.mount": "[Mount]\nWhat=tmpfs\nWhere=/srv/m\nType=tmpfs\nOptions=size=2M\n",
    }),
  );
  await pushed(["reload srv-m.mount", "restart t.timer"], ["restart t.timer"]);
  assert.match(await show("t.timer", "NextElapseUSecRealtime"), /2041/);
  assert.equal(
    await inside(machine, "cat /srv/m/file; findmnt -no OPTIONS /srv/m | grep -o size=2048k"),
    "kept\nsize=2048k\n",
  );
  await inside(machine, "touch /run/p-one; sleep 0.5");
  assert.equal(await show("p.service", "ActiveState"), "inactive", "the old path is no longer watched");
  await inside(
    machine,
    "touch /run/p-two; for i in $(seq 50); do systemctl -q is-active p.service && break; sleep 0.1; done",
  );
  assert.equal(await show("p.service", "ActiveState"), "active");
  for (const name of ["t.timer", "p.path", "s.slice", "srv-m.mount"])
    lab.remove(`machines/demo/${UNITS}/${name}`);
  for (const name of ["t.timer", "p.path", "srv-m.mount"])
    lab.remove(`machines/demo/${UNITS}/multi-user.target.wants/${name}`);
  await pushed(["stop p.path", "stop srv-m.mount", "stop t.timer"]);
  assert.equal(
    await show("in-slice.service", "ActiveState"),
    "active",
    "a slice that goes takes nobody along",
  );
});

test("targets: members start with a new one and stop with it where they are part of it", async () => {
  const { lab } = await theMachine();
  const target = {
    "group.target": "[Unit]\nDescription=a group\n",
    "one.service": `[Unit]\nPartOf=group.target\n${SLEEPS}`,
    "two.service": SLEEPS,
    "group.target.wants/one.service": "-> ../one.service",
    "group.target.wants/two.service": "-> ../two.service",
    ...wanted("group.target"),
  };
  lab.write(units(target));
  await pushed(["start group.target", "start one.service", "start two.service"]);
  for (const name of ["group.target", "group.target.wants", "multi-user.target.wants/group.target"])
    lab.remove(`machines/demo/${UNITS}/${name}`);
  await pushed(["stop group.target", "stop one.service"]);
});

test("a connection of an Accept=yes socket outlives a change of its service; the next one takes it", async () => {
  const { lab, machine } = await theMachine();
  const says = (word: string): string =>
    `[Service]\nStandardInput=socket\nExecStart=/bin/sh -c 'echo ${word}; exec cat'\n`;
  lab.write(
    units({
      "c.socket": "[Socket]\nListenStream=8200\nAccept=yes\n",
      "c@.service": says("one"),
      ...wanted("c.socket"),
    }),
  );
  await pushed(["start c.socket"]);
  await inside(
    machine,
    "mkfifo /run/talk; (exec 3<>/dev/tcp/127.0.0.1/8200; cat /run/talk >&3; timeout 2 head -n 2 <&3 >/run/heard) >/dev/null 2>&1 & sleep 0.3",
  );
  lab.write(units({ "c@.service": says("two") }));
  const plan = await pushed([]);
  assert.match(plan.units.find((u) => u.unit.startsWith("c@"))?.reason ?? "", /serves one connection/);
  assert.equal(
    await inside(machine, "echo still here >/run/talk; sleep 0.5; cat /run/heard"),
    "one\nstill here\n",
  );
  assert.equal(await inside(machine, "exec 3<>/dev/tcp/127.0.0.1/8200; timeout 2 head -n 1 <&3"), "two\n");
});

test("a setting for all services restarts those that it can, and cuts nobody off", async () => {
  const { lab, machine } = await theMachine();
  lab.write(units({ "service.d/80-all.conf": "[Service]\nLogRateLimitBurst=5000\n" }));
  const running = await inside(
    machine,
    "systemctl list-units --type=service --state=running --plain --no-legend | cut -d' ' -f1",
  );
  const left = /^(dbus|user@\d+|user-runtime-dir@\d+|console-getty|systemd-hostnamed)\.service$/;
  const expected = running
    .trimEnd()
    .split("\n")
    .filter((name) => !left.test(name));
  assert.ok(expected.includes("ssh.service") && expected.includes("systemd-journald.service"), running);
  const before = await unitStates(machine);
  const answer = await lab.expect(0, ["push", "demo", "--json"]);
  const plan = (JSON.parse(answer.stdout) as { machines: { plan: PlanJson }[] }).machines[0]?.plan;
  const difference = unitDifference(before, await unitStates(machine));
  // Of what has run and ended: the tree's own, and what is bound to networkd, which systemd restarts along with it.
  const ended = ["p.service", "systemd-networkd-persistent-storage.service"];
  const all = [...expected, ...ended].map((name) => `restart ${name}`).sort();
  assert.deepEqual(difference, all, answer.stderr);
  assert.match(
    plan?.units.find((u) => u.unit === "dbus.service")?.reason ?? "",
    /nothing on a machine survives/,
  );
  const planned = plan?.units.filter((u) => u.action !== "none").map((u) => `${u.action} ${u.unit}`);
  assert.deepEqual(planned?.sort(), difference);
  lab.remove(`machines/demo/${UNITS}/service.d`);
  await lab.expect(0, ["push", "demo", "-q"]);
});

test("units of users are left to their managers, and the plan says so", async () => {
  const { lab } = await theMachine();
  lab.write({ "machines/demo/lib/systemd/user/mine.service": SLEEPS });
  const plan = await pushed([]);
  assert.match(plan.notes.join(), /mine\.service is for user managers: .*next login/);
});

/** Two packages: one whose service Debian starts at once, and one whose service it leaves off. */
const REPOSITORY = `
set -e
mkdir -p /srv/apt; cd /srv/apt
for name in lab-daemon lab-quiet; do
  mkdir -p $name/DEBIAN $name/usr/lib/systemd/system
  printf 'Package: %s\\nVersion: 1\\nArchitecture: all\\nMaintainer: t <t@t>\\nDescription: t\\n' $name >$name/DEBIAN/control
  printf '[Service]\\nExecStart=/bin/sleep infinity\\n' >$name/usr/lib/systemd/system/$name.service
  printf '#!/bin/sh\\nsystemctl daemon-reload\\n[ "$0" = "\${0%%quiet*}" ] && systemctl start %s.service\\nexit 0\\n' $name >$name/DEBIAN/postinst
  [ $name = lab-daemon ] || printf '#!/bin/sh\\nsystemctl daemon-reload\\n' >$name/DEBIAN/postinst
  chmod 755 $name/DEBIAN/postinst
  dpkg-deb --build --root-owner-group $name $name.deb >/dev/null
  dpkg-deb -f $name.deb; echo "Filename: ./$name.deb"; echo "Size: $(stat -c %s $name.deb)"; echo "SHA256: $(sha256sum $name.deb | cut -d ' ' -f 1)"; echo
done >Packages
rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/* /var/lib/apt/lists/*
echo 'deb [trusted=yes] file:/srv/apt ./' >/etc/apt/sources.list
`;

test("a vendor's unit of which the tree has a drop-in only, and whose package the same push installs, runs with it", async () => {
  const { lab, machine } = await theMachine();
  await inside(machine, REPOSITORY);
  lab.edit("machines/demo/machine.ini", "layers = ", "layers = tools, ");
  lab.write({
    "layers/tools/layer.ini": "[layer]\ndescription = tools\npackages = lab-daemon, lab-quiet\n",
    [`layers/tools/${UNITS}/lab-daemon.service.d/10-x.conf`]: "[Service]\nEnvironment=FROM=tree\n",
    [`layers/tools/${UNITS}/lab-quiet.service.d/10-x.conf`]: "[Service]\nEnvironment=FROM=tree\n",
  });
  // Of the quiet one the plan can only say what happens if its package starts it.
  const plan = await pushed(
    ["restart lab-daemon.service", "restart lab-quiet.service"],
    ["start lab-daemon.service"],
  );
  assert.match(plan.units[0]?.reason ?? "", /the installation of its package may have started it/);
  const environment =
    "tr '\\0' '\\n' <\"/proc/$(systemctl show -P MainPID lab-daemon)/environ\" | grep ^FROM";
  assert.equal(await inside(machine, environment), "FROM=tree\n");
  assert.equal(await show("lab-quiet.service", "ActiveState"), "inactive");
});
