/**
 * Times `labctl build --watch` on the generated repository from outside: from just before a save to the moment when inotify
 * reports the finished output in the tree. Prints minimum, median and maximum; decides nothing.
 */
import { spawn } from "node:child_process";
import { appendFileSync, rmSync, watch } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { temporaryFolder } from "../test/temporary-repository.ts";
import { writeBenchRepository } from "./repository.ts";

const ROUNDS = Number(process.env.LABCTL_BENCH_ROUNDS ?? 15);
const program = join(import.meta.dirname, "../dist/labctl.cjs");
/** Longer than the build that looks at everything after each edit, so that each save meets an idle watcher. */
const IDLE_MS = 600;

const scratch = temporaryFolder("bench-watch");
const root = join(scratch, "repository");
writeBenchRepository(root);
const child = spawn(process.execPath, [program, "build", "--watch"], {
  cwd: root,
  env: { PATH: process.env.PATH },
  stdio: ["ignore", "ignore", "pipe"],
});
let said = "";
child.stderr.setEncoding("utf8").on("data", (text: string) => {
  said += text;
});
try {
  while (!said.includes("watching")) await sleep(20);
  await sleep(IDLE_MS);
  for (const [name, source, output] of [
    [
      "a plain file of three machines",
      "layers/l05/lib/systemd/system/l5-0.conf",
      "m1/usr/local/lib/systemd/system/l5-0.conf",
    ],
    ["a template of three machines", "layers/l05/etc/l5/t0.conf.hbs", "m1/usr/local/etc/l5/t0.conf"],
  ] as const) {
    const times: number[] = [];
    for (let i = 0; i < ROUNDS; i++) {
      const file = join(root, "var/tree", output);
      const done = new Promise<bigint>((resolve) => {
        const watcher = watch(dirname(file), (_event, changed) => {
          if (changed !== file.slice(dirname(file).length + 1)) return;
          watcher.close();
          resolve(process.hrtime.bigint());
        });
      });
      const savedAt = process.hrtime.bigint();
      appendFileSync(join(root, source), `# ${i}\n`);
      times.push(Number((await done) - savedAt) / 1e6);
      await sleep(IDLE_MS);
    }
    times.sort((a, b) => a - b);
    const figure = (at: number): string => (times[at] ?? Number.NaN).toFixed(1).padStart(7);
    console.log(
      `${name.padEnd(34)} min ${figure(0)}  median ${figure(Math.floor(times.length / 2))}  max ${figure(times.length - 1)} ms   target 30`,
    );
  }
} finally {
  child.kill("SIGTERM");
  rmSync(scratch, { recursive: true, force: true });
}
