/**
 * How much a unit of a machine is exposed, by systemd's own judgement, and the most that CONTRIBUTING.md allows what a
 * layer runs. Must not know any layer.
 */
import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import type { Machine } from "../../src/twin/machine.ts";
import { inside } from "./push-fixture.ts";

/** Of 10, which is no sandbox at all. */
const MOST_EXPOSED = 4.0;

/** What `systemd-analyze security` gives each unit, by the name it was asked for; a unit without an answer fails the test. */
export async function exposures(
  machine: Machine,
  units: readonly string[],
): Promise<ReadonlyMap<string, number>> {
  const said = await inside(
    machine,
    `for u in ${units.join(" ")}; do systemd-analyze security --no-pager "$u.service" | tail -n 1; done`,
  );
  const levels = [...said.matchAll(/level for (\S+)\.service: ([0-9.]+)/g)];
  assert.deepEqual(
    levels.map(([, unit]) => unit),
    units,
    said,
  );
  return new Map(levels.map(([, unit = "", level]) => [unit, Number(level)]));
}

/** Fails the test unless each of these services, named without their ending, is sandboxed; prints what was found. */
export async function assertSandboxed(
  t: TestContext,
  machine: Machine,
  units: readonly string[],
): Promise<void> {
  const found = await exposures(machine, units);
  t.diagnostic(JSON.stringify(Object.fromEntries(found)));
  for (const [unit, level] of found) assert.ok(level > 0 && level <= MOST_EXPOSED, `${unit}: ${level}`);
}
