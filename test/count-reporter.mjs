/**
 * A reporter for `node --test`: one line a file while all goes well, everything about a test that fails, and the counts
 * as JSON in the file that LABCTL_TEST_COUNTS names. Plain JavaScript, because node loads reporters before tsx.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { relative } from "node:path";
import { inspect } from "node:util";

/** @param {AsyncIterable<{type: string, data: any}>} events */
export default async function* report(events) {
  const counts = { passed: 0, failed: 0, skipped: 0, skips: [], failures: [] };
  let current;
  const startFile = (file) => {
    current = { file, tests: 0, failed: 0, ms: 0, output: "", trouble: "" };
  };
  const endFile = () => {
    if (!current) return "";
    const { file, tests, failed, ms, output, trouble } = current;
    current = undefined;
    if (tests === 0 && failed === 0) return "";
    const head = `${failed > 0 ? "FAILED" : "ok    "} ${file}  ${tests} ${tests === 1 ? "test" : "tests"}, ${(ms / 1000).toFixed(1)} s\n`;
    if (failed === 0) return head;
    return `${head}${trouble}${output === "" ? "" : `  what it printed:\n${indent(output.trimEnd())}\n`}`;
  };
  for await (const { type, data } of events) {
    // Tests may be defined in a fixture, so only where a test file's own tests start does another file begin.
    const file = data?.file ? relative(process.cwd(), data.file) : undefined;
    const starts = type === "test:start" && data.nesting === 0;
    if (file !== undefined && (!current || (starts && file !== current.file))) {
      yield endFile();
      startFile(file);
    }
    if (!current) continue;
    if (type === "test:stdout" || type === "test:stderr") current.output += data.message;
    if (type !== "test:pass" && type !== "test:fail") continue;
    if (data.nesting === 0) current.ms += data.details.duration_ms;
    if (data.details.type === "suite") continue;
    const name = `${file}: ${data.name}`;
    if (type === "test:fail" && data.todo === undefined) {
      // A file that ends badly is reported as a test of its own name, after its tests.
      current.tests += 1;
      current.failed += 1;
      counts.failed += 1;
      counts.failures.push(name);
      current.trouble += `  not ok: ${data.name}\n${indent(describe(data.details.error))}\n`;
    } else if (data.skip !== undefined || data.todo !== undefined) {
      counts.skipped += 1;
      counts.skips.push(`${name} (${data.skip || data.todo || "no reason given"})`);
      yield `skip   ${name}: ${data.skip || data.todo || "no reason given"}\n`;
    } else {
      current.tests += 1;
      counts.passed += 1;
    }
  }
  yield endFile();
  const target = process.env.LABCTL_TEST_COUNTS;
  if (target) writeFileSync(target, JSON.stringify(add(readCounts(target), counts)));
}

/** Several runs may add to one file. */
function readCounts(file) {
  try {
    return JSON.parse(readFileSync(file, "utf8"));
  } catch {
    return { passed: 0, failed: 0, skipped: 0, skips: [], failures: [] };
  }
}

function add(a, b) {
  return {
    passed: a.passed + b.passed,
    failed: a.failed + b.failed,
    skipped: a.skipped + b.skipped,
    skips: [...a.skips, ...b.skips],
    failures: [...a.failures, ...b.failures],
  };
}

function describe(error) {
  const cause = error?.cause ?? error;
  if (cause instanceof Error || typeof cause?.message === "string") return cause.stack ?? cause.message;
  return typeof cause === "string" ? cause : inspect(cause);
}

function indent(text) {
  return text.replace(/^/gm, "    ");
}
