/** What is no drift on a real machine, each with a control that would be; what verify can't look at, and says so. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import type { Machine } from "../../src/twin/machine.ts";
import { enterNamespaces, sharedBed } from "./bed-fixture.ts";
import { bootMachine, inside, type Lab, labFor } from "./push-fixture.ts";

await enterNamespaces(import.meta.url);
const theBed = sharedBed();

const bind = "BindReadOnlyPaths=/usr/local/etc/q/conf:/srv/conf";
/** Units that are awkward to look into. */
const UNITS: Readonly<Record<string, string>> = {
  "own-root": `ExecStart=+/usr/bin/sleep infinity\n${bind}`,
  // The first process of its PID namespace ignores SIGTERM.
  "own-pids": `ExecStart=/usr/bin/unshare --pid --fork --mount-proc /usr/bin/sleep infinity\nKillSignal=SIGKILL\n${bind}`,
  "no-main": `Type=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh -c '/usr/bin/sleep infinity &'\n${bind}`,
  "by-link": "ExecStart=/usr/bin/sleep infinity\nBindReadOnlyPaths=/usr/local/etc/q/conf:/srv/link/conf",
  blank: `ExecStart=/usr/bin/sleep infinity\nBindReadOnlyPaths=-/usr/local/etc/q/none:/srv/none "/usr/local/etc/q/a b":"/srv/a b"\n${bind}`,
  "leave-me": `ExecStart=/usr/bin/sleep infinity\n${bind}\n[X-Labctl]\nOnChange=none`,
  ends: "Type=oneshot\nExecStart=/bin/true",
  conditional: "Type=exec\nExecStart=/usr/bin/sleep infinity\n[Unit]\nConditionPathExists=/nowhere",
};

let prepared: Promise<{ lab: Lab; machine: Machine }> | undefined;

function theMachine(): Promise<{ lab: Lab; machine: Machine }> {
  prepared ??= theBed().then(async (bed) => {
    const machine = await bootMachine(bed);
    const lab = labFor(bed, machine.name);
    await inside(
      machine,
      "mkdir -p /srv/real; ln -s /srv/real /srv/link; touch /srv/conf /srv/real/conf '/srv/a b'",
    );
    for (const [name, text] of Object.entries(UNITS)) {
      const folder = "machines/demo/lib/systemd/system";
      lab.write({
        [`${folder}/${name}.service`]: `[Service]\n${text}\n`,
        [`${folder}/multi-user.target.wants/${name}.service`]: { link: `../${name}.service` },
      });
    }
    lab.write({ "machines/demo/etc/q/conf": "1\n", "machines/demo/etc/q/a b": "1\n" });
    await lab.expect(0, ["push", "demo", "--no-confirm"]);
    return { lab, machine };
  });
  return prepared;
}

async function verify(lab: Lab, code: number): Promise<{ found: string[]; notes: string[] }> {
  const answer = await lab.expect(code, ["verify", "--live", "demo", "--json", "-q"]);
  const [{ findings, notes }] = JSON.parse(answer.stdout).machines;
  return {
    found: findings.map((f: { code: string; path: string; unit: string }) =>
      `${f.code} ${f.path ?? f.unit ?? ""}`.trim(),
    ),
    notes,
  };
}

test("units that are awkward to look into have no drift after a push, and what can be seen of them is", async () => {
  const { lab, machine } = await theMachine();
  assert.deepEqual(await verify(lab, 0), { found: [], notes: [] });
  await inside(machine, "cd /usr/local/etc/q; cp -p conf c; mv c conf");
  const { found, notes } = await verify(lab, 2);
  assert.deepEqual(found, [
    "stale-bind blank.service",
    "stale-bind by-link.service",
    "stale-bind no-main.service",
    "stale-bind own-pids.service",
    "stale-bind own-root.service",
  ]);
  assert.match(notes.join("\n"), /leave-me\.service sees .*OnChange=none/);
  await lab.expect(0, ["push", "demo", "--no-confirm"]);
  assert.deepEqual((await verify(lab, 0)).found, []);
  await inside(machine, "systemctl restart leave-me");
});

test("a comment in a unit file, a change that reloads, a rollback, a pusher without memory: no drift", async () => {
  const { lab, machine } = await theMachine();
  const dropIn = "layers/web/lib/systemd/system/nginx.service.d/10-sandbox.conf";
  lab.write({ [dropIn]: `# says nothing\n${lab.read(dropIn)}` });
  await lab.expect(0, ["push", "demo", "--no-confirm"]);
  assert.equal(await inside(machine, "systemctl show -P NeedDaemonReload nginx"), "yes\n");
  assert.deepEqual(await verify(lab, 0), { found: [], notes: [] });
  lab.write({ "machines/demo/opt/nginx/conf/sites.d/60-x.nginx": "# x\n" });
  await lab.expect(0, ["push", "demo", "--no-confirm"]);
  assert.deepEqual(await verify(lab, 0), { found: [], notes: [] });
  await lab.expect(0, ["rollback", "demo", "--no-confirm"]);
  assert.deepEqual(await verify(lab, 0), { found: [], notes: [] });
  lab.remove("var");
  assert.deepEqual(await verify(lab, 0), { found: [], notes: [] });
  // A repository that can't be built says nothing about the machine.
  lab.write({ "machines/demo/x.hbs": "{{NOT_THERE}}" });
  assert.deepEqual(await verify(lab, 0), { found: [], notes: [] });
  lab.remove("machines/demo/x.hbs");
});

test("a file that was only touched is a note; the units that read it are another matter", async () => {
  const { lab, machine } = await theMachine();
  await inside(
    machine,
    "touch /usr/local/opt/nginx/www/index.html; ln /usr/local/opt/nginx/www/style.css /srv/second",
  );
  const { found, notes } = await verify(lab, 0);
  assert.deepEqual(found, []);
  assert.match(
    notes.join("\n"),
    /^opt\/nginx\/www\/index\.html and 1 more: written or touched by someone else/,
  );
  await inside(machine, "rm /srv/second");
  await lab.expect(0, ["push", "demo", "--no-confirm"]);
  assert.deepEqual(await verify(lab, 0), { found: [], notes: [] });
});

test("a push that did not end, records that are damaged, a push at work: each is told as that", async () => {
  const { lab, machine } = await theMachine();
  const state = "cd /usr/local/.labctl;";
  await inside(
    machine,
    `${state} printf 'boot\\t%s\\nunit\\treload\\tnginx.service\\n' "$(cat /proc/sys/kernel/random/boot_id)" >pending`,
  );
  assert.deepEqual((await verify(lab, 2)).found, ["pending"]);
  await lab.expect(0, ["push", "demo", "--no-confirm"]);
  assert.deepEqual((await verify(lab, 0)).found, []);
  await inside(machine, `${state} echo nonsense >journal`);
  assert.deepEqual((await verify(lab, 2)).found, ["interrupted"]);
  assert.equal(await inside(machine, `${state} cat journal`), "nonsense\n", "looking changes nothing");
  await lab.expect(0, ["plan", "demo"]);
  assert.deepEqual((await verify(lab, 0)).found, []);
  const locked = inside(machine, `${state} echo 'me@there 7 1700000000' >lock; flock -x lock sleep 6`);
  await new Promise((resolve) => setTimeout(resolve, 500));
  assert.match(
    (await lab.expect(1, ["verify", "--live", "demo", "-q"])).stderr,
    /^error\[lock-held\].*me@there/,
  );
  await locked;
  await inside(machine, `${state} cp manifest.json /srv; sed -i s/nginx/nginy/ manifest.json`);
  lab.remove("var");
  assert.deepEqual((await verify(lab, 2)).found, ["records-lost"]);
  await inside(machine, `${state} cp /srv/manifest.json .; mv fingerprint /srv`);
  assert.deepEqual((await verify(lab, 2)).found, ["records-lost"]);
  await inside(machine, `${state} mv /srv/fingerprint .`);
  assert.deepEqual((await verify(lab, 0)).found, []);
});

test("a machine that can't be reached beside one that can: exit 3; nothing ever pushed, or another's tree: exit 1", async () => {
  const { lab } = await theMachine();
  const config = join(lab.root, "ssh");
  const other = await bootMachine(await theBed());
  writeFileSync(
    config,
    `Host lost\n  HostName 127.0.0.1\n  Port 9\n${readFileSync(lab.bed.sshConfigFile, "utf8")}`,
  );
  const ini = lab.read("machines/demo/machine.ini");
  const host = /^host = (.*)$/m.exec(ini)?.[1] ?? "";
  for (const [name, at] of [
    ["lost", "lost"],
    ["fresh", other.name],
    ["twin", host],
  ] as const)
    lab.write({ [`machines/${name}/machine.ini`]: ini.replace(/^host = .*$/m, `host = ${at}`) });
  const run = (code: number, ...names: string[]) =>
    lab.expect(code, ["verify", "--live", "--json", "-q", ...names], { sshConfig: config });
  const { machines } = JSON.parse((await run(3, "demo", "lost")).stdout);
  const codes = machines.map((m: { machine: string; ok: boolean; problems?: { code: string }[] }) => [
    m.machine,
    m.ok,
    m.problems?.[0]?.code,
  ]);
  assert.deepEqual(codes.sort(), [
    ["demo", true, undefined],
    ["lost", false, "ssh-refused"],
  ]);
  assert.match((await run(1, "fresh")).stderr, /never-pushed/);
  assert.match((await run(1, "twin")).stderr, /other-machine/);
  await lab.expect(64, ["verify", "--live", "demo", "--fact", "A=1"]);
});

test("a login without root, by sudo, sees the same", async () => {
  const { lab, machine } = await theMachine();
  const key = readFileSync(`${lab.bed.identityFile}.pub`, "utf8");
  await inside(
    machine,
    `useradd -m walker; install -d -o walker -m 700 /home/walker/.ssh; echo '${key}' >/home/walker/.ssh/authorized_keys
     echo 'walker ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/walker; chmod 0440 /etc/sudoers.d/walker
     cd /usr/local/etc/q; cp -p conf c; mv c conf`,
  );
  lab.edit("machines/demo/machine.ini", "user = root", "user = walker");
  const answer = await lab.expect(2, ["verify", "--live", "demo", "-q"]);
  assert.match(answer.stderr, /stale-bind\] demo: no-main\.service/);
  lab.edit("machines/demo/machine.ini", "user = walker", "user = root");
  await lab.expect(0, ["push", "demo", "--no-confirm"]);
});

test("3,000 files are compared in about a second", async (t) => {
  const { lab, machine } = await theMachine();
  const files: Record<string, string> = {};
  for (let i = 0; i < 3000; i++) files[`machines/demo/opt/many/${i % 60}/f${i}`] = `file ${i}\n`;
  lab.write(files);
  await lab.expect(0, ["push", "demo", "--no-confirm"]);
  const times = (run: () => number): number => [run(), run(), run()].sort((a, b) => a - b)[1] ?? 0;
  const timed = (command: string, args: readonly string[]): number => {
    const startedAt = performance.now();
    const done = spawnSync(command, args, {
      cwd: lab.root,
      encoding: "utf8",
      env: { ...process.env, HOME: lab.root },
    });
    assert.ok(done.status === 0 || done.status === 2, done.stderr);
    return performance.now() - startedAt;
  };
  const host = /^host = (.*)$/m.exec(lab.read("machines/demo/machine.ini"))?.[1] ?? "";
  const ssh = times(() => timed("ssh", ["-F", lab.bed.sshConfigFile, host, "true"]));
  const live = async (code: number): Promise<number> => {
    const all: number[] = [];
    for (let i = 0; i < 3; i++) all.push((await lab.expect(code, ["verify", "--live", "demo", "-q"])).ms);
    return all.sort((a, b) => a - b)[1] ?? 0;
  };
  const clean = await live(0);
  await inside(
    machine,
    "cd /usr/local/opt/many; for f in */f*5; do echo x >>$f; done; chmod 600 7/*; touch 8/*",
  );
  const drifted = await live(2);
  const ratio = (ms: number): string => `${Math.round(ms)} ms, ${(ms / ssh).toFixed(1)} times`;
  t.diagnostic(
    `ssh host true ${Math.round(ssh)} ms; clean: ${ratio(clean)}; 400 paths differ: ${ratio(drifted)}`,
  );
  // About a second on a quiet host; shared ones are slower, ssh as well.
  assert.ok(clean < 1500 || clean < 8 * ssh, `${clean} ms, ssh ${ssh} ms`);
});
