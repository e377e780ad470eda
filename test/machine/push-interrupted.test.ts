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

const SEED = Number(process.env.LABCTL_SEED ?? 20240607);
/** Rounds of the random test; 100 by hand. */
const KILLS = Number(process.env.LABCTL_KILLS ?? 8);
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
  lab.write({
    "facts/demo.env": `WEB_TITLE="version ${version}"\nWEB_MAX_BODY=${version}k\n`,
    // Which configuration it runs with shows in its command line.
    "machines/demo/lib/systemd/system/teller.service": `[Service]\nExecStart=/bin/sleep 1000000${version}\n`,
    "machines/demo/lib/systemd/system/multi-user.target.wants/teller.service": { link: "../teller.service" },
  });
}

/** What an administrator made by hand in labctl's folders, with contents, modes and inodes. */
const BY_HAND =
  "cd /usr/local && find opt/many/0/admin opt/admin bin/by-hand -printf '%p %y %m %U %i %s %T@\\n'; cat opt/many/0/admin bin/by-hand";

interface Prepared {
  readonly lab: Lab;
  readonly machine: Machine;
  /** What the machine has after a whole push of version 1 or 2. */
  readonly versions: ReadonlyMap<string, string>[];
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

/** What ends, and how. */
const VICTIMS = ["pusher", "session", "network", "program", "power"] as const;

/** Lets go of the cut that `strike` made to the network. */
async function strike(p: Prepared, victim: (typeof VICTIMS)[number], kill: () => void): Promise<void> {
  const { machine } = p;
  switch (victim) {
    case "pusher":
      return kill();
    case "session":
      // The server's end of the connection, as when its machine's address changes hands.
      await inside(machine, "pkill -KILL -f '^sshd-session: root|^sshd: root' || true");
      return;
    case "network":
      await inside(
        machine,
        "nft 'add table inet cut { chain in { type filter hook input priority -10; iifname host0 drop; }; }'",
      );
      kill();
      await inside(machine, "nft delete table inet cut");
      return;
    case "program":
      // What the kernel does where memory runs out.
      await inside(machine, "pkill -KILL -f '^bash --norc -c LABCTL_PROGRAM' || true");
      return;
    case "power":
      await machine.kill();
      return kill();
  }
}

test("whatever is killed at any moment, the old tree or the new one stays after the next contact or boot, and the next push converges", async (t) => {
  prepared ??= prepare();
  const p = await prepared;
  const random = seededRandom(SEED);
  await inside(
    p.machine,
    "mkdir -p /usr/local/opt/admin /usr/local/bin; echo mine >/usr/local/opt/many/0/admin; echo mine, too >/usr/local/bin/by-hand; chmod 4711 /usr/local/bin/by-hand",
  );
  const byHand = await inside(p.machine, BY_HAND);
  for (const version of [1, 2]) {
    write(p.lab, version);
    await p.lab.expect(0, ["push", "demo", "-q", "--no-confirm"]);
    p.versions[version] = await liveContents(p.machine);
  }
  t.diagnostic(`seed ${SEED}, ${KILLS} kills`);
  let current = 2;
  const counts = new Map<string, number>();
  for (let round = 0; round < KILLS; round++) {
    const next = 3 - current;
    const victim = VICTIMS[round % VICTIMS.length] ?? "pusher";
    write(p.lab, next);
    const confirm = random.below(2) === 0 ? ["--no-confirm"] : ["--confirm-seconds", "2"];
    const started = p.lab.start(["push", "demo", "-q", "--timeout", "3", ...confirm]);
    // Half of the kills fall into the commit itself, however long what comes before it takes.
    if (random.below(2) === 0)
      await untilExists(join(p.machine.rootFolder, "usr/local/.labctl/journal"), started.answer);
    const delayMs = random.below(900);
    await sleep(delayMs);
    await strike(p, victim, () => started.child.kill("SIGKILL"));
    await started.answer;
    if (victim === "power") unwrap(await p.machine.restart());
    // The next contact.
    await contact(p);
    const version = await settledVersion(p);
    const where = `round ${round}: ${victim}, ${delayMs} ms`;
    assert.equal(await inside(p.machine, BY_HAND), byHand, where);
    await consistent(p, version, where);
    const key = `${victim}: ${version === next ? "new" : "old"}`;
    counts.set(key, (counts.get(key) ?? 0) + 1);
    if (KILLS > 20) console.error(`${where}: ${version === next ? "new" : "old"}`);
    await converge(p, next);
    await consistent(p, next, where);
    current = next;
  }
  t.diagnostic(
    [...counts]
      .sort()
      .map(([key, n]) => `${key} ${n}`)
      .join(", "),
  );
});

/** Waits until a file stands, for as long as the push runs. */
async function untilExists(file: string, push: Promise<unknown>): Promise<void> {
  let over = false;
  void push.then(() => {
    over = true;
  });
  while (!over && !exists(file)) await sleep(1);
}

/** Asks the machine without changing it, until nobody works there and nothing waits for a confirmation. */
async function contact(p: Prepared): Promise<void> {
  for (let i = 0; i < 100; i++) {
    await inside(p.machine, "flock -w 20 /usr/local/.labctl/lock true");
    const planned = await p.lab.run(["plan", "demo", "--timeout", "5"]);
    if (planned.code !== 1) return;
    assert.match(planned.stderr, /error\[(undo-waits|lock-held|confirm-pending)\]/);
    await sleep(200);
  }
  assert.fail("a generation waits for ever");
}

/** What runs runs with the tree's configuration, or a plan says that it does not; nothing is left behind. */
async function consistent(p: Prepared, version: number, where: string): Promise<void> {
  assert.equal(
    await inside(
      p.machine,
      "cd /usr/local/.labctl; ls -d journal* undo way-in *.new checks.* generations/*.new 2>/dev/null || true",
    ),
    "",
    where,
  );
  assert.equal(
    await inside(p.machine, "systemctl list-units --all --no-legend --plain 'labctl-revert*'"),
    "",
    where,
  );
  assert.equal(await inside(p.machine, "systemctl --failed --no-legend --plain"), "", where);
  const pending = await inside(p.machine, "cat /usr/local/.labctl/pending 2>/dev/null || true");
  if (pending.includes("teller.service")) return;
  const runs = await inside(p.machine, "tr '\\0' ' ' </proc/$(systemctl show -P MainPID teller)/cmdline");
  assert.equal(
    runs.trim(),
    `/bin/sleep 1000000${version}`,
    `${where}: it runs with the other tree's configuration`,
  );
}

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
