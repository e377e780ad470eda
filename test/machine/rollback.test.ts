/** Going back: to the previous generation, to a numbered one, back from going back, and where there is nothing. */
import assert from "node:assert/strict";
import test from "node:test";
import type { Machine } from "../../src/twin/machine.ts";
import { enterNamespaces, sharedBed } from "./bed-fixture.ts";
import {
  bootMachine,
  inside,
  type Lab,
  labFor,
  liveContents,
  page,
  unitDifference,
  unitStates,
} from "./push-fixture.ts";

await enterNamespaces(import.meta.url);
const theBed = sharedBed();

let prepared: Promise<{ lab: Lab; machine: Machine }> | undefined;

function theMachine(): Promise<{ lab: Lab; machine: Machine }> {
  prepared ??= theBed().then(async (bed) => {
    const machine = await bootMachine(bed);
    return { machine, lab: labFor(bed, machine.name) };
  });
  return prepared;
}

/** What the machine had after each push, by generation. */
const contents: Map<string, string>[] = [];

test("nothing was ever pushed", async () => {
  const { lab } = await theMachine();
  assert.equal(
    (await lab.expect(1, ["rollback", "demo"])).stderr.split("\n").slice(1).join("\n"),
    "error[never-pushed] nothing was ever pushed to machine `demo`\n  help: `labctl push demo`\n",
  );
});

test("only one generation: there is nothing before it", async () => {
  const { lab, machine } = await theMachine();
  await lab.expect(0, ["push", "demo", "-q", "-m", "the first"]);
  contents[1] = await liveContents(machine);
  assert.equal(
    (await lab.expect(1, ["rollback", "demo", "-q"])).stderr,
    `error[no-generation] machine \`demo\` has no generation before 1
  it keeps none
  help: \`labctl generations demo\` lists them
`,
  );
  assert.equal(
    (await lab.expect(1, ["rollback", "demo", "7", "-q"])).stderr,
    `error[no-generation] machine \`demo\` can't go to generation 7
  it keeps none
  help: \`labctl generations demo\` lists them
`,
  );
  assert.equal((await lab.expect(64, ["rollback", "demo", "0"])).stdout, "");
});

test("the previous page is back, by a reload of nobody; the machine's list shows it", async () => {
  const { lab, machine } = await theMachine();
  lab.edit("facts/demo.env", "Built", "Second; built");
  lab.write({ "machines/demo/opt/nginx/www/new/page.html": "new\n" });
  lab.remove("machines/demo/opt/nginx/www/about.html");
  await lab.expect(0, ["push", "demo", "-q"]);
  contents[2] = await liveContents(machine);
  assert.match(await page(machine), /Second/);
  const dry = await lab.expect(2, ["rollback", "demo", "--dry-run", "--json"]);
  const before = await unitStates(machine);
  const back = await lab.expect(0, ["rollback", "demo", "--json"]);
  const answer = JSON.parse(back.stdout);
  assert.deepEqual([answer.machine, answer.ok, answer.to, answer.number], ["demo", true, 1, 3]);
  assert.deepEqual(answer.plan, JSON.parse(dry.stdout));
  assert.deepEqual(unitDifference(before, await unitStates(machine)), []);
  assert.deepEqual(await liveContents(machine), contents[1]);
  assert.match(back.stderr, /back at the tree of generation 1; done: generation 3/);
  const list = JSON.parse((await lab.expect(0, ["generations", "demo", "--json"])).stdout);
  assert.deepEqual(
    list.generations.map((g: { number: number; message?: string; rollbackTo?: number; by: string }) => [
      g.number,
      g.message ?? null,
      g.rollbackTo ?? null,
      g.by.startsWith("tester@"),
    ]),
    [
      [1, "the first", null, true],
      [2, null, null, true],
      [3, "rollback to generation 1", 1, true],
    ],
  );
  const shown = (await lab.expect(0, ["generations", "demo"])).stdout.trimEnd().split("\n");
  assert.match(
    shown[2] ?? "",
    /^\* {4}3 {2}[0-9a-f]{12} {2}\d{4}-\d\d-\d\d \d\d:\d\d:\d\d .*rollback to generation 1$/,
  );
});

test("back once more: there is nothing before the tree that was brought back", async () => {
  const { lab } = await theMachine();
  assert.equal(
    (await lab.expect(1, ["rollback", "demo", "-q"])).stderr,
    `error[no-generation] machine \`demo\` has no generation before 3
  it can go to: 1, 2; it is at 3
  help: \`labctl generations demo\` lists them
`,
  );
});

test("back from the rollback, by its number", async () => {
  const { lab, machine } = await theMachine();
  await lab.expect(0, ["rollback", "demo", "2", "-q"]);
  assert.deepEqual(await liveContents(machine), contents[2]);
});

test("a push after a rollback plans from what the machine has", async () => {
  const { lab, machine } = await theMachine();
  assert.match((await lab.expect(0, ["push", "demo"])).stderr, /nothing to do/);
  lab.edit("layers/web/opt/nginx/conf/main.nginx.hbs", "octet-stream", "x-third");
  lab.edit(
    "layers/web/lib/systemd/system/nginx.service.d/10-sandbox.conf",
    "KeyringMode=private",
    "KeyringMode=shared",
  );
  lab.write({
    "machines/demo/lib/systemd/system/hello.service": "[Service]\nExecStart=/bin/sleep infinity\n",
    "machines/demo/lib/systemd/system/multi-user.target.wants/hello.service": { link: "../hello.service" },
  });
  await lab.expect(0, ["push", "demo", "-q"]);
  contents[5] = await liveContents(machine);
  assert.equal(await inside(machine, "systemctl show -P KeyringMode nginx"), "shared\n");
});

test("a rollback of units: each is acted upon exactly", async () => {
  const { lab, machine } = await theMachine();
  const before = await unitStates(machine);
  await lab.expect(0, ["rollback", "demo"]);
  assert.deepEqual(unitDifference(before, await unitStates(machine)), [
    "restart nginx.service",
    "stop hello.service",
  ]);
  assert.deepEqual(await liveContents(machine), contents[2]);
  assert.equal(await inside(machine, "systemctl show -P KeyringMode nginx"), "private\n");
});

test("over several generations, by number, from another pusher that remembers nothing", async () => {
  const { lab, machine } = await theMachine();
  lab.remove("var");
  const before = await unitStates(machine);
  await lab.expect(0, ["rollback", "demo", "5", "-q"]);
  assert.deepEqual(await liveContents(machine), contents[5]);
  assert.deepEqual(unitDifference(before, await unitStates(machine)), [
    "restart nginx.service",
    "start hello.service",
  ]);
  lab.remove("var/cache");
  await lab.expect(0, ["rollback", "demo", "1", "-q"]);
  assert.deepEqual(await liveContents(machine), contents[1]);
});

test("what someone changed on the machine since is put back from the tree that was built here", async () => {
  const { lab, machine } = await theMachine();
  await lab.expect(0, ["push", "demo", "-q"]);
  const drift =
    "cd /usr/local/opt/nginx; echo hacked >www/index.html; chmod 0600 www/style.css; rm conf/sites.d/*";
  await inside(machine, drift);
  await lab.expect(0, ["rollback", "demo", "1", "-q"]);
  assert.deepEqual(await liveContents(machine), contents[1]);
});

test("what someone changed and nobody has a copy of stays as it is, is said, and does not stop the rollback", async () => {
  const { lab, machine } = await theMachine();
  await lab.expect(0, ["push", "demo", "-q"]);
  await inside(
    machine,
    "cd /usr/local; echo hacked >opt/nginx/www/style.css; echo '# hacked' >>lib/systemd/system/failure@.service",
  );
  lab.remove("var");
  const back = await lab.expect(0, ["rollback", "demo", "10"]);
  const note = (path: string) =>
    `note: ${path} was changed on the machine by someone else; it stays so, a push puts it right`;
  assert.ok(back.stderr.includes(note("opt/nginx/www/style.css")), back.stderr);
  const now = await liveContents(machine);
  const differing = [...now].filter(([path, what]) => contents[1]?.get(path) !== what).map(([path]) => path);
  assert.deepEqual(differing, ["lib/systemd/system/failure@.service", "opt/nginx/www/style.css"]);
  await lab.expect(0, ["push", "demo", "-q"]);
  assert.deepEqual(await liveContents(machine), contents[5]);
});

test("what someone had changed before the push that replaced it: the pushed content comes back, not theirs", async () => {
  const { lab, machine } = await theMachine();
  const style = "layers/web/opt/nginx/www/style.css";
  const clean = await liveContents(machine);
  await inside(machine, "echo hacked >/usr/local/opt/nginx/www/style.css");
  const text = lab.read(style);
  lab.edit(style, "40rem", "50rem");
  await lab.expect(0, ["push", "demo", "-q"]);
  lab.write({ [style]: text });
  await lab.expect(0, ["build", "demo"]);
  await lab.expect(0, ["rollback", "demo", "-q"]);
  assert.deepEqual(await liveContents(machine), clean);
});

test("where nobody has the pushed content any more, theirs comes back, and that is said", async () => {
  const { lab, machine } = await theMachine();
  await inside(machine, "echo hacked >/usr/local/opt/nginx/www/style.css");
  lab.edit("layers/web/opt/nginx/www/style.css", "40rem", "51rem");
  await lab.expect(0, ["push", "demo", "-q"]);
  const back = await lab.expect(0, ["rollback", "demo"]);
  assert.match(
    back.stderr,
    /note: opt\/nginx\/www\/style.css comes back as someone had changed it on the machine/,
  );
  assert.equal(await page(machine, "/style.css"), "hacked\n");
});
