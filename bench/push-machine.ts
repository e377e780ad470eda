/**
 * One booted machine to measure pushes on: an image with what the compared tools need, a copy of this repository with a
 * site of its own, and ways to run and time programs against it. Must not know what is compared.
 */
import { spawn, spawnSync } from "node:child_process";
import { get } from "node:http";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { openBed } from "../src/twin/bed.ts";
import { checkHost } from "../src/twin/host-support.ts";
import { ensureImage } from "../src/twin/image.ts";
import { isInNamespaces, runInNamespaces } from "../src/twin/namespace.ts";
import { unwrap } from "../test/machine/bed-fixture.ts";
import { type Lab, labFor } from "../test/machine/push-fixture.ts";

/** python3 is what Ansible needs on a machine; labctl doesn't. */
const PACKAGES = ["nginx-light", "curl", "python3"];
export const PROGRAM: string = join(import.meta.dirname, "../dist/labctl.cjs");
const SITE_PORT = 8081;
const ANSWER_MS = 100;
/** Between two questions. */
const ASKING_MS = 5;

export interface BenchMachine {
  readonly lab: Lab;
  readonly name: string;
  readonly sshConfig: string;
  /** ControlMaster socket of a connection that stays open. */
  readonly controlPath: string;
  readonly env: NodeJS.ProcessEnv;
  /** Runs a program to its end; milliseconds. Throws with its output if it fails. */
  run(command: string, args: readonly string[]): number;
  /** What the machine's bench site answers, or the default site where `port` is 80. */
  answer(path: string, port?: number): Promise<string>;
  /** Polls until the answer is `text`; throws after five seconds. */
  untilAnswer(text: string, path?: string, port?: number): Promise<void>;
  close(): Promise<void>;
}

/** Re-runs the calling file in private namespaces; returns there. */
export async function enterBench(file: string): Promise<void> {
  if (isInNamespaces()) return;
  const host = checkHost();
  unwrap(host);
  unwrap(await ensureImage({ packages: PACKAGES, onProgress: (line) => console.error(line) }));
  const argv = [process.execPath, "--import", "tsx", file, ...process.argv.slice(2)];
  process.exit(unwrap(await runInNamespaces(argv)));
}

/** The site whose answer an edit changes. */
export function siteText(answer: string): string {
  return `server {
    listen ${SITE_PORT};
    location / { default_type text/plain; return 200 "${answer}"; }
    location /page { root /usr/local/opt/nginx/www; }
}
`;
}

export const SITE = "machines/demo/opt/nginx/conf/sites.d/50-bench.nginx";

/** Boots, pushes the example tree with the bench's site, and opens the connection that stays. */
export async function openBench(): Promise<BenchMachine> {
  const bed = unwrap(await openBed({ image: unwrap(await ensureImage({ packages: PACKAGES })) }));
  const machine = unwrap(await bed.boot({ name: "bench" }));
  const lab = labFor(bed, machine.name);
  lab.write({ [SITE]: siteText("0") });
  const env = { PATH: process.env.PATH, HOME: lab.root, USER: "bench", LC_ALL: "C.UTF-8" };
  spawnSync("git", ["init", "-q"], { cwd: lab.root, env });
  const controlPath = join(bed.folder, "bench-master");
  const run = (command: string, args: readonly string[]): number => {
    const startedAt = performance.now();
    const done = spawnSync(command, args, { cwd: lab.root, env, encoding: "utf8" });
    const ms = performance.now() - startedAt;
    if (done.status !== 0)
      throw new Error(`${command} ${args.join(" ")}: ${done.error ?? ""}${done.stderr}${done.stdout}`);
    return ms;
  };
  const answer = (path: string, port = SITE_PORT): Promise<string> =>
    new Promise((resolve) => {
      // A server that restarts may let a connection hang until TCP tries again after a second: that is not its answer.
      const signal = AbortSignal.timeout(ANSWER_MS);
      const request = get({ host: machine.address, port, path, agent: false, signal }, (response) => {
        let text = "";
        response.setEncoding("utf8").on("data", (chunk: string) => {
          text += chunk;
        });
        response.on("end", () => resolve(text)).on("error", () => resolve(""));
      });
      request.on("error", () => resolve(""));
    });
  run(process.execPath, [PROGRAM, "push", "demo", "-q", "--ssh-config", bed.sshConfigFile]);
  const master = spawn(
    "ssh",
    ["-F", bed.sshConfigFile, "-M", "-S", controlPath, "-o", "ControlPersist=no", "-N", machine.name],
    { stdio: "ignore" },
  );
  for (let i = 0; ; i++) {
    const check = spawnSync("ssh", ["-F", bed.sshConfigFile, "-S", controlPath, "-O", "check", machine.name]);
    if (check.status === 0) break;
    if (i > 50) throw new Error("no master connection");
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return {
    lab,
    name: machine.name,
    sshConfig: bed.sshConfigFile,
    controlPath,
    env,
    run,
    answer,
    async untilAnswer(text, path = "/", port = SITE_PORT) {
      const until = performance.now() + 5000;
      while ((await answer(path, port)) !== text) {
        if (performance.now() > until) throw new Error(`${path} never answered ${JSON.stringify(text)}`);
        // Asked without a pause it takes half of two processors from what is measured.
        await sleep(ASKING_MS);
      }
    },
    async close() {
      master.kill();
      await machine.kill();
      await bed.close();
    },
  };
}
