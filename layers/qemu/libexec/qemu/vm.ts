/**
 * Makes everything ready that one virtual machine's QEMU needs:
 *
 *     vm.mjs prepare NAME     checks, and writes /run/local/vm-prepared/NAME/arguments-*, for which `run` waits
 *
 * Runs as root, where `vm` beside it finds that something has changed since the last start. QEMU runs as a user of its own, who
 * owns /run/local/vm/NAME, and nothing in which root then writes: what he could replace by a link, root would follow.
 */
import { spawnSync } from "node:child_process";
import { chmodSync, chownSync, constants, copyFileSync, existsSync, lchownSync, mkdirSync, readlinkSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { isIPv6 } from "node:net";
import { basename, dirname, join } from "node:path";
import { formatDiagnostic } from "labctl/diagnostics.ts";
import { GUEST_NAME, type Guest } from "labctl/guests/guest.ts";
import { findGuest, GUEST_RUN, GUEST_STATE, readEnv } from "labctl/guests/places.ts";
import { renderNode } from "labctl/guests/qemu-arguments.ts";
import { problemsOfEnd, Refusal, settled } from "labctl/guests/refusal.ts";
import { describeVmProblem } from "labctl/guests/vm-problems.ts";
import type { VmLink } from "labctl/guests/vm-provision.ts";
import { makeSeed } from "labctl/guests/vm-seed.ts";
import { ARGUMENTS_DRAFT, keepVmKit, readVmDisk, readVmStart, tapName, VM_PREPARED, VM_RUN } from "labctl/guests/vm-start.ts";

const UEFI_VARIABLES = "/usr/share/OVMF/OVMF_VARS_4M.fd";

// The unit's own hides all from the user that QEMU runs as.
process.umask(0o022);
try {
  const [, , verb, name = ""] = process.argv;
  // systemd hands over the instance's name as it was typed.
  if (!GUEST_NAME.test(name)) throw new Error(`\`${name}\` can't be a guest: a name has at most 11 lower-case letters, digits and \`-\``);
  if (verb !== "prepare") throw new Error("wrong usage: vm.mjs prepare NAME");
  await prepare(name);
} catch (error) {
  const list = problemsOfEnd(error, "vm").map(formatDiagnostic);
  process.stderr.write(`${list.join("\n")}\n`);
  process.exitCode = 1;
}

async function prepare(name: string): Promise<void> {
  const { guest } = settled(findGuest(name));
  if (!guest.vm) throw new Refusal(describeVmProblem({ kind: "no-vm", guest: name }));
  const own = readEnv(join(GUEST_RUN, `${name}.env`)) ?? new Map<string, string>();
  const id = own.get("GUEST_ID") ?? "";
  if (!/^[0-9a-f]{32}$/.test(id)) throw new Error(`/run/local/guests/${name}.env names no GUEST_ID; see systemctl status guest-net@${name}`);
  const link = guest.network === undefined ? undefined : readLink(name, own);
  const disk = settled(readVmDisk(guest));
  const start = settled(readVmStart(guest, disk, { id, ...(link ? { link } : {}) }));
  // systemd made it for whom QEMU runs as.
  const user = statSync(join(VM_RUN, name)).uid;
  takeDevices(guest, user);

  // Nothing was changed up to here.
  const prepared = join(VM_PREPARED, name);
  chmodSync(join(GUEST_STATE, name), statSync(join(GUEST_STATE, name)).mode | 0o011);
  lchownSync(disk.file, user, user);
  // A fork has the mode of its image, which nobody may write to. The folder is root's, so no link can be here.
  chmodSync(disk.file, 0o600);
  rmSync(prepared, { recursive: true, force: true });
  mkdirSync(join(prepared, "credentials"), { recursive: true, mode: 0o711 });
  const { wantedBytes = 0 } = start;
  if (wantedBytes > disk.bytes) run("qemu-img", ["resize", "-q", "-f", disk.format, disk.file, `${wantedBytes}`]);
  if (start.variables !== undefined) prepareUefi(start.variables, user);
  const seed = makeSeed(start.seed.file, start.seed.files).then(() => lchownSync(start.seed.file, user, user));
  if (start.tap !== undefined) {
    // One that a killed start left may be someone else's by now.
    const old = existsSync(`/sys/class/net/${tapName(name)}`) ? `link delete ${tapName(name)}\n` : "";
    run("ip", ["-batch", "-"], `${old}${start.linkLines(user)}`);
  }
  await seed;
  for (const { file, mode, text } of start.files) {
    // In a folder of root's, so that nobody else puts a link there.
    writeFileSync(file, text, { mode: Number.parseInt(mode, 8), flag: "wx" });
    if (file !== join(prepared, "limits.json")) lchownSync(file, user, user);
  }
  process.stderr.write(start.said);
  renameSync(join(prepared, ARGUMENTS_DRAFT), join(prepared, `arguments-${process.env.INVOCATION_ID}`));
  keep(guest);
}

/** For the next start, which is as good without. */
function keep(guest: Guest): void {
  try {
    keepVmKit(guest, settled(readVmDisk(guest)));
  } catch (error) {
    process.stderr.write(`warning[guest-kit] the next start of guest \`${guest.name}\` takes longer: ${(error as Error).message}\n`);
  }
}

function readLink(name: string, own: ReadonlyMap<string, string>): VmLink {
  const mac = own.get("GUEST_MAC") ?? "";
  const ipv6 = own.get("GUEST_IP6") ?? "";
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/.test(mac)) throw new Error(`/run/local/guests/${name}.env names no GUEST_MAC; see systemctl status guest-net@${name}`);
  return { mac, ...(isIPv6(ipv6) ? { ipv6 } : {}) };
}

function prepareUefi(variables: string, user: number): void {
  mkdirSync(dirname(variables), { recursive: true, mode: 0o711 });
  if (!existsSync(variables)) copyFileSync(UEFI_VARIABLES, variables, constants.COPYFILE_EXCL);
  lchownSync(variables, user, user);
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

function run(program: string, argv: readonly string[], input = ""): void {
  const done = spawnSync(program, argv, { encoding: "utf8", input });
  if (done.status === 0) return;
  throw new Error(`\`${program} ${argv.join(" ")}\` failed: ${(done.stderr || String(done.error ?? "")).trim()}`);
}
