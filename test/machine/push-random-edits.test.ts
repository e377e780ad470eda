/**
 * Random edits on one machine, one push each: what the plan says about units is what systemd says happened, and so it is
 * for a rollback. `LABCTL_EDITS` sets how many (16), `LABCTL_SEED` which ones.
 */
import assert from "node:assert/strict";
import test from "node:test";
import type { Machine } from "../../src/twin/machine.ts";
import { seededRandom } from "../seeded-random.ts";
import { enterNamespaces, sharedBed } from "./bed-fixture.ts";
import { randomEdit, randomIntervention, ZOO } from "./edit-zoo.ts";
import { bootMachine, inside, type Lab, labFor, unitDifference, unitStates } from "./push-fixture.ts";

await enterNamespaces(import.meta.url);
const theBed = sharedBed();
const COUNT = Number(process.env.LABCTL_EDITS ?? 16);
const SEED = Number(process.env.LABCTL_SEED ?? 4);
const EVERY_KIND = "'*.service' '*.socket' '*.timer' '*.path' '*.mount' '*.slice' '*.target'";

interface PlanJson {
  readonly units: readonly { readonly unit: string; readonly action: string; readonly reason: string }[];
  readonly daemonReload: boolean;
}

/** Restarts, reloads, starts and stops of the plan, sorted, as `unitDifference` words them. */
function predicted(plan: PlanJson): string[] {
  return plan.units
    .filter((u) => u.action !== "none")
    .map((u) => `${u.action} ${u.unit}`)
    .sort();
}

/** systemd counts its own reading of unit files. */
function loadedAt(machine: Machine): Promise<string> {
  return inside(machine, "systemctl show -P UnitsLoadTimestampMonotonic");
}

/** Runs `act` and answers what it did to units, and whether unit files were read. */
async function observe(
  machine: Machine,
  act: () => Promise<unknown>,
): Promise<{ units: string[]; reloaded: boolean }> {
  const before = await unitStates(machine, EVERY_KIND);
  const loaded = await loadedAt(machine);
  await act();
  const after = await unitStates(machine, EVERY_KIND);
  return { units: unitDifference(before, after), reloaded: (await loadedAt(machine)) !== loaded };
}

/** A service that starts, ends and leaves nothing was started all the same. */
function started(units: readonly string[], plan: PlanJson): string[] {
  const ends = (unit: string): boolean => plan.units.some((u) => u.unit === unit && u.action === "start");
  return units
    .map((line) => (line.startsWith("ran ") && ends(line.slice(4)) ? `start ${line.slice(4)}` : line))
    .sort();
}

async function generation(machine: Machine): Promise<number> {
  return Number((await inside(machine, "cat /usr/local/.labctl/generation")).split(" ")[0]);
}

async function tryEdit(lab: Lab, machine: Machine, what: string, faults: string[]): Promise<number> {
  const planned = await lab.run(["plan", "demo", "--json"]);
  if (planned.code === 0) return 0;
  assert.equal(planned.code, 2, planned.stderr);
  const plan = JSON.parse(planned.stdout) as PlanJson;
  let text = "";
  const seen = await observe(machine, async () => {
    const answer = await lab.run(["push", "demo", "--no-confirm"]);
    text = answer.stderr;
    if (answer.code !== 0) faults.push(`${what}: the push failed\n${text}`);
  });
  judge(what, plan, seen, text, faults);
  const again = await lab.run(["plan", "demo"]);
  if (again.code !== 0) faults.push(`${what}: a second plan is not empty\n${again.stdout}`);
  return predicted(plan).length;
}

function judge(
  what: string,
  plan: PlanJson,
  seen: { units: string[]; reloaded: boolean },
  text: string,
  faults: string[],
): void {
  const want = predicted(plan).join(", ");
  const got = started(seen.units, plan).join(", ");
  if (want !== got) faults.push(`${what}: planned [${want}], happened [${got}]\n${text}`);
  if (plan.daemonReload !== seen.reloaded)
    faults.push(`${what}: daemon-reload planned ${plan.daemonReload}, happened ${seen.reloaded}\n${text}`);
}

test(`${COUNT} random edits: what is planned happens, and nothing else (seed ${SEED})`, async (t) => {
  const bed = await theBed();
  const machine = await bootMachine(bed);
  const lab = labFor(bed, machine.name);
  lab.write(ZOO);
  await lab.expect(0, ["push", "demo", "--no-confirm"]);
  const random = seededRandom(SEED);
  const faults: string[] = [];
  let actions = 0;
  let quiet = 0;
  let rolled = 0;
  let told = 0;
  for (let n = 1; n <= COUNT; ) {
    let edit = randomEdit(lab, random);
    if (edit === undefined) continue;
    // People edit more than one thing before they push.
    while (random.chance(0.15)) edit += ` + ${randomEdit(lab, random) ?? "nothing"}`;
    if (random.chance(0.25)) {
      const line = randomIntervention(random);
      await inside(machine, line);
      edit += ` (on the machine: ${line})`;
    }
    const what = `edit ${n}, ${edit}`;
    const old = await generation(machine);
    const count = await tryEdit(lab, machine, what, faults);
    actions += count;
    if (count === 0) quiet += 1;
    if (n % 10 === 0 && (await generation(machine)) > old) {
      rolled += 1;
      const dry = await lab.run(["rollback", "demo", String(old), "--dry-run", "--json"]);
      const plan = JSON.parse(dry.stdout) as PlanJson;
      let text = "";
      const seen = await observe(machine, async () => {
        text = (await lab.run(["rollback", "demo", String(old)])).stderr;
      });
      judge(`rollback of ${what}`, plan, seen, text, faults);
      await tryEdit(lab, machine, `again ${what}`, faults);
    }
    // A long run tells how far it is, and what it found, as it goes.
    if (process.env.LABCTL_EDITS) {
      console.error(`${what}: ${count} actions, ${faults.length} faults so far`);
      for (const fault of faults.slice(told)) console.error(fault);
      told = faults.length;
    }
    n += 1;
  }
  t.diagnostic(
    `${COUNT} edits, ${actions} unit actions, ${quiet} edits that touch no unit, ${rolled} rollbacks; ${faults.length} misses or extras`,
  );
  assert.deepEqual(faults, []);
});
