/** What a machine knows of its own generations, how many it keeps, and how long a rollback takes: on a real machine. */
import assert from "node:assert/strict";
import test from "node:test";
import type { Machine } from "../../src/twin/machine.ts";
import { enterNamespaces, sharedBed } from "./bed-fixture.ts";
import { bootMachine, inside, type Lab, labFor } from "./push-fixture.ts";

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

interface Listed {
  readonly number: number;
  readonly files?: number;
  readonly units?: number;
  readonly message?: string;
  readonly commit?: string;
  readonly dirty: boolean;
  readonly by: string;
}

async function listed(): Promise<Listed[]> {
  const { lab } = await theMachine();
  return JSON.parse((await lab.expect(0, ["generations", "demo", "--json"])).stdout).generations;
}

test("number, id, time, commit, who from where, message, counts; and `cat` shows what changed, and why", async () => {
  const { lab, machine } = await theMachine();
  await lab.expect(0, ["push", "demo", "-q", "--no-confirm"]);
  lab.edit("layers/web/opt/nginx/conf/main.nginx.hbs", "octet-stream", "x-other");
  lab.write({ "machines/demo/etc/note": "x\n" });
  const startedAt = Math.floor(Date.now() / 1000);
  await lab.expect(0, ["push", "demo", "-q", "-m", "two \u001b[2J changes", "--no-confirm"]);
  const [, second] = await listed();
  assert.ok(second);
  const { id, time, by, ...rest } = second as Listed & { id: string; time: number };
  assert.match(id, /^[0-9a-f]{64}$/);
  assert.ok(time >= startedAt - 5 && time < startedAt + 60);
  assert.match(by, /^tester@\S+$/);
  assert.deepEqual(rest, {
    number: 2,
    files: 2,
    units: 1,
    message: "two  [2J changes",
    dirty: false,
    confirmed: "unasked",
    repository: "example",
    drifted: [],
  });
  const shown = (await lab.expect(0, ["generations", "demo"])).stdout;
  assert.match(shown, /^\* {4}2 .* {2}2 files, 1 action +tester@\S+ {2}two {2}\[2J changes$/m);
  const folder = "/usr/local/.labctl/generations/2";
  assert.equal(
    await inside(machine, `cat ${folder}/plan`),
    `added etc/note: the machine itself has machines/demo/etc/note
changed opt/nginx/conf/main.nginx: layers/web/opt/nginx/conf/main.nginx.hbs was edited
restart nginx.service: binds opt/nginx/conf/main.nginx, which was replaced (a reload would re-read the old file)
`,
  );
  assert.match(await inside(machine, `cat ${folder}/meta`), /^number=2\nid=[\s\S]*\nfiles=2\nunits=1\n/);
});

test("as many are kept as machine.ini says; what a running unit binds stays readable, whatever is pruned", async () => {
  const { lab, machine } = await theMachine();
  lab.edit("machines/demo/machine.ini", "[machine]", "[machine]\ngenerations = 3");
  lab.write({
    "machines/demo/etc/bound": "version 0\n",
    "machines/demo/lib/systemd/system/holder.service":
      "[Service]\nBindReadOnlyPaths=/usr/local/etc/bound:/etc/hostname\nExecStart=sleep infinity\n[X-Labctl]\nOnChange=none\n",
    "machines/demo/lib/systemd/system/multi-user.target.wants/holder.service": { link: "../holder.service" },
  });
  await lab.expect(0, ["push", "demo", "-q", "--no-confirm"]);
  for (let i = 1; i <= 5; i++) {
    lab.write({ "machines/demo/etc/bound": `version ${i}\n` });
    await lab.expect(0, ["push", "demo", "-q", "--no-confirm"]);
  }
  assert.deepEqual(
    (await listed()).map((g) => g.number),
    [6, 7, 8],
  );
  assert.equal(await inside(machine, "ls /usr/local/.labctl/generations | tr '\\n' ' '"), "6 7 8 ");
  const seen = "nsenter -t $(systemctl show -P MainPID holder) -m cat /etc/hostname";
  assert.equal(await inside(machine, seen), "version 0\n");
  assert.equal(await inside(machine, "cat /usr/local/etc/bound"), "version 5\n");
});

test("a rollback of fifty files takes about a second, and says what it did", async (t) => {
  const { lab, machine } = await theMachine();
  const files = (text: string): Record<string, string> =>
    Object.fromEntries(
      Array.from({ length: 50 }, (_, i) => [`machines/demo/opt/many/${i % 7}/${i}`, `${text} ${i}\n`]),
    );
  lab.write(files("old"));
  await lab.expect(0, ["push", "demo", "-q", "--no-confirm"]);
  lab.write(files("new"));
  await lab.expect(0, ["push", "demo", "-q", "--no-confirm"]);
  const back = await lab.expect(0, ["rollback", "demo", "-q"]);
  t.diagnostic(`50 files: ${Math.round(back.ms)} ms, connection, checks and confirmation included`);
  // Other work on the machine that runs this makes it slower, up to fourfold.
  assert.ok(back.ms < 5000, `${back.ms} ms`);
  assert.equal(await inside(machine, "cat /usr/local/opt/many/1/43"), "old 43\n");
  const last = (await listed()).at(-1);
  assert.deepEqual([last?.files, last?.units, last?.message], [50, 0, "rollback to generation 9"]);
});
