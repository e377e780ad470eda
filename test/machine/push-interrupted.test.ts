/**
 * Pushers and machines that vanish at random moments: what stays is the old tree or the new one, never a mix, and the
 * next push ends at the new one.
 */
import assert from "node:assert/strict";
import { lstatSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { Machine } from "../../src/twin/machine.ts";
import { seededRandom } from "../seeded-random.ts";
import { enterNamespaces, sharedBed, unwrap } from "./bed-fixture.ts";
import { bootMachine, inside, type Lab, labFor, liveContents, page } from "./push-fixture.ts";

await enterNamespaces(import.meta.url);
const theBed = sharedBed();

const SEED = 20240607;
const FOLDERS = 30;

/** Many files in many folders, so that a commit takes a while; each holds the tree's version. */
function write(lab: Lab, version: number): void {
  const files: Record<string, string> = {};
  for (let i = 0; i < FOLDERS; i++) {
    files[`machines/demo/opt/many/${i}/version`] = `${version}\n`;
    files[`machines/demo/opt/many/${i}/only-${version}`] = `${version}\n`;
  }
  lab.remove("machines/demo/opt/many");
  lab.write(files);
  lab.write({ "facts/demo.env": `WEB_TITLE="version ${version}"\nWEB_MAX_BODY=${version}k\n` });
}

interface Prepared {
  readonly lab: Lab;
  readonly machine: Machine;
  /** What the machine has after a whole push of version 1 or 2. */
  readonly versions: readonly ReadonlyMap<string, string>[];
}

async function prepare(): Promise<Prepared> {
  const bed = await theBed();
  const machine = await bootMachine(bed);
  const lab = labFor(bed, machine.name);
  lab.write({ "machines/demo/opt/many/x": "" });
  const versions: ReadonlyMap<string, string>[] = [];
  for (const version of [1, 2, 1]) {
    write(lab, version);
    await lab.expect(0, ["push", "demo", "-q", "--no-confirm"]);
    versions[version] = await liveContents(machine);
  }
  return { lab, machine, versions };
}

let prepared: Promise<Prepared> | undefined;

/** Waits until nobody works on the machine, and answers which version it has; fails at a mix. */
async function settledVersion({ machine, versions }: Prepared): Promise<number> {
  await inside(machine, "flock -w 20 /usr/local/.labctl/lock true");
  const now = await liveContents(machine);
  for (const version of [1, 2]) {
    if (same(now, versions[version])) return version;
  }
  const mixed = [...now].filter(([path, what]) => versions[1]?.get(path) !== what).map(([path]) => path);
  return assert.fail(
    `neither tree: ${mixed.length} of ${now.size} paths differ from version 1: ${mixed.slice(0, 9)}`,
  );
}

function same(a: ReadonlyMap<string, string>, b: ReadonlyMap<string, string> | undefined): boolean {
  return a.size === b?.size && [...a].every(([path, what]) => b.get(path) === what);
}

/** Pushes until it goes through; a generation that waits to be confirmed must run out first. */
async function converge(p: Prepared, version: number): Promise<void> {
  for (let i = 0; ; i++) {
    const pushed = await p.lab.run(["push", "demo", "--no-confirm"]);
    if (pushed.code === 0) break;
    assert.match(pushed.stderr, /error\[(undo-waits|lock-held|confirm-pending)\]/);
    assert.ok(i < 40, pushed.stderr);
    await sleep(200);
  }
  assert.equal(await settledVersion(p), version);
  assert.match(await page(p.machine), new RegExp(`version ${version}`));
  assert.equal(await inside(p.machine, "systemctl --failed --no-legend --plain"), "");
  assert.match((await p.lab.expect(0, ["push", "demo"])).stderr, /nothing to do/);
}

test("a pusher killed at any moment leaves the old tree or the new one; the next push converges", async (t) => {
  prepared ??= prepare();
  const p = await prepared;
  const random = seededRandom(SEED);
  t.diagnostic(`seed ${SEED}`);
  let current = 1;
  const seen: string[] = [];
  for (let round = 0; round < 8; round++) {
    const next = 3 - current;
    write(p.lab, next);
    const confirm = round % 2 === 0 ? ["--no-confirm"] : ["--confirm-seconds", "1"];
    const started = p.lab.start(["push", "demo", "-q", ...confirm]);
    const delayMs = 150 + random.below(900);
    await sleep(delayMs);
    started.child.kill("SIGKILL");
    await started.answer;
    seen.push(`${delayMs} ms: version ${await settledVersion(p)} while going from ${current} to ${next}`);
    await converge(p, next);
    current = next;
  }
  t.diagnostic(seen.join("\n"));
});

test("a machine that loses its power in a commit comes up with the old tree or the new one, put right at boot", async (t) => {
  prepared ??= prepare();
  const p = await prepared;
  const random = seededRandom(SEED + 1);
  const journal = join(p.machine.rootFolder, "usr/local/.labctl/journal");
  for (const confirm of [["--no-confirm"], ["--confirm-seconds", "60"], ["--no-confirm"]]) {
    const before = await settledVersion(p);
    const next = 3 - before;
    write(p.lab, next);
    const started = p.lab.start(["push", "demo", "-q", "--timeout", "3", ...confirm]);
    const deadline = Date.now() + 5000;
    // The journal stands for some 100 ms.
    while (!exists(journal) && Date.now() < deadline) await sleep(1);
    await sleep(random.below(60));
    const stood = exists(journal);
    await p.machine.kill();
    started.child.kill("SIGKILL");
    await started.answer;
    unwrap(await p.machine.restart());
    const after = await settledVersion(p);
    t.diagnostic(`journal at the power cut: ${stood}; ${before} to ${next} ${confirm[0]}: ${after}`);
    // What was never confirmed is taken back at boot.
    if (stood) assert.equal(after, confirm[0] === "--no-confirm" ? next : before);
    if (stood || confirm[0] !== "--no-confirm")
      assert.equal(
        await inside(p.machine, "systemctl show -P Result -P ActiveState labctl-recover"),
        "success\nactive\n",
      );
    assert.equal(
      await inside(p.machine, "cd /usr/local/.labctl; ls -d journal* undo pending 2>/dev/null || true"),
      "",
    );
    assert.equal(await inside(p.machine, "systemctl --failed --no-legend --plain"), "");
    await converge(p, next);
  }
});

/** Looks from outside, without following links. */
function exists(file: string): boolean {
  return lstatSync(file, { throwIfNoEntry: false }) !== undefined;
}
