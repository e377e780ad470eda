/** What one machine's failure means for the others; the machines are words in a table. */
import assert from "node:assert/strict";
import test from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { failure, problem, success } from "../../src/diagnostics.ts";
import { type FleetSettings, type FleetWork, runFleet } from "../../src/push/fleet/fleet.ts";
import type { MachineEnd } from "../../src/push/fleet/machine-end.ts";
import { parseWaves } from "../../src/push/fleet/waves.ts";

/** What happened, in order: `push a`, `check a`, `revert a 2`, `release a`. */
interface Run {
  readonly ends: Readonly<Record<string, string>>;
  readonly log: readonly string[];
  /** Most pushes that were under way at once. */
  readonly most: number;
}

interface Wants {
  readonly waves?: string;
  readonly jobs?: number;
  readonly maxFailures?: number;
  /** After this machine's push. */
  readonly interruptAfter?: string;
}

/**
 * `a b! c~ d= e? f0`: b fails, c fails its second check, d has nothing to do, e can't be taken back, f has no generation
 * before, g# throws.
 */
async function run(text: string, wants: Wants = {}): Promise<Run> {
  const log: string[] = [];
  const interrupt = new AbortController();
  let now = 0;
  let most = 0;
  const no = (code: string) => problem(code, code);
  const work: FleetWork<string> = {
    async push(m): Promise<MachineEnd> {
      log.push(`push ${m}`);
      most = Math.max(most, ++now);
      await sleep(1);
      now--;
      if (m.startsWith(wants.interruptAfter ?? "none")) interrupt.abort();
      if (m.endsWith("#")) throw new Error("a bug");
      if (m.endsWith("!")) return { kind: "failed", problems: [no("check-failed")], left: "taken-back" };
      if (m.endsWith("=")) return { kind: "unchanged", generation: 1 };
      return { kind: "done", generation: 2, before: m.endsWith("0") ? undefined : 1 };
    },
    async check(m) {
      log.push(`check ${m}`);
      return m.endsWith("~") ? failure(no("unit-failed")) : success(undefined);
    },
    async revert(m, generation, before) {
      log.push(`revert ${m} ${generation}→${before}`);
      return m.endsWith("?") ? failure(no("ssh-refused")) : success(undefined);
    },
    async release(m) {
      log.push(`release ${m}`);
    },
  };
  const settings: FleetSettings = {
    jobs: wants.jobs ?? 8,
    waves: wants.waves === undefined ? undefined : parseWaves(wants.waves),
    maxFailures: wants.maxFailures,
    pauseMs: 0,
    interrupted: interrupt.signal,
  };
  const ends = await runFleet(text.split(" "), work, settings, () => {});
  const word = (end: MachineEnd): string =>
    end.kind === "untouched"
      ? `${end.kind}: ${end.why}`
      : end.kind === "failed"
        ? `failed, ${end.left}`
        : end.kind;
  return { ends: Object.fromEntries([...ends].map(([m, end]) => [m[0] ?? "", word(end)])), log, most };
}

const of = (log: readonly string[], verb: string): string[] =>
  log.filter((l) => l.startsWith(verb)).map((l) => l.slice(verb.length + 1));

test("the third of five fails: its wave is taken back, the others are untouched", async () => {
  const { ends, log } = await run("a b c! d e", { waves: "3" });
  assert.deepEqual(ends, {
    a: "reverted",
    b: "reverted",
    c: "failed, taken-back",
    d: "untouched: failures",
    e: "untouched: failures",
  });
  assert.deepEqual(of(log, "push"), ["a", "b", "c!"]);
  assert.deepEqual(of(log, "revert"), ["a 2→1", "b 2→1"]);
});

test("without waves a failure stops nothing and takes nothing back", async () => {
  const { ends, log } = await run("a b! c d");
  assert.deepEqual(ends, { a: "done", b: "failed, taken-back", c: "done", d: "done" });
  assert.deepEqual(of(log, "revert"), []);
  assert.deepEqual(of(log, "check"), []);
});

test("without waves --max-failures begins nothing more, and takes nothing back", async () => {
  const { ends, log } = await run("a! b c! d e", { jobs: 1, maxFailures: 2 });
  assert.deepEqual(ends, {
    a: "failed, taken-back",
    b: "done",
    c: "failed, taken-back",
    d: "untouched: failures",
    e: "untouched: failures",
  });
  assert.deepEqual(of(log, "revert"), []);
});

test("earlier waves stay; only the failed one goes back", async () => {
  const { ends, log } = await run("a b c d! e f", { waves: "2" });
  assert.deepEqual(ends, {
    a: "done",
    b: "done",
    c: "reverted",
    d: "failed, taken-back",
    e: "untouched: failures",
    f: "untouched: failures",
  });
  assert.deepEqual(of(log, "revert"), ["c 2→1"]);
});

test("fewer failures than allowed: the next wave begins, and what stands stays", async () => {
  const { ends } = await run("a! b c d! e f", { waves: "2", maxFailures: 2 });
  assert.deepEqual(ends, {
    a: "failed, taken-back",
    b: "done",
    c: "reverted",
    d: "failed, taken-back",
    e: "untouched: failures",
    f: "untouched: failures",
  });
});

test("a check between waves that fails takes the wave back, that machine as well", async () => {
  const { ends, log } = await run("a b~ c", { waves: "2" });
  assert.deepEqual(ends, { a: "reverted", b: "reverted", c: "untouched: failures" });
  assert.deepEqual(of(log, "revert"), ["a 2→1", "b~ 2→1"]);
});

test("the last wave is not checked once more, nor one that changed nothing", async () => {
  assert.deepEqual(of((await run("a b= c", { waves: "1" })).log, "check"), ["a"]);
});

test("what can't be taken back says so, and the others go back all the same", async () => {
  const { ends, log } = await run("a? b0 c! d=", { waves: "4" });
  assert.deepEqual(ends, { a: "not-reverted", b: "reverted", c: "failed, taken-back", d: "unchanged" });
  assert.deepEqual(of(log, "revert"), ["a? 2→1", "b0 2→undefined"]);
});

test("a fault in labctl on one machine is that machine's failure", async () => {
  const { ends } = await run("a# b");
  assert.deepEqual(ends, { a: "failed, unsettled", b: "done" });
});

test("an interrupt between waves: the next ones are untouched, what was done stays", async () => {
  const { ends, log } = await run("a b c d", { waves: "2", interruptAfter: "b" });
  assert.deepEqual(ends, {
    a: "done",
    b: "done",
    c: "untouched: interrupted",
    d: "untouched: interrupted",
  });
  assert.deepEqual(of(log, "revert"), []);
});

test("an interrupt in a wave that failed does not keep it from being taken back", async () => {
  const { ends } = await run("a! b c", { waves: "2", interruptAfter: "b" });
  assert.deepEqual(ends, { a: "failed, taken-back", b: "reverted", c: "untouched: failures" });
});

test("never more at once than jobs, in order, and each machine once", async () => {
  for (const jobs of [1, 3, 50]) {
    const { log, most } = await run("a b c d e f g h", { jobs });
    assert.equal(most, Math.min(jobs, 8));
    assert.deepEqual(of(log, "push"), "abcdefgh".split(""));
  }
});

test("every connection of a wave is let go of, also where it failed", async () => {
  const { log } = await run("a b! c d", { waves: "2" });
  assert.deepEqual(of(log, "release").sort(), ["a", "b!"]);
});
