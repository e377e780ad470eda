/**
 * A program for `namespace.test.ts`: `outer MODE FOLDER` runs itself as `inner` in namespaces. Modes: `machine` boots
 * a machine, says so and waits; `wait` says so and waits; `exit` ends with status 7; `echo` prints its standard input.
 */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { AbsPath } from "../../src/paths.ts";
import { openBed } from "../../src/twin/bed.ts";
import { runInNamespaces } from "../../src/twin/namespace.ts";
import { testImage, unwrap } from "../machine/bed-fixture.ts";

const [side, mode = "", folder = ""] = process.argv.slice(2);
if (side === "outer") {
  const self = [process.execPath, "--import", "tsx", fileURLToPath(import.meta.url)];
  process.exit(unwrap(await runInNamespaces([...self, "inner", mode, folder])));
}
if (mode === "exit") process.exit(7);
if (mode === "echo") process.exit(process.stdout.write(readFileSync(0)) ? 0 : 1);
if (mode === "machine") {
  const bed = unwrap(await openBed({ image: await testImage(), diskFolder: folder as AbsPath }));
  unwrap(await bed.boot({ name: "victim" }));
}
console.log("up");
setInterval(() => {}, 1000);
