/** A push to several real machines in waves, by two repositories, and interrupted between waves. */
import assert from "node:assert/strict";
import test from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { Machine } from "../../src/twin/machine.ts";
import { enterNamespaces, sharedBed } from "./bed-fixture.ts";
import { bootMachine, inside, type Lab, labFor, liveContents, page, unitStates } from "./push-fixture.ts";

await enterNamespaces(import.meta.url);
const theBed = sharedBed();

const NAMES = ["a", "b", "c", "d"] as const;

interface Fleet {
  readonly lab: Lab;
  readonly machines: readonly Machine[];
}

let prepared: Promise<Fleet> | undefined;

/** Four machines `a` to `d`, alike but for their titles, with a first generation but on `d`. */
function theFleet(): Promise<Fleet> {
  prepared ??= theBed().then(async (bed) => {
    const machines = await Promise.all(NAMES.map(() => bootMachine(bed)));
    const lab = labFor(bed, "nowhere");
    for (const [i, name] of NAMES.entries()) {
      const ini = lab
        .read("machines/demo/machine.ini")
        .replace(/^host = .*$/m, `host = ${machines[i]?.name}`)
        .replace(/^tags = .*$/m, `tags = ${name === "d" ? "late" : "early, web"}`);
      lab.write({
        [`machines/${name}/machine.ini`]: ini,
        [`facts/${name}.env`]: `WEB_TITLE="This is ${name}"\n`,
      });
    }
    for (const name of ["attic", "demo", "gateway", "storage"]) lab.remove(`machines/${name}`);
    const pushed = await lab.expect(0, ["push", "*", "-l", "!tag:late", "--no-confirm"]);
    assert.match(pushed.stderr, /^3 machines: 3 done$/m);
    return { lab, machines };
  });
  return prepared;
}

type Ended = { machine: string; state: string; ok: boolean; problems?: { code: string }[] };

function ends(stdout: string): string[] {
  const { machines } = JSON.parse(stdout) as { machines: Ended[] };
  return machines.map((m) => [m.machine, m.state, ...(m.problems ?? []).map((p) => p.code)].join(" "));
}

test("a pattern that matches nothing, and a selection that comes to nothing, push nothing", async () => {
  const { lab } = await theFleet();
  const typo = await lab.expect(1, ["push", "tag:wbe"]);
  assert.equal(
    typo.stderr,
    "error[unknown-machine] no machine matches `tag:wbe`\n  help: did you mean `web`?\n",
  );
  const none = await lab.expect(1, ["push", "d", "-l", "tag:web"]);
  assert.equal(
    none.stderr,
    `error[no-machine-left] no machine is left
  named: d
  limited to: tag:web
  help: each pattern matches machines, and no machine matches all that was asked; drop one
`,
  );
  assert.equal((await lab.expect(64, ["push"])).stdout, "");
});

test("the third of a wave of three fails: the other two go back, trees and units, and the fourth is not touched", async () => {
  const { lab, machines } = await theFleet();
  const before = await Promise.all(machines.map(liveContents));
  const untouched = await unitStates(machines[3] as Machine);
  lab.edit("layers/web/opt/nginx/conf/main.nginx.hbs", "worker_connections 1024", "worker_connections 1000");
  lab.write({ "machines/c/opt/nginx/conf/sites.d/99-bad.nginx": "nonsense;\n" });
  const pushed = await lab.expect(3, ["push", "*", "--wave", "3", "--json"]);
  assert.deepEqual(ends(pushed.stdout), ["a reverted", "b reverted", "c failed unit-failed", "d untouched"]);
  assert.match(pushed.stderr, /^wave 1 failed: 1 machine failed; taking back: a, b$/m);
  assert.match(pushed.stderr, /^ {2}d {2}untouched {2}others failed before its turn$/m);
  assert.deepEqual(await Promise.all(machines.map(liveContents)), before);
  assert.deepEqual(await unitStates(machines[3] as Machine), untouched);
  for (const machine of machines.slice(0, 3)) {
    assert.equal(
      await inside(machine, "nginx -T 2>/dev/null | grep -c worker_connections.1000 || true"),
      "0\n",
    );
    assert.match(await page(machine), /This is [abc]/);
  }
  // The control: the same edit arrives where nothing fails.
  lab.remove("machines/c/opt/nginx/conf/sites.d/99-bad.nginx");
  const again = await lab.expect(0, ["push", "a", "b", "c", "--wave", "1,rest", "--json"]);
  assert.deepEqual(ends(again.stdout), ["a done", "b done", "c done"]);
  assert.match(again.stderr, /^wave 1 is through; its machines are checked again: a$/m);
});

test("a machine that turns bad after its push is seen before the next wave, and its wave goes back; also a first push", async () => {
  const { lab, machines } = await theFleet();
  const [a] = machines as [Machine, ...Machine[]];
  lab.edit("layers/web/opt/nginx/www/style.css", "40rem", "41rem");
  const before = await Promise.all(machines.map(liveContents));
  // Whatever the push leaves, a second later it is broken.
  await inside(
    a,
    "systemd-run -q --unit=gremlin sh -c 'while ! grep -q 41rem /usr/local/opt/nginx/www/style.css; do sleep 0.1; done; while [ -e /usr/local/.labctl/undo ]; do sleep 0.1; done; systemctl stop nginx; exit 1'",
  );
  const pushed = await lab.expect(3, ["push", "d", "a", "b", "--wave", "2", "--wave-pause", "2", "--json"]);
  await inside(a, "systemctl reset-failed; systemctl start nginx");
  const told = ends(pushed.stdout);
  assert.match(told.join("\n"), /^d reverted\na reverted .*(check-failed|unit-failed).*\nb untouched$/);
  // Its check fails on the old tree, too: nothing but the gremlin is to blame.
  assert.match(pushed.stderr, /^a: note: a rollback was refused \(check-failed.*\), so the push was undone/m);
  assert.deepEqual(await Promise.all(machines.map(liveContents)), before, "d has nothing of labctl's again");
  assert.match(pushed.stderr, /d {2}reverted .*nothing of labctl's is there again/);
});

test("another repository is refused unless it takes over; a clone elsewhere is the same one; a rollback brings both back", async () => {
  const { lab, machines } = await theFleet();
  const bed = await theBed();
  const [a] = machines as [Machine];
  await lab.expect(0, ["push", "a"]);
  const others = (name: string): Lab => {
    const other = labFor(bed, a.name);
    other.write({
      "lab.ini": `[lab]\nname = ${name}\n`,
      "machines/a/machine.ini": lab.read("machines/a/machine.ini"),
      "machines/a/opt/nginx/www/theirs.html": "theirs\n",
      "facts/a.env": lab.read("facts/a.env"),
    });
    return other;
  };
  const tree = await liveContents(a);
  const stranger = others("elsewhere");
  for (const command of ["push", "plan"]) {
    const refused = await stranger.expect(1, [command, "a", "-q"]);
    assert.match(
      refused.stderr,
      /^error\[other-repository\] machine `a` \(root@\w+:22\) was pushed last from repository `example`, not from `elsewhere`\n {2}by tester@\S+ at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC\n {2}nothing on the machine changed\n {2}help: push from there, or, /,
    );
  }
  assert.deepEqual(await liveContents(a), tree);
  await stranger.expect(0, ["push", "a", "-q", "--take-over"]);
  assert.equal(await page(a, "/theirs.html"), "theirs\n");
  assert.match(
    (await lab.expect(1, ["push", "a"])).stderr,
    /from repository `elsewhere`, not from `example`/,
  );
  // Whoever goes back to a generation goes back to its repository.
  await stranger.expect(0, ["rollback", "a", "-q"]);
  assert.match((await lab.expect(0, ["push", "a"])).stderr, /nothing to do/);
  await others("example").expect(0, ["push", "a", "-q"]);
  assert.equal(await page(a, "/theirs.html"), "theirs\n");
});

test("Ctrl-C between waves: what was pushed stays, what was not is not touched, exit 130", async () => {
  const { lab, machines } = await theFleet();
  lab.edit("layers/web/opt/nginx/www/style.css", "41rem", "42rem");
  const before = await liveContents(machines[2] as Machine);
  const { child, answer } = lab.start(["push", "b", "c", "--wave", "1", "--wave-pause", "60"]);
  let said = "";
  child.stderr?.on("data", (chunk: string) => {
    said += chunk;
  });
  while (!said.includes("wave 1 is through") && child.exitCode === null) await sleep(20);
  const at = Date.now();
  child.kill("SIGINT");
  const { code, stderr } = await answer;
  assert.equal(code, 130, stderr);
  assert.ok(Date.now() - at < 5000);
  assert.match(stderr, /^ {2}b {2}done .*\n {2}c {2}untouched {2}interrupted before its turn$/m);
  assert.match(await page(machines[1] as Machine, "/style.css"), /42rem/);
  assert.deepEqual(await liveContents(machines[2] as Machine), before);
});
