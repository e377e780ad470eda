/** Times `labctl watch` from outside: from just before a save to the machine's new answer over HTTP. */
import { spawn } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { compareInTurn, type Figure } from "./figures.ts";
import { type BenchMachine, PROGRAM, SITE, siteText } from "./push-machine.ts";

/** Longer than everything that `watch` does after an edit, so that each save meets an idle one. */
const IDLE_MS = 1200;
const DROP_IN = "machines/demo/lib/systemd/system/nginx.service.d/60-bench.conf";
const PAGES = "machines/demo/opt/nginx/www";

export async function watchFigures(
  bench: BenchMachine,
  rounds: number,
  client: string,
): Promise<readonly Figure[]> {
  const { lab, env, sshConfig } = bench;
  // Two pages; a unit's setting decides which of them is seen under a third name.
  lab.write({
    [`${PAGES}/page`]: "0",
    [`${PAGES}/page0`]: "zero",
    [`${PAGES}/page1`]: "one",
    [`${PAGES}/seen`]: "",
    [DROP_IN]: bound(0),
  });
  const child = spawn(
    process.execPath,
    [PROGRAM, "watch", "demo", "--ssh-config", sshConfig, "--ssh", client],
    { cwd: lab.root, env, stdio: ["ignore", "ignore", "pipe"] },
  );
  let said = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    said += text;
  });
  let edits = 0;
  const saved = async (path: string, text: string, ...answer: [string, string, number?]): Promise<number> => {
    await sleep(IDLE_MS);
    const startedAt = performance.now();
    lab.write({ [path]: text });
    await bench.untilAnswer(...answer);
    return performance.now() - startedAt;
  };
  try {
    while (!said.includes("watching")) {
      if (child.exitCode !== null) throw new Error(said);
      await sleep(20);
    }
    return await compareInTurn(
      [
        {
          name: "a static file",
          measure: () => {
            const text = `page ${++edits}`;
            return saved(`${PAGES}/page`, text, text, "/page", 80);
          },
          target: { ms: 200 },
        },
        {
          name: "an nginx file, with its reload",
          measure: () => {
            const text = `site ${++edits}`;
            return saved(SITE, siteText(text), text, "/");
          },
          target: { ms: 200 },
        },
        {
          name: "a unit file: daemon-reload and restart",
          measure: () => {
            const which = ++edits % 2;
            return saved(DROP_IN, bound(which), which === 0 ? "zero" : "one", "/seen", 80);
          },
          target: { ms: 400 },
          every: 2,
        },
      ],
      rounds,
    );
  } catch (error) {
    console.error(said);
    throw error;
  } finally {
    // One that is broken off waits for its confirmation, and the next client would have to.
    await sleep(IDLE_MS);
    child.kill("SIGTERM");
    await sleep(500);
  }
}

function bound(which: number): string {
  return `[Service]\nBindReadOnlyPaths=/usr/local/opt/nginx/www/page${which}:/usr/local/opt/nginx/www/seen\n`;
}
