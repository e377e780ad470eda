/** Several machines at once, and machines behind other machines. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { enterNamespaces, sharedBed } from "./bed-fixture.ts";
import { bootMachine, inside, type Lab, labFor, page } from "./push-fixture.ts";

await enterNamespaces(import.meta.url);
const theBed = sharedBed();

/** The machine `demo` again under another name and host. */
function addMachine(lab: Lab, name: string, host: string): void {
  const ini = lab.read("machines/demo/machine.ini").replace(/^host = .*$/m, `host = ${host}`);
  lab.write({
    [`machines/${name}/machine.ini`]: ini,
    [`facts/${name}.env`]: `WEB_TITLE="This is ${name}"\n`,
  });
}

test("one machine of two fails: the other is done, exit 3; both fail: exit 1", async () => {
  const bed = await theBed();
  const machine = await bootMachine(bed);
  const lab = labFor(bed, machine.name);
  addMachine(lab, "lost", "lost");
  const config = join(lab.root, "ssh");
  const lost = "Host lost\n  HostName 127.0.0.1\n  Port 9\n";
  writeFileSync(config, lost + readFileSync(bed.sshConfigFile, "utf8"));
  const pushed = await lab.expect(3, ["push", "demo", "lost", "--json"], { sshConfig: config });
  assert.match(await page(machine), /served by labctl/);
  const { machines } = JSON.parse(pushed.stdout) as {
    machines: { machine: string; ok: boolean; problems?: { code: string }[] }[];
  };
  assert.deepEqual(
    machines
      .sort((a, b) => (a.machine < b.machine ? -1 : 1))
      .map((m) => [m.machine, m.ok, m.problems?.[0]?.code]),
    [
      ["demo", true, undefined],
      ["lost", false, "ssh-refused"],
    ],
  );
  await lab.expect(3, ["plan", "demo", "lost"], { sshConfig: config });
  await lab.expect(1, ["push", "lost"], { sshConfig: config });
});

test("two machines at once, each with its own tree; one fails its check and takes only itself back", async () => {
  const bed = await theBed();
  const [one, two] = await Promise.all([bootMachine(bed), bootMachine(bed)]);
  const lab = labFor(bed, one.name);
  addMachine(lab, "other", two.name);
  const pushed = await lab.expect(0, ["push", "demo", "other"]);
  assert.match(pushed.stderr, /^demo: done: generation 1/m);
  assert.match(pushed.stderr, /^other: done: generation 1/m);
  assert.match(await page(one), /served by labctl/);
  assert.match(await page(two), /This is other/);
  lab.edit("layers/web/opt/nginx/www/style.css", "40rem", "41rem");
  lab.write({ "machines/other/opt/nginx/conf/sites.d/99-bad.nginx": "nonsense;\n" });
  await lab.expect(3, ["push", "demo", "other", "-q"]);
  assert.match(await page(one, "/style.css"), /41rem/);
  assert.match(await page(two, "/style.css"), /40rem/);
});

test("through another machine by ProxyJump: the machine sees the other one's address", async () => {
  const bed = await theBed();
  const [gate, machine] = await Promise.all([bootMachine(bed), bootMachine(bed)]);
  const lab = labFor(bed, machine.name);
  const config = join(lab.root, "ssh");
  const jump = `Host ${machine.name}\n  ProxyJump ${gate.name}\n`;
  writeFileSync(config, jump + readFileSync(bed.sshConfigFile, "utf8"));
  await lab.expect(0, ["push", "demo"], { sshConfig: config });
  assert.match(await page(machine), /served by labctl/);
  const from = await inside(
    machine,
    "journalctl -q -o cat -t sshd -t sshd-session | grep -o 'Accepted .* from [0-9.]*' | sort -u",
  );
  assert.equal(from, `Accepted publickey for root from ${gate.address}\n`);
  assert.match((await lab.expect(0, ["push", "demo"], { sshConfig: config })).stderr, /nothing to do/);
  // The gate goes: what is wrong is said of the gate.
  await gate.kill();
  const refused = await lab.expect(1, ["push", "demo", "-q", "--timeout", "1"], { sshConfig: config });
  assert.match(refused.stderr, new RegExp(`^error\\[ssh-(timeout|unreachable)\\] root@${gate.name}:22`));
});
