/** A first push, a second one, the plan's contract, whose files are whose, and the stale bind: on real machines. */
import assert from "node:assert/strict";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import type { Machine } from "../../src/twin/machine.ts";
import { temporaryFolder } from "../temporary-repository.ts";
import { enterNamespaces, sharedBed, withMachine } from "./bed-fixture.ts";
import {
  bootMachine,
  inside,
  type Lab,
  labFor,
  liveContents,
  liveTree,
  page,
  unitDifference,
  unitStates,
} from "./push-fixture.ts";
import { assertSandboxed } from "./sandbox.ts";

await enterNamespaces(import.meta.url);
const theBed = sharedBed();

let prepared: Promise<{ lab: Lab; machine: Machine }> | undefined;

/** One machine for the tests below; each leaves it with a tree that was pushed. */
function theMachine(): Promise<{ lab: Lab; machine: Machine }> {
  prepared ??= theBed().then(async (bed) => {
    const machine = await bootMachine(bed);
    return { machine, lab: labFor(bed, machine.name) };
  });
  return prepared;
}

test("a file in the way that labctl did not make is refused before anything changes", async () => {
  const { lab, machine } = await theMachine();
  await inside(
    machine,
    "mkdir -p /usr/local/opt/nginx/conf; echo mine >/usr/local/opt/nginx/conf/main.nginx",
  );
  const before = [await unitStates(machine), await liveContents(machine)] as const;
  const refusal = `error[foreign-file] machine \`demo\` has a file in the way that labctl did not make
  /usr/local/opt/nginx/conf/main.nginx
  nothing on the machine changed
  help: move them away on the machine, rename the files in the layers, or push with --take-over to replace them
`;
  // What push would refuse, plan refuses.
  assert.equal((await lab.expect(1, ["plan", "demo", "-q"])).stderr, refusal);
  assert.equal((await lab.expect(1, ["push", "demo", "-q"])).stderr, refusal);
  assert.equal(await inside(machine, "ls /usr/local/.labctl/stage 2>/dev/null | wc -l"), "0\n");
  assert.deepEqual(unitDifference(before[0], await unitStates(machine)), []);
  assert.deepEqual(await liveContents(machine), before[1]);
  await inside(machine, "rm -r /usr/local/opt");
});

test("the first push brings the page up, sandboxed, with no unit failed", async (t) => {
  const { lab, machine } = await theMachine();
  const planned = await lab.expect(2, ["plan", "demo", "--json"]);
  const plan = JSON.parse(planned.stdout);
  assert.equal(plan.machine, "demo");
  assert.equal(plan.from, null);
  assert.match(plan.to, /^[0-9a-f]{64}$/);
  assert.ok(plan.files.length > 20);
  for (const f of plan.files) assert.deepEqual([typeof f.path, f.change], ["string", "added"]);
  for (const u of plan.units) {
    assert.match(u.action, /^(start|stop|reload|restart|rebind|none)$/);
    assert.ok(u.unit.includes(".") && u.reason.length > 5, JSON.stringify(u));
  }
  assert.deepEqual(plan.packages, []);
  const before = await unitStates(machine);
  const first = await lab.expect(0, ["push", "demo"]);
  assert.match(first.stderr, /confirmed by a fresh connection/);
  assert.match(first.stderr, /done: generation 1 \(<id>\) in <ms>\n$/);
  assert.deepEqual(unitDifference(before, await unitStates(machine)), [
    "restart nginx.service",
    "restart ssh.service",
    "restart systemd-journald.service",
  ]);
  assert.match(await page(machine), /Built, pushed and served by labctl/);
  assert.equal(await inside(machine, "systemctl --failed --no-legend --plain"), "");
  await assertSandboxed(t, machine, ["nginx"]);
});

test("a second push does nothing, says so, and touches nothing", async () => {
  const { lab, machine } = await theMachine();
  const before = [await unitStates(machine), await liveTree(machine)] as const;
  const second = await lab.expect(0, ["push", "demo"]);
  assert.equal(
    second.stderr,
    `demo: connected to root@${machine.name}:22 (<ms>)\ndemo: nothing to do: it runs generation 1 (<id>), checked in <ms>\n`.replace(
      "checked in <ms>",
      "checked in <ms>",
    ),
  );
  const plan = await lab.expect(0, ["plan", "demo"]);
  assert.match(plan.stdout, /^demo: nothing to do \(generation 1, [0-9a-f]{12}\)\n$/);
  const json = JSON.parse((await lab.expect(0, ["plan", "demo", "--json"])).stdout);
  assert.equal(json.from, json.to);
  assert.deepEqual([json.files, json.units, json.triggers, json.packages], [[], [], [], []]);
  assert.deepEqual(unitDifference(before[0], await unitStates(machine)), []);
  assert.deepEqual(await liveTree(machine), before[1]);
});

test("a pusher without any memory of the machine plans the same nothing", async () => {
  const { lab } = await theMachine();
  lab.remove("var");
  assert.match((await lab.expect(0, ["plan", "demo"])).stdout, /nothing to do/);
});

test("an unreachable machine or a wrong name is an error to plan: exit 1", async () => {
  const { lab } = await theMachine();
  const named = await lab.expect(1, ["plan", "demmo"]);
  assert.match(named.stderr, /^error\[unknown-machine\]/);
  const facts = lab.read("facts/demo.env");
  lab.write({ "machines/demo/x.hbs": "{{NOT_THERE}}" });
  assert.match((await lab.expect(1, ["plan", "demo"])).stderr, /^error\[fact-missing\]/);
  lab.remove("machines/demo/x.hbs");
  assert.equal(lab.read("facts/demo.env"), facts);
});

test("an administrator's own files stay, also beside labctl's and in folders that labctl removes from", async () => {
  const { lab, machine } = await theMachine();
  lab.write({ "machines/demo/opt/own/deep/made.txt": "made\n" });
  await lab.expect(0, ["push", "demo", "--no-confirm"]);
  await inside(
    machine,
    "echo mine >/usr/local/opt/own/mine; echo mine >/usr/local/bin/mine; ln -s nowhere /usr/local/opt/nginx/www/l",
  );
  assert.match((await lab.expect(0, ["push", "demo"])).stderr, /nothing to do/);
  lab.remove("machines/demo/opt/own");
  await lab.expect(0, ["push", "demo", "--no-confirm"]);
  assert.equal(
    await inside(machine, "cd /usr/local; cat opt/own/mine bin/mine; readlink opt/nginx/www/l; find opt/own"),
    "mine\nmine\nnowhere\nopt/own\nopt/own/mine\n",
  );
  await inside(machine, "rm -r /usr/local/opt/own /usr/local/bin/mine /usr/local/opt/nginx/www/l");
});

test("what was edited, deleted or chmodded on the machine is put back, and the plan says why", async () => {
  const { lab, machine } = await theMachine();
  const whole = await liveContents(machine);
  await inside(
    machine,
    `cd /usr/local; echo hacked >opt/nginx/www/index.html; rm opt/nginx/www/style.css
     chmod 0600 opt/nginx/www/about.html; rm lib/systemd/system/nginx.service.d/10-sandbox.conf`,
  );
  const planned = JSON.parse((await lab.expect(2, ["plan", "demo", "--json"])).stdout);
  const files = planned.files.map((f: { path: string; cause: string }) => `${f.path}: ${f.cause}`);
  const why = "changed on the machine by someone else";
  assert.deepEqual(files, [
    `lib/systemd/system/nginx.service.d/10-sandbox.conf: ${why}`,
    `opt/nginx/www/about.html: ${why}`,
    `opt/nginx/www/index.html: ${why}`,
    `opt/nginx/www/style.css: ${why}`,
  ]);
  await lab.expect(0, ["push", "demo", "--no-confirm"]);
  assert.deepEqual(await liveContents(machine), whole);
  assert.match((await lab.expect(0, ["push", "demo"])).stderr, /nothing to do/);
});

test("a folder that someone deleted or closed is put back", async () => {
  const { lab, machine } = await theMachine();
  const whole = await liveContents(machine);
  await inside(machine, "rm -r /usr/local/libexec/labctl; chmod 0700 /usr/local/opt/nginx/www");
  await lab.expect(2, ["plan", "demo"]);
  await lab.expect(0, ["push", "demo", "--no-confirm"]);
  assert.deepEqual(await liveContents(machine), whole);
  assert.match(await page(machine), /served by labctl/);
});

test("a file replaced by a folder, and a folder by a file, on the machine: put back where nobody's file is lost", async () => {
  const { lab, machine } = await theMachine();
  const whole = await liveContents(machine);
  await inside(machine, "cd /usr/local/opt/nginx/www; rm style.css; ln -s /etc/passwd style.css");
  await lab.expect(0, ["push", "demo", "--no-confirm"]);
  assert.deepEqual(await liveContents(machine), whole);
  await inside(
    machine,
    "cd /usr/local/opt/nginx/www; rm style.css; mkdir style.css; echo mine >style.css/mine",
  );
  const refused = await lab.expect(1, ["push", "demo", "-q"]);
  assert.match(refused.stderr, /^error\[foreign-file\][\s\S]*\/usr\/local\/opt\/nginx\/www\/style.css/);
  assert.equal(await inside(machine, "cat /usr/local/opt/nginx/www/style.css/mine"), "mine\n");
  await inside(machine, "rm -r /usr/local/opt/nginx/www/style.css");
  await lab.expect(0, ["push", "demo", "--no-confirm"]);
  assert.deepEqual(await liveContents(machine), whole);
});

test("the stale bind: a push makes the new main.nginx count; control: rename and a plain reload do not", async () => {
  const { lab, machine } = await theMachine();
  const type = () => inside(machine, "curl -s -o /dev/null -w '%{content_type}' http://127.0.0.1/plain");
  await inside(machine, "echo x >/usr/local/opt/nginx/www/plain");
  assert.equal(await type(), "application/octet-stream");
  const main = "layers/web/opt/nginx/conf/main.nginx.hbs";
  lab.edit(main, "default_type application/octet-stream", "default_type text/pushed");
  await lab.expect(0, ["push", "demo", "--no-confirm"]);
  assert.equal(await type(), "text/pushed");

  await inside(
    machine,
    `cd /usr/local/opt/nginx/conf; sed s,text/pushed,text/renamed, main.nginx >main.new; mv main.new main.nginx
     systemctl reload nginx; sleep 0.3`,
  );
  assert.equal(await type(), "text/pushed", "a plain reload re-reads the old inode");
  await inside(machine, "systemctl restart nginx");
  assert.equal(await type(), "text/renamed", "a restart reads the new one");
  await lab.expect(0, ["push", "demo", "--no-confirm"]);
  assert.equal(await type(), "text/pushed", "and a push puts back what drifted");
});

test("a machine whose records are lost, or that was renamed, is taken over only when that is asked for", async () => {
  const { lab, machine } = await theMachine();
  await lab.expect(0, ["push", "demo", "--no-confirm"]);
  const whole = await liveContents(machine);
  await inside(machine, "rm -r /usr/local/.labctl");
  assert.match(
    (await lab.expect(1, ["push", "demo", "-q"])).stderr,
    /has \d+ files in the way[\s\S]* and \d+ more\n/,
  );
  await lab.expect(0, ["push", "demo", "--no-confirm", "--take-over"]);
  assert.deepEqual(await liveContents(machine), whole);
  assert.match((await lab.expect(0, ["push", "demo"])).stderr, /nothing to do/);
  assert.equal(await inside(machine, "ls /usr/local/.labctl/stage | wc -l"), "0\n");

  mkdirSync(join(lab.root, "machines/other"));
  writeFileSync(
    join(lab.root, "machines/other/machine.ini"),
    `[machine]\nhost = ${machine.name}\nlayers = base\n`,
  );
  assert.equal(
    (await lab.expect(1, ["push", "other", "-q"])).stderr,
    `error[other-machine] root@${machine.name}:22 carries the tree of machine \`demo\`, not of \`other\`
  nothing on the machine changed
  help: correct \`host\` in machines/other/machine.ini; if the machine was renamed, push once with --take-over
`,
  );
});

test("the repository that `init` begins is pushed as it stands, and its page answers", async (t) => {
  const bed = await theBed();
  await withMachine(t, bed, async (machine) => {
    const lab = labFor(bed, machine.name);
    const begun = temporaryFolder("begun", true);
    try {
      await lab.expect(0, ["init", begun, "--machine", "hut", "--host", machine.name]);
      await lab.expect(0, ["push", "-C", begun, "hut"]);
      const answer = await fetch(`http://${machine.address}/notes/`);
      assert.match(await answer.text(), /<h1>What hut knows<\/h1>/);
      assert.equal((await lab.expect(0, ["plan", "-C", begun, "hut"])).code, 0);
    } finally {
      rmSync(begun, { recursive: true, force: true });
    }
  });
});
