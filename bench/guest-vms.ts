/**
 * Times a virtual machine from the request to its first instruction, beside QEMU alone with the same arguments in the same
 * minute: a guest that is new each time, its disk forked, addressed, named, linked. QEMU itself says when the first instruction
 * runs. Emulated, since KVM may not work here; what comes before that instruction is the same.
 */
import { PHASE_PROPERTIES, type Phase, parseShow, phasesOf } from "../src/guests/phases.ts";
import { parseFirstInstruction } from "../src/guests/vm-states.ts";
import { openBed } from "../src/twin/bed.ts";
import type { Machine } from "../src/twin/machine.ts";
import { EXTRA_PACKAGES, testImage, unwrap } from "../test/machine/bed-fixture.ts";
import { inside } from "../test/machine/push-fixture.ts";
import { FAST_KERNEL, vmMachine } from "../test/machine/vm-fixture.ts";
import { median } from "./figures.ts";
import { printRow } from "./guest-row.ts";

/** What a start of a new guest may take, where its image is there. */
const TARGET_MS = 300;
const PACKAGES = EXTRA_PACKAGES["vms.test.ts"];
const GUEST = {
  name: "new",
  kind: "vm",
  image: "tiny",
  network: "lan",
  readySeconds: 60,
  resources: { memory: "384M" },
  vm: { accelerator: "tcg", append: FAST_KERNEL },
};
const UNITS = ["guest-net@new", "guest-root@new", "vm@new"].map((name) => `${name}.service`);
/** Of a unit's time on both clocks. */
const BOTH = ["InactiveExitTimestamp", "InactiveExitTimestampMonotonic"];

/** Looks seldom, so that looking takes no processor from what is looked at. */
const untilItRuns = (states: string): string =>
  `for i in $(seq 100); do sleep 0.5; grep -qs 'running 1' ${states} && break; done; cat ${states}`;

/** Keeps what QEMU was started with, with paths of its own, so that it can be started alone. */
async function keepArguments(machine: Machine): Promise<void> {
  await inside(
    machine,
    `mkdir -p /run/alone; cp -r /run/local/vm-prepared/new/credentials /run/alone/; cp /var/lib/local/guests/new/vm/seed-* /run/alone/seed.iso
     cp --reflink=always /var/lib/local/guests/new/disk.raw /var/lib/alone.raw; ip tuntap add dev vb-alone mode tap vnet_hdr; ip link set vb-alone up
     sed -e 's,/run/local/vm-prepared/new/credentials,/run/alone/credentials,g' -e 's,/run/local/vm/new/,/run/alone/,g' -e 's,vb-new,vb-alone,' \\
       -e 's,/var/lib/local/guests/new/disk.raw,/var/lib/alone.raw,' -e 's,/var/lib/local/guests/new/vm/seed-[^,]*,/run/alone/seed.iso,' \\
       /run/local/vm-prepared/new/arguments-* >/run/alone/arguments`,
  );
}

async function alone(machine: Machine): Promise<number> {
  const said = await inside(
    machine,
    `mapfile -t words </run/alone/arguments; rm -f /run/alone/states; date +%s%6N
     qemu-system-x86_64 "\${words[@]}" >/dev/null 2>&1 & ${untilItRuns("/run/alone/states")}; kill -KILL $!; wait $! 2>/dev/null; true`,
  );
  return ((parseFirstInstruction(said) ?? Number.NaN) - Number.parseInt(said, 10)) / 1000;
}

interface Started {
  readonly ms: number;
  /** Of the definition, drop-ins and what is made before a start. */
  readonly madeMs: number;
  readonly phases: readonly Phase[];
}

/** Makes a guest, starts it, and removes it; `before` the start, and `while` it runs, more can be done. */
async function start(machine: Machine, before = ":", meanwhile?: () => Promise<void>): Promise<Started> {
  const made = await inside(
    machine,
    `mkdir -p /var/lib/local/guests/new; echo '${JSON.stringify(GUEST)}' >/var/lib/local/guests/new/guest.json
     a=$(date +%s%6N); node /usr/local/libexec/guests/guest.mjs enable new </dev/null >&2; echo $(( $(date +%s%6N) - a )); ${before}; sleep 0.5`,
  );
  const said = await inside(
    machine,
    `date +%s%6N; systemctl start --no-block vm@new; ${untilItRuns("/run/local/vm/new/states")}; stat -c 'prepared %.Y' /run/local/vm-prepared/new; echo
     systemctl show --timestamp=us --property=${[...PHASE_PROPERTIES, ...BOTH].join(",")} ${UNITS.join(" ")}`,
  );
  await meanwhile?.();
  await inside(
    machine,
    `systemctl kill --kill-whom=main --signal=KILL vm@new; for i in $(seq 100); do case $(systemctl is-active vm@new) in failed|inactive) break;; esac; sleep 0.1; done
     node /usr/local/libexec/guests/guest.mjs rm new </dev/null >/dev/null`,
  );
  const units = parseShow(said.slice(said.indexOf("\n\n") + 2));
  const askedUs = Number.parseInt(said, 10);
  const ranUs = parseFirstInstruction(said) ?? Number.NaN;
  // systemd writes each time on both clocks.
  const [onWall = "", onMonotonic = ""] = BOTH.map((name) => units[0]?.get(name) ?? "");
  const apartUs = wallUs(onWall) - Number(onMonotonic);
  const phases = phasesOf(units, askedUs - apartUs, {
    bornUs: ranUs - apartUs,
    readyUs: undefined,
    preparedUs: Number(/^prepared (\d+\.\d{3})/m.exec(said)?.[1]) * 1e6 - apartUs,
  });
  return { ms: (ranUs - askedUs) / 1000, madeMs: Number(made) / 1000, phases };
}

/** Of `Sat 2026-11-21 16:02:56.123456 UTC`, in microseconds of Unix time. */
function wallUs(text: string): number {
  const [, date = "", time = "", micros = ""] =
    /(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)\.(\d{6})/.exec(text) ?? [];
  return Date.parse(`${date}T${time}Z`) * 1000 + Number(micros);
}

/** Prints a table. */
export async function benchVms(rounds: number): Promise<void> {
  const bed = unwrap(await openBed({ image: await testImage(PACKAGES), keepsPool: true }));
  const { machine } = await vmMachine(bed, "[network lan]\nipv4 = /26\n");
  // Files that are read for the first time.
  await start(machine, ":", () => keepArguments(machine));
  const reference: number[] = [];
  const node: number[] = [];
  const known: Started[] = [];
  const unknown: Started[] = [];
  for (let round = 0; round < rounds; round++) {
    const [empty = ""] = (
      await inside(machine, "a=$(date +%s%6N); node -e 0; echo $(( $(date +%s%6N) - a ))")
    ).split("\n");
    node.push(Number(empty) / 1000);
    reference.push(await alone(machine));
    known.push(await start(machine));
    unknown.push(await start(machine, "rm -r /var/cache/local/guests/new"));
  }
  const base = median(reference);
  printRow("an empty run of Node.js there", node, base);
  printRow("QEMU alone, same arguments, to the first instruction", reference, base);
  const all = known.map((s) => s.ms);
  printRow("request to the first instruction of a new guest", all, base);
  for (const name of ["addresses", "fork", "prepare", "qemu"] as const)
    printRow(
      `  ${name}`,
      known.flatMap((s) => s.phases.filter((p) => p.name === name).map((p) => p.durationMs)),
      base,
    );
  printRow(
    "the same, where nothing was made before",
    unknown.map((s) => s.ms),
    base,
  );
  printRow(
    "definition, drop-ins and what is made before",
    known.map((s) => s.madeMs),
    base,
  );
  console.log(`meant: a median of at most ${TARGET_MS} ms`);
  await bed.close();
}
