/**
 * Five hundred connections a second from outside while pushes restart the service that answers them: behind a socket of
 * systemd none is lost. Controls: without the socket some are, and a push that changes the socket itself refuses some.
 */
import assert from "node:assert/strict";
import { connect } from "node:net";
import test from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { Files } from "../temporary-repository.ts";
import { enterNamespaces, sharedBed } from "./bed-fixture.ts";
import { bootMachine, inside, type Lab, labFor, unitDifference, unitStates } from "./push-fixture.ts";

await enterNamespaces(import.meta.url);
const theBed = sharedBed();
const PER_SECOND = 500;
const UNITS = "machines/demo/lib/systemd/system";

/** Answers one line, then ends; on SIGTERM it stops accepting and ends what it has accepted. */
const SERVER = `import { createServer } from "node:net";
const server = createServer({ allowHalfOpen: true }, (socket) => {
  socket.on("error", () => {});
  socket.once("data", () => socket.end(\`\${process.env.ANSWER}\\n\`));
});
server.listen(process.env.LISTEN_FDS ? { fd: 3 } : { port: Number(process.env.PORT), backlog: 4096 });
process.on("SIGTERM", () => server.close(() => process.exit(0)));
`;

function service(answer: number, port: number): string {
  return `[Service]\nExecStart=/usr/bin/node /usr/local/libexec/answer.mjs\nEnvironment=ANSWER=${answer} PORT=${port}\n`;
}

interface Load {
  asked: number;
  /** By answer, and by the error's code. */
  readonly answers: Map<string, number>;
}

/** Opens connections by the clock until told to stop; those that are late are made up for. */
async function load(address: string, port: number, until: Promise<unknown>): Promise<Load> {
  const result: Load = { asked: 0, answers: new Map() };
  let stopped = false;
  void until.finally(() => {
    stopped = true;
  });
  const pending = new Set<Promise<void>>();
  const startedAt = performance.now();
  while (!stopped) {
    const due = Math.floor(((performance.now() - startedAt) / 1000) * PER_SECOND);
    for (; result.asked < due; result.asked++) {
      const one = ask(address, port).then((answer) => {
        result.answers.set(answer, (result.answers.get(answer) ?? 0) + 1);
        pending.delete(one);
      });
      pending.add(one);
    }
    await sleep(5);
  }
  await Promise.all(pending);
  return result;
}

function ask(address: string, port: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ host: address, port });
    let text = "";
    socket.setTimeout(30_000, () => socket.destroy(new Error("timeout")));
    socket.on("connect", () => socket.write("?"));
    socket.setEncoding("utf8").on("data", (chunk) => {
      text += chunk;
    });
    socket.on("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    socket.on("close", () => resolve(text === "" ? "empty" : text.trim()));
  });
}

function wants(...names: string[]): Files {
  return Object.fromEntries(
    names.map((name) => [`${UNITS}/multi-user.target.wants/${name}`, { link: `../${name}` }]),
  );
}

async function push(lab: Lab): Promise<void> {
  await lab.expect(0, ["push", "demo", "--no-confirm"]);
}

const lost = (seen: Load): [string, number][] =>
  [...seen.answers].filter(([answer]) => !/^\d+$/.test(answer));

test("restarts behind a socket lose no connection; without it, and of the socket itself, some are refused", async (t) => {
  const machine = await bootMachine(await theBed());
  const lab = labFor(await theBed(), machine.name);
  lab.edit("machines/demo/machine.ini", "layers = web", "layers = base");
  lab.write({
    "machines/demo/libexec/answer.mjs": SERVER,
    [`${UNITS}/kept.socket`]: "[Socket]\nListenStream=8101\n",
    [`${UNITS}/kept.service`]: service(0, 0),
    [`${UNITS}/bare.service`]: service(0, 8102),
    ...wants("kept.socket", "bare.service"),
  });
  await push(lab);
  const restarts = async (name: string, port: number): Promise<void> => {
    for (let n = 1; n <= 3; n++) {
      await sleep(300);
      lab.write({ [`${UNITS}/${name}`]: service(n, port) });
      await push(lab);
    }
    await sleep(300);
  };
  assert.equal(await ask(machine.address, 8101), "0");
  const kept = await load(machine.address, 8101, restarts("kept.service", 0));
  t.diagnostic(`behind a socket: ${kept.asked} connections, ${JSON.stringify([...kept.answers])}`);
  assert.deepEqual(lost(kept), []);
  assert.deepEqual(
    [...kept.answers.keys()].sort(),
    ["0", "1", "2", "3"],
    "each restart was seen from outside",
  );

  const bare = await load(machine.address, 8102, restarts("bare.service", 8102));
  t.diagnostic(`without: ${bare.asked} connections, ${JSON.stringify([...bare.answers])}`);
  assert.notDeepEqual(lost(bare), [], "control: without a socket connections are refused");

  lab.write({ [`${UNITS}/kept.socket`]: "[Socket]\nListenStream=8101\nBacklog=1000\n" });
  const plan = await lab.expect(2, ["plan", "demo"]);
  assert.match(plan.stdout, /restart kept\.socket: .*connections are refused for a moment/);
  const before = await unitStates(machine);
  const socket = await load(machine.address, 8101, push(lab));
  t.diagnostic(`the socket itself: ${socket.asked} connections, ${JSON.stringify([...socket.answers])}`);
  assert.deepEqual(unitDifference(before, await unitStates(machine)), [
    "restart kept.service",
    "restart kept.socket",
  ]);
  assert.notDeepEqual(lost(socket), [], "control: what the plan says of refused connections is true");
  assert.equal(await ask(machine.address, 8101), "3");

  lab.write({ [`${UNITS}/kept.socket`]: "[Socket]\nListenStream=8101\nBacklog=1000\nMaxConnections=5000\n" });
  const live = await load(machine.address, 8101, push(lab));
  assert.deepEqual(lost(live), [], "what a daemon-reload applies to a socket closes nothing");
  assert.equal(await inside(machine, "systemctl show -P MaxConnections kept.socket"), "5000\n");
});
