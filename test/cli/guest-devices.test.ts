/** `labctl verify` on virtual machines that ask for devices of their machine: probed facts decide. */
import assert from "node:assert/strict";
import test from "node:test";
import { oneMachine, type Scenario, scenario } from "../scenario.ts";
import type { Files } from "../temporary-repository.ts";

const UUID = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001";
const FILE = "machines/m/etc/guests/gpu.json";

function guest(vm: object): Files {
  const definition = {
    name: "gpu",
    kind: "vm",
    image: "debian",
    vm: { machine: "q35", accelerator: "tcg", ...vm },
  };
  return { [FILE]: JSON.stringify(definition) };
}

function probed(facts: object): Files {
  return { "facts/probed/m.json": JSON.stringify({ probedAt: "2026-11-21T12:00:00Z", facts }) };
}

const PCI = [
  { slot: "0000:01:00.0", class: "0x030000", iommuGroup: 14 },
  { slot: "0000:01:00.1", class: "0x040300", iommuGroup: 14 },
  { slot: "0000:00:01.0", class: "0x060400", iommuGroup: 14 },
  { slot: "0000:02:00.0", class: "0x010802", iommuGroup: 15 },
];
const GPUS = [{ slot: "0000:01:00.0", vendor: "0x10de", device: "0x2204" }];
const WHOLE = { HOST_KVM: true, HOST_PCI: PCI, HOST_MDEVS: [UUID], HOST_GPUS: GPUS };

/** What verify finds, without its closing line. */
function findings(s: Scenario, vm: object, facts: object): string {
  s.write(guest(vm));
  s.write(probed(facts));
  const said = s.run(["verify"]);
  assert.equal(said.code, /^(error|warning)\[/m.test(said.stderr) ? 1 : 0, said.stderr);
  return said.stderr.replace(/^.*findings? in .*$\n?/m, "");
}

test("a device that the machine's probed facts do not show is a finding; one that they show is none", () => {
  const s = scenario(oneMachine("base"));
  const ask = (device: string, facts: object): string => findings(s, { devices: [device] }, facts);
  assert.equal(
    ask("pci:0000:03:00.0", WHOLE),
    [
      `warning[guest-device] ${FILE}: guest \`gpu\` asks for \`pci:0000:03:00.0\`, which machine \`m\` does not have`,
      "  HOST_PCI: 0000:01:00.0, 0000:01:00.1, 0000:00:01.0, 0000:02:00.0",
      "  help: correct it; if the machine has changed, or its IOMMU was switched on since, `labctl facts probe m`",
      "",
    ].join("\n"),
  );
  assert.match(
    ask(`mdev:${UUID.replace("8", "9")}`, WHOLE),
    /^warning\[guest-device\] .*\n {2}HOST_MDEVS: 83b8/,
  );
  assert.match(ask("render:0000:00:02.0", WHOLE), /HOST_GPUS: 0000:01:00\.0/);
  assert.match(ask("pci:0000:02:00.0", { HOST_PCI: [] }), /HOST_PCI is empty/);
  for (const device of ["pci:0000:02:00.0", `mdev:${UUID}`, "render:0000:01:00.0"])
    assert.equal(ask(device, WHOLE), "");
  s.end();
});

test("a machine that was never asked may have anything, which is said", () => {
  const s = scenario(oneMachine("base"));
  assert.match(
    findings(s, { devices: ["pci:0000:02:00.0"] }, { HOST_KVM: true }),
    /^warning\[guest-device-unknown\] .*it is not known whether machine `m` has `pci:0000:02:00\.0`.*\n {2}fact HOST_PCI is unset\n {2}help: labctl facts probe m/,
  );
  s.end();
});

test("a device without the rest of its IOMMU group is a finding; bridges do not count", () => {
  const s = scenario(oneMachine("base"));
  assert.match(
    findings(s, { devices: ["pci:0000:01:00.0"] }, WHOLE),
    /^warning\[guest-device-group\] .* without the rest of its IOMMU group 14\n {2}not asked for: pci:0000:01:00\.1\n/,
  );
  assert.equal(findings(s, { devices: ["pci:0000:01:00.0", "pci:0000:01:00.1"] }, WHOLE), "");
  s.end();
});

test("a guest that wants KVM of a machine without /dev/kvm is a finding", () => {
  const s = scenario(oneMachine("base"));
  assert.match(findings(s, { accelerator: "kvm" }, { HOST_KVM: false }), /^warning\[guest-no-kvm\] /);
  assert.equal(findings(s, { accelerator: "kvm" }, { HOST_KVM: true }), "");
  assert.equal(findings(s, {}, { HOST_KVM: false }), "");
  s.end();
});
