/**
 * What virtual machines are told about themselves, and what the first bytes of their disks say.
 */
import assert from "node:assert/strict";
import test from "node:test";
import type { Guest } from "../../src/guests/guest.ts";
import { parseGuest } from "../../src/guests/parse-guest.ts";
import { phasesOf } from "../../src/guests/phases.ts";
import type { HostAbilities } from "../../src/guests/qemu-arguments.ts";
import { diskSizeBytes, isBlankDisk, rootDevice } from "../../src/guests/vm-disk.ts";
import {
  kernelCommandLine,
  readyVsockPort,
  seedFiles,
  splitCredentials,
  vmCredentials,
  vmMounts,
} from "../../src/guests/vm-provision.ts";

const HOST: HostAbilities = {
  kvm: { works: true },
  vsock: false,
  vhostNet: false,
  qemuMajor: 10,
  tscKhz: 2_596_148,
};
const ID = "0123456789abcdef0123456789abcdef";
const LINK = { mac: "02:00:00:00:00:01", ipv6: "fd00::1" };
const KEY = `ssh-ed25519 ${"A".repeat(68)} me: "it's" {a}`;

function guest(rest: object = {}): Guest {
  const read = parseGuest(JSON.stringify({ name: "web", kind: "vm", image: "debian", ...rest }));
  assert.ok(read.ok, JSON.stringify(read));
  return read.value;
}

test("a mount that a virtual machine can't have is refused, each by name", () => {
  const read = vmMounts(
    guest({
      mounts: [
        { source: "/srv/a", target: "/a" },
        { kind: "iscsi", source: "san/iqn.2026-01.lan:disk", target: "/b" },
      ],
    }),
  );
  assert.deepEqual(read.ok ? [] : read.problems.map((p) => p.message), [
    "guest `web` can't have a folder of the machine that it can write to at /a",
    "guest `web` can't have iSCSI at /b",
  ]);
});

test("folders and NFS become lines of fstab, blanks in octal", () => {
  const read = vmMounts(
    guest({
      tree: "/usr/local/lib/labctl/guests/web",
      mounts: [
        { source: "/srv/my files", target: "/srv/x", readOnly: true },
        { kind: "nfs", source: "nas:/export", target: "/home" },
      ],
    }),
  );
  assert.ok(read.ok);
  assert.deepEqual(read.value.lines, [
    "share0 /usr/local 9p trans=virtio,version=9p2000.L,ro 0 0",
    "share1 /srv/x 9p trans=virtio,version=9p2000.L,ro 0 0",
    "nas:/export /home nfs _netdev,rw 0 0",
  ]);
  assert.deepEqual(
    read.value.shares.map((s) => s.source),
    ["/usr/local/lib/labctl/guests/web", "/srv/my files"],
  );
});

test("a kernel's command line that Linux would cut is refused", () => {
  const long = kernelCommandLine(guest({ vm: { append: "a".repeat(1000) } }), "/dev/vda", HOST, [
    { name: "x", text: "b".repeat(900) },
  ]);
  assert.deepEqual(long.ok ? [] : long.problems.map((p) => p.code), ["vm-command-line"]);
});

test("credentials name the guest, its id and keys; those too long for fw_cfg go by the command line", () => {
  const list = vmCredentials(guest({ sshKeys: [KEY] }), ID, HOST, ["a /b nfs ro 0 0"], LINK);
  const byName = new Map(list.map((c) => [c.name, c.text]));
  assert.equal(byName.get("system.hostname"), "web");
  assert.equal(byName.get("system.machine_id"), ID);
  assert.equal(byName.get("ssh.authorized_keys.root"), `${KEY}\n`);
  assert.equal(byName.get("fstab.extra"), "a /b nfs ro 0 0\n");
  assert.equal(
    byName.get("network.network.50-labctl"),
    "[Match]\nMACAddress=02:00:00:00:00:01\n[Network]\nDHCP=ipv4\nIPv6AcceptRA=yes\nAddress=fd00::1/64\n",
  );
  assert.equal(byName.has("vmm.notify_socket"), false);
  const { byFwCfg, byCommandLine } = splitCredentials(list);
  for (const c of byFwCfg) assert.ok(`opt/io.systemd.credentials/${c.name}`.length <= 55, c.name);
  assert.deepEqual(
    byCommandLine.map((c) => c.name),
    ["systemd.extra-unit.labctl-ready.service", "systemd.unit-dropin.multi-user.target"],
  );
  // Nothing that someone must not read: everyone in the guest sees its kernel's command line.
  assert.doesNotMatch(byCommandLine.map((c) => c.text).join(), /ssh-|0123456789/);
  const line = kernelCommandLine(guest(), "/dev/vda1", HOST, byCommandLine);
  assert.match(
    line.ok ? line.value : "",
    /^console=ttyS0 root=\/dev\/vda1 rw systemd\.set_credential_binary=/,
  );
});

test("PID 1 says READY by vsock where there is one, on a port of the guest's own", () => {
  const list = vmCredentials(guest(), ID, { ...HOST, vsock: true }, [], undefined);
  assert.equal(
    list.find((c) => c.name === "vmm.notify_socket")?.text,
    `vsock-stream:2:${readyVsockPort(ID)}`,
  );
  assert.notEqual(readyVsockPort(ID), readyVsockPort(ID.replace("0", "1")));
});

test("an emulated microvm is told how fast its counter runs; others find out", () => {
  const line = (vm: object): string => {
    const made = kernelCommandLine(guest({ vm }), "/dev/vda", HOST, []);
    return made.ok ? made.value : "";
  };
  assert.equal(
    line({ accelerator: "tcg", append: "quiet" }),
    "console=ttyS0 root=/dev/vda rw tsc_early_khz=2596148 tsc=reliable quiet",
  );
  assert.equal(line({}), "console=ttyS0 root=/dev/vda rw");
  assert.equal(line({ accelerator: "tcg", machine: "q35" }), "console=ttyS0 root=/dev/vda rw");
});

test("the seed is what cloud-init's NoCloud reads, whatever stands in a key's comment", () => {
  const files = new Map(seedFiles(guest({ sshKeys: [KEY] }), ID, LINK).map((f) => [f.name, f.text]));
  assert.deepEqual([...files.keys()], ["meta-data", "user-data", "vendor-data", "network-config"]);
  assert.deepEqual(JSON.parse(files.get("meta-data") ?? ""), { "instance-id": ID, "local-hostname": "web" });
  const [head, ...rest] = (files.get("user-data") ?? "").split("\n");
  assert.equal(head, "#cloud-config");
  const user = JSON.parse(rest.join("\n"));
  assert.deepEqual(user.ssh_authorized_keys, [KEY]);
  assert.deepEqual(JSON.parse(files.get("network-config") ?? "").ethernets.link, {
    match: { macaddress: "02:00:00:00:00:01" },
    dhcp4: true,
    "accept-ra": true,
    addresses: ["fd00::1/64"],
  });
  assert.match(files.get("vendor-data") ?? "", /labctl\.ready/);
});

test("a disk is blank until something is written where a system would begin", () => {
  const raw = Buffer.alloc(2 << 20);
  const reader = (b: Buffer) => (offset: number, length: number) => b.subarray(offset, offset + length);
  assert.equal(isBlankDisk("raw", reader(raw)), true);
  raw[510] = 0x55;
  raw[511] = 0xaa;
  assert.equal(isBlankDisk("raw", reader(raw)), false);
  assert.equal(rootDevice("raw", reader(raw)), "/dev/vda1");
  assert.equal(rootDevice("raw", reader(Buffer.alloc(4096))), "/dev/vda");
  const qcow = Buffer.alloc(4096);
  qcow.writeUInt32BE(0x514649fb, 0);
  qcow.writeBigUInt64BE(8n << 30n, 24);
  qcow.writeUInt32BE(16, 36);
  qcow.writeBigUInt64BE(1024n, 40);
  assert.equal(isBlankDisk("qcow2", reader(qcow)), true);
  assert.equal(diskSizeBytes("qcow2", qcow.length, reader(qcow)), 8 * 1024 ** 3);
  qcow[1024 + 8] = 1;
  assert.equal(isBlankDisk("qcow2", reader(qcow)), false);
  qcow[1024 + 8] = 0;
  qcow.writeBigUInt64BE(512n, 8);
  assert.equal(isBlankDisk("qcow2", reader(qcow)), false, "a disk that lies upon another is not blank");
  assert.equal(isBlankDisk("qcow2", reader(Buffer.from("nonsense"))), false);
});

test("a start's time is told apart: what comes before QEMU, and the guest's own boot", () => {
  const unit = new Map([
    ["Id", "vm@web.service"],
    ["InactiveExitTimestampMonotonic", "1000000"],
    ["ExecMainStartTimestampMonotonic", "1200000"],
    ["ActiveEnterTimestampMonotonic", "9200000"],
  ]);
  assert.deepEqual(phasesOf([unit], 900_000, { bornUs: undefined, readyUs: undefined }), [
    { name: "prepare", startMs: 100, durationMs: 200 },
    { name: "boot", startMs: 300, durationMs: 8000 },
  ]);
});
