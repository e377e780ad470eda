/** Rows for tests of unit decisions: two trees, the machine's units, and the actions that must follow. */
import assert from "node:assert/strict";
import test from "node:test";
import type { RelPath } from "../../src/paths.ts";
import { decideActions } from "../../src/units/actions.ts";
import type { ChangedPath, LiveUnit, UnitDecision } from "../../src/units/unit-change.ts";
import { type Files, liveUnit, memorySet, SYSTEM } from "./memory-tree.ts";

/** What changed between two trees; contents that are equal can be named as changed in their attributes. */
export function changes(before: Files, after: Files, attributes: readonly string[] = []): ChangedPath[] {
  const paths = [...new Set([...Object.keys(before), ...Object.keys(after)])].sort();
  return paths.flatMap((path): ChangedPath[] => {
    const one = (change: ChangedPath["change"]): ChangedPath[] => [
      { path: path as RelPath, change, cause: `edit of ${path}` },
    ];
    if (before[path] === undefined) return one("added");
    if (after[path] === undefined) return one("removed");
    if (before[path] !== after[path]) return one("changed");
    return attributes.includes(path) ? one("attributes") : [];
  });
}

export function decide(
  before: Files,
  after: Files,
  live: readonly LiveUnit[],
  attributes?: readonly string[],
): UnitDecision {
  return decideActions({
    before: memorySet(before),
    after: memorySet(after),
    changed: changes(before, after, attributes),
    live: new Map(live.map((unit) => [unit.name, unit])),
  });
}

/** `restart a.service` for each action; reasons are asserted where they are the point. */
export function verdicts(decision: UnitDecision): string[] {
  return [
    ...(decision.daemonReload ? ["daemon-reload"] : []),
    ...decision.actions.map((a) => `${a.action} ${a.unit}`),
  ];
}

export const A = `${SYSTEM}/a.service`;
export const WANTED = { [`${SYSTEM}/multi-user.target.wants/a.service`]: "-> ../a.service" };
export const service = (body: string, rest = ""): Files => ({ [A]: `[Service]\n${body}\n${rest}` });
export const up = (rest: Partial<LiveUnit> = {}): LiveUnit => liveUnit("a.service", rest);
export const UP = [up()];
export const RELOADABLE = [up({ canReload: true })];
export const DOWN = [up({ activeState: "inactive", subState: "dead" })];
export const FAILED = [up({ activeState: "failed", subState: "failed" })];

export interface Row {
  readonly what: string;
  readonly before: Files;
  readonly after: Files;
  readonly live: readonly LiveUnit[];
  readonly want: readonly string[];
}
export const row = (
  what: string,
  before: Files,
  after: Files,
  live: readonly LiveUnit[],
  want: readonly string[],
): Row => ({
  what,
  before,
  after,
  live,
  want,
});

/** A unit with one setting and one file that it may refer to, before and after that file is replaced. */
export function fileRow(
  what: string,
  body: string,
  file: string,
  live: readonly LiveUnit[],
  want: readonly string[],
  rest = "",
): Row {
  const unit = service(`ExecStart=/usr/bin/a\n${body}`, rest);
  return row(what, { ...unit, [file]: "1" }, { ...unit, [file]: "2" }, live, want);
}
export const ONE = service("User=x");
export const TWO = service("User=y");
export const DROPIN = `${SYSTEM}/nginx.service.d/10-x.conf`;
export const NGINX = [liveUnit("nginx.service", { canReload: true })];
export const SOCKET = `${SYSTEM}/a.socket`;
export const RELOADS = "[X-Labctl]\nReloadOn=/usr/local/etc/a";

/** Registers one test a row. */
export function testRows(rows: readonly Row[]): void {
  for (const { what, before, after, live, want } of rows) {
    test(what, () => assert.deepEqual(verdicts(decide(before, after, live)), want));
  }
}
