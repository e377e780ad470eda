/**
 * Makes everything ready that one virtual machine's QEMU needs, and takes away what it leaves:
 *
 *     vm.mjs prepare NAME     checks, and writes /run/local/vm-prepared/NAME/arguments, from which QEMU is started
 *     vm.mjs clean NAME       takes link and prepared files away; what is gone already is no fault
 *     vm.mjs tpm NAME         gives the folder of its TPM to whom that runs as
 *
 * All run as root. QEMU runs as a user of its own, who owns /run/local/vm/NAME, and nothing in which root then writes: what
 * he could replace by a link, root would follow.
 */
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  copyFileSync,
  existsSync,
  lchownSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { isIPv6 } from "node:net";
import { basename, join } from "node:path";
import { type Diagnostic, formatDiagnostic } from "labctl/diagnostics.ts";
import { GUEST_NAME, type Guest, sizeBytes } from "labctl/guests/guest.ts";
import { findGuest, GUEST_RUN, GUEST_STATE, IMAGE_STATE, readEnv } from "labctl/guests/places.ts";
import { argumentsFile } from "labctl/guests/qemu-arguments-file.ts";
import { credentialContent, type VmLimits, type HostAbilities, qemuArguments, renderNode, type VmPlaces } from "labctl/guests/qemu-arguments.ts";
import { diskSizeBytes, isBlankDisk, type ReadAt, rootDevice } from "labctl/guests/vm-disk.ts";
import { describeVmProblem } from "labctl/guests/vm-problems.ts";
import { kernelCommandLine, readyVsockPort, type NamedText, SEED_LABEL, seedFiles, splitCredentials, vmCredentials, vmMounts } from "labctl/guests/vm-provision.ts";

const RUN = "/run/local/vm";
const PREPARED = "/run/local/vm-prepared";
const TPM_RUN = "/run/local/swtpm";
/** Of a file that is not there. */
const NOTHING: ReadonlyMap<string, string> = new Map();
const ABILITIES = "/run/local/vm-host/abilities.json";
const UEFI_CODE = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const UEFI_VARIABLES = "/usr/share/OVMF/OVMF_VARS_4M.fd";
const ARCHITECTURE = "amd64";
/** Goes up when the image is made otherwise. */
const SEED_FORM = 1;

/** What is wrong, as the modules that judge it say it. */
class Refusal extends Error {
  readonly problems: readonly Diagnostic[];
  constructor(...problems: readonly Diagnostic[]) {
    super("refused");
    this.problems = problems;
  }
}

// The unit's own hides all from the user that QEMU runs as.
process.umask(0o022);
try {
  const [, , verb, name = ""] = process.argv;
  // systemd hands over the instance's name as it was typed.
  if (!GUEST_NAME.test(name)) throw new Error(`\`${name}\` can't be a guest: a name has at most 11 lower-case letters, digits and \`-\``);
  if (verb === "prepare") await prepare(name);
  else if (verb === "clean") clean(name);
  else if (verb === "tpm") prepareTpm(name);
  else throw new Error("wrong usage: vm.mjs prepare NAME | clean NAME | tpm NAME");
} catch (error) {
  const list = error instanceof Refusal ? error.problems.map(formatDiagnostic) : [`error[vm] ${(error as Error).message}`];
  process.stderr.write(`${list.join("\n")}\n`);
  process.exitCode = 1;
}

async function prepare(name: string): Promise<void> {
  const { guest } = settled(findGuest(name));
  const { vm } = guest;
  if (!vm) throw new Refusal(describeVmProblem({ kind: "no-vm", guest: name }));
  const host = JSON.parse(readFileSync(ABILITIES, "utf8")) as HostAbilities;
  const image = readEnv(join(IMAGE_STATE, `${guest.image}.env`)) ?? NOTHING;
  const own = readEnv(join(GUEST_RUN, `${name}.env`)) ?? NOTHING;
  const id = own.get("GUEST_ID") ?? "";
  if (!/^[0-9a-f]{32}$/.test(id)) throw new Error(`/run/local/guests/${name}.env names no GUEST_ID; see systemctl status guest-net@${name}`);
  judgeImage(guest, image);

  const runFolder = join(RUN, name);
  const prepared = join(PREPARED, name);
  // systemd made it for whom QEMU runs as.
  const user = statSync(runFolder).uid;
  const found = findDisk(guest);
  const disk = withDisk(found, (read, bytes) => ({
    ...found,
    isBlank: vm.iso !== undefined && isBlankDisk(found.format, read),
    root: rootDevice(found.format, read),
    bytes: diskSizeBytes(found.format, bytes, read),
  }));
  const link = guest.network === undefined ? undefined : readLink(name, own);
  const mounts = settled(vmMounts(guest));
  const credentials = vmCredentials(guest, id, host, mounts.lines, link);
  // An ISO is to be booted from.
  const kernelFile = disk.isBlank ? "" : (image.get("IMAGE_KERNEL") ?? "");
  const initrd = image.get("IMAGE_INITRD") ?? "";
  const split = vm.machine === "microvm" ? splitCredentials(credentials) : { byFwCfg: credentials, byCommandLine: [] };
  const stateFolder = join(GUEST_STATE, name, "vm");
  const seed = seedFiles(guest, id, link);
  const places: VmPlaces = {
    runFolder,
    disk: { file: disk.file, format: disk.format, isBlank: disk.isBlank },
    seedFile: seedFile(stateFolder, seed),
    credentials: split.byFwCfg.map((c) => ({ name: c.name, file: join(prepared, "credentials", c.name) })),
    ...(kernelFile === ""
      ? {}
      : {
          kernel: {
            file: kernelFile,
            ...(initrd === "" ? {} : { initrd }),
            commandLine: settled(kernelCommandLine(guest, disk.root, host, split.byCommandLine)),
          },
        }),
    ...(vm.firmware === "uefi" && existsSync(UEFI_CODE)
      ? { uefi: { code: UEFI_CODE, variables: join(stateFolder, "uefi-variables.fd"), tpmSocket: join(TPM_RUN, name, "socket") } }
      : {}),
    id,
    ...(link ? { link } : {}),
    shares: mounts.shares,
  };
  const argv = settled(qemuArguments(guest, places, host));
  const text = settled(argumentsFile(name, argv));
  for (const [what, file] of [["ISO", vm.iso], ["kernel", kernelFile], ["initrd", initrd]] as const)
    if (file && !existsSync(file)) throw new Refusal(describeVmProblem({ kind: "no-file", guest: name, what, file }));
  takeDevices(guest, user);

  // Nothing was changed up to here.
  chmodSync(join(GUEST_STATE, name), statSync(join(GUEST_STATE, name)).mode | 0o011);
  lchownSync(disk.file, user, user);
  // A fork has the mode of its image, which nobody may write to. The folder is root's, so no link can be here.
  chmodSync(disk.file, 0o600);
  rmSync(prepared, { recursive: true, force: true });
  mkdirSync(prepared, { recursive: true, mode: 0o711 });
  const wanted = sizeBytes(guest.resources.disk ?? "0") ?? 0;
  if (wanted > disk.bytes) run("qemu-img", ["resize", "-q", "-f", disk.format, disk.file, `${wanted}`]);
  if (places.uefi) prepareUefi(places.uefi.variables, stateFolder, user);
  writePrivate(join(prepared, "credentials"), split.byFwCfg.map((c) => ({ name: c.name, text: credentialContent(vm.machine, c.name, c.text) })), user);
  const made = makeSeed(join(prepared, "seed"), stateFolder, seed, user);
  if (link && guest.network !== undefined) makeLink(guest, link.tap, guest.network, user);
  await made;
  const limits: VmLimits = {
    readySeconds: guest.readySeconds,
    stopSeconds: guest.stopSeconds,
    ...(host.vsock ? { vsockPort: readyVsockPort(id) } : {}),
  };
  writeFileSync(join(prepared, "limits.json"), `${JSON.stringify(limits)}\n`, { mode: 0o644 });
  writeFileSync(join(prepared, "arguments"), text, { mode: 0o600 });
  if (vm.accelerator === "tcg")
    process.stderr.write(`warning[vm-emulated] guest \`${name}\` runs on an emulated processor (TCG), as its definition says: some ten times slower than KVM\n`);
}

function readLink(name: string, own: ReadonlyMap<string, string>): { tap: string; mac: string; ipv6?: string } {
  const mac = own.get("GUEST_MAC") ?? "";
  const ipv6 = own.get("GUEST_IP6") ?? "";
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/.test(mac)) throw new Error(`/run/local/guests/${name}.env names no GUEST_MAC; see systemctl status guest-net@${name}`);
  return { tap: linkName(name), mac, ...(isIPv6(ipv6) ? { ipv6 } : {}) };
}

function judgeImage(guest: Guest, image: ReadonlyMap<string, string>): void {
  const kind = image.get("IMAGE_KIND");
  const base = { guest: guest.name, image: guest.image };
  if (kind !== "disk") throw new Refusal(describeVmProblem({ kind: "no-disk", ...base, found: kind === undefined ? "not there" : "a root file system" }));
  const found = image.get("IMAGE_ARCH") || ARCHITECTURE;
  if (found !== ARCHITECTURE) throw new Refusal(describeVmProblem({ kind: "architecture", ...base, found, host: ARCHITECTURE }));
}

function findDisk(guest: Guest): { file: string; format: "raw" | "qcow2" } {
  for (const format of ["raw", "qcow2"] as const) {
    const file = join(GUEST_STATE, guest.name, `disk.${format}`);
    if (lstatSync(file, { throwIfNoEntry: false })?.isFile()) return { file, format };
  }
  throw new Refusal(describeVmProblem({ kind: "no-file", guest: guest.name, what: "disk", file: join(GUEST_STATE, guest.name, "disk.raw") }));
}

function withDisk<T>(disk: { file: string }, use: (read: ReadAt, bytes: number) => T): T {
  const handle = openSync(disk.file, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    return use((offset, length) => {
      const buffer = Buffer.alloc(length);
      return buffer.subarray(0, readSync(handle, buffer, 0, length, offset));
    }, statSync(disk.file).size);
  } finally {
    closeSync(handle);
  }
}

function prepareUefi(variables: string, folder: string, user: number): void {
  mkdirSync(folder, { recursive: true, mode: 0o711 });
  if (!existsSync(variables)) copyFileSync(UEFI_VARIABLES, variables, constants.COPYFILE_EXCL);
  lchownSync(variables, user, user);
}

function prepareTpm(name: string): void {
  const user = statSync(join(TPM_RUN, name)).uid;
  const folder = join(GUEST_STATE, name, "vm", "tpm");
  chmodSync(join(GUEST_STATE, name), statSync(join(GUEST_STATE, name)).mode | 0o011);
  mkdirSync(join(GUEST_STATE, name, "vm"), { recursive: true, mode: 0o711 });
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  for (const entry of readdirSync(folder)) lchownSync(join(folder, entry), user, user);
  lchownSync(folder, user, user);
}

function clean(name: string): void {
  if (existsSync(`/sys/class/net/${linkName(name)}`)) run("ip", ["link", "delete", linkName(name)], true);
  rmSync(join(PREPARED, name), { recursive: true, force: true });
}

/** In a folder of root's, so that nobody else puts a link there. */
function writePrivate(folder: string, files: readonly NamedText[], user: number): void {
  mkdirSync(folder, { mode: 0o711 });
  for (const { name, text } of files) {
    writeFileSync(join(folder, name), text, { mode: 0o400, flag: "wx" });
    lchownSync(join(folder, name), user, user);
  }
}

/**
 * An ISO 9660 image: cloud-init takes it, and so does a guest without. Made again only when what is in it has changed; its name
 * is the hash of that, so that one that was cut short has another.
 */
function makeSeed(folder: string, stateFolder: string, files: readonly NamedText[], user: number): Promise<void> {
  const file = seedFile(stateFolder, files);
  if (existsSync(file)) {
    lchownSync(file, user, user);
    return Promise.resolve();
  }
  mkdirSync(stateFolder, { recursive: true, mode: 0o711 });
  for (const old of readdirSync(stateFolder)) if (old.startsWith("seed-")) rmSync(join(stateFolder, old));
  writePrivate(folder, files, 0);
  const draft = `${file}.draft`;
  const form = ["-as", "genisoimage", "-quiet", "-volid", SEED_LABEL, "-joliet", "-rational-rock", "-no-pad"];
  const child = spawn("xorriso", [...form, "-o", draft, folder], { stdio: ["ignore", "ignore", "pipe"] });
  let said = "";
  child.stderr.on("data", (chunk: Buffer) => {
    said += chunk.toString();
  });
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (status) => {
      if (status !== 0) return reject(new Error(`xorriso made no seed: ${said.trim()}`));
      lchownSync(draft, user, user);
      renameSync(draft, file);
      resolve();
    });
  });
}

function seedFile(stateFolder: string, files: readonly NamedText[]): string {
  const hash = createHash("sha256").update(JSON.stringify([SEED_FORM, files]));
  return join(stateFolder, `seed-${hash.digest("hex").slice(0, 32)}.iso`);
}

function makeLink(guest: Guest, tap: string, network: string, user: number): void {
  const shape = readEnv(`/run/local/bridge/${network}.env`) ?? NOTHING;
  const mode = shape.get("NETWORK_MODE") ?? "not known: it does not run";
  if (!["nat", "routed", "bridge"].includes(mode)) throw new Refusal(describeVmProblem({ kind: "network", guest: guest.name, network, mode }));
  const mtu = shape.get("NETWORK_MTU") ?? "";
  // One that a killed start left may be someone else's by now.
  const old = existsSync(`/sys/class/net/${tap}`) ? [`link delete ${tap}`] : [];
  const lines = [
    ...old,
    `tuntap add dev ${tap} mode tap user ${user} vnet_hdr`,
    `link set ${tap} master ${network}${/^\d+$/.test(mtu) ? ` mtu ${mtu}` : ""} up`,
  ];
  run("ip", ["-batch", "-"], false, `${lines.join("\n")}\n`);
}

/** Gives devices of the machine to whom QEMU runs as, and takes PCI devices from their drivers. */
function takeDevices(guest: Guest, user: number): void {
  for (const device of guest.vm?.devices ?? []) {
    const kind = device.slice(0, device.indexOf(":"));
    const what = device.slice(kind.length + 1);
    const refuse = (why: string): Refusal => new Refusal(describeVmProblem({ kind: "device", guest: guest.name, device, why }));
    if (kind === "render") {
      if (!existsSync(renderNode(what))) throw refuse("the machine has no GPU there that can draw");
      continue;
    }
    const folder = kind === "pci" ? `/sys/bus/pci/devices/${what}` : `/sys/bus/mdev/devices/${what}`;
    if (!existsSync(folder)) throw refuse("the machine has no such device");
    if (!existsSync(join(folder, "iommu_group"))) throw refuse("it belongs to no IOMMU group: the IOMMU is off, or there is none");
    if (kind === "pci") bindToVfio(folder, what);
    chownSync(`/dev/vfio/${basename(readlinkSync(join(folder, "iommu_group")))}`, user, user);
  }
}

/** Linux' Documentation/driver-api/vfio.rst. */
function bindToVfio(folder: string, slot: string): void {
  const driver = join(folder, "driver");
  if (existsSync(driver) && basename(readlinkSync(driver)) === "vfio-pci") return;
  run("modprobe", ["vfio-pci"]);
  writeFileSync(join(folder, "driver_override"), "vfio-pci");
  if (existsSync(driver)) writeFileSync(join(driver, "unbind"), slot);
  writeFileSync("/sys/bus/pci/drivers_probe", slot);
}

/** At most 14 characters. */
function linkName(name: string): string {
  return `vb-${name}`;
}

function settled<T>(result: { ok: true; value: T } | { ok: false; problems: readonly Diagnostic[] }): T {
  if (result.ok) return result.value;
  throw new Refusal(...result.problems);
}

function run(program: string, argv: readonly string[], mayFail = false, input = ""): void {
  const done = spawnSync(program, argv, { encoding: "utf8", input });
  if (done.status === 0 || mayFail) return;
  throw new Error(`\`${program} ${argv.join(" ")}\` failed: ${(done.stderr || String(done.error ?? "")).trim()}`);
}
