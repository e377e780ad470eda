/**
 * How often a push talks to its machine, and what it does when the connection goes away. Counted at the system's `ssh`
 * and `rsync`, by wrappers that note each start: what runs over the channels is the same with either client.
 */
import assert from "node:assert/strict";
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import type { Machine } from "../../src/twin/machine.ts";
import { enterNamespaces, sharedBed } from "./bed-fixture.ts";
import { type Answer, bootMachine, inside, type Lab, labFor, page } from "./push-fixture.ts";

await enterNamespaces(import.meta.url);
const theBed = sharedBed();

const STYLE = "layers/web/opt/nginx/www/style.css";
const BIG = "machines/demo/opt/big";

interface Counted extends Answer {
  /** `connection` and `channel` for each start of ssh that talks, `rsync` for each of rsync. */
  readonly starts: readonly string[];
}

let prepared: Promise<{ lab: Lab; machine: Machine }> | undefined;

function theMachine(): Promise<{ lab: Lab; machine: Machine }> {
  prepared ??= theBed().then(async (bed) => {
    const machine = await bootMachine(bed);
    const lab = labFor(bed, machine.name);
    await lab.expect(0, ["push", "demo", "-q"]);
    return { machine, lab };
  });
  return prepared;
}

/** Cuts the connection once, when the channel of that number is about to be opened. Undefined: never. */
async function counted(args: readonly string[], cutAtChannel?: number): Promise<Counted> {
  const { lab } = await theMachine();
  const folder = join(lab.root, "wrappers");
  const log = join(lab.root, "starts");
  rmSync(log, { force: true });
  mkdirSync(folder, { recursive: true });
  const wrap = (name: string, text: string): void => {
    writeFileSync(join(folder, name), `#!/bin/bash\n${text}\nexec /usr/bin/${name} "$@"\n`);
    chmodSync(join(folder, name), 0o755);
  };
  wrap("rsync", `echo rsync >>'${log}'`);
  const cut =
    cutAtChannel === undefined ? "" : `[[ $(grep -c channel '${log}') != ${cutAtChannel} ]] || cut "$@"`;
  wrap(
    "ssh",
    `cut() {
  while [[ $1 != -S ]]; do shift; done
  /usr/bin/ssh -S "$2" -O exit ignored 2>/dev/null
}
case " $* " in
  *' -G '* | *' -O '*) ;;
  *' -M '*) echo connection >>'${log}' ;;
  *) echo channel >>'${log}'; ${cut} ;;
esac`,
  );
  const env = { PATH: `${folder}:${process.env.PATH}` };
  const answer = await lab.run(["push", "demo", "--ssh", "openssh", ...args], { env });
  const starts = existsSync(log) ? readFileSync(log, "utf8").trim().split("\n") : [];
  return { ...answer, starts };
}

test("a connection lost before anything changed is opened anew, and the push goes on from a new look", async () => {
  const { lab, machine } = await theMachine();
  lab.write({ [STYLE]: "/* after a loss */\n" });
  const answer = await counted(["--no-confirm"], 1);
  assert.equal(answer.code, 0, answer.stderr);
  assert.match(answer.stderr, /the connection was lost before anything changed; trying once more/);
  assert.equal(answer.starts.filter((start) => start === "connection").length, 2);
  // A look and a commit; on the first one the commit's program was to wait beside the look.
  const again = answer.starts.slice(answer.starts.lastIndexOf("connection"));
  assert.deepEqual(again, ["connection", "channel", "channel"], answer.starts.join());
  assert.equal(await page(machine, "/style.css"), "/* after a loss */\n");
});

test("a connection lost as the commit is sent changed nothing, and is mended too", async () => {
  const { lab, machine } = await theMachine();
  lab.write({ [STYLE]: "/* sent twice */\n" });
  const before = (await inside(machine, "cat /usr/local/.labctl/generation")).split(" ")[0];
  const answer = await counted(["--no-confirm"], 2);
  assert.equal(answer.code, 0, answer.stderr);
  assert.match(answer.stderr, /trying once more/);
  const after = (await inside(machine, "cat /usr/local/.labctl/generation")).split(" ")[0];
  assert.equal(Number(after), Number(before) + 1);
  assert.equal(await page(machine, "/style.css"), "/* sent twice */\n");
});

test("a connection lost twice is told, and what state that leaves", async () => {
  const { lab, machine } = await theMachine();
  lab.write({ [STYLE]: "/* never arrives */\n" });
  const live = await page(machine, "/style.css");
  // Every channel meets a closed master.
  const answer = await counted(["--no-confirm"], 1).then(async () => {
    lab.write({ [STYLE]: "/* still never */\n" });
    const folder = join(lab.root, "wrappers/ssh");
    writeFileSync(
      folder,
      readFileSync(folder, "utf8").replace(/\[\[ \$\(grep -c channel .*?\]\] \|\| cut/, "cut"),
    );
    return lab.run(["push", "demo", "--ssh", "openssh", "--no-confirm"], {
      env: { PATH: `${join(lab.root, "wrappers")}:${process.env.PATH}` },
    });
  });
  assert.equal(answer.code, 1);
  assert.match(answer.stderr, /^error\[ssh-lost\] /m);
  assert.notEqual(live, "");
  assert.notEqual(await page(machine, "/style.css"), "/* still never */\n");
});

test("nothing to do: one connection and one channel, also on a host that remembers nothing", async () => {
  const { lab } = await theMachine();
  await lab.expect(0, ["push", "demo", "-q"]);
  const known = await counted([]);
  assert.match(known.stderr, /nothing to do/);
  assert.deepEqual(known.starts, ["connection", "channel"]);
  lab.remove("var");
  const unknown = await counted([]);
  assert.match(unknown.stderr, /nothing to do/);
  assert.equal(unknown.starts.filter((s) => s === "connection").length, 1);
  assert.ok(unknown.starts.filter((s) => s === "channel").length <= 2, unknown.starts.join());
});

test("a small change: a look, a commit that brings its files, a confirmation by a second connection; no rsync", async () => {
  const { lab } = await theMachine();
  lab.write({ [STYLE]: "/* small */\n" });
  const answer = await counted([]);
  assert.equal(answer.code, 0, answer.stderr);
  const count = (word: string): number => answer.starts.filter((start) => start === word).length;
  assert.deepEqual([count("channel"), count("rsync")], [3, 0], answer.stderr);
  // Where checks take long the second connection is no longer fresh, and a third confirms.
  assert.ok([2, 3].includes(count("connection")), answer.starts.join());
  assert.match(answer.stderr, /staged 1 file/);
});

test("a big change goes by rsync; control", async () => {
  const { lab, machine } = await theMachine();
  lab.write({ [BIG]: "big\n".repeat(100_000) });
  const answer = await counted(["--no-confirm"]);
  assert.equal(answer.code, 0, answer.stderr);
  assert.ok(answer.starts.includes("rsync"), answer.starts.join());
  assert.equal(await inside(machine, "wc -c </usr/local/opt/big"), "400000\n");
});
