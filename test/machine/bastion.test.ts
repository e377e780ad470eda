/** Jumps through a real sshd with the system's ssh, and everything else that a jump-only user might try. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import type { Machine } from "../../src/twin/machine.ts";
import { temporaryFolder } from "../temporary-repository.ts";
import { enterNamespaces, sharedBed } from "./bed-fixture.ts";
import { bootMachine, inside, type Lab, labFor } from "./push-fixture.ts";

await enterNamespaces(import.meta.url);
const theBed = sharedBed();

interface Place {
  readonly lab: Lab;
  readonly gate: Machine;
  readonly target: Machine;
  /** Runs ssh with ann's key; `args` after the options that every run has. */
  ssh(args: readonly string[]): { code: number | null; out: string };
}

let prepared: Promise<Place> | undefined;

/** A bastion with the user `ann`, and a target whose root takes ann's key. */
function thePlace(): Promise<Place> {
  prepared ??= theBed().then(async (bed) => {
    const [gate, target] = await Promise.all([bootMachine(bed), bootMachine(bed)]);
    const key = join(temporaryFolder("key"), "ann");
    spawnSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "ann", "-f", key]);
    const publicKey = readFileSync(`${key}.pub`, "utf8").trim();
    await inside(
      target,
      `mkdir -p /root/.ssh; echo '${publicKey}' >>/root/.ssh/authorized_keys; hostname target`,
    );
    const lab = labFor(bed, gate.name);
    lab.edit("machines/demo/machine.ini", "layers = web", "layers = bastion");
    lab.remove("machines/demo/opt");
    lab.write({ "facts/demo.json": JSON.stringify({ BASTION_USERS: { ann: [publicKey] } }) });
    await lab.expect(0, ["push", "demo"]);
    const config = join(temporaryFolder("ssh"), "config");
    const options = `  IdentityFile ${key}\n  IdentitiesOnly yes\n  BatchMode yes\n  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n  LogLevel ERROR\n  ConnectTimeout 10\n`;
    spawnSync("tee", [config], {
      input: `Host gate\n  HostName ${gate.address}\n  User jump-ann\n${options}Host target\n  HostName ${target.address}\n  User root\n${options}`,
    });
    const ssh: Place["ssh"] = (args) => {
      const done = spawnSync("ssh", ["-F", config, ...args], { encoding: "utf8", timeout: 30_000 });
      return { code: done.status, out: `${done.stdout}${done.stderr}` };
    };
    return { lab, gate, target, ssh };
  });
  return prepared;
}

test("a shell, a command, files, ports and other targets are refused", async () => {
  const { ssh, target, gate } = await thePlace();
  for (const args of [["gate"], ["-tt", "gate"], ["gate", "id"], ["-s", "gate", "sftp"]]) {
    const { code, out } = ssh(args);
    assert.notEqual(code, 0, args.join(" "));
    assert.doesNotMatch(out, /uid=/);
  }
  const banner = (to: string): { code: number | null; out: string } =>
    ssh(["-o", "LogLevel=INFO", "-W", to, "gate"]);
  assert.match(banner(`${target.address}:23`).out, /administratively prohibited/);
  assert.match(
    ssh(["-N", "-o", "ExitOnForwardFailure=yes", "-R", "2222:127.0.0.1:22", "gate"]).out,
    /remote port forwarding failed/,
  );
  assert.match(ssh(["-l", "root", "gate", "id"]).out, /Permission denied/);
  // The control: the same key, and a shell where ann has one.
  assert.match(ssh(["-J", "gate", "target", "id"]).out, /uid=0/);
  assert.match(await inside(gate, "id jump-ann; /usr/local/lib/labctl/check.d/bastion"), /\(bastion\)/);
});

test("a jump leads to the target", async () => {
  const { ssh, target } = await thePlace();
  const { code, out } = ssh(["-J", "gate", "target", "hostname; echo $SSH_CONNECTION"]);
  assert.equal(code, 0, out);
  // The target sees the bastion's address, and itself.
  assert.match(out, new RegExp(`^target\n.* ${target.address.replaceAll(".", "\\.")} 22\n$`));
});

test("targets can be narrowed to some; a user who is taken away is refused, and the pusher is not", async () => {
  const { lab, ssh, target, gate } = await thePlace();
  const facts = JSON.parse(lab.read("facts/demo.json"));
  lab.write({ "facts/demo.json": JSON.stringify({ ...facts, BASTION_TARGETS: `${target.address}:22` }) });
  const pushed = await lab.expect(0, ["push", "demo"]);
  assert.match(pushed.stderr, /reload ssh\.service/);
  assert.match(
    ssh(["-o", "LogLevel=INFO", "-W", `${gate.address}:22`, "gate"]).out,
    /administratively prohibited/,
  );
  assert.equal(ssh(["-J", "gate", "target", "true"]).code, 0);
  lab.write({ "facts/demo.json": JSON.stringify({ BASTION_USERS: {} }) });
  await lab.expect(0, ["push", "demo"]);
  assert.match(ssh(["-J", "gate", "target", "true"]).out, /Permission denied/);
  await lab.expect(0, ["plan", "demo"]);
});

test("a program of keys that others could change is found by the check", async () => {
  const { gate } = await thePlace();
  await inside(gate, "chmod g+w /usr/local");
  assert.match(
    await inside(gate, "/usr/local/lib/labctl/check.d/bastion || true"),
    /bastion: \/usr\/local may be written by others than root/,
  );
  await inside(gate, "chmod g-w /usr/local; /usr/local/lib/labctl/check.d/bastion");
});
