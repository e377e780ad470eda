/**
 * The subsystems that read a folder below /usr/local: a push makes its files count, and what goes with their removal.
 * Effects are looked up in the kernel, in the daemon or in systemd, never in what labctl says.
 */
import assert from "node:assert/strict";
import test from "node:test";
import type { Machine } from "../../src/twin/machine.ts";
import type { Files } from "../temporary-repository.ts";
import { enterNamespaces, sharedBed } from "./bed-fixture.ts";
import { bootMachine, inside, type Lab, labFor, unitDifference, unitStates } from "./push-fixture.ts";

await enterNamespaces(import.meta.url);
const theBed = sharedBed();

interface Row {
  readonly name: string;
  /** Below machines/demo. */
  readonly files: Files;
  readonly triggers: readonly string[];
  /** What happens to loaded units, as `unitDifference` words it, when the files come. */
  readonly units?: readonly string[];
  /** A shell script that runs before. */
  readonly prepare?: string;
  /** A shell script, and what it prints once the files count. */
  readonly see: readonly [script: string, output: string];
  /** The same after they were removed; undefined: as before they came. */
  readonly gone?: readonly [script: string, output: string];
  readonly goneUnits?: readonly string[];
  readonly goneTriggers?: readonly string[];
  /** What the plan of the removal says in its notes. */
  readonly notes?: RegExp;
}

/** Effects that come a moment after the daemon has answered. */
const soon = (script: string): string => `for i in $(seq 50); do ${script} && break; sleep 0.1; done`;
const FIREWALL = [
  "flush ruleset",
  'include "/usr/local/etc/nftables.d/*.nft"',
  "table inet lab {",
  "  chain input { type filter hook input priority 0; policy accept; }",
  "}",
].join("\n");

const ROWS: readonly Row[] = [
  {
    name: "sysusers: a user exists; it stays when its file goes",
    files: { "lib/sysusers.d/probe.conf": 'u labprobe - "a probe" /nonexistent\n' },
    triggers: ["sysusers"],
    see: ["getent passwd labprobe | cut -d: -f1,5", "labprobe:a probe\n"],
    gone: ["getent passwd labprobe | cut -d: -f1", "labprobe\n"],
    goneTriggers: [],
    notes: /probe\.conf was removed: its users and groups stay/,
  },
  {
    name: "tmpfiles: a folder is made; it stays when its line goes",
    files: { "lib/tmpfiles.d/probe.conf": "d /run/probe 0710 root daemon -\nw /run/probe/x - - - - 1\n" },
    triggers: ["tmpfiles"],
    see: ["stat -c '%a %G' /run/probe", "710 daemon\n"],
    gone: ["stat -c '%a %G' /run/probe", "710 daemon\n"],
    goneTriggers: [],
    notes: /what it made stays/,
  },
  {
    name: "sysctl: a value is live; without the file it is what it was, though the machine's own files count again",
    files: {
      "lib/sysctl.d/70-probe.conf":
        "# by the first separator\nnet.ipv4.tcp_fin_timeout=33\nnet/ipv4/conf/lo/log_martians = 1\n-net.no.such.key = 1\n",
    },
    triggers: ["sysctl"],
    see: ["cat /proc/sys/net/ipv4/tcp_fin_timeout /proc/sys/net/ipv4/conf/lo/log_martians", "33\n1\n"],
    gone: ["cat /proc/sys/net/ipv4/tcp_fin_timeout /proc/sys/net/ipv4/conf/lo/log_martians", "60\n0\n"],
  },
  {
    // The kernel is the host's: that nothing was loaded, and nothing failed, is all that shows here.
    name: "modules-load: a container loads nothing, and says nothing",
    files: { "lib/modules-load.d/probe.conf": "no_such_module_of_labctl\n" },
    triggers: ["modules-load"],
    see: ["systemd-detect-virt --container", "systemd-nspawn\n"],
    gone: ["systemd-detect-virt --container", "systemd-nspawn\n"],
    goneTriggers: [],
    notes: /stay loaded until the next boot/,
  },
  {
    // binfmt_misc belongs to the host's kernel as well.
    name: "binfmt: a container registers nothing, and nothing fails",
    files: { "lib/binfmt.d/probe.conf": ":LabctlProbe:E::labprobe::/bin/true:\n" },
    triggers: ["binfmt"],
    see: ["ls /proc/sys/fs/binfmt_misc | grep -c LabctlProbe || true", "0\n"],
    gone: ["ls /proc/sys/fs/binfmt_misc | grep -c LabctlProbe || true", "0\n"],
  },
  {
    name: "udev: the daemon is told to read its rules again",
    prepare:
      "mkdir -p /run/udev; systemd-run -q --unit=probe-udevd -E SYSTEMD_LOG_LEVEL=debug -E SYSTEMD_LOG_TARGET=journal /usr/lib/systemd/systemd-udevd; " +
      soon("test -S /run/udev/control"),
    files: {
      "lib/udev/rules.d/99-probe.rules": 'KERNEL=="labprobe", SYMLINK+="labprobe2"\n',
      "lib/systemd/network/99-probe.link": "[Match]\nOriginalName=labprobe\n[Link]\nMTUBytes=1400\n",
    },
    triggers: ["udev"],
    units: [],
    see: [soon("journalctl -u probe-udevd -o cat | grep -om1 'RELOAD'"), "RELOAD\n"],
    gone: ["journalctl -u probe-udevd -o cat | grep -c 'RELOAD'; systemctl stop probe-udevd", "2\n"],
  },
  {
    name: "networkd: a bridge gets its address; without the files the address is gone and the bridge stays",
    files: {
      "lib/systemd/network/60-probe.netdev": "[NetDev]\nName=probe0\nKind=bridge\n",
      "lib/systemd/network/60-probe.network":
        "[Match]\nName=probe0\n[Network]\nAddress=10.98.7.1/24\nConfigureWithoutCarrier=yes\n",
    },
    triggers: ["networkd"],
    units: ["reload systemd-networkd.service"],
    see: [soon("ip -4 -o addr show dev probe0 2>/dev/null | grep -o 'inet [0-9./]*'"), "inet 10.98.7.1/24\n"],
    goneUnits: ["reload systemd-networkd.service"],
    gone: [
      `${soon("! ip -4 -o addr show dev probe0 | grep -q 10.98.7.1")}; ip -o link show probe0 | grep -o probe0; networkctl delete probe0`,
      "probe0\n",
    ],
    notes: /its device stays until the next boot/,
  },
  {
    name: "resolved: a drop-in's server is used, and no longer without it",
    files: { "lib/systemd/resolved.conf.d/probe.conf": "[Resolve]\nDNS=192.0.2.53\n" },
    triggers: [],
    units: ["reload systemd-resolved.service"],
    see: ["resolvectl dns | sed -n 's/^Global: //p'", "192.0.2.53\n"],
    gone: ["resolvectl dns | grep -c 192.0.2.53 || true", "0\n"],
    goneUnits: ["reload systemd-resolved.service"],
  },
  {
    name: "journald: a limit is applied, and lifted again",
    files: { "lib/systemd/journald.conf.d/probe.conf": "[Journal]\nMaxLevelStore=warning\n" },
    triggers: [],
    units: ["restart systemd-journald.service"],
    see: [
      "logger -t probe -p user.info no; logger -t probe -p user.err yes; journalctl --sync; journalctl -t probe -o cat",
      "yes\n",
    ],
    gone: ["logger -t probe -p user.info now; journalctl --sync; journalctl -t probe -o cat", "yes\nnow\n"],
    goneUnits: ["restart systemd-journald.service"],
  },
  {
    name: "dbus: a service can be activated, and no longer without its file; the bus itself goes on",
    files: {
      "share/dbus-1/system-services/org.example.Probe.service":
        "[D-BUS Service]\nName=org.example.Probe\nExec=/bin/false\nUser=root\n",
    },
    triggers: ["dbus"],
    units: ["reload dbus.service"],
    see: ["busctl list --activatable --no-legend | grep -o 'org.example.Probe'", "org.example.Probe\n"],
    gone: ["busctl list --activatable --no-legend | grep -c 'org.example.Probe' || true", "0\n"],
    goneUnits: ["reload dbus.service"],
  },
  {
    name: "nftables: the service reads the tree's rules; without them it is the system's own again",
    files: {
      "etc/nftables.conf": `${FIREWALL}\n`,
      "etc/nftables.d/10-probe.nft": "table inet probe {\n  chain c {\n    counter\n  }\n}\n",
      "lib/systemd/system/nftables.service.d/10-tree.conf":
        "[Service]\nExecStart=\nExecStart=/usr/sbin/nft -f /usr/local/etc/nftables.conf\n" +
        "ExecReload=\nExecReload=/usr/sbin/nft -f /usr/local/etc/nftables.conf\n",
    },
    triggers: [],
    units: ["restart nftables.service"],
    see: ["nft list tables", "table inet probe\ntable inet lab\n"],
    gone: ["nft list tables", "table inet filter\n"],
    goneUnits: ["restart nftables.service"],
  },
];

interface PlanJson {
  readonly units: readonly { readonly unit: string; readonly action: string; readonly reason: string }[];
  readonly triggers: readonly { readonly name: string }[];
  readonly notes: readonly string[];
}

let prepared: Promise<{ lab: Lab; machine: Machine }> | undefined;

async function prepare(): Promise<{ lab: Lab; machine: Machine }> {
  const bed = await theBed();
  const machine = await bootMachine(bed);
  const lab = labFor(bed, machine.name);
  lab.edit("machines/demo/machine.ini", "layers = web", "layers = base");
  await lab.expect(0, ["push", "demo", "--no-confirm"]);
  return { lab, machine };
}

function below(files: Files): Files {
  return Object.fromEntries(Object.entries(files).map(([path, file]) => [`machines/demo/${path}`, file]));
}

/** Plans and pushes, and compares with what happened; answers the plan. */
async function pushed(
  lab: Lab,
  machine: Machine,
  triggers: readonly string[],
  units: readonly string[],
): Promise<PlanJson> {
  const before = await unitStates(machine);
  const plan = JSON.parse((await lab.expect(2, ["plan", "demo", "--json"])).stdout) as PlanJson;
  const answer = await lab.expect(0, ["push", "demo", "--no-confirm"]);
  assert.deepEqual(unitDifference(before, await unitStates(machine)), units, answer.stderr);
  assert.deepEqual(
    plan.triggers.map((t) => t.name),
    triggers,
  );
  const actions = plan.units.filter((u) => u.action !== "none").map((u) => `${u.action} ${u.unit}`);
  // These triggers are reloads of their daemons, and stand in the plan as triggers.
  const expected = units.filter((u) => !/^reload (dbus|systemd-networkd)\.service$/.test(u));
  assert.deepEqual(actions, expected);
  await lab.expect(0, ["plan", "demo"]);
  return plan;
}

for (const row of ROWS) {
  test(row.name, async () => {
    prepared ??= prepare();
    const { lab, machine } = await prepared;
    if (row.prepare) await inside(machine, row.prepare);
    lab.write(below(row.files));
    await pushed(lab, machine, row.triggers, row.units ?? []);
    assert.equal(await inside(machine, row.see[0]), row.see[1]);
    for (const path of Object.keys(row.files)) lab.remove(`machines/demo/${path}`);
    const plan = await pushed(
      lab,
      machine,
      row.goneTriggers ?? row.triggers,
      row.goneUnits ?? row.units ?? [],
    );
    const [script, output] = row.gone ?? row.see;
    assert.equal(await inside(machine, script), output);
    if (row.notes) assert.match(plan.notes.join("\n"), row.notes);
    else assert.deepEqual(plan.notes, []);
  });
}

test("an edited rule file reloads the firewall, and one that nft refuses leaves the old rules", async () => {
  prepared ??= prepare();
  const { lab, machine } = await prepared;
  const nftables = ROWS.find((row) => row.name.startsWith("nftables"))?.files ?? {};
  lab.write(below(nftables));
  await lab.expect(0, ["push", "demo", "--no-confirm"]);
  lab.edit("machines/demo/etc/nftables.d/10-probe.nft", "inet probe", "inet other");
  await pushed(lab, machine, [], ["reload nftables.service"]);
  assert.equal(await inside(machine, "nft list tables"), "table inet other\ntable inet lab\n");
  lab.edit("machines/demo/etc/nftables.d/10-probe.nft", "counter", "no such statement");
  const refused = await lab.expect(1, ["push", "demo", "--no-confirm"]);
  assert.match(refused.stderr, /nftables\.service/);
  assert.equal(await inside(machine, "nft list tables"), "table inet other\ntable inet lab\n");
  assert.equal(await inside(machine, "systemctl is-active nftables.service"), "active\n");
  for (const path of Object.keys(nftables)) lab.remove(`machines/demo/${path}`);
  await lab.expect(0, ["push", "demo", "--no-confirm"]);
});

test("a service runs as the user that the same push makes, and its files belong to that user", async () => {
  prepared ??= prepare();
  const { lab, machine } = await prepared;
  lab.write(
    below({
      "lib/sysusers.d/newcomer.conf": "u newcomer - - /nonexistent\n",
      "lib/tmpfiles.d/newcomer.conf": "d /var/lib/newcomer 0700 newcomer newcomer -\n",
      "etc/newcomer.key": "for nobody else\n",
      "lib/systemd/system/newcomer.service":
        "[Service]\nUser=newcomer\nExecStart=/bin/sh -c 'cat /usr/local/etc/newcomer.key >/var/lib/newcomer/read; exec sleep infinity'\n",
      "lib/systemd/system/multi-user.target.wants/newcomer.service": { link: "../newcomer.service" },
    }),
  );
  lab.edit(
    "machines/demo/machine.ini",
    "[ssh]",
    "[attributes]\netc/newcomer.key = mode 0600, owner newcomer, group newcomer\n[ssh]",
  );
  await pushed(lab, machine, ["sysusers", "tmpfiles"], ["start newcomer.service"]);
  assert.equal(
    await inside(
      machine,
      "stat -c '%U %a' /usr/local/etc/newcomer.key; sleep 0.2; cat /var/lib/newcomer/read",
    ),
    "newcomer 600\nfor nobody else\n",
  );
  lab.edit("machines/demo/machine.ini", "owner newcomer, group", "owner nobodyatall, group");
  const refused = await lab.expect(1, ["push", "demo", "--no-confirm"]);
  assert.match(refused.stderr, /nobodyatall/, "control: a user that nothing makes is still refused");
  lab.edit("machines/demo/machine.ini", "owner nobodyatall, group", "owner newcomer, group");
});

test("a credential in the tree's store: exactly its readers restart", async () => {
  prepared ??= prepare();
  const { lab, machine } = await prepared;
  const reader = (load: string): string =>
    `[Service]\n${load}\nExecStart=/bin/sh -c 'cat $CREDENTIALS_DIRECTORY/* >/run/%N.seen; exec sleep infinity'\n`;
  const wants = "lib/systemd/system/multi-user.target.wants";
  lab.write(
    below({
      "lib/credstore/probe.token": "one",
      "lib/systemd/system/reader.service": reader("LoadCredential=probe.token"),
      "lib/systemd/system/importer.service": reader("ImportCredential=probe.*"),
      "lib/systemd/system/bystander.service": "[Service]\nExecStart=/bin/sleep infinity\n",
      [`${wants}/reader.service`]: { link: "../reader.service" },
      [`${wants}/importer.service`]: { link: "../importer.service" },
      [`${wants}/bystander.service`]: { link: "../bystander.service" },
    }),
  );
  const all = ["start bystander.service", "start importer.service", "start reader.service"];
  await pushed(lab, machine, [], all);
  lab.edit("machines/demo/lib/credstore/probe.token", "one", "two");
  await pushed(lab, machine, [], ["restart importer.service", "restart reader.service"]);
  assert.equal(await inside(machine, "sleep 0.2; cat /run/reader.seen /run/importer.seen"), "twotwo");
});

test("a trigger that fails takes the push back, and kernel settings with it", async () => {
  prepared ??= prepare();
  const { lab, machine } = await prepared;
  const value = (): Promise<string> => inside(machine, "cat /proc/sys/net/ipv4/tcp_fin_timeout");
  lab.write(
    below({
      "lib/sysctl.d/70-bad.conf": "net.ipv4.tcp_fin_timeout = 44\nnet.ipv4.ip_default_ttl = much\n",
      "lib/udev/rules.d/70-bad.rules": "",
    }),
  );
  const bad = await lab.expect(1, ["push", "demo", "--no-confirm"]);
  assert.match(bad.stderr, /sysctl/);
  assert.equal(await value(), "60\n");
  assert.equal(await inside(machine, "ls /usr/local/lib/sysctl.d"), "50-base.conf\n");
  lab.remove("machines/demo/lib/udev");
  lab.write(
    below({
      "lib/sysctl.d/70-bad.conf": "net.ipv4.tcp_fin_timeout = 44\n",
      "lib/labctl/check.d/no": {
        text: "#!/bin/sh\ncat /proc/sys/net/ipv4/tcp_fin_timeout\nexit 1\n",
        mode: 0o755,
      },
    }),
  );
  const checked = await lab.expect(1, ["push", "demo", "--no-confirm"]);
  assert.match(checked.stderr, /\| 44\n/, "control: it was live for a moment");
  assert.equal(await value(), "60\n");
  lab.remove("machines/demo/lib/labctl");
  await lab.expect(0, ["push", "demo", "--no-confirm"]);
  assert.equal(await value(), "44\n");
  lab.write(below({ "lib/tmpfiles.d/bad.conf": "this is no line\n" }));
  assert.match((await lab.expect(1, ["push", "demo", "--no-confirm"])).stderr, /tmpfiles/);
  lab.remove("machines/demo/lib/tmpfiles.d/bad.conf");
  await lab.expect(0, ["rollback", "demo"]);
  assert.equal(await value(), "60\n");
});
