/**
 * The argument vector of virtual machines: each option of a definition, each ability of a machine, and what is refused.
 */
import assert from "node:assert/strict";
import test from "node:test";
import { formatDiagnostic } from "../../src/diagnostics.ts";
import type { Guest, GuestVm } from "../../src/guests/guest.ts";
import { parseGuest } from "../../src/guests/parse-guest.ts";
import {
  credentialContent,
  type HostAbilities,
  qemuArguments,
  type VmPlaces,
  vsockCid,
} from "../../src/guests/qemu-arguments.ts";
import { argumentsFile } from "../../src/guests/qemu-arguments-file.ts";

const HOST: HostAbilities = { kvm: { works: true }, vsock: false, vhostNet: false, qemuMajor: 10 };
const NO_KVM: HostAbilities = { ...HOST, kvm: { works: false, why: "there is no /dev/kvm" } };
const ID = "0123456789abcdef0123456789abcdef";
const PLACES: VmPlaces = {
  runFolder: "/run/local/vm/web",
  disk: { file: "/var/lib/local/guests/web/disk.raw", format: "raw", isBlank: false },
  seedFile: "/run/local/vm-prepared/web/seed.iso",
  credentials: [],
  kernel: { file: "/i/vmlinuz", initrd: "/i/initrd", commandLine: "console=ttyS0 root=/dev/vda" },
  id: ID,
  shares: [],
};
const UEFI = {
  code: "/u/code.fd",
  variables: "/g/vm/uefi-variables.fd",
  tpmSocket: "/run/local/swtpm/web/socket",
};

function guest(vm: Partial<GuestVm> = {}, rest: Partial<Guest> = {}): Guest {
  const read = parseGuest(JSON.stringify({ name: "web", kind: "vm", image: "debian", vm, ...rest }));
  assert.ok(read.ok, JSON.stringify(read));
  return read.value;
}

/** The arguments as lines of an option and its value. */
function lines(g: Guest, places: Partial<VmPlaces> = {}, host: HostAbilities = HOST): string[] {
  const made = qemuArguments(g, { ...PLACES, ...places }, host);
  assert.ok(made.ok, JSON.stringify(made));
  return made.value.join(" ").split(/ (?=-)/);
}

function refusal(g: Guest, places: Partial<VmPlaces>, host: HostAbilities): string {
  const made = qemuArguments(g, { ...PLACES, ...places }, host);
  assert.equal(made.ok, false);
  return made.ok ? "" : made.problems.map(formatDiagnostic).join("\n");
}

const has = (list: readonly string[], ...wanted: readonly string[]): void => {
  for (const line of wanted) assert.ok(list.includes(line), `${line} is not among\n${list.join("\n")}`);
};
const lacks = (list: readonly string[], form: RegExp): void => assert.doesNotMatch(list.join("\n"), form);

test("a guest that wants KVM where it does not work is refused with what to say, never emulated", () => {
  assert.equal(
    refusal(guest(), {}, NO_KVM),
    [
      "error[vm-no-kvm] guest `web` wants KVM, which does not work on this machine",
      "  there is no /dev/kvm",
      "  nothing was started; an emulated processor is some ten times slower, so it has to be asked for",
      '  help: say `"accelerator":"tcg"` in `vm` of its definition, or mend KVM and run `systemctl restart vm-host`',
    ].join("\n"),
  );
  // The control: asked for, it is emulated, also where KVM works.
  for (const host of [HOST, NO_KVM])
    has(lines(guest({ accelerator: "tcg" }), {}, host), "-accel tcg,thread=multi,tb-size=256", "-cpu max");
});

test("all that a machine or an image lacks is said at once", () => {
  const { kernel: _, ...noKernel } = PLACES;
  const said = qemuArguments(guest(), noKernel, NO_KVM);
  assert.deepEqual(said.ok ? [] : said.problems.map((p) => p.code), ["vm-no-kvm", "vm-no-kernel"]);
  assert.match(refusal(guest({ machine: "q35", firmware: "uefi" }), {}, HOST), /vm-no-firmware/);
  const container = parseGuest('{"name":"web","kind":"container","image":"debian"}');
  assert.ok(container.ok);
  assert.match(refusal(container.value, {}, HOST), /error\[vm-kind\] guest `web` is no virtual machine/);
});

test("a microvm boots its kernel on virtio-mmio, without a bus, firmware or display", () => {
  const list = lines(guest({ cpus: 2 }, { resources: { memory: "1.5G" } }));
  has(
    list,
    "-machine microvm,acpi=on,rtc=on",
    "-accel kvm",
    "-cpu host",
    "-smp 2",
    "-m 1536",
    "-uuid 01234567-89ab-cdef-0123-456789abcdef",
    "-kernel /i/vmlinuz",
    "-append console=ttyS0 root=/dev/vda",
    "-initrd /i/initrd",
    "-device virtio-blk-device,drive=disk,serial=disk",
    "-device virtserialport,chardev=ready,name=labctl.ready",
    "-display none",
  );
  lacks(list, /-pci|pflash|tpm|vnc|ide-cd/);
});

test("a q35 has UEFI with variables of its own, a TPM, and a display on a UNIX socket", () => {
  const list = lines(guest({ machine: "q35", firmware: "uefi", display: true }), { uefi: UEFI });
  has(
    list,
    "-machine q35,smm=off,vmport=off,usb=off",
    "-drive if=pflash,unit=0,format=raw,file=/u/code.fd,readonly=on",
    "-drive if=pflash,unit=1,format=raw,file=/g/vm/uefi-variables.fd",
    "-chardev socket,id=tpm,path=/run/local/swtpm/web/socket",
    "-device tpm-crb,tpmdev=tpm0",
    "-vnc unix:/run/local/vm/web/display",
    "-device virtio-blk-pci,drive=disk,serial=disk,bootindex=1",
  );
  lacks(list, /-display none|-mmio|virtio-blk-device/);
  lacks(lines(guest({ machine: "q35" })), /pflash|tpm|vnc/);
});

test("an ISO is attached while the disk is blank, behind the disk, and never after", () => {
  const g = guest({ machine: "q35", iso: "/srv/debian,12.iso" });
  const blank = lines(g, { disk: { ...PLACES.disk, isBlank: true } });
  has(
    blank,
    "-drive if=none,id=iso,file=/srv/debian,,12.iso,media=cdrom,format=raw,readonly=on",
    "-device ide-cd,drive=iso,bootindex=2",
  );
  lacks(lines(g), /id=iso|ide-cd/);
});

test("its link is a tap that is there, known by its MAC; without a network there is none", () => {
  const link = { tap: "vb-web", mac: "02:00:00:00:00:01" };
  has(
    lines(guest({}, { network: "lan" }), { link }),
    "-netdev tap,id=link,ifname=vb-web,script=no,downscript=no",
    "-device virtio-net-device,netdev=link,mac=02:00:00:00:00:01",
  );
  has(
    lines(guest({ machine: "q35" }, { network: "lan" }), { link }, { ...HOST, vhostNet: true }),
    "-netdev tap,id=link,ifname=vb-web,script=no,downscript=no,vhost=on",
    "-device virtio-net-pci,netdev=link,mac=02:00:00:00:00:01,romfile=",
  );
  lacks(lines(guest()), /netdev|virtio-net/);
});

test("credentials are named by file only, by fw_cfg or SMBIOS", () => {
  const credentials = [
    { name: "ssh.authorized_keys.root", file: "/run/local/vm-prepared/web/credentials/k" },
  ];
  has(
    lines(guest(), { credentials }),
    "-fw_cfg name=opt/io.systemd.credentials/ssh.authorized_keys.root,file=/run/local/vm-prepared/web/credentials/k",
  );
  has(
    lines(guest({ machine: "q35" }), { credentials }),
    "-smbios type=11,path=/run/local/vm-prepared/web/credentials/k",
  );
  assert.equal(credentialContent("microvm", "a", "b\n"), "b\n");
  assert.equal(credentialContent("q35", "a", "b\n"), "io.systemd.credential.binary:a=Ygo=");
});

test("vsock is there where the machine has it, at an address that follows from the id", () => {
  has(lines(guest(), {}, { ...HOST, vsock: true }), `-device vhost-vsock-device,guest-cid=${0x01234567 + 3}`);
  lacks(lines(guest()), /vsock/);
  for (const [id, cid] of [
    ["0".repeat(32), 3],
    ["f".repeat(32), 3 + 4],
    ["fffffffa".padEnd(32, "0"), 0xfffffffd],
  ] as const)
    assert.equal(vsockCid(id), cid);
});

test("devices go to the guest by VFIO, mediated ones by their UUID, and drawing by a GPU's render node", () => {
  const uuid = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001";
  const list = lines(guest({ machine: "q35", devices: ["pci:0000:01:00.0", `mdev:${uuid}`], display: true }));
  has(
    list,
    "-device vfio-pci,host=0000:01:00.0",
    `-device vfio-pci,sysfsdev=/sys/bus/mdev/devices/${uuid}`,
    "-device VGA",
  );
  const drawn = lines(guest({ machine: "q35", devices: ["render:0000:00:02.0"], display: true }));
  has(
    drawn,
    "-display egl-headless,rendernode=/dev/dri/by-path/pci-0000:00:02.0-render",
    "-device virtio-vga-gl",
    "-vnc unix:/run/local/vm/web/display",
  );
  lacks(list, /egl/);
});

test("its console has a socket, and from QEMU 10 on a memory beside it", () => {
  has(lines(guest()), "-chardev hub,id=both,chardevs.0=console,chardevs.1=recent", "-serial chardev:both");
  const old = lines(guest(), {}, { ...HOST, qemuMajor: 7 });
  has(old, "-serial chardev:console");
  lacks(old, /hub|ringbuf/);
});

test("folders are shared read-only by 9p", () => {
  const shares = [{ tag: "share0", source: "/srv/a,b", readOnly: true }];
  has(
    lines(guest(), { shares }),
    "-fsdev local,id=share0,path=/srv/a,,b,security_model=none,readonly=on",
    "-device virtio-9p-device,fsdev=share0,mount_tag=share0",
  );
});

test("arguments are a line each, and what could not be is refused by name", () => {
  const made = argumentsFile("web", ["-append", "a b='c' \\$d", "-m", "512"]);
  assert.deepEqual(made.ok && made.value, "-append\na b='c' \\$d\n-m\n512\n");
  for (const bad of ["a\nb", "a\0b", "a\x7f"]) {
    const refused = argumentsFile("web", ["-m", bad]);
    assert.ok(!refused.ok && refused.problems[0]?.code === "vm-argument", JSON.stringify(bad));
  }
});

test("what a definition says of devices, kernel words and machine types is judged when it is read", () => {
  const codes = (vm: object): string[] => {
    const read = parseGuest(JSON.stringify({ name: "web", kind: "vm", image: "debian", vm }));
    return read.ok ? [] : read.problems.map((p) => formatDiagnostic(p));
  };
  assert.match(codes({ devices: ["pci:1"] })[0] ?? "", /vm\.devices\[0\].*pci:1/);
  assert.match(
    codes({ machine: "q35", devices: ["pci:0000:01:00.0", "pci:0000:01:00.0"] })[0] ?? "",
    /named twice/,
  );
  assert.match(codes({ append: "a'b" })[0] ?? "", /vm\.append/);
  for (const vm of [{ iso: "/a" }, { display: true }, { devices: ["pci:0000:01:00.0"] }])
    assert.match(codes(vm)[0] ?? "", /a `microvm` has no PCI bus; say `q35`/);
  assert.deepEqual(
    codes({ machine: "q35", devices: ["pci:0000:01:00.0"], append: "a=b,c", iso: "/a", display: true }),
    [],
  );
});
