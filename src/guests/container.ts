/**
 * How a container is run by systemd-nspawn: its arguments, and the files that give its system addresses and keys. They
 * work alike for guests with systemd 252 and 257, and nothing is written into the guest's root. Pure; must not know where
 * the files lie, nor how a root is made.
 */
import type { GuestAddresses } from "./addresses.ts";
import type { Guest, GuestMount } from "./guest.ts";

/** Of the guest's own root user. */
const HOME = "/root";

/** Files of one guest, which its arguments name. Absolute. */
export interface ContainerFiles {
  readonly root: string;
  /** networkd's, for the guest's link. */
  readonly link: string;
  /** A drop-in for the guest's multi-user.target. */
  readonly target: string;
  /** Lines for systemd-tmpfiles(8). */
  readonly tmpfiles: string;
  /** Where a mount of the machine for the guest lies, by its number among all of the guest's. */
  readonly mount: (index: number) => string;
}

/** The name of a link of `macvlan` in the guest (systemd-nspawn(1), `--network-macvlan=`): cut to 15 bytes. Pure. */
export function macvlanName(uplink: string): string {
  return `mv-${uplink}`.slice(0, 15);
}

/** Arguments of systemd-nspawn, without those that follow from the root. Each is one line of text. Pure. */
export function containerArguments(guest: Guest, a: GuestAddresses, files: ContainerFiles): string[] {
  return [
    "--quiet",
    "--settings=no",
    // The unit is what counts; a registration takes a daemon, and time.
    "--keep-unit",
    "--register=no",
    "--notify-ready=yes",
    `--machine=${guest.name}`,
    `--directory=${files.root}`,
    `--hostname=${guest.name}`,
    `--uuid=${a.id}`,
    // A user range of its own; on file systems that can map ids, no file changes its owner.
    "--private-users=pick",
    "--private-users-ownership=auto",
    // Else something of the guest would stay in the machine's journal.
    "--link-journal=no",
    "--timezone=off",
    "--resolv-conf=off",
    `--load-credential=tmpfiles.extra:${files.tmpfiles}`,
    ...networkArguments(guest, a, files),
    `--bind-ro=${quoted(files.target)}:/run/systemd/system/multi-user.target.d/50-guest.conf`,
    ...(guest.tree === undefined ? [] : [`--bind-ro=${quoted(guest.tree)}:/usr/local:idmap`]),
    ...guest.mounts.map((mount, index) => bindArgument(mount, files.mount(index))),
  ];
}

function networkArguments(guest: Guest, a: GuestAddresses, files: ContainerFiles): string[] {
  const { network } = guest;
  if (network === undefined) return ["--private-network"];
  if (a.mode === "host") return [];
  const link = `--bind-ro=${quoted(files.link)}:/run/systemd/network/10-guest.network`;
  if (a.mode === "macvlan") return [`--network-macvlan=${a.uplink ?? ""}`, link];
  return [`--network-bridge=${network}`, link];
}

/** Owners inside are those outside, though the guest's users have a range of their own. Pure. */
function bindArgument({ kind, source, target, readOnly }: GuestMount, mounted: string): string {
  const from = kind === "bind" ? source : mounted;
  return `--bind${readOnly ? "-ro" : ""}=${quoted(from)}:${quoted(target)}:idmap`;
}

/** systemd-nspawn(1): a colon within a path has a backslash before it. Pure. */
function quoted(path: string): string {
  return path.replace(/[\\:]/g, "\\$&");
}

/** networkd's file for the guest's link. Addresses stand at once: nobody else can have them. Pure. */
export function linkText(a: GuestAddresses): string {
  const name = a.mode === "macvlan" ? macvlanName(a.uplink ?? "") : "host0";
  const lines = ["[Match]", `Name=${name}`, "", "[Network]"];
  if (!a.ipv4 && !a.ipv6) return [...lines, "DHCP=yes", "IPv6AcceptRA=yes", ""].join("\n");
  lines.push("DHCP=no", "IPv6AcceptRA=no", "LinkLocalAddressing=ipv6");
  for (const end of [a.ipv4, a.ipv6]) if (end) lines.push(`Gateway=${end.gateway}`);
  lines.push(`DNS=${a.ipv4?.gateway ?? a.ipv6?.gateway}`);
  if (a.fullName !== undefined) lines.push(`Domains=${a.fullName.slice(a.name.length + 1)}`);
  if (a.ipv4) lines.push("", "[Address]", `Address=${a.ipv4.address}/${a.ipv4.length}`);
  if (a.ipv6) lines.push("", "[Address]", `Address=${a.ipv6.address}/64`, "DuplicateAddressDetection=none");
  return [...lines, ""].join("\n");
}

/** For guests whose resolver is their `/etc/resolv.conf`. Undefined: they ask whom DHCP says. Pure. */
export function resolverText(a: GuestAddresses): string | undefined {
  const server = a.ipv4?.gateway ?? a.ipv6?.gateway;
  if (server === undefined || a.fullName === undefined) return undefined;
  return `nameserver ${server}\nsearch ${a.fullName.slice(a.name.length + 1)}\n`;
}

/** Debian enables networkd in no image by itself. Pure. */
export const TARGET_TEXT = "[Unit]\nWants=systemd-networkd.service\n";

/**
 * Lines of tmpfiles.d(5) that put the guest's own host key and the keys of who may log in into place at each boot, by the
 * credential `tmpfiles.extra` (systemd 252 and later). Pure.
 */
export function tmpfilesText(
  guest: Guest,
  hostKey: { readonly privateKey: string; readonly publicKey: string } | undefined,
): string {
  const file = (path: string, mode: string, text: string): string =>
    `f+~ ${path} ${mode} root root - ${Buffer.from(text).toString("base64")}`;
  const lines: string[] = [];
  if (hostKey)
    lines.push(
      file("/etc/ssh/ssh_host_ed25519_key", "0600", hostKey.privateKey),
      file("/etc/ssh/ssh_host_ed25519_key.pub", "0644", hostKey.publicKey),
    );
  if (guest.sshKeys.length > 0)
    lines.push(
      `d ${HOME}/.ssh 0700 root root`,
      file(`${HOME}/.ssh/authorized_keys`, "0600", `${guest.sshKeys.join("\n")}\n`),
    );
  return lines.map((line) => `${line}\n`).join("");
}

/** Arguments that follow from the image: what is run. `command` is an OCI image's; undefined: it is a system. Pure. */
export function rootArguments(command: ContainerCommand | undefined): string[] {
  if (!command) return ["--boot"];
  return [
    "--as-pid2",
    // Nobody inside knows of READY: it is up when it answers on its address.
    "--notify-ready=no",
    ...(command.user ? [`--user=${command.user}`] : []),
    ...(command.cwd ? [`--chdir=${command.cwd}`] : []),
    ...command.env.map((entry) => `--setenv=${entry}`),
    "--",
    ...command.argv,
  ];
}

/** What an image runs that is no system: `IMAGE_COMMAND` of the layer `images`. */
export interface ContainerCommand {
  readonly argv: readonly string[];
  readonly env: readonly string[];
  readonly user?: string;
  readonly cwd?: string;
}
