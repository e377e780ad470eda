/**
 * `labctl twin`: the example machines are well in their twins, what is wrong in one is named, a twin's records are those of a
 * real push, and nothing is left of it however it ends. All twins share the tests' image.
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import {
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { enterNamespaces, sharedBed, TEST_PACKAGES } from "./bed-fixture.ts";
import { guestImage } from "./guest-fixture.ts";
import { bootMachine, inside, type Lab, labFor } from "./push-fixture.ts";

await enterNamespaces(import.meta.url);
const theBed = sharedBed();
const scratch = mkdtempSync(join(tmpdir(), "labctl-twin-test-"));
test.after(() => spawn("rm", ["-rf", scratch]));

/** The home of whoever runs the tests has the image; a pool's disk shows in `TMPDIR` if it stays. */
const ENV = {
  XDG_CACHE_HOME: process.env.XDG_CACHE_HOME ?? join(process.env.HOME ?? "/root", ".cache"),
  TMPDIR: scratch,
};
const PACKAGES = TEST_PACKAGES.flatMap((name) => ["--package", name]);

let lab: Promise<Lab> | undefined;
/** A copy of this repository whose machines are its own. */
function theLab(): Promise<Lab> {
  lab ??= theBed().then((bed) => {
    const made = labFor(bed, "demo");
    // What `!` links of the machine `storage` lead to.
    cpSync(join(import.meta.dirname, "../../shared"), join(made.root, "shared"), { recursive: true });
    return made;
  });
  return lab;
}

async function twin(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const { run } = await theLab();
  return run(["twin", ...args], { env: { ...ENV, ...env } });
}

interface Report {
  readonly ok: boolean;
  readonly generation: string;
  readonly checks: readonly { readonly name: string; readonly verdict: string }[];
  readonly failedUnits: readonly { readonly unit: string; readonly log: readonly string[] }[];
  readonly skippedUnits: readonly string[];
  readonly phasesMs: Readonly<Record<string, number>>;
}

test("a host that can't boot machines is told what to install, and arguments that make no sense are refused", async () => {
  const missing = await twin(["demo"], { PATH: scratch });
  assert.equal(missing.code, 1);
  assert.match(
    missing.stderr,
    /error\[host-program-missing\] program `systemd-nspawn` is not installed\n {2}help: apt-get install --no-install-recommends systemd-container/,
  );
  for (const args of [
    ["demo", "--shell"],
    ["demo", "--json", "--", "true"],
    ["*"],
    ["demo", "--package", "-o=x"],
  ])
    assert.equal((await twin(args)).code, 64, args.join(" "));
  assert.equal((await twin(["nobody"])).code, 1);
});

/** Owners and modes of this host's devices that a twin has, too. */
const hostDevices = (): string[] =>
  ["/dev/net/tun", "/dev/fuse", "/dev/kvm", "/dev/loop-control"].filter(existsSync).map((path) => {
    const { uid, gid, mode } = statSync(path);
    return `${path} ${uid} ${gid} ${mode.toString(8)}`;
  });
const devicesBefore = hostDevices();

test("a twin's own udev gives its devices owners and modes, and this host's keep theirs", async () => {
  const change =
    "chmod 0604 /dev/net/tun; chown 7:8 /dev/net/tun; stat -c '%a %u %g' /dev/net/tun; exec 3<>/dev/net/tun";
  const answer = await twin(["demo", ...PACKAGES, "--", "bash", "-c", change]);
  assert.equal(answer.code, 0, answer.stderr);
  assert.match(answer.stdout, /^604 7 8$/m);
  assert.deepEqual(hostDevices(), devicesBefore);
});

test("every example machine is well in its twin, which runs the generation that was built", async () => {
  const { run, read } = await theLab();
  // Not attic: its packages would take an image of their own. `labctl twin attic --check` says that it is well.
  for (const machine of ["demo", "gateway", "storage"]) {
    const answer = await twin([machine, "--check", "--json", ...PACKAGES]);
    assert.equal(answer.code, 0, answer.stderr + answer.stdout);
    const report = JSON.parse(answer.stdout) as Report;
    assert.equal(report.ok, true);
    assert.ok(report.checks.some((c) => c.name === "base" && c.verdict === "ok"));
    await run(["build", "-q", machine]);
    const built = JSON.parse((await run(["build", machine, "--json"])).stdout) as {
      machines: { generation: string }[];
    };
    assert.equal(report.generation, built.machines[0]?.generation);
    const { disk = 0, tree = 0, boot = 0 } = report.phasesMs;
    console.error(`${machine}: disk ${disk}, tree ${tree}, boot ${boot} ms`);
  }
  assert.ok(read("lab.ini"));
  assert.deepEqual(hostDevices(), devicesBefore);
});

test("a check that fails, a unit that fails and a unit without its disk are each told apart; exit 1", async () => {
  const own = "machines/storage";
  const service = (more: string, run: string): string =>
    `[Unit]\n${more}[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=${run}\n`;
  const started = (name: string) => ({
    [`${own}/lib/systemd/system/multi-user.target.wants/${name}`]: { link: `../${name}` },
  });
  const { write, remove } = await theLab();
  write({
    [`${own}/lib/labctl/check.d/gone`]: {
      text: "#!/bin/sh\necho the data is gone\nexit 3\n",
      mode: 0o755,
    },
    [`${own}/lib/systemd/system/bad.service`]: service("", "/bin/sh -c 'echo no such luck; exit 1'"),
    ...started("bad.service"),
    [`${own}/lib/systemd/system/tape.service`]: service("ConditionPathExists=/dev/st0\n", "/bin/true"),
    ...started("tape.service"),
  });
  const answer = await twin(["storage", ...PACKAGES]);
  assert.equal(answer.code, 1);
  assert.match(
    answer.stderr,
    /error\[twin-check-failed\] check `gone` failed in the twin of `storage`\n {2}exit status 3\n {2}said: the data is gone/,
  );
  assert.match(
    answer.stderr,
    /error\[twin-unit-failed\] unit `bad\.service` failed in the twin of `storage`\n(.*\n)*? {2}said: no such luck/,
  );
  assert.match(answer.stderr, /tape\.service did not start: a condition of it is not met here/);
  assert.doesNotMatch(answer.stderr, /unit `tape\.service`|check `base` failed/);
  for (const path of [
    "lib/labctl/check.d/gone",
    "lib/systemd/system/bad.service",
    "lib/systemd/system/tape.service",
  ])
    remove(`${own}/${path}`);
  for (const name of ["bad.service", "tape.service"])
    remove(`${own}/lib/systemd/system/multi-user.target.wants/${name}`);
});

/**
 * Tree and labctl's own records, without times and inodes: what two machines of one generation must have in common. A push
 * also counts and lists what it had units do, which in a twin the boot did.
 */
const DUMP = `cd /usr/local
find . -path ./.labctl -prune -o -printf '%p %y %m %u:%g %l\\n' | sort
find . -path ./.labctl -prune -o -type f -print0 | sort -z | xargs -0 sha256sum
cd .labctl
find . -name stage -prune -o -printf '%p %y %m %u:%g %l\\n' | grep -v -e /lock -e /reserve -e /sysctl | sort
for f in generation manifest.json paths remote.sh generations/1/{manifest.json,paths,touched,added,changes}; do sha256sum "$f"; done
awk '{ $6 = $7 = $8 = "-"; print }' fingerprint
grep -v -e ^time= -e ^units= generations/1/meta`;

test("labctl's records in a twin are those that a push to a real machine leaves; a push to the twin then has nothing to do", async () => {
  const { expect, start } = await theLab();
  const bed = await theBed();
  const machine = await bootMachine(bed);
  const config = join(scratch, "ssh_config");
  writeFileSync(config, readFileSync(bed.sshConfigFile, "utf8").replace(`Host ${machine.name}`, "Host demo"));
  await expect(0, ["push", "demo", "-q", "--no-confirm", "--accept-new"], { sshConfig: config });
  const pushed = await inside(machine, DUMP);
  const copied = await twin(["demo", "-q", ...PACKAGES, "--", "bash", "-c", DUMP]);
  assert.equal(copied.code, 0, copied.stderr);
  assert.deepEqual(copied.stdout.split("\n"), pushed.split("\n"));

  const kept = start(["twin", "demo", "--keep", ...PACKAGES], { env: ENV });
  let said = "";
  kept.child.stderr?.on("data", (chunk: string) => {
    said += chunk;
  });
  const door = (): string | undefined => /--ssh-config (\S+)/.exec(said)?.[1];
  for (let i = 0; door() === undefined; i++) {
    assert.ok(i < 1200 && kept.child.exitCode === null, said);
    await sleep(50);
  }
  const sshConfig = door() ?? "";
  const second = await expect(0, ["push", "demo"], { sshConfig });
  assert.match(second.stderr, /nothing to do: it runs generation 1/);
  await expect(0, ["verify", "--live", "demo"], { sshConfig });
  const list = await expect(0, ["generations", "demo", "--json"], { sshConfig });
  assert.equal((JSON.parse(list.stdout) as { generations: unknown[] }).generations.length, 1);
  kept.child.kill("SIGINT");
  assert.equal((await kept.answer).code, 130);
  await machine.kill();
});

test("the guests of a machine start in its twin, from an image that the host lets it see", async () => {
  const image = await guestImage();
  const { write, edit, read, run, expect } = labFor(await theBed(), "demo");
  // What the tests' image has, and the base of all images.
  edit(
    "layers/images/layer.ini",
    /^packages = .*$/m.exec(read("layers/images/layer.ini"))?.[0] ?? "",
    "packages = nodejs, zstd",
  );
  edit("layers/guests/layer.ini", ", openssh-client", "");
  const sha256 = createHash("sha256").update(readFileSync(image.file)).digest("hex");
  const guest = "[network lab]\nipv4 = /24\n[guest web]\nimage = debian\nnetwork = lab\nautostart = yes\n";
  write({
    "machines/demo/machine.ini": `[machine]\nlayers = nspawn\n${guest}`,
    "machines/demo/etc/images/debian.ini": `[image]\nsource = file:///srv/debian.tar.zst\nsha256 = ${sha256}\n`,
    "facts/probed/demo.json": JSON.stringify({
      probedAt: "2026-11-20T10:00:00Z",
      facts: { HOST_MACHINE_ID: "4c1f5e0c7b8d4a0e9a3b2f6d1e8c7a55" },
    }),
  });
  await expect(0, ["ip", "plan", "--write"]);
  const bind = ["--bind", `${image.file}:/srv/debian.tar.zst`];
  const inside = "systemctl is-active container@web; getent ahostsv6 web.lab.demo.lan | head -n 1";
  const answer = await run(["twin", "demo", "--check", ...bind, ...PACKAGES, "--", "sh", "-c", inside], {
    env: ENV,
  });
  assert.equal(answer.code, 0, answer.stderr + answer.stdout);
  assert.match(answer.stdout, /^active\nfd48:1629:ad67:100:/);
});

test("a command runs inside, with its exit status", async () => {
  const answer = await twin(["storage", ...PACKAGES, "--", "sh", "-c", "hostname; exit 7"]);
  assert.equal(answer.code, 7, answer.stderr);
  assert.equal(answer.stdout, "storage\n");
});

test("Ctrl-C, SIGTERM and SIGKILL of labctl leave no process, mount, disk image or loop device", async () => {
  const { start } = await theLab();
  for (const signal of ["SIGINT", "SIGTERM", "SIGKILL"] as const) {
    const before = { mounts: readFileSync("/proc/self/mounts", "utf8"), pids: foreign() };
    const { child, answer } = start(["twin", "storage", ...PACKAGES, "--", "sh", "-c", "echo up; sleep 60"], {
      env: ENV,
    });
    await saysUp(child);
    assert.ok(foreign().length > before.pids.length, "the control: a twin that runs is seen");
    assert.ok(loops().length > 0, "the control: its disk is seen");
    child.kill(signal);
    await answer;
    for (let i = 0; i < 250 && (loops().length > 0 || foreign().length > before.pids.length); i++)
      await sleep(20);
    assert.deepEqual(foreign(), before.pids, signal);
    assert.deepEqual(loops(), [], signal);
    assert.equal(readFileSync("/proc/self/mounts", "utf8"), before.mounts);
    assert.deepEqual(
      readdirSync(scratch).filter((name) => name.startsWith("labctl-")),
      [],
      signal,
    );
  }
});

async function saysUp(child: ChildProcess): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    child.stdout?.on("data", (chunk: string) => {
      if (chunk.includes("up")) resolve();
    });
    child.on("exit", () => reject(new Error("it ended before it was up")));
  });
}

/** Processes in other network namespaces than this one. */
function foreign(): string[] {
  const own = readlinkSync("/proc/self/ns/net");
  return readdirSync("/proc").filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readlinkSync(`/proc/${pid}/ns/net`) !== own;
    } catch {
      return false;
    }
  });
}

/** Loop devices on a disk image of ours; they are the same in all namespaces. */
function loops(): string[] {
  return readdirSync("/sys/block").filter((name) => {
    try {
      return readFileSync(`/sys/block/${name}/loop/backing_file`, "utf8").includes(scratch);
    } catch {
      return false;
    }
  });
}
