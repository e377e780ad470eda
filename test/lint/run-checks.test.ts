/** What the closing lines of `labctl verify` rest on: which checks could not be made, and that nothing is left behind. */
import assert from "node:assert/strict";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import type { Check } from "../../src/lint/check.ts";
import { runChecks } from "../../src/lint/run-checks.ts";

const nothing = async () => ({ found: [] });

test("a check without its program is named once, and is no finding", async () => {
  const absent: Check = {
    name: "x -t",
    program: "no-such-program-of-labctl",
    plan: () => [nothing, nothing],
  };
  assert.deepEqual(await runChecks([absent], []), {
    found: [],
    skipped: [{ check: "x -t", reason: "no-such-program-of-labctl is not installed" }],
  });
});

test("a check without its program is not named where the trees have nothing for it", async () => {
  const idle: Check = { name: "x -t", program: "no-such-program-of-labctl", plan: () => [] };
  assert.deepEqual(await runChecks([idle], []), { found: [], skipped: [] });
});

test("a reason that several jobs share is given once", async () => {
  const job = async () => ({ found: [], skipped: "it needs root" });
  const result = await runChecks([{ name: "y -c", program: "sh", plan: () => [job, job] }], []);
  assert.deepEqual(result.skipped, [{ check: "y -c", reason: "it needs root" }]);
});

test("scratch folders can be read by others while the job runs, and are gone afterwards", async () => {
  const before = process.umask(0o077);
  try {
    let folder = "";
    const check: Check = {
      name: "z",
      plan: () => [
        async (tools) => {
          folder = tools.scratch();
          writeFileSync(join(folder, "f"), "");
          return nothing();
        },
      ],
    };
    await runChecks([check], []);
    assert.notEqual(folder, "");
    assert.equal(existsSync(folder), false);
    assert.equal(process.umask(), 0o077);
  } finally {
    process.umask(before);
  }
});
