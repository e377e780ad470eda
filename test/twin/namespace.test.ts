/** What remains of a run in namespaces however it ends, looked at from outside of it. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { openBed } from "../../src/twin/bed.ts";
import { isInNamespaces } from "../../src/twin/namespace.ts";
import { enterNamespaces, testImage } from "../machine/bed-fixture.ts";

await enterNamespaces(import.meta.url);

const victim = fileURLToPath(new URL("namespace-victim.ts", import.meta.url));

function startVictim(mode: string, folder = "-"): ChildProcess {
  const argv = ["--import", "tsx", victim, "outer", mode, folder];
  return spawn(process.execPath, argv, { stdio: ["ignore", "pipe", "inherit"] });
}

async function saysUp(child: ChildProcess): Promise<void> {
  assert.ok(child.stdout);
  const [chunk] = await once(child.stdout, "data");
  assert.match(String(chunk), /up/);
}

/** Names of processes in other network namespaces than this one: a nested run's, and its machines'. */
function foreignProcesses(): string[] {
  const own = readlinkSync("/proc/self/ns/net");
  return readdirSync("/proc").flatMap((pid) => {
    try {
      if (!/^\d+$/.test(pid) || readlinkSync(`/proc/${pid}/ns/net`) === own) return [];
      return [readFileSync(`/proc/${pid}/comm`, "utf8").trim()];
    } catch {
      return [];
    }
  });
}

/** Loop devices whose disk image is or was in `folder`; loop devices are the same in all namespaces. */
function loopDevices(folder: string): string[] {
  return readdirSync("/sys/block").filter((name) => {
    try {
      return readFileSync(`/sys/block/${name}/loop/backing_file`, "utf8").includes(folder);
    } catch {
      return false;
    }
  });
}

async function until(condition: () => boolean, timeoutMs: number): Promise<boolean> {
  for (const deadline = Date.now() + timeoutMs; Date.now() < deadline; await sleep(20)) {
    if (condition()) return true;
  }
  return condition();
}

test("kill -9 of the outer process leaves no process, mount, loop device, link or file", async () => {
  const folder = mkdtempSync(join(tmpdir(), "labctl-victim-"));
  const mounts = readFileSync("/proc/self/mountinfo", "utf8");
  const links = readFileSync("/proc/net/dev", "utf8").split("\n").length;
  assert.deepEqual(foreignProcesses(), []);
  const child = startVictim("machine", folder);
  await saysUp(child);
  // Control: all of it can be seen from here while it lives.
  assert.ok(foreignProcesses().includes("sshd"), foreignProcesses().join(" "));
  assert.equal(loopDevices(folder).length, 1);

  child.kill("SIGKILL");

  assert.ok(await until(() => foreignProcesses().length === 0, 5000), foreignProcesses().join(" "));
  assert.ok(await until(() => loopDevices(folder).length === 0, 5000), loopDevices(folder).join(" "));
  assert.equal(readFileSync("/proc/self/mountinfo", "utf8"), mounts);
  assert.equal(readFileSync("/proc/net/dev", "utf8").split("\n").length, links);
  assert.deepEqual(readdirSync(folder), []);
  assert.equal(statSync("/dev/null").rdev, 0x103);
  rmSync(folder, { recursive: true });
});

test("SIGTERM and SIGINT to the outer process end everything in it", async () => {
  for (const [signal, status] of [
    ["SIGTERM", 143],
    ["SIGINT", 130],
  ] as const) {
    const child = startVictim("wait");
    await saysUp(child);
    child.kill(signal);
    const [code] = await once(child, "exit");
    assert.equal(code, status, signal);
    assert.deepEqual(foreignProcesses(), []);
  }
});

test("the command's exit status is passed on", async () => {
  const [code] = await once(startVictim("exit"), "exit");
  assert.equal(code, 7);
});

test("the command reads this process's standard input", async () => {
  const argv = ["--import", "tsx", victim, "outer", "echo", "-"];
  const child = spawn(process.execPath, argv, { stdio: ["pipe", "pipe", "inherit"] });
  child.stdin.end("a line\n");
  const [chunk] = await once(child.stdout, "data");
  assert.equal(String(chunk), "a line\n");
  await once(child, "exit");
});

test("the mark alone does not make a process believe that it is inside", async () => {
  assert.equal(isInNamespaces(), true);
  const honest = process.env.LABCTL_NAMESPACE;
  process.env.LABCTL_NAMESPACE = `labctl-1-x:${readlinkSync("/proc/self/ns/net")}`;
  try {
    assert.equal(isInNamespaces(), false);
    const bed = await openBed({ image: await testImage() });
    assert.ok(!bed.ok);
    assert.equal(bed.problems[0]?.code, "bed-outside-namespaces");
  } finally {
    process.env.LABCTL_NAMESPACE = honest;
  }
});
