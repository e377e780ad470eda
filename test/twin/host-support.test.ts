/** What a host is told when it can't boot machines: whole texts, from facts, on any host and as any user. */
import assert from "node:assert/strict";
import test from "node:test";
import { formatDiagnostic } from "../../src/diagnostics.ts";
import { type HostFacts, judgeHost, packagesNeeded } from "../../src/twin/host-support.ts";

const able: HostFacts = {
  platform: "linux",
  uid: 0,
  programsMissing: [],
  namespacesRefused: undefined,
  cgroup2Refused: undefined,
  loopControl: true,
  filesystems: ["ext4", "overlay", "btrfs"],
  poolFolder: "/tmp",
  freeBytes: 5e9,
};

function report(facts: Partial<HostFacts>): string {
  const judged = judgeHost({ ...able, ...facts });
  return (judged.ok ? judged.warnings : judged.problems).map(formatDiagnostic).join("\n");
}

test("everything that a host lacks is listed at once, each with its fix", () => {
  const text = report({
    uid: 1000,
    programsMissing: ["mmdebstrap", "systemd-nspawn", "mkfs.btrfs"],
    namespacesRefused: "unshare: unshare failed: Operation not permitted\n",
    loopControl: false,
    filesystems: ["ext4"],
    freeBytes: 1_234_567_890,
  });
  assert.equal(
    text,
    `error[host-not-root] booting machines needs root; this is user 1000
  namespaces, loop devices and the machines' own users are set up by root
  help: run the same command with sudo, or use \`labctl build\` alone, which needs no root
error[host-program-missing] program \`mmdebstrap\` is not installed
  help: apt-get install --no-install-recommends mmdebstrap
error[host-program-missing] program \`systemd-nspawn\` is not installed
  help: apt-get install --no-install-recommends systemd-container
error[host-namespaces-refused] this host refuses new pid, network and mount namespaces
  said: unshare: unshare failed: Operation not permitted
  help: in a container, give it all capabilities (\`--privileged\`); else use a virtual machine
error[host-loop-missing] there is no /dev/loop-control, so no disk image can be mounted
  help: run \`modprobe loop\` on the host; in a container, pass /dev/loop-control and /dev/loop* in
error[host-copy-on-write-missing] neither btrfs nor overlay is in /proc/filesystems
  machines share one root file system, each with its own changes on top
  help: run \`modprobe btrfs\` (best) or \`modprobe overlay\` on the host
error[host-disk-short] 1234 MB free in /tmp, 2000 MB needed
  help: free some space, or point TMPDIR at a folder on a larger disk`,
  );
});

test("cgroup2 that can't be mounted is named with what mount said", () => {
  assert.equal(
    report({ cgroup2Refused: "mount: /mnt: permission denied." }),
    `error[host-cgroup2-refused] cgroup2 can't be mounted in a private mount namespace
  said: mount: /mnt: permission denied.
  help: in a container, give it all capabilities (\`--privileged\`); the kernel needs CONFIG_CGROUPS`,
  );
});

test("on another system than Linux nothing else is complained about", () => {
  assert.equal(
    report({ platform: "darwin", uid: 501, loopControl: false, filesystems: [], freeBytes: 0 }),
    `error[host-not-linux] machines boot on Linux only; this is darwin
  help: run this on a Linux host, or use \`labctl build\` alone, which needs no machine`,
  );
});

test("a host without btrfs boots machines on overlayfs, and says so", () => {
  for (const facts of [{ filesystems: ["overlay"] }, { programsMissing: ["mkfs.btrfs"] }]) {
    const judged = judgeHost({ ...able, ...facts });
    assert.ok(judged.ok);
    assert.equal(judged.value.poolKind, "overlay");
    assert.equal(
      report(facts),
      `warning[host-btrfs-missing] this host has no btrfs; machines run on overlayfs instead
  snapshots inside machines do not work there
  help: run \`modprobe btrfs\` on the host and install btrfs-progs`,
    );
  }
});

test("an able host gets no complaint and btrfs", () => {
  const judged = judgeHost(able);
  assert.deepEqual(judged, {
    ok: true,
    value: { poolKind: "btrfs", poolFolder: "/tmp", freeBytes: 5e9 },
    warnings: [],
  });
});

test("every program that can be missing has its package among those needed", () => {
  for (const name of [
    "mmdebstrap",
    "systemd-container",
    "socat",
    "zstd",
    "btrfs-progs",
    "debian-archive-keyring",
  ]) {
    assert.ok(packagesNeeded().includes(name), name);
  }
});
