/**
 * Runs the test files that boot machines, all inside one set of private namespaces:
 *
 *     node --import tsx test/machine/run.ts [FILE…]
 *
 * Without files: every `*.test.ts` under `test/machine/` and `test/twin/`. Exits as `node --test` does; with 1, and a
 * list of what is missing, where the host can't boot machines.
 */
import { readdirSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { runPrepared } from "./bed-fixture.ts";

const testFolder = join(dirname(fileURLToPath(import.meta.url)), "..");

function testFiles(): string[] {
  return ["machine", "twin"].flatMap((name) =>
    readdirSync(join(testFolder, name), { recursive: true, encoding: "utf8" })
      .filter((file) => file.endsWith(".test.ts"))
      .sort()
      .map((file) => relative(process.cwd(), join(testFolder, name, file))),
  );
}

const asked = process.argv.slice(2);
const files = asked.length > 0 ? asked : testFiles();
// One file at a time: two cores boot one bed of machines well, and several badly.
const runner = [process.execPath, "--import", "tsx", "--test", "--test-concurrency=1"];
process.exit(await runPrepared([...runner, ...files]));
