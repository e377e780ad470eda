/**
 * Times what several machines at once cost beside one, in one run on real machines: `ssh host true`, a push with nothing
 * to do and a push of one edited file, each to one machine and to all, as wall time and as processor time on this side.
 * The machines share this host's processors, so that wall time tells of their work as well: what those that were pushed to
 * used of them stands in a row of its own. With a delay, each machine's link holds back what goes over it, in both directions:
 * then wall time tells how well the waiting for machines overlaps.
 * Needs what the tests of machines need. Prints a table; decides nothing.
 *
 *     LABCTL_BENCH_MACHINES=20 LABCTL_BENCH_DELAY_MS=10 node --import tsx bench/fleet.ts
 */
import { spawn } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import type { Bed } from "../src/twin/bed.ts";
import { openBed } from "../src/twin/bed.ts";
import { runName } from "../src/twin/namespace.ts";
import { enterNamespaces, testImage, unwrap } from "../test/machine/bed-fixture.ts";
import { labFor } from "../test/machine/push-fixture.ts";
import { temporaryFolder } from "../test/temporary-repository.ts";
import { openSlowLinks } from "./slow-links.ts";

await enterNamespaces(import.meta.url);

const MACHINES = Number(process.env.LABCTL_BENCH_MACHINES ?? 20);
/** Each way; 0: the links are as they are. */
const DELAY_MS = Number(process.env.LABCTL_BENCH_DELAY_MS ?? 0);
const ROUNDS = Number(process.env.LABCTL_BENCH_ROUNDS ?? 5);
/** More at once would time out on a host with few processors. */
const BOOTS_AT_ONCE = 4;
const program = join(import.meta.dirname, "../dist/labctl.cjs");
const scratch = temporaryFolder("bench-fleet");

interface Cost {
  readonly wallMs: number;
  /** Of the program and all that it started. */
  readonly cpuMs: number;
  /** Of the program itself. */
  readonly ownMs: number;
  /** Of the machines that it was done to, in the same time. */
  readonly machinesMs: number;
}

/** Runs a shell line; `own.cjs` tells what a Node.js program among it used itself. */
async function measure(line: string, cwd: string, some: readonly string[] = []): Promise<Cost> {
  const before = machinesMs(some);
  const cost = await measureHere(line, cwd);
  return { ...cost, machinesMs: machinesMs(some) - before };
}

/** Processor time since their boot, from their cgroups (cpu.stat is there without any controller, cgroup-v2.rst). */
function machinesMs(some: readonly string[]): number {
  let sum = 0;
  const run = join("/sys/fs/cgroup/labctl", runName() ?? "");
  const folders = readdirSync(run);
  for (const machine of bed.machines) {
    if (!some.includes(machine.name)) continue;
    const link = `lab${machine.address.split(".").at(-1)}-`;
    for (const folder of folders.filter((name) => name.startsWith(link))) {
      const stat = readFileSync(join(run, folder, "cpu.stat"), "utf8");
      sum += Number(/^usage_usec (\d+)$/m.exec(stat)?.[1]) / 1000;
    }
  }
  return sum;
}

function measureHere(line: string, cwd: string): Promise<Omit<Cost, "machinesMs">> {
  const own = join(scratch, "own");
  rmSync(own, { force: true });
  const startedAt = process.hrtime.bigint();
  const child = spawn("bash", ["-c", `TIMEFORMAT='%U %S'; time { ${line}; } >/dev/null 2>${scratch}/err`], {
    cwd,
    env: {
      PATH: process.env.PATH,
      HOME: scratch,
      USER: "bench",
      NODE_OPTIONS: `--require=${join(scratch, "own.cjs")}`,
      OWN: own,
    },
    stdio: ["ignore", "ignore", "pipe"],
  });
  let said = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    said += text;
  });
  return new Promise((resolve, reject) => {
    child.once("close", (status) => {
      const wallMs = Number(process.hrtime.bigint() - startedAt) / 1e6;
      if (status !== 0)
        return reject(new Error(`${line}: ${readFileSync(`${scratch}/err`, "utf8").slice(-3000)}`));
      const [user = 0, system = 0] = said.trim().split(" ").map(Number);
      let ownMs = Number.NaN;
      try {
        ownMs = Number(readFileSync(own, "utf8"));
      } catch {
        // No Node.js program was among it.
      }
      resolve({ wallMs, cpuMs: (user + system) * 1000, ownMs });
    });
  });
}

function median(list: readonly number[]): number {
  return [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)] ?? Number.NaN;
}

/** One and all in turn, so that both meet the same load of the host. */
async function compare(name: string, run: (names: readonly string[]) => Promise<Cost>): Promise<void> {
  const one: Cost[] = [];
  const all: Cost[] = [];
  for (let i = 0; i < ROUNDS; i++) {
    one.push(await run(names.slice(0, 1)));
    all.push(await run(names));
  }
  const row = (what: string, key: keyof Cost): void => {
    const [a, b] = [median(one.map((c) => c[key])), median(all.map((c) => c[key]))];
    if (Number.isNaN(a)) return;
    const more = (b - a) / (MACHINES - 1);
    const figures = [a.toFixed(0), b.toFixed(0), (b / a).toFixed(1), more.toFixed(1)].map((f) =>
      f.padStart(11),
    );
    console.log(`${`${name}, ${what}`.padEnd(44)}${figures.join("")}`);
  };
  row("wall", "wallMs");
  row("processor", "cpuMs");
  row("processor, labctl itself", "ownMs");
  row("processor, machines", "machinesMs");
}

/** The kernel lets one user have few inotify instances (inotify(7)), and these units in twenty machines use them up. */
const THIRSTY = ["systemd-ask-password-wall.path", "systemd-ask-password-console.path"];

async function bootAll(bed: Bed): Promise<void> {
  const boot = async (name: string): Promise<void> => {
    const machine = unwrap(await bed.boot({ name }));
    await machine.runInside(["systemctl", "mask", "--now", ...THIRSTY]);
    await machine.runInside(["systemctl", "reset-failed"]);
  };
  for (let at = 0; at < names.length; at += BOOTS_AT_ONCE)
    await Promise.all(names.slice(at, at + BOOTS_AT_ONCE).map(boot));
}

const names = Array.from({ length: MACHINES }, (_, i) => `f${i + 1}`);
writeFileSync(
  join(scratch, "own.cjs"),
  "process.on('exit', () => { const { user, system } = process.cpuUsage(); require('node:fs').writeFileSync(process.env.OWN, String((user + system) / 1000)); });",
);
const bed = unwrap(await openBed({ image: await testImage() }));
try {
  await bootAll(bed);
  const links = DELAY_MS > 0 ? await openSlowLinks(bed, DELAY_MS) : undefined;
  const { sshConfigFile } = links ?? bed;
  const lab = labFor(bed, "nowhere");
  const ini = lab.read("machines/demo/machine.ini");
  for (const name of names) {
    lab.write({ [`machines/${name}/machine.ini`]: ini.replace(/^host = .*$/m, `host = ${name}`) });
    mkdirSync(join(lab.root, `machines/${name}`), { recursive: true });
  }
  for (const name of ["demo", "gateway", "storage"]) lab.remove(`machines/${name}`);
  const labctl = (command: string, rest: string) => (some: readonly string[]) =>
    measure(
      `node ${program} ${command} --ssh-config ${sshConfigFile} ${some.join(" ")} ${rest}`,
      lab.root,
      some,
    );
  await labctl("push", "--no-confirm -q -j 4")(names);
  const delay = links ? `, ${DELAY_MS} ms away each way` : "";
  console.log(`${MACHINES} machines${delay} on ${cpus().length} processors; medians of ${ROUNDS}; ms`);
  console.log(`${"".padEnd(44)}${["one", "all", "ratio", "each more"].map((h) => h.padStart(11)).join("")}`);
  await compare("ssh host true", (some) =>
    measure(
      `echo ${some.join(" ")} | xargs -n 1 -P ${MACHINES} sh -c 'ssh -F ${sshConfigFile} $0 true'`,
      lab.root,
      some,
    ),
  );
  await compare("labctl exec -- true", labctl("exec", "-- true"));
  await compare("labctl push, nothing to do", labctl("push", ""));
  let round = 0;
  await compare("labctl push, one file edited", async (some) => {
    lab.write({ "layers/web/opt/nginx/www/bench.html": `${round++}\n` });
    await measure(`node ${program} build`, lab.root);
    return labctl("push", "")(some);
  });
  links?.close();
} finally {
  await bed.close();
  rmSync(scratch, { recursive: true, force: true });
}
