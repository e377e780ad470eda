/** Disposable machines: that they boot, answer real OpenSSH, reach each other, and lose their power as real ones do. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { formatDiagnostic } from "../../src/diagnostics.ts";
import type { Bed } from "../../src/twin/bed.ts";
import { openBed } from "../../src/twin/bed.ts";
import { type ProgramEnd, runProgram } from "../../src/twin/run-program.ts";
import { enterNamespaces, sharedBed, testImage, unwrap, withMachine } from "../machine/bed-fixture.ts";

await enterNamespaces(import.meta.url);
const theBed = sharedBed();

function ssh(bed: Bed, host: string, command: string): Promise<ProgramEnd> {
  return runProgram(["ssh", "-F", bed.sshConfigFile, host, command], { timeoutMs: 20_000 });
}

test("a machine that is not ready in time is switched off, and its last console lines are shown", async () => {
  const bed = await theBed();
  const booted = await bed.boot({ name: "late", timeoutMs: 1 });
  assert.ok(!booted.ok);
  assert.equal(
    booted.problems
      .map(formatDiagnostic)
      .join("\n")
      .replace(/^ {2}console: .*\n/gm, ""),
    `error[machine-not-ready] machine \`late\` was not ready after 0.001 s
  still missing: systemd's READY
  the machine was switched off
  help: a loaded host may need a longer deadline; else the last console lines say where it hangs`,
  );
});

test("a machine that ends during boot is reported with what nspawn said", async () => {
  const bed = await theBed();
  const booted = await bed.boot({ name: "broken", nspawnArguments: ["--bind-ro=/does/not/exist"] });
  assert.ok(!booted.ok);
  const text = booted.problems.map(formatDiagnostic).join("\n");
  assert.match(
    text,
    /^error\[machine-ended-early\] machine `broken` ended before it was ready \(exit status 1\)/,
  );
  assert.match(text, /console: .*\/does\/not\/exist/);
});

test("names and addresses that are unusable or taken are refused before anything boots", async (t) => {
  await withMachine(t, await theBed(), async (machine, bed) => {
    const codes = async (name: string, address?: string) => {
      const booted = await bed.boot({ name, ...(address ? { address } : {}) });
      return booted.ok ? ["booted"] : booted.problems.map((p) => p.code);
    };
    assert.deepEqual(await codes("under_score"), ["machine-name-unusable"]);
    assert.deepEqual(await codes(machine.name), ["machine-name-unusable"]);
    assert.deepEqual(await codes("other", machine.address), ["machine-address-unusable"]);
    assert.deepEqual(await codes("other", "192.0.2.1"), ["machine-address-unusable"]);
    assert.deepEqual(await codes("other", "10.97.0.1"), ["machine-address-unusable"]);
  });
});

test("a power cut ends a machine at once; restarted, it has its synced files and its host key, and is whole", async (t) => {
  await withMachine(t, await theBed(), async (machine, bed) => {
    const wrote = await ssh(bed, machine.name, "echo kept >/usr/local/etc/kept && sync; echo $$ >/run/lost");
    assert.equal(wrote.status, 0, wrote.stderr);
    await machine.kill();
    assert.equal(machine.isRunning, false);
    assert.notEqual((await ssh(bed, machine.name, "true")).status, 0);
    assert.equal(readFileSync(join(machine.rootFolder, "usr/local/etc/kept"), "utf8"), "kept\n");

    unwrap(await machine.restart());
    const after = await ssh(
      bed,
      machine.name,
      "cat /usr/local/etc/kept; ls /run/lost; systemctl is-system-running --wait",
    );
    assert.equal(after.stdout, "kept\nrunning\n", after.stderr);
  });
});

test("a machine boots whole and answers OpenSSH with its own, strictly checked host key", async (t) => {
  await withMachine(t, await theBed(), async (machine, bed) => {
    const said = await ssh(
      bed,
      machine.name,
      "hostname; systemctl is-system-running --wait; systemctl is-active ssh nginx",
    );
    assert.equal(said.stdout, `${machine.name}\nrunning\nactive\nactive\n`, said.stderr);
    const stranger = ["-o", "IdentityFile=/dev/null", "-o", "PreferredAuthentications=publickey"];
    const refused = await runProgram([
      "ssh",
      "-F",
      "/dev/null",
      ...stranger,
      "-o",
      `UserKnownHostsFile=${bed.knownHostsFile}`,
      "-o",
      "BatchMode=yes",
      `root@${machine.address}`,
      "true",
    ]);
    assert.match(refused.stderr, /Permission denied/);
  });
});

test("a program runs inside past sshd, with its input, its status and a plain environment", async (t) => {
  await withMachine(t, await theBed(), async (machine) => {
    const ran = await machine.runInside(
      ["sh", "-c", "cat; readlink /proc/1/exe; hostname; env | sort | head -1; exit 3"],
      "in\n",
    );
    assert.equal(ran.stdout, `in\n/usr/lib/systemd/systemd\n${machine.name}\nHOME=/root\n`);
    assert.equal(ran.status, 3);
    await machine.stop();
    assert.equal((await machine.runInside(["true"])).status, 127);
  });
});

test("two machines that boot at once reach each other by name and address, with different host keys", async () => {
  const bed = await theBed();
  const [a, b] = (await Promise.all(["left", "right"].map((name) => bed.boot({ name })))).map(unwrap);
  assert.ok(a && b);
  assert.notEqual(a.hostKey, b.hostKey);
  // resolved makes sure for a second or two that its own name is unique before it answers to it.
  const named = await a.runInside(["sh", "-c", "until getent hosts right; do sleep 0.1; done"], "", 15_000);
  assert.equal(named.status, 0);
  for (const target of [b.address, b.ulaAddress, "right"]) {
    const fetched = await a.runInside(["ping", "-c1", "-W3", target]);
    assert.equal(fetched.status, 0, fetched.stdout + fetched.stderr);
  }
  const page = await a.runInside([
    "curl",
    "-sS",
    "-o",
    "/dev/null",
    "-w",
    "%{http_code}",
    `http://${b.address}/`,
  ]);
  assert.equal(page.stdout, "200", page.stderr);
  await Promise.all([a.kill(), b.kill()]);
});

test("the first boot changes the image of no other machine", async (t) => {
  await withMachine(t, await theBed(), async (first, bed) => {
    await first.runInside(["sh", "-c", "echo mine >/usr/local/etc/mine"]);
    assert.ok(existsSync(join(first.rootFolder, "usr/local/etc/mine")));
    await withMachine(t, bed, async (second) => {
      assert.ok(!existsSync(join(second.rootFolder, "usr/local/etc/mine")));
    });
  });
});

test("machines boot on overlayfs where there is no btrfs, and a bed that closed leaves no mount or link", async () => {
  const bridge = async () => (await runProgram(["ip", "link", "show", "lab0"])).status;
  await (await theBed()).close();
  assert.notEqual(await bridge(), 0);
  const bed = unwrap(await openBed({ image: await testImage(), poolKind: "overlay" }));
  const machine = unwrap(await bed.boot({ name: "layered" }));
  assert.equal((await ssh(bed, "layered", "hostname")).stdout, "layered\n");
  assert.equal(await bridge(), 0);
  await machine.kill();
  unwrap(await machine.restart());
  await bed.close();
  assert.notEqual(await bridge(), 0);
  assert.ok(!readFileSync("/proc/self/mountinfo", "utf8").includes(bed.folder));
});
