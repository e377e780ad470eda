/**
 * Times a container from the request to READY on a real machine, beside systemd-nspawn alone with the same image in the
 * same minute: a guest that is new each time, made, forked, addressed, named and answering. Needs what the tests of
 * machines need. Prints a table; decides nothing.
 *
 *     LABCTL_BENCH_ROUNDS=20 node --import tsx bench/guests.ts
 */
import { loadavg } from "node:os";
import type { Phase } from "../src/guests/phases.ts";
import { openBed } from "../src/twin/bed.ts";
import { isInNamespaces } from "../src/twin/namespace.ts";
import { enterNamespaces, testImage, unwrap } from "../test/machine/bed-fixture.ts";
import { guestImage, guestMachine } from "../test/machine/guest-fixture.ts";
import { inside } from "../test/machine/push-fixture.ts";
import { median } from "./figures.ts";

if (!isInNamespaces()) await guestImage();
await enterNamespaces(import.meta.url);

const ROUNDS = Number(process.env.LABCTL_BENCH_ROUNDS ?? 20);
const bed = unwrap(await openBed({ image: await testImage() }));
const { lab, machine } = await guestMachine(bed, "[network lab]\nipv4 = /24\n");
await inside(machine, "systemctl start bridge@lab; mkdir -p /var/lib/alone");

/** A snapshot, a bridge, READY from the guest: what any way of running it has to do. */
async function alone(): Promise<number> {
  const said = await inside(
    machine,
    `. /var/lib/local/images/debian.env; a=$(date +%s%N); btrfs -q subvolume snapshot "$IMAGE_PATH" /var/lib/alone/root
     systemd-run -q -u alone -p Type=notify -p Delegate=yes -p KillMode=mixed systemd-nspawn -q --keep-unit --register=no -M alone \\
       -D /var/lib/alone/root --boot --notify-ready=yes -U --network-bridge=lab --link-journal=no; echo $(( $(date +%s%N) - a ))
     systemctl stop alone; btrfs -q subvolume delete /var/lib/alone/root`,
  );
  return Number(said.trim().split("\n")[0]) / 1e6;
}

interface Answer {
  readonly requestMs: number;
  readonly totalMs: number;
  readonly connectedMs: number;
  readonly allMs: number;
  readonly phases: readonly Phase[];
}

async function guest(): Promise<Answer> {
  const answer = await lab.expect(0, [
    "guest",
    "start",
    "demo",
    "web",
    "--image",
    "debian",
    "--network",
    "lab",
    "--json",
  ]);
  await lab.expect(0, ["guest", "rm", "demo", "web"]);
  return JSON.parse(answer.stdout) as Answer;
}

const reference: number[] = [];
const answers: Answer[] = [];
for (let round = 0; round < ROUNDS; round++) {
  reference.push(await alone());
  answers.push(await guest());
}
const base = median(reference);
const row = (name: string, list: readonly number[], against = base): void => {
  const middle = median(list);
  console.log(
    `${name.padEnd(46)} ${middle.toFixed(0).padStart(6)} ms  ${Math.min(...list)
      .toFixed(0)
      .padStart(6)} ms  ${(middle / against).toFixed(2)}`,
  );
};
console.log(`median and least of ${ROUNDS}, beside the first; load ${loadavg()[0]?.toFixed(1)}`);
row("systemd-nspawn alone, snapshot to READY", reference);
row(
  "request to READY, answering by name",
  answers.map((a) => a.requestMs),
);
row(
  "with its definition and drop-ins",
  answers.map((a) => a.totalMs),
);
row(
  "labctl guest start, with its connection",
  answers.map((a) => a.allMs),
);
for (const name of ["addresses", "fork", "nspawn", "boot", "answer"] as const)
  row(
    `  ${name}`,
    answers.flatMap((a) => a.phases.filter((phase) => phase.name === name).map((phase) => phase.durationMs)),
  );
await bed.close();
process.exit(0);
