/**
 * Times guests on a real machine: containers from the request to READY, virtual machines from the request to their first
 * instruction, each beside the bare program in the same minute. Needs what the tests of machines need. Prints tables; decides
 * nothing.
 *
 *     LABCTL_BENCH_ROUNDS=20 node --import tsx bench/guests.ts [--only=container|vm]
 */
import { loadavg } from "node:os";
import { isInNamespaces } from "../src/twin/namespace.ts";
import { EXTRA_PACKAGES, enterNamespaces, testImage } from "../test/machine/bed-fixture.ts";
import { guestImage } from "../test/machine/guest-fixture.ts";
import { vmImage } from "../test/machine/vm-image.ts";
import { benchContainers } from "./guest-containers.ts";
import { benchVms } from "./guest-vms.ts";

const BENCHES = { container: benchContainers, vm: benchVms } as const;
/** The namespaces' side gets no arguments. */
const ONLY = "LABCTL_BENCH_ONLY";

const asked = process.argv.slice(2);
const only = asked[0]?.replace(/^--only=/, "") ?? process.env[ONLY] ?? "";
if (asked.length > 1 || (only !== "" && !Object.hasOwn(BENCHES, only))) {
  console.error(`error[usage] \`${asked.join(" ")}\`: only \`--only=container\` or \`--only=vm\` is known`);
  process.exit(64);
}
if (!isInNamespaces()) {
  process.env[ONLY] = only;
  if (only !== "vm") await guestImage();
  if (only !== "container") await vmImage();
  if (only !== "container") await testImage(EXTRA_PACKAGES["vms.test.ts"]);
}
await enterNamespaces(import.meta.url);

const rounds = Number(process.env.LABCTL_BENCH_ROUNDS ?? 20);
for (const [kind, bench] of Object.entries(BENCHES)) {
  if (only !== "" && only !== kind) continue;
  console.log(
    `${kind}: median and least of ${rounds}, and the ratio to the bare program's; load ${loadavg()[0]?.toFixed(1)}`,
  );
  await bench(rounds);
}
process.exit(0);
