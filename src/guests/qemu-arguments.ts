/**
 * The argument vector of QEMU for one guest, from its definition and what its machine can do. Pure; must not know how files
 * come to where they lie, nor that systemd starts it.
 *
 * Sources: qemu-system-x86_64(1); QEMU's docs/system/i386/microvm.rst, docs/specs/tpm.rst, docs/specs/fw_cfg.rst;
 * systemd.system-credentials(7).
 */
import { failure, type Result, success } from "../diagnostics.ts";
import { type Guest, sizeBytes } from "./guest.ts";
import { describeVmProblem } from "./vm-problems.ts";

/** What a machine can do for virtual machines; the layer qemu finds out at its start. */
export interface HostAbilities {
  /** A guest was really booted with it; else why not. */
  readonly kvm: { readonly works: true } | { readonly works: false; readonly why: string };
  /** `/dev/vhost-vsock` is there. */
  readonly vsock: boolean;
  /** `/dev/vhost-net` is there: frames go past QEMU. */
  readonly vhostNet: boolean;
  /** QEMU's major version: from 10 on the console has both a socket and a memory. */
  readonly qemuMajor: number;
  /** Of the processor's time stamp counter, where known; undefined: guests find out themselves. */
  readonly tscKhz?: number;
}

/** Where everything of one guest lies, and what it is known by. Paths are absolute. */
export interface VmPlaces {
  /** Of its sockets: `qmp`, `control`, `console`, `ready`, `display`. */
  readonly runFolder: string;
  readonly disk: { readonly file: string; readonly format: "raw" | "qcow2"; readonly isBlank: boolean };
  /** NoCloud's files, as a disk. */
  readonly seedFile: string;
  /** Each is the content of the credential of this name. */
  readonly credentials: readonly { readonly name: string; readonly file: string }[];
  /** Undefined: the firmware looks for a system on the disk. */
  readonly kernel?: { readonly file: string; readonly initrd?: string; readonly commandLine: string };
  /** Defined where the guest's firmware is UEFI. */
  readonly uefi?: { readonly code: string; readonly variables: string; readonly tpmSocket: string };
  /** Its `machine-id`: 32 hexadecimal digits. */
  readonly id: string;
  /** Undefined: it has no network. */
  readonly link?: { readonly tap: string; readonly mac: string };
  /** Folders that the guest mounts by 9p. */
  readonly shares: readonly { readonly tag: string; readonly source: string; readonly readOnly: boolean }[];
}

/** What whoever watches a running guest has to know; written when it starts, for its definition may change or go. */
export interface VmLimits {
  readonly readySeconds: number;
  readonly stopSeconds: number;
  /** Where to listen for its READY; undefined: the machine has no vsock. */
  readonly vsockPort?: number;
}

/** What a guest has whose definition does not say; Debian boots with it. */
const MEMORY = "512M";
/** Of translated code; QEMU's own default would be a GiB. */
const TCG_CACHE_MIB = 256;
/** What is on the console is kept for whoever asks why a guest does not get on. A power of two (qemu(1), ringbuf). */
export const CONSOLE_BYTES = 65_536;
/** Name of the serial port on which a guest says that it is ready. */
export const READY_PORT = "labctl.ready";
/** QEMU writes here when the guest begins to run, and when it is held (docs/devel/tracing.rst, backend `log`). */
export const STATES_FILE = "states";
/** For frames in flight: where the bus is PCI, devices are `…-pci`, on virtio-mmio `…-device`. */
const BUS = { microvm: "device", q35: "pci" } as const;

/**
 * Arguments after the program's name. Failure: the definition asks for what the machine or the image does not have; all such
 * problems at once. `accelerator: "kvm"` where KVM does not work is one of them: nothing is emulated unasked. Pure.
 */
export function qemuArguments(
  guest: Guest,
  places: VmPlaces,
  host: HostAbilities,
): Result<readonly string[]> {
  const { vm } = guest;
  if (!vm) return failure(describeVmProblem({ kind: "no-vm", guest: guest.name }));
  const problems = vmProblems(guest, places, host);
  if (problems.length > 0) return failure(...problems);
  const bus = BUS[vm.machine];
  const socket = (id: string, name: string): string[] => [
    "-chardev",
    `socket,id=${id},path=${optionValue(`${places.runFolder}/${name}`)},server=on,wait=off`,
  ];
  return success([
    ...["-name", guest.name, "-uuid", dashed(places.id)],
    // Says when the first instruction runs, which systemd can't know: a line with the time, once.
    ...[
      "-msg",
      "timestamp=on",
      "-D",
      `${places.runFolder}/${STATES_FILE}`,
      "-trace",
      "enable=vm_state_notify",
    ],
    // Nothing that is not named here, neither devices nor what lies in /etc/qemu.
    ...["-nodefaults", "-no-user-config"],
    ...["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"],
    ...["-machine", machineOption(guest)],
    ...["-accel", vm.accelerator === "kvm" ? "kvm" : `tcg,thread=multi,tb-size=${TCG_CACHE_MIB}`],
    ...["-cpu", vm.accelerator === "kvm" ? "host" : "max"],
    ...["-smp", `${vm.cpus}`, "-m", `${memoryMib(guest)}`],
    ...bootArguments(places),
    ...diskArguments(guest, places, bus),
    ...linkArguments(places, host, bus),
    ...["-device", `virtio-rng-${bus}`],
    // One monitor for the units, one for whoever looks on: each serves one client at a time.
    ...["-qmp", `unix:${optionValue(`${places.runFolder}/qmp`)},server=on,wait=off`],
    ...["-qmp", `unix:${optionValue(`${places.runFolder}/control`)},server=on,wait=off`],
    ...socket("console", "console"),
    ...consoleArguments(host),
    ...["-device", `virtio-serial-${bus}`],
    ...socket("ready", "ready"),
    ...["-device", `virtserialport,chardev=ready,name=${READY_PORT}`],
    ...(host.vsock ? ["-device", `vhost-vsock-${bus},guest-cid=${vsockCid(places.id)}`] : []),
    ...places.credentials.flatMap((c) => credentialArguments(vm.machine, c)),
    ...places.shares.flatMap((s) => shareArguments(s, bus)),
    ...(vm.devices ?? []).flatMap(deviceArguments),
    ...displayArguments(guest, places),
  ]);
}

/** Of the guest, in MiB, rounded up. Pure. */
export function memoryMib(guest: Guest): number {
  return Math.ceil((sizeBytes(guest.resources.memory ?? MEMORY) ?? 0) / 1024 ** 2);
}

/**
 * The guest's address for vsock(7), from its id: 0 to 2 and the last one mean something else. Two guests of a machine get
 * the same one once in a hundred million pairs; QEMU then refuses the second. Pure.
 */
export function vsockCid(id: string): number {
  return 3 + (Number.parseInt(id.slice(0, 8), 16) % 0xffff_fffb);
}

/** A value inside an option such as `path=…,server=on`: a comma is written twice (qemu(1)). Pure. */
export function optionValue(text: string): string {
  return text.replaceAll(",", ",,");
}

function vmProblems(guest: Guest, places: VmPlaces, host: HostAbilities) {
  const { name, vm } = guest;
  if (!vm) return [];
  return [
    ...(vm.accelerator === "kvm" && !host.kvm.works
      ? [describeVmProblem({ kind: "no-kvm", guest: name, why: host.kvm.why })]
      : []),
    ...(vm.machine === "microvm" && !places.kernel
      ? [describeVmProblem({ kind: "no-kernel", guest: name, image: guest.image })]
      : []),
    ...(vm.firmware === "uefi" && !places.uefi
      ? [describeVmProblem({ kind: "no-firmware", guest: name })]
      : []),
  ];
}

function machineOption({ vm }: Guest): string {
  // Linux finds virtio-mmio's devices, the power button and fw_cfg by ACPI only.
  if (vm?.machine === "microvm") return "microvm,acpi=on,rtc=on";
  return "q35,smm=off,vmport=off,usb=off";
}

function bootArguments({ kernel, uefi }: VmPlaces): string[] {
  const flash = (unit: number, file: string, more: string): string[] => [
    "-drive",
    `if=pflash,unit=${unit},format=raw,file=${optionValue(file)}${more}`,
  ];
  return [
    ...(uefi ? [...flash(0, uefi.code, ",readonly=on"), ...flash(1, uefi.variables, "")] : []),
    ...(uefi
      ? [
          ...["-chardev", `socket,id=tpm,path=${optionValue(uefi.tpmSocket)}`],
          ...["-tpmdev", "emulator,id=tpm0,chardev=tpm", "-device", "tpm-crb,tpmdev=tpm0"],
        ]
      : []),
    ...(kernel ? ["-kernel", kernel.file, "-append", kernel.commandLine] : []),
    ...(kernel?.initrd === undefined ? [] : ["-initrd", kernel.initrd]),
  ];
}

function diskArguments({ vm }: Guest, places: VmPlaces, bus: string): string[] {
  const { disk } = places;
  const drive = (id: string, file: string, options: string): string[] => [
    "-drive",
    `if=none,id=${id},file=${optionValue(file)},${options}`,
  ];
  // virtio-mmio has no order of boot.
  const order = (n: number): string => (vm?.machine === "q35" ? `,bootindex=${n}` : "");
  const installs = vm?.iso !== undefined && disk.isBlank;
  return [
    ...drive("disk", disk.file, `format=${disk.format},discard=unmap,detect-zeroes=unmap`),
    ...["-device", `virtio-blk-${bus},drive=disk,serial=disk${order(1)}`],
    ...drive("seed", places.seedFile, "format=raw,readonly=on"),
    ...["-device", `virtio-blk-${bus},drive=seed,serial=seed`],
    // Comes second: once the disk has a system, the firmware takes that, and the next start leaves it out.
    ...(installs
      ? [
          ...drive("iso", vm?.iso ?? "", "media=cdrom,format=raw,readonly=on"),
          ...["-device", `ide-cd,drive=iso${order(2)}`],
        ]
      : []),
  ];
}

function linkArguments({ link }: VmPlaces, host: HostAbilities, bus: string): string[] {
  if (!link) return [];
  const vhost = host.vhostNet ? ",vhost=on" : "";
  // Without its ROM: nothing here boots from the network.
  const rom = bus === "pci" ? ",romfile=" : "";
  return [
    ...["-netdev", `tap,id=link,ifname=${link.tap},script=no,downscript=no${vhost}`],
    ...["-device", `virtio-net-${bus},netdev=link,mac=${link.mac}${rom}`],
  ];
}

function consoleArguments({ qemuMajor }: HostAbilities): string[] {
  if (qemuMajor < 10) return ["-serial", "chardev:console"];
  return [
    ...["-chardev", `ringbuf,id=recent,size=${CONSOLE_BYTES}`],
    ...["-chardev", "hub,id=both,chardevs.0=console,chardevs.1=recent"],
    ...["-serial", "chardev:both"],
  ];
}

/** As a file: what stands in an argument, everyone on the machine can read. */
function credentialArguments(machine: "microvm" | "q35", c: { name: string; file: string }): string[] {
  const file = optionValue(c.file);
  // A microvm has no SMBIOS; elsewhere it is what a guest can read without a module.
  if (machine === "q35") return ["-smbios", `type=11,path=${file}`];
  return ["-fw_cfg", `name=opt/io.systemd.credentials/${c.name},file=${file}`];
}

/** What a credential's file holds, by machine type: SMBIOS strings carry their name with them. Pure. */
export function credentialContent(machine: "microvm" | "q35", name: string, value: string): string {
  if (machine === "microvm") return value;
  return `io.systemd.credential.binary:${name}=${Buffer.from(value).toString("base64")}`;
}

function shareArguments(share: VmPlaces["shares"][number], bus: string): string[] {
  const readOnly = share.readOnly ? ",readonly=on" : "";
  return [
    ...["-fsdev", `local,id=${share.tag},path=${optionValue(share.source)},security_model=none${readOnly}`],
    ...["-device", `virtio-9p-${bus},fsdev=${share.tag},mount_tag=${share.tag}`],
  ];
}

function deviceArguments(device: string): string[] {
  const kind = device.slice(0, device.indexOf(":"));
  const what = device.slice(kind.length + 1);
  if (kind === "pci") return ["-device", `vfio-pci,host=${what}`];
  if (kind === "mdev") return ["-device", `vfio-pci,sysfsdev=/sys/bus/mdev/devices/${what}`];
  return [];
}

function displayArguments({ vm }: Guest, places: VmPlaces): string[] {
  const render = vm?.devices?.find((d) => d.startsWith("render:"))?.slice("render:".length);
  const gl = render === undefined ? [] : ["-display", `egl-headless,rendernode=${renderNode(render)}`];
  if (!vm?.display) return [...(gl.length > 0 ? [...gl, "-device", "virtio-vga-gl"] : ["-display", "none"])];
  return [
    ...gl,
    ...["-vnc", `unix:${optionValue(`${places.runFolder}/display`)}`],
    ...["-device", gl.length > 0 ? "virtio-vga-gl" : "VGA"],
    // A tablet says where the pointer is, not how far it moved, so that it follows the viewer's.
    ...["-device", "qemu-xhci", "-device", "usb-tablet", "-device", "usb-kbd"],
  ];
}

/** udev's link for a GPU's render node, by its PCI address. Pure. */
export function renderNode(slot: string): string {
  return `/dev/dri/by-path/pci-${slot}-render`;
}

function dashed(id: string): string {
  return id.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
