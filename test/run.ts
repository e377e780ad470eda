/**
 * `npm test`: types and style, the bundle, the tests that need only this process, then those that boot machines. Prints
 * a line a file, failures in full, and at its end, alone on a line, `N passed, N failed, N skipped`.
 *
 *     npm test [-- PATH…]
 *
 * With paths (files or folders, from the repository's root): only the tests in them, and neither types nor style.
 * Exit status: 0 if nothing failed, else 1. With CI=true a skip counts as a failure: what can't run there must not look
 * as if it had passed. Files that boot machines and failed are run once more, if they are few: what then passes is listed
 * as flaky beside what it said, and counts as passed.
 */
import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { performance } from "node:perf_hooks";

const ROOT = join(import.meta.dirname, "..");
const IS_CI = process.env.CI === "true" || process.env.CI === "1";
/** Without trailing slashes. */
const ASKED = process.argv.slice(2).map((path) => path.replace(/\/+$/, ""));
const IS_ROOT = process.getuid?.() === 0;

/** Folders whose tests boot machines or enter namespaces. */
const MACHINE_FOLDERS = ["machine", "twin"];
/** More that fail are no accident of a busy host. */
const MOST_FLAKY_FILES = 3;

interface Counts {
  passed: number;
  failed: number;
  skipped: number;
  skips: string[];
  failures: string[];
}

/** Test files relative to the repository's root, sorted. */
function findTests(): { readonly plain: string[]; readonly machine: string[] } {
  const all = readdirSync(join(ROOT, "test"), { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".test.ts"))
    .sort();
  const isAsked = (file: string) =>
    ASKED.length === 0 || ASKED.some((path) => `test/${file}/`.startsWith(`${path}/`));
  const isMachine = (file: string) => MACHINE_FOLDERS.includes(file.split("/")[0] ?? "");
  const named = (files: string[]) => files.map((file) => join("test", file));
  const asked = all.filter(isAsked);
  return { plain: named(asked.filter((f) => !isMachine(f))), machine: named(asked.filter(isMachine)) };
}

function run(argv: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<number> {
  const [program = "", ...args] = argv;
  return new Promise((resolve) => {
    const child = spawn(program, args, {
      cwd: ROOT,
      env: { ...process.env, ...env },
      stdio: ["ignore", "inherit", "inherit"],
    });
    child.on("error", (error) => {
      console.error(error.message);
      resolve(127);
    });
    child.on("close", (status) => resolve(status ?? 1));
    // A terminal tells the children itself; `kill` tells only this process.
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
      process.once(signal, () => child.kill(signal));
  });
}

/** One step that is no test; counts as one failure if it fails. */
async function step(name: string, argv: readonly string[], failures: string[]): Promise<void> {
  const startedAt = performance.now();
  const status = await run(argv);
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
  console.log(`${status === 0 ? "ok    " : "FAILED"} ${name}  ${seconds} s`);
  if (status !== 0) failures.push(name);
}

async function main(): Promise<number> {
  const startedAt = performance.now();
  const tests = findTests();
  if (tests.plain.length + tests.machine.length === 0) {
    console.error(`error[usage] no test file is called or lies in ${ASKED.join(", ")}`);
    return 64;
  }
  const folder = mkdtempSync(join(tmpdir(), "labctl-test-"));
  const countsFile = join(folder, "counts.json");
  const env = { LABCTL_TEST_COUNTS: countsFile };
  const reporter = [
    "--test-reporter",
    join(ROOT, "test/count-reporter.mjs"),
    "--test-reporter-destination",
    "stdout",
  ];
  const node = [process.execPath, "--import", "tsx"];
  const failures: string[] = [];
  const skips: string[] = [];
  const flaky: string[] = [];

  if (ASKED.length === 0) {
    await step("types", ["node_modules/.bin/tsc", "--noEmit"], failures);
    await step("style", ["node_modules/.bin/biome", "check"], failures);
  }
  await step("bundle", [process.execPath, "src/bundle.mjs"], failures);
  const plainStatus =
    tests.plain.length === 0
      ? 0
      : await run([...node, "--test", "--test-concurrency=2", ...reporter, ...tests.plain], env);
  const afterPlain = readCounts(countsFile);
  if (plainStatus !== 0 && afterPlain.failed === 0)
    failures.push(`the test runner ended with ${plainStatus}`);

  if (tests.machine.length === 0) {
    // Nothing to boot for.
  } else if (!IS_ROOT && !IS_CI) {
    console.log("skip   tests that boot machines: only root may; run `sudo npm test`");
    skips.push(...tests.machine.map((file) => `${file} (not root)`));
  } else {
    const flags = reporter
      .filter((_, at) => at % 2 === 0)
      .map((name, at) => `${name}=${reporter[2 * at + 1]}`);
    const program = [...node, "test/machine/run.ts", ...flags];
    const status = await run([...program, ...tests.machine], env);
    const counted = readCounts(countsFile);
    const machineFailed = counted.failures.slice(afterPlain.failures.length);
    if (status !== 0 && machineFailed.length === 0) failures.push(`the machine tests ended with ${status}`);
    if (status === 0 && counted.passed === afterPlain.passed)
      failures.push("the machine tests counted nothing");
    const files = filesOf(machineFailed, tests.machine);
    if (files.length > 0 && files.length <= MOST_FLAKY_FILES) {
      console.log(`\nonce more: ${files.join(" ")}`);
      const secondFile = join(folder, "second.json");
      const ended = await run([...program, ...files], { LABCTL_TEST_COUNTS: secondFile });
      const second = readCounts(secondFile);
      if (ended === 0 && second.passed > 0) flaky.push(...machineFailed);
    }
  }

  const counted = readCounts(countsFile);
  rmSync(folder, { recursive: true, force: true });
  failures.push(...counted.failures.filter((name) => !flaky.includes(name)));
  skips.push(...counted.skips);
  if (IS_CI) failures.push(...skips.map((name) => `skipped, which CI does not accept: ${name}`));
  if (failures.length > 0) console.log(`\nfailed:\n${failures.map((line) => `  ${line}`).join("\n")}`);
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(0);
  console.log(`\n${tests.plain.length + tests.machine.length} files in ${seconds} s`);
  if (flaky.length > 0)
    console.log(
      `flaky, they failed once and passed when run again:\n${flaky.map((line) => `  ${line}`).join("\n")}`,
    );
  console.log(`${counted.passed + flaky.length} passed, ${failures.length} failed, ${skips.length} skipped`);
  return failures.length > 0 ? 1 : 0;
}

/** The test files that failures, `FILE: NAME`, belong to; tests that a fixture defines belong to who imports it. */
function filesOf(failed: readonly string[], files: readonly string[]): string[] {
  const named = new Set(failed.map((line) => line.slice(0, line.indexOf(": "))));
  const uses = (file: string, fixture: string): boolean =>
    readFileSync(join(ROOT, file), "utf8").includes(`./${basename(fixture)}"`);
  return files.filter((file) => named.has(file) || [...named].some((name) => uses(file, name)));
}

function readCounts(file: string): Counts {
  try {
    return JSON.parse(readFileSync(file, "utf8")) as Counts;
  } catch {
    // No run has ended yet.
    return { passed: 0, failed: 0, skipped: 0, skips: [], failures: [] };
  }
}

process.exit(await main());
