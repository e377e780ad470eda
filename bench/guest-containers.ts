/**
 * Times a container from the request to READY, beside systemd-nspawn alone with the same image in the same minute: a guest that
 * is new each time, made, forked, addressed, named and answering.
 */
import type { Phase } from "../src/guests/phases.ts";
import { openBed } from "../src/twin/bed.ts";
import type { Machine } from "../src/twin/machine.ts";
import { testImage, unwrap } from "../test/machine/bed-fixture.ts";
import { guestMachine } from "../test/machine/guest-fixture.ts";
import { inside, type Lab } from "../test/machine/push-fixture.ts";
import { median } from "./figures.ts";
import { printRow } from "./guest-row.ts";

/** A snapshot, a bridge, READY from the guest: what any way of running it has to do. */
async function alone(machine: Machine): Promise<number> {
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

async function guest(lab: Lab): Promise<Answer> {
  const words = ["guest", "start", "demo", "web", "--image", "debian", "--network", "lab", "--json"];
  const answer = await lab.expect(0, words);
  await lab.expect(0, ["guest", "rm", "demo", "web"]);
  return JSON.parse(answer.stdout) as Answer;
}

/** Prints a table. */
export async function benchContainers(rounds: number): Promise<void> {
  const bed = unwrap(await openBed({ image: await testImage() }));
  const { lab, machine } = await guestMachine(bed, "[network lab]\nipv4 = /24\n");
  await inside(machine, "systemctl start bridge@lab; mkdir -p /var/lib/alone");
  const reference: number[] = [];
  const answers: Answer[] = [];
  for (let round = 0; round < rounds; round++) {
    reference.push(await alone(machine));
    answers.push(await guest(lab));
  }
  const base = median(reference);
  const row = (name: string, of: (answer: Answer) => readonly number[]): void =>
    printRow(name, answers.flatMap(of), base);
  printRow("systemd-nspawn alone, snapshot to READY", reference, base);
  row("request to READY, answering by name", (a) => [a.requestMs]);
  row("with its definition and drop-ins", (a) => [a.totalMs]);
  row("labctl guest start, with its connection", (a) => [a.allMs]);
  for (const name of ["addresses", "fork", "nspawn", "boot", "answer"] as const)
    row(`  ${name}`, (a) => a.phases.filter((phase) => phase.name === name).map((phase) => phase.durationMs));
  await bed.close();
}
