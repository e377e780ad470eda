/** `plan -o` and `push --plan` on real machines: exactly what was planned happens, or nothing does. */
import assert from "node:assert/strict";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import type { Machine } from "../../src/twin/machine.ts";
import { enterNamespaces, sharedBed } from "./bed-fixture.ts";
import {
  type Answer,
  bootMachine,
  inside,
  type Lab,
  labFor,
  liveContents,
  unitDifference,
  unitStates,
} from "./push-fixture.ts";

await enterNamespaces(import.meta.url);
const theBed = sharedBed();

const HELLO = "machines/demo/lib/systemd/system/hello.service";

let prepared: Promise<{ lab: Lab; machine: Machine }> | undefined;

function theMachine(): Promise<{ lab: Lab; machine: Machine }> {
  prepared ??= theBed().then(async (bed) => {
    const machine = await bootMachine(bed);
    const lab = labFor(bed, machine.name);
    lab.write({
      [HELLO]: "[Service]\nExecStart=/bin/sleep infinity\n",
      "machines/demo/lib/systemd/system/multi-user.target.wants/hello.service": { link: "../hello.service" },
      "machines/demo/etc/note": "one\n",
    });
    await lab.expect(0, ["push", "demo", "-q", "--no-confirm"]);
    return { machine, lab };
  });
  return prepared;
}

/** Plans a change of a unit and a file. */
async function planned(): Promise<void> {
  const { lab } = await theMachine();
  lab.write({ [HELLO]: "[Service]\nExecStart=/bin/sleep 1000\n", "machines/demo/etc/note": "two\n" });
  await lab.expect(2, ["plan", "demo", "-q", "-o", "p.json"]);
}

/** Pushes the saved plan, which must be refused; answers what changed since, as it says. */
async function stale(): Promise<string[]> {
  const { lab, machine } = await theMachine();
  const before = [await unitStates(machine), await liveContents(machine)] as const;
  const pushed = await lab.expect(1, ["push", "-q", "--plan", "p.json"]);
  assert.deepEqual(unitDifference(before[0], await unitStates(machine)), []);
  assert.deepEqual(await liveContents(machine), before[1]);
  assert.match(pushed.stderr, /^error\[plan-stale\] the plan for machine `demo` no longer holds\n/);
  assert.match(pushed.stderr, /\n {2}nothing on the machine changed\n {2}help: /);
  return changes(pushed);
}

function changes(answer: Answer): string[] {
  return [...answer.stderr.matchAll(/^ {2}changed since: (.*)$/gm)].map((m) => m[1] ?? "");
}

test("a plan is saved for its owner alone, and a second one may replace it", async () => {
  const { lab } = await theMachine();
  await planned();
  const file = join(lab.root, "p.json");
  assert.equal(statSync(file).mode & 0o777, 0o600);
  assert.equal(JSON.parse(readFileSync(file, "utf8")).format, "labctl-plan");
  const again = await lab.expect(2, ["plan", "demo", "-o", "p.json"]);
  assert.match(again.stderr, /saved in p.json; `labctl push --plan p.json` does it\n$/);
});

test("refused where the build changed since", async () => {
  const { lab } = await theMachine();
  lab.write({ "machines/demo/etc/note": "three\n" });
  assert.match((await stale()).join("\n"), /^the build: it was generation <id>, and is <id> now$/);
  lab.write({ "machines/demo/etc/note": "two\n" });
});

test("refused where somebody wrote to the machine since: another file, and the same one twice", async () => {
  const { machine } = await theMachine();
  await inside(machine, "cp -p /usr/local/etc/note /run/note; echo hand >/usr/local/etc/note");
  assert.deepEqual(await stale(), ["/usr/local/etc/note on the machine"]);
  await planned();
  await inside(machine, "echo hand again >/usr/local/etc/note");
  assert.deepEqual(await stale(), ["files under /usr/local on the machine: they were written again"]);
  await planned();
});

test("refused where a unit of the plan runs no longer", async () => {
  const { machine } = await theMachine();
  await inside(machine, "systemctl stop hello");
  assert.deepEqual(await stale(), ["unit hello.service: it was running, and is stopped now"]);
  // One that the plan does not look at is nobody's business.
  await inside(machine, "systemctl start hello; systemctl stop systemd-tmpfiles-clean.timer");
});

test("carried out: the files and units of the plan, and nothing else; then it no longer holds", async () => {
  const { lab, machine } = await theMachine();
  const saved = JSON.parse(readFileSync(join(lab.root, "p.json"), "utf8")).machines[0].plan;
  const before = [await unitStates(machine), await liveContents(machine)] as const;
  await lab.expect(2, ["push", "--plan", "p.json", "--dry-run", "-q"]);
  const pushed = await lab.expect(0, ["push", "--plan", "p.json", "--json", "-m", "as planned"]);
  const after = await liveContents(machine);
  const paths = [...after].filter(([path, what]) => before[1].get(path) !== what).map(([path]) => path);
  assert.deepEqual(
    paths,
    saved.files.map((f: { path: string }) => f.path),
  );
  const acted = saved.units.filter((u: { action: string }) => u.action !== "none");
  assert.deepEqual(
    // systemd hears of mounts late, and not from us.
    unitDifference(before[0], await unitStates(machine)).filter((d) => !d.endsWith(".mount")),
    acted.map((u: { action: string; unit: string }) => `${u.action} ${u.unit}`),
  );
  const { checks: _, ...plan } = saved;
  assert.deepEqual(JSON.parse(pushed.stdout).machines[0].plan, plan);
  assert.match(
    (await stale()).join("\n"),
    /^the machine's generation: it was at 1 \(<id>\), and is at 2 \(<id>\) now$/m,
  );
});

test("facts of the command line are a part of the plan", async () => {
  const { lab } = await theMachine();
  await lab.expect(2, ["plan", "demo", "-q", "-o", "p.json", "--fact", "WEB_TITLE=From the plan"]);
  await lab.expect(0, ["push", "--plan", "p.json", "-q", "--no-confirm"]);
  const built = lab.read("var/tree/demo/usr/local/opt/nginx/www/index.html");
  assert.match(built, /From the plan/);
});

test("several machines in one file; the one that changed since is refused, the other is pushed", async () => {
  const { lab } = await theMachine();
  const second = await bootMachine(await theBed());
  const ini = lab.read("machines/demo/machine.ini").replace(/^host = .*$/m, `host = ${second.name}`);
  lab.write({ "machines/twin/machine.ini": ini, "facts/twin.env": lab.read("facts/demo.env") });
  lab.write({ "machines/demo/etc/note": "four\n" });
  await lab.expect(2, ["plan", "demo", "twin", "-q", "-o", "both.json"]);
  lab.write({ "machines/demo/etc/note": "five\n" });
  const pushed = await lab.expect(3, ["push", "--plan", "both.json", "--no-confirm"]);
  assert.match(pushed.stderr, /error\[plan-stale\] the plan for machine `demo`/);
  assert.match(pushed.stderr, /twin: done: generation 1 /);
  assert.match((await lab.expect(0, ["push", "twin"])).stderr, /nothing to do/);
  // One of them, by name.
  lab.write({ "machines/demo/etc/note": "four\n" });
  await lab.expect(0, ["push", "demo", "--plan", "both.json", "-q", "--no-confirm"]);
});

test("where a machine can't be planned no file is written, and the old one stays", async () => {
  const { lab } = await theMachine();
  const before = readFileSync(join(lab.root, "both.json"), "utf8");
  const config = join(lab.root, "config");
  const bed = await theBed();
  writeFileSync(
    config,
    `Match originalhost ${lab.read("machines/twin/machine.ini").match(/^host = (.*)$/m)?.[1]}\n  Port 2\nMatch all\n${readFileSync(bed.sshConfigFile, "utf8")}`,
  );
  lab.write({ "machines/demo/etc/note": "six\n" });
  const plan = await lab.run(["plan", "demo", "twin", "-o", "both.json"], { sshConfig: config });
  assert.equal(plan.code, 3);
  assert.match(plan.stderr, /both.json was not written: a machine could not be planned\n$/);
  assert.equal(readFileSync(join(lab.root, "both.json"), "utf8"), before);
});
