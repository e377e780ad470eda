/**
 * What a virtual machine is told about itself: system credentials, the files of a cloud-init NoCloud seed, the words of its
 * kernel's command line. Pure; must not know how any of it reaches the guest.
 *
 * Sources: systemd.system-credentials(7), kernel-command-line(7), systemd-debug-generator(8); cloud-init's pages on the
 * NoCloud data source and on network configuration, version 2.
 */
import { type Diagnostic, failure, type Result, success } from "../diagnostics.ts";
import type { Guest, GuestMount } from "./guest.ts";
import { type HostAbilities, READY_PORT, type VmPlaces, vsockCid } from "./qemu-arguments.ts";
import { describeVmProblem } from "./vm-problems.ts";

/** What a guest is reached by, known before it runs; all undefined without a network. */
export interface VmLink {
  readonly mac: string;
  /** Ours, with its network's length 64; undefined: whoever gives addresses there decides. */
  readonly ipv6?: string;
}

export interface NamedText {
  readonly name: string;
  readonly text: string;
}

/** Label of the seed's file system (cloud-init's NoCloud). */
export const SEED_LABEL = "CIDATA";

/** fw_cfg names have at most 55 bytes (QEMU's docs/specs/fw_cfg.rst), of which the prefix takes 27. */
const FW_CFG_NAME_BYTES = 28;
/** Linux on x86 has room for 2,048 bytes with the closing zero. */
export const COMMAND_LINE_BYTES = 2047;

const READY_UNIT = "labctl-ready.service";
/** Writes to the port, whatever it is called without udev. One line of sh. */
const SAY_READY = `for p in /sys/class/virtio-ports/*; do read -r n <"$p/name" && [ "$n" = ${READY_PORT} ] && echo READY=1 >"/dev/\${p##*/}"; done; true`;

/** Credentials by name; a guest without a systemd that knows one ignores it. Pure. */
export function vmCredentials(
  guest: Guest,
  id: string,
  host: HostAbilities,
  mounts: readonly string[],
  link: VmLink | undefined,
): NamedText[] {
  const keys = guest.sshKeys.map((key) => `${key}\n`).join("");
  return [
    { name: "system.hostname", text: guest.name },
    { name: "system.machine_id", text: id },
    ...(keys === "" ? [] : [{ name: "ssh.authorized_keys.root", text: keys }]),
    ...(mounts.length === 0 ? [] : [{ name: "fstab.extra", text: mounts.map((m) => `${m}\n`).join("") }]),
    ...(link === undefined ? [] : [{ name: "network.network.50-labctl", text: networkdText(link) }]),
    // PID 1 itself says when it is up; where there is no vsock, a unit says it on the serial port.
    ...(host.vsock ? [{ name: "vmm.notify_socket", text: `vsock-stream:2:${readyVsockPort(id)}` }] : []),
    { name: `systemd.extra-unit.${READY_UNIT}`, text: readyUnit() },
    { name: "systemd.unit-dropin.multi-user.target", text: `[Unit]\nWants=${READY_UNIT}\n` },
  ];
}

/** IPv4 comes by DHCP, whose server knows the MAC; IPv6 would follow from the MAC, and not from the guest's id. */
function networkdText({ mac, ipv6 }: VmLink): string {
  const address = ipv6 === undefined ? [] : [`Address=${ipv6}/64`];
  return ["[Match]", `MACAddress=${mac}`, "[Network]", "DHCP=ipv4", "IPv6AcceptRA=yes", ...address, ""].join(
    "\n",
  );
}

/** Those whose names fw_cfg can't carry, and the others. Pure. */
export function splitCredentials(list: readonly NamedText[]): {
  byFwCfg: NamedText[];
  byCommandLine: NamedText[];
} {
  const fits = (c: NamedText): boolean => c.name.length <= FW_CFG_NAME_BYTES;
  return { byFwCfg: list.filter(fits), byCommandLine: list.filter((c) => !fits(c)) };
}

/** Port on which the machine hears from one guest: two that start at once must not be mistaken. Pure. */
export function readyVsockPort(id: string): number {
  return 1024 + (vsockCid(id) % 0x7fff_0000);
}

function readyUnit(): string {
  return [
    "[Unit]",
    "Description=Tell the machine that this guest is ready",
    // Wanted by the target that it waits for.
    "DefaultDependencies=no",
    "After=multi-user.target",
    "[Service]",
    "Type=oneshot",
    `ExecStart=/bin/sh -c '${SAY_READY.replaceAll("$", "$$$$")}'`,
    "",
  ].join("\n");
}

/** The seed's files. YAML that is JSON: nothing in it needs quoting that JSON does not do. Pure. */
export function seedFiles(guest: Guest, id: string, link: VmLink | undefined): NamedText[] {
  const json = (value: unknown): string => `${JSON.stringify(value, undefined, 2)}\n`;
  const keys = guest.sshKeys;
  const user = {
    hostname: guest.name,
    ...(keys.length === 0
      ? {}
      : {
          disable_root: false,
          ssh_authorized_keys: keys,
          users: ["default", { name: "root", ssh_authorized_keys: keys }],
        }),
  };
  const network = {
    version: 2,
    ethernets:
      link === undefined
        ? {}
        : {
            link: {
              match: { macaddress: link.mac },
              dhcp4: true,
              "accept-ra": true,
              ...(link.ipv6 === undefined ? {} : { addresses: [`${link.ipv6}/64`] }),
            },
          },
  };
  return [
    { name: "meta-data", text: json({ "instance-id": id, "local-hostname": guest.name }) },
    { name: "user-data", text: `#cloud-config\n${json(user)}` },
    // Last of all that cloud-init does.
    { name: "vendor-data", text: `#cloud-config\n${json({ runcmd: [["sh", "-c", SAY_READY]] })}` },
    { name: "network-config", text: json(network) },
  ];
}

/** The kernel's command line for a boot without a boot loader. Pure. */
export function kernelCommandLine(
  guest: Guest,
  rootDevice: string,
  host: HostAbilities,
  credentials: readonly NamedText[],
): Result<string> {
  const { vm } = guest;
  // An emulated microvm has nothing that it could measure its counter against in time: now and then it hangs there.
  const counts = vm?.machine === "microvm" && vm.accelerator === "tcg" && host.tscKhz !== undefined;
  const words = [
    "console=ttyS0",
    `root=${rootDevice}`,
    "rw",
    ...(counts ? [`tsc_early_khz=${host.tscKhz}`, "tsc=reliable"] : []),
    ...credentials.map(
      (c) => `systemd.set_credential_binary=${c.name}:${Buffer.from(c.text).toString("base64")}`,
    ),
    ...(vm?.append === undefined ? [] : [vm.append]),
  ];
  const line = words.join(" ");
  if (Buffer.byteLength(line) <= COMMAND_LINE_BYTES) return success(line);
  return failure(
    describeVmProblem({ kind: "command-line", guest: guest.name, bytes: Buffer.byteLength(line) }),
  );
}

/**
 * Folders that QEMU shares with the guest, and the guest's fstab(5) lines for all its mounts. Failure: a mount that a virtual
 * machine can't have. Pure.
 */
export function vmMounts(guest: Guest): Result<{ shares: VmPlaces["shares"]; lines: readonly string[] }> {
  const shares: { tag: string; source: string; readOnly: boolean }[] = [];
  const lines: string[] = [];
  const problems: Diagnostic[] = [];
  const share = (source: string, target: string, readOnly: boolean): void => {
    const tag = `share${shares.length}`;
    shares.push({ tag, source, readOnly });
    lines.push(fstabLine(tag, target, "9p", `trans=virtio,version=9p2000.L,${readOnly ? "ro" : "rw"}`));
  };
  if (guest.tree !== undefined) share(guest.tree, "/usr/local", true);
  for (const mount of guest.mounts) {
    const refuse = (what: string): number =>
      problems.push(describeVmProblem({ kind: "mount", guest: guest.name, target: mount.target, what }));
    // Files are shared as the user that QEMU runs as sees them, who owns none of them.
    if (mount.kind === "bind" && !mount.readOnly) refuse("a folder of the machine that it can write to");
    else if (mount.kind === "bind") share(mount.source, mount.target, mount.readOnly);
    else if (mount.kind === "nfs") lines.push(nfsLine(mount));
    else refuse("iSCSI");
  }
  return problems.length > 0 ? failure(...problems) : success({ shares, lines });
}

function nfsLine(mount: GuestMount): string {
  return fstabLine(mount.source, mount.target, "nfs", `_netdev,${mount.readOnly ? "ro" : "rw"}`);
}

/** fstab(5) writes blanks and backslashes in octal. */
function fstabLine(source: string, target: string, type: string, options: string): string {
  const field = (text: string): string =>
    text.replace(/[\s\\#]/g, (c) => `\\${c.charCodeAt(0).toString(8).padStart(3, "0")}`);
  return `${field(source)} ${field(target)} ${type} ${options} 0 0`;
}
