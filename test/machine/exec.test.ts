/** `exec` and `ssh` on real machines: words, output, exit codes, time limits, and what Ctrl-C leaves behind. */
import assert from "node:assert/strict";
import test from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { Machine } from "../../src/twin/machine.ts";
import { enterNamespaces, sharedBed } from "./bed-fixture.ts";
import { bootMachine, inside, type Lab, labFor } from "./push-fixture.ts";

await enterNamespaces(import.meta.url);
const theBed = sharedBed();

let prepared: Promise<{ lab: Lab; machines: readonly [Machine, Machine] }> | undefined;

/** Machines `demo` and `other`; nothing is pushed. */
function theMachines(): Promise<{ lab: Lab; machines: readonly [Machine, Machine] }> {
  prepared ??= theBed().then(async (bed) => {
    const machines = await Promise.all([bootMachine(bed), bootMachine(bed)]);
    const [one, two] = machines;
    const lab = labFor(bed, one.name);
    const ini = lab.read("machines/demo/machine.ini").replace(/^host = .*$/m, `host = ${two.name}`);
    lab.write({ "machines/other/machine.ini": ini });
    return { lab, machines };
  });
  return prepared;
}

/** Processes of this name on the machine. */
async function running(machine: Machine, name: string): Promise<number> {
  return Number(await inside(machine, `pgrep -x -c ${name} || true`));
}

test("words arrive as they are; each line has its machine; streams are kept apart; exit 3 when one of two fails", async () => {
  const { lab, machines } = await theMachines();
  const script = 'echo "$1"; echo why >&2; printf half; exec test "$(hostname)" = "$2"';
  const said = await lab.expect(3, [
    "exec",
    "demo",
    "other",
    "--",
    "sh",
    "-c",
    script,
    "sh",
    "a  'b' $HOME *",
    machines[0].name,
  ]);
  assert.deepEqual(said.stdout.trimEnd().split("\n").sort(), [
    "demo: a  'b' $HOME *",
    "demo: half",
    "other: a  'b' $HOME *",
    "other: half",
  ]);
  assert.match(said.stderr, /^demo: why$/m);
  assert.match(said.stderr, /^other: exit status 1 \(<ms>\)$/m);
  assert.match(said.stderr, /^2 machines: 1 succeeded, 1 failed: other \(exit status 1\)$/m);
});

test("--json is one document with both streams as they were, in the order of the machines", async () => {
  const { lab } = await theMachines();
  const said = await lab.expect(0, [
    "exec",
    "*",
    "-l",
    "demo,other",
    "--json",
    "--",
    "sh",
    "-c",
    "printf 'a\\nb'; printf c >&2",
  ]);
  const { machines } = JSON.parse(said.stdout) as { machines: Record<string, unknown>[] };
  const told = machines.map(({ ms: _, ...m }) => m);
  const one = { ok: true, status: 0, stdout: "a\nb", stderr: "c" };
  assert.deepEqual(told, [
    { machine: "demo", ...one },
    { machine: "other", ...one },
  ]);
});

test("a command that takes too long is ended there, by either client; the other machine's is not", async () => {
  const { lab, machines } = await theMachines();
  for (const client of ["builtin", "openssh"]) {
    const script = `test "$(hostname)" = ${machines[0].name} && exec sleep 300; exec true`;
    const said = await lab.expect(3, [
      "exec",
      "demo",
      "other",
      "--ssh",
      client,
      "--timeout",
      "3",
      "--",
      "sh",
      "-c",
      script,
    ]);
    assert.match(
      said.stderr,
      /error\[command-timeout\] the command on root@\w+:22 took longer than 3 s\n {2}it was asked to end \(SIGTERM\), and did\n/,
    );
    assert.equal(await running(machines[0], "sleep"), 0);
  }
});

test("Ctrl-C ends the commands on the machines, exit 130", async () => {
  const { lab, machines } = await theMachines();
  const { child, answer } = lab.start(["exec", "demo", "other", "--", "sleep", "300"]);
  for (const machine of machines) while ((await running(machine, "sleep")) === 0) await sleep(20);
  child.kill("SIGINT");
  assert.equal((await answer).code, 130);
  for (const machine of machines) assert.equal(await running(machine, "sleep"), 0);
});

test("a line of shell given as one word is explained; without a command, or with none of ours, nothing is sent", async () => {
  const { lab } = await theMachines();
  const said = await lab.expect(1, ["exec", "demo", "--", "uptime; df"]);
  assert.match(
    said.stderr,
    /help: the words after -- are a program and its arguments; `-- sh -c '…'` runs a line/,
  );
  for (const words of [["exec", "demo"], ["exec", "demo", "--"], ["exec", "--", "true"], ["exec"]])
    await lab.expect(64, words);
  assert.equal(
    (await lab.expect(0, ["exec", "demo", "-n", "--", "rm", "a b"])).stderr,
    "demo: would run rm 'a b'\n",
  );
});

test("ssh goes where machine.ini says, with options after the machine for the command, and ends as the command does", async () => {
  const { lab, machines } = await theMachines();
  assert.equal((await lab.expect(0, ["ssh", "other", "hostname", "-s"])).stdout, `${machines[1].name}\n`);
  assert.equal((await lab.expect(0, ["ssh", "other", "--", "echo a | tr a b"])).stdout, "b\n");
  await lab.expect(7, ["ssh", "demo", "exit 7"]);
  await lab.expect(64, ["ssh", "*", "true"]);
  assert.match((await lab.expect(255, ["ssh", "demo", "true"], { sshConfig: "/dev/null" })).stderr, /\S/);
});
