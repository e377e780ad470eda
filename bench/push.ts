/**
 * Times pushes to one booted machine, as ratios to `ssh host true` on a fresh connection, measured in turn with it in
 * the same rounds: nothing to do, one file, a unit, rollbacks, `watch`; beside the same by hand and by Ansible.
 *
 *     node --import tsx bench/push.ts [--json] [--only=push,watch,sets,ansible]
 *
 * Tables go to standard output, or one JSON document. LABCTL_BENCH_ROUNDS: rounds, 11 if not said. Needs root.
 */
import { rmSync } from "node:fs";
import { ansibleSubjects } from "./ansible.ts";
import { compareInTurn, type Figure, figureLines, type Subject } from "./figures.ts";
import { changeSetFigures } from "./push-change-sets.ts";
import { type BenchMachine, enterBench, openBench, PROGRAM, SITE, siteText } from "./push-machine.ts";
import { watchFigures } from "./push-watch.ts";

const ROUNDS = Number(process.env.LABCTL_BENCH_ROUNDS ?? 11);
const json = process.argv.includes("--json");
const only = process.argv
  .find((word) => word.startsWith("--only="))
  ?.slice("--only=".length)
  .split(",");
const wanted = (part: string): boolean => only === undefined || only.includes(part);

await enterBench(import.meta.filename);

let edits = 0;
const nextText = (): string => String(++edits + 1000);

/** `labctl push`, to its end; the options before it. */
function push(bench: BenchMachine, ...options: string[]): number {
  const args = [PROGRAM, "push", "demo", "--ssh-config", bench.sshConfig, "-q", ...options];
  return bench.run(process.execPath, args);
}

/** From the start of the push to both its end and the new answer. */
async function pushSite(bench: BenchMachine, ...options: string[]): Promise<number> {
  const text = nextText();
  bench.lab.write({ [SITE]: siteText(text) });
  const startedAt = performance.now();
  push(bench, ...options);
  await bench.untilAnswer(text);
  return performance.now() - startedAt;
}

function labctlSubjects(bench: BenchMachine): Subject[] {
  const { lab, run, sshConfig, controlPath, name } = bench;
  const over = ["-F", sshConfig, "-S", controlPath];
  const tree = `${lab.root}/var/tree/demo/usr/local/`;
  const rsync = ["-rlpc", "--exclude=.labctl", "-e", `ssh ${over.join(" ")}`];
  const page = "machines/demo/opt/nginx/www/page";
  const many = "machines/demo/opt/many";
  let rolled = 0;
  return [
    { name: "ssh host true, fresh connection", measure: () => run("ssh", ["-F", sshConfig, name, "true"]) },
    { name: "ssh host true, open connection", measure: () => run("ssh", [...over, name, "true"]) },
    {
      name: "rsync with nothing to do, open connection",
      measure: () => run("rsync", [...rsync, tree, `${name}:/usr/local/`]),
    },
    { name: "push, nothing to do", measure: () => push(bench), target: { ratio: 1.6 } },
    { name: "push --ssh=openssh, nothing to do", measure: () => push(bench, "--ssh", "openssh") },
    {
      name: "push of one nginx file, live and confirmed",
      measure: () => pushSite(bench),
      target: { ratio: 2.2 },
    },
    {
      name: "push --ssh=openssh of one nginx file",
      measure: () => pushSite(bench, "--ssh", "openssh"),
      every: 2,
    },
    {
      name: "push of one static file, live and confirmed",
      measure: async () => {
        const text = nextText();
        lab.write({ [page]: text });
        const startedAt = performance.now();
        push(bench);
        await bench.untilAnswer(text, "/page", 80);
        return performance.now() - startedAt;
      },
    },
    {
      name: "push of one unit file",
      measure: () => {
        const text = `[Service]\nEnvironment=BENCH=${nextText()}\n`;
        lab.write({ "machines/demo/lib/systemd/system/nginx.service.d/50-bench.conf": text });
        return push(bench);
      },
      every: 2,
    },
    {
      name: "rollback of 50 files",
      measure: () => {
        rolled++;
        const files = Array.from(
          { length: 50 },
          (_, i) => [`${many}/d${i % 5}/f${i}`, `${rolled} ${i}\n`] as const,
        );
        if (rolled === 1) {
          lab.write(Object.fromEntries(files.map(([path]) => [path, "first\n"])));
          push(bench);
        }
        lab.write(Object.fromEntries(files));
        push(bench);
        const ms = run(process.execPath, [PROGRAM, "rollback", "demo", "-q", "--ssh-config", sshConfig]);
        rmSync(`${lab.root}/${many}`, { recursive: true });
        lab.write(Object.fromEntries(files.map(([path]) => [path, "first\n"])));
        return ms;
      },
      target: { ms: 1000 },
      every: 4,
    },
    {
      name: "by hand: build, rsync, daemon-reload, reload",
      measure: async () => {
        const text = nextText();
        lab.write({ [SITE]: siteText(text) });
        const startedAt = performance.now();
        run(process.execPath, [PROGRAM, "build", "demo", "-q"]);
        run("rsync", [...rsync, tree, `${name}:/usr/local/`]);
        run("ssh", [...over, name, "systemctl daemon-reload && systemctl reload nginx"]);
        await bench.untilAnswer(text);
        return performance.now() - startedAt;
      },
    },
    {
      // What the loop before put past labctl counts as drift, and is pushed again unmeasured.
      name: "(push that follows it)",
      measure: () => push(bench),
    },
  ];
}

const bench = await openBench();
const report: Record<string, unknown> = {};
const show = (title: string, figures: readonly Figure[]): void => {
  report[title] = figures;
  if (!json) console.log(`\n${title}\n${figureLines(figures).join("\n")}`);
};
try {
  if (wanted("push")) show("push, in turn", await compareInTurn(labctlSubjects(bench), ROUNDS));
  for (const client of wanted("watch") ? ["builtin", "openssh"] : [])
    show(`watch, from save to answer, ${client}`, await watchFigures(bench, ROUNDS, client));
  if (wanted("sets"))
    show("how a change set travels, open connection", await changeSetFigures(bench, ROUNDS));
  const ansible = wanted("ansible") ? await ansibleSubjects(bench) : "left out, as asked";
  if (typeof ansible === "string") {
    report.ansible = ansible;
    if (!json) console.log(`\nAnsible: ${ansible}`);
  } else {
    const own: Subject = { name: "labctl push of one nginx file", measure: () => pushSite(bench) };
    const figures = await compareInTurn([own, ...ansible], Math.ceil(ROUNDS / 3));
    show("Ansible, same machine, ratio to labctl", figures);
  }
  if (json) console.log(JSON.stringify(report, undefined, 1));
} finally {
  await bench.close();
}
process.exit(0);
