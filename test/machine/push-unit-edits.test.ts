/**
 * Meaning, not bytes: all edits that mean nothing in one push, which restarts nothing, and all that mean something in
 * another, which leaves none out. Each edit has a running service of its own.
 */
import assert from "node:assert/strict";
import test from "node:test";
import type { Files } from "../temporary-repository.ts";
import { enterNamespaces, sharedBed } from "./bed-fixture.ts";
import { bootMachine, inside, type Lab, labFor, unitDifference, unitStates } from "./push-fixture.ts";
import { INERT, REAL } from "./unit-edit-rows.ts";

await enterNamespaces(import.meta.url);
const theBed = sharedBed();
const UNITS = "machines/demo/lib/systemd/system";

/** A row's files below a lab's root, for the service `name`. */
function filesOf(name: string, row: string | Files): Files {
  const own = typeof row === "string" ? { unit: row } : row;
  const stem = name.replace(".service", "");
  const named = (text: string): string => text.replaceAll("U.", `${stem}.`).replace(/\/U$/gm, `/${stem}`);
  return Object.fromEntries(
    Object.entries(own).map(([path, made]) => {
      const at = /^\d\d-/.test(path) ? `${UNITS}/${name}.d/${path}` : `machines/demo/${named(path)}`;
      const text =
        typeof made === "string" ? named(made) : "text" in made ? { ...made, text: named(made.text) } : made;
      return [path === "unit" ? `${UNITS}/${name}` : at, text];
    }),
  );
}

/** Brings the repository from one side of all rows to the other. */
function write(lab: Lab, before: Files | undefined, after: Files): void {
  for (const path of Object.keys(before ?? {})) if (!(path in after)) lab.remove(path);
  lab.write(after);
}

interface PlanJson {
  readonly units: readonly { readonly unit: string; readonly action: string }[];
}

async function tryRows(
  prefix: string,
  rows: readonly {
    what: string;
    action: string | undefined;
    before: string | Files;
    after: string | Files;
  }[],
): Promise<void> {
  const machine = await bootMachine(await theBed());
  const lab = labFor(await theBed(), machine.name);
  lab.edit("machines/demo/machine.ini", "layers = web", "layers = base");
  const named = rows.map((row, i) => ({ ...row, name: `${prefix}${i}.service` }));
  const side = (which: "before" | "after"): Files =>
    Object.assign({}, ...named.map((row) => filesOf(row.name, row[which])));
  const links = Object.fromEntries(
    named.map(({ name }) => [`${UNITS}/multi-user.target.wants/${name}`, { link: `../${name}` }]),
  );
  write(lab, undefined, { ...side("before"), ...links });
  await lab.expect(0, ["push", "demo", "--no-confirm"]);
  const failed = await inside(machine, "systemctl list-units --failed --plain --no-legend | cut -d' ' -f1");
  assert.equal(failed, "");
  const states = await unitStates(machine);
  for (const { name } of named) assert.equal(states.get(name)?.state, "active", name);
  write(lab, side("before"), side("after"));
  const plan = JSON.parse((await lab.expect(2, ["plan", "demo", "--json"])).stdout) as PlanJson;
  const pushed = await lab.expect(0, ["push", "demo", "--no-confirm"]);
  const happened = unitDifference(states, await unitStates(machine));
  const of = (lines: readonly string[], name: string): string =>
    lines.filter((l) => l.endsWith(` ${name}`)).join() || "nothing";
  const planned = plan.units.filter((u) => u.action !== "none").map((u) => `${u.action} ${u.unit}`);
  const wrong = named.flatMap(({ what, action, name }) => {
    const want = action === undefined ? "nothing" : `${action} ${name}`;
    const [p, h] = [of(planned, name), of(happened, name)];
    return p === want && h === want ? [] : [`${what}: wanted ${want}, planned ${p}, happened ${h}`];
  });
  assert.deepEqual(wrong, [], pushed.stderr);
  assert.equal(happened.length, rows.filter((row) => row.action !== undefined).length, happened.join());
  await lab.expect(0, ["plan", "demo"]);
}

test(`${INERT.length} edits that mean nothing restart nothing`, async () => {
  assert.ok(INERT.length >= 50);
  await tryRows(
    "inert",
    INERT.map(([what, before, after]) => ({ what, action: undefined, before, after })),
  );
});

test(`${REAL.length} edits that mean something are all caught, each by what it needs`, async () => {
  assert.ok(REAL.length >= 50);
  await tryRows(
    "real",
    REAL.map(([what, action, before, after]) => ({ what, action, before, after })),
  );
});
