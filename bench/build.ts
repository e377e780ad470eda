/**
 * Times `labctl build` on a generated repository, as ratios to `node -e 0` measured in turn with it, beside a flat
 * makefile and a ninja file with the same outputs where those programs are installed. Prints a table; decides nothing.
 */
import { spawnSync } from "node:child_process";
import { appendFileSync, lstatSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { temporaryFolder } from "../test/temporary-repository.ts";
import { writeBenchRepository } from "./repository.ts";

const ROUNDS = Number(process.env.LABCTL_BENCH_ROUNDS ?? 15);
/** Longer than every margin within which a time stamp is not trusted. */
const SETTLED_MS = 100;
const program = join(import.meta.dirname, "../dist/labctl.cjs");
const env = { PATH: process.env.PATH, HOME: process.env.HOME };

function run(cwd: string, command: string, args: readonly string[]): number {
  const startedAt = process.hrtime.bigint();
  const done = spawnSync(command, args, { cwd, env, stdio: ["ignore", "ignore", "pipe"], encoding: "utf8" });
  const ms = Number(process.hrtime.bigint() - startedAt) / 1e6;
  if (done.status !== 0) throw new Error(`${command} ${args.join(" ")}: ${done.stderr}`);
  return ms;
}

function median(list: readonly number[]): number {
  return [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)] ?? Number.NaN;
}

function pause(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

/** Each round runs node alone and then the subject, so that both meet the same load. */
function compare(name: string, target: string, subject: () => number, rounds = ROUNDS): void {
  const node: number[] = [];
  const own: number[] = [];
  for (let i = 0; i < rounds; i++) {
    node.push(run("/", process.execPath, ["-e", "0"]));
    own.push(subject());
  }
  const ratio = median(own) / median(node);
  const figures = [median(own).toFixed(0), median(node).toFixed(0), ratio.toFixed(2)].map((f) =>
    f.padStart(7),
  );
  console.log(`${name.padEnd(34)}${figures.join("")}   ${target}`);
}

function outputs(root: string): string[] {
  const out: string[] = [];
  const walk = (folder: string): void => {
    for (const name of readdirSync(folder)) {
      const path = join(folder, name);
      if (lstatSync(path).isDirectory()) walk(path);
      else out.push(path);
    }
  };
  walk(root);
  return out;
}

/** Files of the same number and sizes, each copied from one source: the least that any make must look at. */
function writeFlatBuilds(root: string, flat: string): void {
  const list = outputs(join(root, "var/tree")).filter((path) => path.includes("/usr/local/"));
  mkdirSync(join(flat, "in"), { recursive: true });
  mkdirSync(join(flat, "out"));
  for (const [i, path] of list.entries()) writeFileSync(join(flat, "in", `${i}`), path);
  const targets = list.map((_, i) => `out/${i}`);
  const rules = targets.map((t, i) => `${t}: in/${i}\n\tcp $< $@\n`).join("");
  writeFileSync(join(flat, "Makefile"), `.SUFFIXES:\nMAKEFLAGS += -rR\nall: ${targets.join(" ")}\n${rules}`);
  const edges = targets.map((t, i) => `build ${t}: cp in/${i}\n`).join("");
  writeFileSync(join(flat, "build.ninja"), `rule cp\n  command = cp $in $out\n${edges}`);
}

const scratch = temporaryFolder("bench");
try {
  const root = join(scratch, "repository");
  writeBenchRepository(root);
  const build = (...args: string[]) => run(root, process.execPath, [program, "build", "-q", ...args]);
  const after = (edit: () => void) => () => {
    edit();
    pause(SETTLED_MS);
    return build();
  };
  console.log(`${"".padEnd(34)}  ms   node  ratio   target`);
  compare("labctl --version", "1.3", () => run(root, process.execPath, [program, "--version"]));
  compare(
    "cold build",
    "1500 ms",
    () => {
      rmSync(join(root, "var"), { recursive: true, force: true });
      return build();
    },
    Math.ceil(ROUNDS / 4),
  );
  pause(SETTLED_MS);
  build();
  compare("nothing to do", "2.0", () => build());
  let round = 0;
  const edit = (path: string) => after(() => appendFileSync(join(root, path), `# ${round++}\n`));
  compare("one plain file edited", "2.2", edit("layers/l05/lib/systemd/system/l5-0.conf"));
  compare("one shared template edited", "2.5", edit("layers/l05/etc/l5/t0.conf.hbs"));
  const facts = JSON.stringify({ FLAG: true, NETS: [] }).slice(1);
  compare(
    "a fact that all templates read",
    "400 ms",
    after(() => writeFileSync(join(root, "facts/all.json"), `{"EVERYWHERE":"${round++}",${facts}`)),
  );
  const flat = join(scratch, "flat");
  writeFlatBuilds(root, flat);
  for (const tool of ["make", "ninja"]) {
    if (spawnSync(tool, ["--version"]).error) {
      console.log(`${tool}: not installed`);
      continue;
    }
    run(flat, tool, tool === "make" ? ["-sj4"] : []);
    compare(`${tool}, flat, nothing to do`, "", () => run(flat, tool, tool === "make" ? ["-s"] : []));
  }
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
