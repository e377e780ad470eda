/**
 * What stands in a machine's root file system image, as data: packages, masks, and the script that finishes it.
 * An image must resemble an ordinary Debian server; each deviation has its reason here. Pure; builds nothing.
 */
import { createHash } from "node:crypto";

/** Goes up when this file changes what an image holds; cached images of older recipes are then not used. */
const RECIPE_VERSION = 3;

/** Releases of Debian that machines can be of: the newest, and the oldest that labctl's layers are made for. */
export type ImageSuite = "bookworm" | "trixie";

export const IMAGE_SUITE: ImageSuite = "trixie";

/** Installed in every image: what a small Debian server has that is reached by ssh and managed by systemd. */
const BASE_PACKAGES: readonly string[] = [
  "systemd-sysv",
  "dbus",
  "libpam-systemd",
  "systemd-resolved",
  "libnss-myhostname",
  "openssh-server",
  "sudo",
  "rsync",
  "nftables",
  "iproute2",
  "iputils-ping",
  "procps",
];

/** Never read in a machine that lives for a minute; 60 MB. */
export const EXCLUDED_PATHS: readonly string[] = [
  "/usr/share/man/*",
  "/usr/share/doc/*",
  "/usr/share/locale/*",
];

/**
 * systemd 257 limits how often it re-reads the mount table, so that each pending mount job can wait a second; a
 * container has these file systems already or needs none of them.
 */
const SLOW_MOUNTS: readonly string[] = [
  "dev-hugepages.mount",
  "dev-mqueue.mount",
  "run-lock.mount",
  "sys-kernel-debug.mount",
  "sys-kernel-tracing.mount",
  "tmp.mount",
  "var-lib-machines.mount",
];

/** Units that would act behind a test's back, or hold up a boot, in a machine without internet and keyboard. */
const UNWANTED_UNITS: readonly string[] = [
  // The kernel is the host's; without its modules at hand this unit fails, and the machine is `degraded`.
  "systemd-modules-load.service",
  // Without a terminal on the console, the login prompt ends and is restarted for ever.
  "console-getty.service",
  // They would look for package updates in the middle of a test.
  "apt-daily.timer",
  "apt-daily-upgrade.timer",
  "dpkg-db-backup.timer",
  "e2scrub_all.timer",
  "fstrim.timer",
  // READY comes when the network is up anyway; this one waits for IPv6 link-local addresses too.
  "systemd-networkd-wait-online.service",
  // Each machine gets its own host key before its first boot.
  "sshd-keygen.service",
];

/** Sorted, without repetitions. Pure. */
export function imagePackages(extra: readonly string[]): string[] {
  return [...new Set([...BASE_PACKAGES, ...extra])].sort();
}

/** File name stem of the cached image: the same inputs give the same key, in whatever order they are named. Pure. */
export function imageKey(extra: readonly string[], suite: ImageSuite = IMAGE_SUITE): string {
  const inputs = [`recipe ${RECIPE_VERSION}`, suite, process.arch, ...imagePackages(extra), finishScript()];
  return `${suite}-${createHash("sha256").update(inputs.join("\n")).digest("hex").slice(0, 16)}`;
}

/** Shell text that mmdebstrap runs on the host with the unpacked root as `$1`, after all packages. Pure. */
export function finishScript(): string {
  const masks = [...SLOW_MOUNTS, ...UNWANTED_UNITS];
  return [
    "set -eu",
    'root="$1"',
    // network-generator turns the `network.*` credentials into networkd's files.
    'chroot "$root" systemctl --quiet enable ssh systemd-networkd systemd-network-generator systemd-resolved nftables',
    `for unit in ${masks.join(" ")}; do ln -sf /dev/null "$root/etc/systemd/system/$unit"; done`,
    // The host's names and keys do not belong in an image; neither does its way to the mirror.
    'rm -f "$root/etc/hostname" "$root/etc/resolv.conf" "$root"/etc/ssh/ssh_host_* "$root"/etc/apt/apt.conf.d/99mmdebstrap',
    'ln -s ../run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"',
    // Empty, not absent: absent would make every boot a first boot.
    ': > "$root/etc/machine-id"',
    // Without it systemd-modules-load.service fails, and the machine is `degraded`.
    'mkdir -p "$root/usr/lib/modules"',
    // Else the first boot rebuilds ld.so.cache, hwdb and the journal catalogue.
    'touch "$root/etc/.updated" "$root/var/.updated"',
  ].join("\n");
}
