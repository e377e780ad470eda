/**
 * What one virtual machine's start takes: QEMU's arguments, credentials, seed, link and limits, from its definition, its image,
 * its network, its disk and what the machine can do; and the kit that follows from them. Reads the machine's files; must not
 * change anything of the guest's or the machine's but the kit.
 */
import { createHash } from "node:crypto";
import {
  closeSync,
  constants,
  existsSync,
  lstatSync,
  openSync,
  readFileSync,
  readSync,
  statSync,
} from "node:fs";
import { join } from "node:path";
import { failure, type Result, success } from "../diagnostics.ts";
import { type Guest, sizeBytes } from "./guest.ts";
import { fileFields, type KitFile, keepKit } from "./kit.ts";
import { netInputs, readAttachment } from "./net-kit.ts";
import { GUEST_STATE, IMAGE_STATE, NETWORK_RUN, readEnv } from "./places.ts";
import {
  credentialContent,
  type HostAbilities,
  qemuArguments,
  type VmLimits,
  type VmPlaces,
} from "./qemu-arguments.ts";
import { argumentsFile } from "./qemu-arguments-file.ts";
import { diskSizeBytes, isBlankDisk, type ReadAt, rootDevice } from "./vm-disk.ts";
import { describeVmProblem } from "./vm-problems.ts";
import {
  kernelCommandLine,
  type NamedText,
  readyVsockPort,
  seedFiles,
  splitCredentials,
  type VmLink,
  vmCredentials,
  vmMounts,
} from "./vm-provision.ts";

export const VM_RUN = "/run/local/vm";
/** Root's: what QEMU is started with. */
export const VM_PREPARED = "/run/local/vm-prepared";
/** In it, what QEMU's arguments are called until all else is done: whoever becomes QEMU waits for another name. */
export const ARGUMENTS_DRAFT = "arguments.draft";
const TPM_RUN = "/run/local/swtpm";
const ABILITIES = "/run/local/vm-host/abilities.json";
const UEFI_CODE = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const ARCHITECTURE = "amd64";
/** Goes up when the image is made otherwise. */
const SEED_FORM = 1;
/** Stands in the lines for ip(8) for the user that QEMU runs as, which systemd chooses. */
const USER_MARK = "@USER@";
/** Of a file that is not there. */
const NOTHING: ReadonlyMap<string, string> = new Map();

/** What a start has to know of the guest's disk. */
export interface VmDisk {
  readonly file: string;
  readonly format: "raw" | "qcow2";
  /** True: an installer has not done its work yet. Only where the definition names an ISO. */
  readonly isBlank: boolean;
  readonly root: "/dev/vda" | "/dev/vda1";
  readonly bytes: number;
}

export interface VmStart {
  readonly disk: VmDisk;
  /** It has to be this large; undefined: it is as its image is. */
  readonly wantedBytes?: number;
  /** In the folder `VM_PREPARED/NAME`; all but the limits belong to the user that QEMU runs as. */
  readonly files: readonly KitFile[];
  readonly seed: { readonly file: string; readonly files: readonly NamedText[] };
  /** UEFI's, which the guest keeps. */
  readonly variables?: string;
  readonly tap?: string;
  /** Lines for ip(8) that make the link. */
  readonly linkLines: (user: number | typeof USER_MARK) => string;
  /** Files of the machine that it was judged by: they are there. */
  readonly needed: readonly string[];
  /** For the journal; empty: nothing. */
  readonly said: string;
}

/** Who the guest is, and how it hangs on its network. */
export interface VmIdentity {
  readonly id: string;
  readonly link?: VmLink;
}

/** At most 14 characters. Pure. */
export function tapName(guest: string): string {
  return `vb-${guest}`;
}

/** The disk that the guest has. */
export function readVmDisk(guest: Guest): Result<VmDisk> {
  for (const format of ["raw", "qcow2"] as const) {
    const file = join(GUEST_STATE, guest.name, `disk.${format}`);
    if (lstatSync(file, { throwIfNoEntry: false })?.isFile())
      return success(diskFacts(guest, file, file, format));
  }
  const file = join(GUEST_STATE, guest.name, "disk.raw");
  return failure(describeVmProblem({ kind: "no-file", guest: guest.name, what: "disk", file }));
}

/** The disk that the guest will have where its image is forked by reflink. */
function futureDisk(guest: Guest): VmDisk | undefined {
  const image = readEnv(join(IMAGE_STATE, `${guest.image}.env`)) ?? NOTHING;
  const format = image.get("IMAGE_FORMAT");
  const from = image.get("IMAGE_PATH") ?? "";
  if ((format !== "raw" && format !== "qcow2") || !existsSync(from)) return undefined;
  return diskFacts(guest, from, join(GUEST_STATE, guest.name, `disk.${format}`), format);
}

function diskFacts(guest: Guest, from: string, file: string, format: "raw" | "qcow2"): VmDisk {
  const handle = openSync(from, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    const read: ReadAt = (offset, length) => {
      const buffer = Buffer.alloc(length);
      return buffer.subarray(0, readSync(handle, buffer, 0, length, offset));
    };
    return {
      file,
      format,
      isBlank: guest.vm?.iso !== undefined && isBlankDisk(format, read),
      root: rootDevice(format, read),
      bytes: diskSizeBytes(format, statSync(from).size, read),
    };
  } finally {
    closeSync(handle);
  }
}

/** All that can be judged before anything is changed. Failure: what the definition asks for, the machine does not have. */
export function readVmStart(guest: Guest, disk: VmDisk, { id, link }: VmIdentity): Result<VmStart> {
  const { name, vm } = guest;
  if (!vm) return failure(describeVmProblem({ kind: "no-vm", guest: name }));
  const host = JSON.parse(readFileSync(ABILITIES, "utf8")) as HostAbilities;
  const image = readEnv(join(IMAGE_STATE, `${guest.image}.env`)) ?? NOTHING;
  const judged = judgeImage(guest, image);
  if (!judged.ok) return judged;
  const mounts = vmMounts(guest);
  if (!mounts.ok) return mounts;
  const prepared = join(VM_PREPARED, name);
  const stateFolder = join(GUEST_STATE, name, "vm");
  const credentials = vmCredentials(guest, id, host, mounts.value.lines, link);
  const split =
    vm.machine === "microvm" ? splitCredentials(credentials) : { byFwCfg: credentials, byCommandLine: [] };
  const seed = seedFiles(guest, id, link);
  const seedFile = join(stateFolder, `seed-${seedHash(seed)}.iso`);
  const needed = neededFiles(guest, image, disk);
  for (const [what, file] of needed)
    if (!existsSync(file)) return failure(describeVmProblem({ kind: "no-file", guest: name, what, file }));
  const kernel = kernelOf(guest, image, disk, host, split.byCommandLine);
  if (!kernel.ok) return kernel;
  const variables = join(stateFolder, "uefi-variables.fd");
  const hasUefi = vm.firmware === "uefi" && existsSync(UEFI_CODE);
  const places: VmPlaces = {
    runFolder: join(VM_RUN, name),
    disk: { file: disk.file, format: disk.format, isBlank: disk.isBlank },
    seedFile,
    credentials: split.byFwCfg.map((c) => ({ name: c.name, file: join(prepared, "credentials", c.name) })),
    ...(kernel.value ? { kernel: kernel.value } : {}),
    ...(hasUefi ? { uefi: { code: UEFI_CODE, variables, tpmSocket: join(TPM_RUN, name, "socket") } } : {}),
    id,
    ...(link ? { link: { tap: tapName(name), mac: link.mac } } : {}),
    shares: mounts.value.shares,
  };
  const argv = qemuArguments(guest, places, host);
  if (!argv.ok) return argv;
  const text = argumentsFile(name, argv.value);
  if (!text.ok) return text;
  const lines = link && guest.network !== undefined ? linkLines(guest, guest.network) : success(() => "");
  if (!lines.ok) return lines;
  const limits: VmLimits = {
    readySeconds: guest.readySeconds,
    stopSeconds: guest.stopSeconds,
    ...(host.vsock ? { vsockPort: readyVsockPort(id) } : {}),
  };
  const wantedBytes = sizeBytes(guest.resources.disk ?? "");
  return success({
    disk,
    ...(wantedBytes === undefined ? {} : { wantedBytes }),
    files: [
      ...split.byFwCfg.map((c): KitFile => {
        const content = credentialContent(vm.machine, c.name, c.text);
        return { file: join(prepared, "credentials", c.name), mode: "400", text: content };
      }),
      { file: join(prepared, "limits.json"), mode: "644", text: `${JSON.stringify(limits)}\n` },
      { file: join(prepared, ARGUMENTS_DRAFT), mode: "400", text: text.value },
    ],
    seed: { file: seedFile, files: seed },
    ...(hasUefi ? { variables } : {}),
    ...(link ? { tap: tapName(name) } : {}),
    linkLines: lines.value,
    needed: needed.map(([, file]) => file),
    said:
      vm.accelerator === "tcg"
        ? `warning[vm-emulated] guest \`${name}\` runs on an emulated processor (TCG), as its definition says: some ten times slower than KVM\n`
        : "",
  });
}

function judgeImage(guest: Guest, image: ReadonlyMap<string, string>): Result<undefined> {
  const kind = image.get("IMAGE_KIND");
  const base = { guest: guest.name, image: guest.image };
  const what = kind === undefined ? "not there" : "a root file system";
  if (kind !== "disk") return failure(describeVmProblem({ kind: "no-disk", ...base, found: what }));
  const found = image.get("IMAGE_ARCH") || ARCHITECTURE;
  if (found === ARCHITECTURE) return success(undefined);
  return failure(describeVmProblem({ kind: "architecture", ...base, found, host: ARCHITECTURE }));
}

/** An ISO is to be booted from: then not the image's own kernel. */
function neededFiles(
  guest: Guest,
  image: ReadonlyMap<string, string>,
  disk: VmDisk,
): [what: string, file: string][] {
  const kernel = disk.isBlank ? "" : (image.get("IMAGE_KERNEL") ?? "");
  const files: [string, string][] = [
    ["ISO", guest.vm?.iso ?? ""],
    ["kernel", kernel],
    ["initrd", kernel === "" ? "" : (image.get("IMAGE_INITRD") ?? "")],
  ];
  return files.filter(([, file]) => file !== "");
}

function kernelOf(
  guest: Guest,
  image: ReadonlyMap<string, string>,
  disk: VmDisk,
  host: HostAbilities,
  credentials: readonly NamedText[],
): Result<VmPlaces["kernel"] | undefined> {
  const file = disk.isBlank ? "" : (image.get("IMAGE_KERNEL") ?? "");
  if (file === "") return success(undefined);
  const initrd = image.get("IMAGE_INITRD") ?? "";
  const commandLine = kernelCommandLine(guest, disk.root, host, credentials);
  if (!commandLine.ok) return commandLine;
  return success({ file, ...(initrd === "" ? {} : { initrd }), commandLine: commandLine.value });
}

function linkLines(guest: Guest, network: string): Result<VmStart["linkLines"]> {
  const shape = readEnv(shapeFile(network)) ?? NOTHING;
  const mode = shape.get("NETWORK_MODE") ?? "not known: it does not run";
  if (!["nat", "routed", "bridge"].includes(mode))
    return failure(describeVmProblem({ kind: "network", guest: guest.name, network, mode }));
  const mtu = shape.get("NETWORK_MTU") ?? "";
  const tap = tapName(guest.name);
  return success(
    (user) =>
      `tuntap add dev ${tap} mode tap user ${user} vnet_hdr\nlink set ${tap} master ${network}${/^\d+$/.test(mtu) ? ` mtu ${mtu}` : ""} up\n`,
  );
}

function shapeFile(network: string): string {
  return join(NETWORK_RUN, `${network}.env`);
}

function seedHash(files: readonly NamedText[]): string {
  return createHash("sha256")
    .update(JSON.stringify([SEED_FORM, files]))
    .digest("hex")
    .slice(0, 32);
}

/** All that a start follows from but the disk's own bytes. Pure. */
export function vmInputs(guest: Guest): string[] {
  return [
    ...netInputs(guest),
    ABILITIES,
    join(IMAGE_STATE, `${guest.image}.env`),
    ...(guest.network === undefined ? [] : [shapeFile(guest.network)]),
    "/usr/local/libexec/qemu/vm.mjs",
  ];
}

/**
 * Makes the kit by which the next start does what this one did; `disk`: the one that the guest has, undefined where it has
 * none yet. Its fields: disk, its size at least (empty: any), the two bytes that tell where its root lies (empty: nobody
 * asks), seed, UEFI's variables, name of the link, lines for ip(8), what is said, files that must be there, a line each;
 * then the files. Nothing is kept for guests whose start looks at more than that. Answers the start that it is for, if there
 * is one.
 */
export function keepVmKit(guest: Guest, given: VmDisk | undefined): VmStart | undefined {
  let start: VmStart | undefined;
  const { network, vm } = guest;
  keepKit(guest.name, "vm", vmInputs(guest), () => {
    const disk = given ?? futureDisk(guest);
    const looksFurther = vm?.iso !== undefined || (vm?.devices ?? []).length > 0;
    if (!disk || looksFurther || !existsSync(ABILITIES)) return undefined;
    const hangs = readAttachment(guest);
    if (!hangs.ok) return undefined;
    const { id, mac, ipv6 } = hangs.value.known;
    const link = network === undefined ? undefined : { mac, ...(ipv6 ? { ipv6: ipv6.address } : {}) };
    const read = readVmStart(guest, disk, { id, ...(link ? { link } : {}) });
    // Its own start says what is wrong.
    if (!read.ok) return undefined;
    start = read.value;
    const files = fileFields(start.files);
    // What a qcow2 holds is not where a script could look.
    if (!files || (disk.format === "qcow2" && start.wantedBytes !== undefined)) return undefined;
    const bootsKernel = start.needed.length > 0 && disk.format === "raw";
    return [
      disk.file,
      `${start.wantedBytes ?? ""}`,
      bootsKernel ? (disk.root === "/dev/vda1" ? "55 aa" : "other") : "",
      start.seed.file,
      start.variables ?? "",
      start.tap ?? "",
      start.linkLines(USER_MARK),
      start.said,
      start.needed.join("\n"),
      ...files,
    ];
  });
  return start;
}
