/** The answer to a facts probe is untrusted: what is not of the expected form refuses the whole answer. */
import assert from "node:assert/strict";
import test from "node:test";
import { formatDiagnostic } from "../../src/diagnostics.ts";
import { MAX_PROBE_BYTES, readProbeAnswer } from "../../src/facts/probe-answer.ts";

const GOOD = [
  "labctl-facts\t1",
  "machine-id\t0123456789abcdef0123456789abcdef",
  "hostname\tgw",
  "cpus\t4",
  "memory-kib\t1024",
  "os\tdebian\t13\ttrixie",
  "kvm\tno",
  "link\tlo\t1\tvirtual\t00:00:00:00:00:00\tunknown\t65536",
  "link\teth0\t2\tphysical\t02:00:00:00:00:01\tup\t1500",
  "address\teth0\tinet\t10.0.0.2/24",
  "route\tdefault via 10.0.0.1 dev eth0",
  "wireguard-key\toAacuKLCkBGc1UezVt67SOcKPLJCFPoAUWJF/4cOYW8=",
  "gpu\t0000:01:00.0\t0x10de\t0x2204",
  "pci\t0000:01:00.0\t0x030000\t14",
  "mdev\t83b8f4f2-509f-382f-3c1e-e6bfe0fa1001",
  "package\tnginx-light\t1.26.3-3",
  "end",
  "",
].join("\n");

test("a whole answer becomes facts whose names begin with HOST_", () => {
  const read = readProbeAnswer(GOOD, "gw");
  assert.ok(read.ok);
  assert.deepEqual(read.value, {
    HOST_CPUS: 4,
    HOST_FILE_SYSTEMS: [],
    HOST_GPUS: [{ slot: "0000:01:00.0", vendor: "0x10de", device: "0x2204" }],
    HOST_KVM: false,
    HOST_LINKS: [
      { name: "lo", index: 1, kind: "virtual", mac: "00:00:00:00:00:00", mtu: 65536, addresses: [] },
      {
        name: "eth0",
        index: 2,
        kind: "physical",
        mac: "02:00:00:00:00:01",
        mtu: 1500,
        addresses: ["10.0.0.2/24"],
      },
    ],
    HOST_MACHINE_ID: "0123456789abcdef0123456789abcdef",
    HOST_MDEVS: ["83b8f4f2-509f-382f-3c1e-e6bfe0fa1001"],
    HOST_MEMORY_BYTES: 1048576,
    HOST_NAME: "gw",
    HOST_OS: "debian",
    HOST_OS_CODENAME: "trixie",
    HOST_OS_VERSION: "13",
    HOST_PACKAGES: { "nginx-light": "1.26.3-3" },
    HOST_PCI: [{ slot: "0000:01:00.0", class: "0x030000", iommuGroup: 14 }],
    HOST_ROUTES: ["default via 10.0.0.1 dev eth0"],
    HOST_WIREGUARD_KEY: "oAacuKLCkBGc1UezVt67SOcKPLJCFPoAUWJF/4cOYW8=",
  });
});

const replaced = (line: string, by: string): string => GOOD.replace(line, by);

for (const [what, text] of [
  ["nothing", ""],
  ["a WireGuard key that says more", replaced("4cOYW8=", "4cOYW8= x")],
  ["a WireGuard key of 33 bytes", replaced("4cOYW8=", "4cOYW8AA")],
  ["a login banner", `Welcome to gw\n${GOOD}`],
  ["an answer cut short", GOOD.slice(0, -6)],
  ["an answer of another version", replaced("labctl-facts\t1", "labctl-facts\t2")],
  ["shell syntax in a name", replaced("hostname\tgw", "hostname\t$(reboot)")],
  ["a number that is none", replaced("cpus\t4", "cpus\t4; rm -rf /")],
  ["a PCI slot that is none", replaced("pci\t0000:01:00.0", "pci\t../../x")],
  ["a mediated device that is none", replaced("mdev\t83b8f4f2-", "mdev\t")],
  ["an unknown line", replaced("kvm\tno", "kvm\tno\nsurprise\tyes")],
  ["a name from every object's prototype", replaced("kvm\tno", "constructor\tx")],
  ["a control character", replaced("gw", "g\u001b[2Jw")],
  ["an address that is none", replaced("10.0.0.2/24", "10.0.0.999/24")],
  ["a machine-id that is none", replaced("0123456789abcdef0123456789abcdef", "0123")],
  ["more than a probe prints", GOOD.replace("end\n", `${"route\tx\n".repeat(MAX_PROBE_BYTES / 8)}end\n`)],
] as const) {
  test(`${what} is refused whole`, () => {
    const read = readProbeAnswer(text, "gw");
    assert.ok(!read.ok, JSON.stringify(read));
    assert.match(
      formatDiagnostic(read.problems[0] as never),
      /^error\[bad-answer\] machine `gw` gave an answer to the probe that makes no sense\n {2}.*\n {2}no fact was changed\n {2}help: /,
    );
  });
}
