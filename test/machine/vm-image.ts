/**
 * A small Debian guest for virtual machines, a disk with its kernel, cached like the images of disposable machines. Must not know how it is booted. Each deviation from a stock Debian has its reason here: the guest runs
 * on an emulated processor, where a second of an ordinary boot takes ten.
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { success } from "../../src/diagnostics.ts";
import { mirrorOf, proxyOptions } from "../../src/images/apt-source.ts";
import { ensureImage, type Image, type ImageBuilder } from "../../src/twin/image.ts";
import { EXCLUDED_PATHS, IMAGE_SUITE } from "../../src/twin/image-recipe.ts";
import { runProgram } from "../../src/twin/run-program.ts";
import { unwrap } from "./bed-fixture.ts";

const PACKAGES: readonly string[] = ["systemd-sysv", "iproute2", "busybox-static"];

/** Modules of Debian's cloud kernel that the guest's devices need, in the order in which they are loaded. */
const MODULES: readonly string[] = [
  "qemu_fw_cfg",
  "virtio_mmio",
  "virtio_blk",
  "failover",
  "net_failover",
  "virtio_net",
  "cdrom",
  "isofs",
  "button",
  "evdev",
];

/** Nothing in the guest asks for them, and each costs a second or more of an emulated processor. */
const MASKED: readonly string[] = [
  "systemd-udevd.service",
  "systemd-udev-trigger.service",
  "systemd-udevd-control.socket",
  "systemd-udevd-kernel.socket",
  "systemd-modules-load.service",
  "systemd-networkd.service",
  "systemd-networkd.socket",
  "systemd-network-generator.service",
  "systemd-hostnamed.socket",
  "systemd-sysext.socket",
  "systemd-creds.socket",
  "systemd-pcrextend.socket",
  "systemd-pcrlock.socket",
  "systemd-journal-flush.service",
  "systemd-random-seed.service",
  "systemd-tmpfiles-setup.service",
  "systemd-tmpfiles-setup-dev.service",
  "systemd-tmpfiles-setup-dev-early.service",
  "systemd-sysusers.service",
  "systemd-update-utmp.service",
  "systemd-user-sessions.service",
  "systemd-remount-fs.service",
  "systemd-pstore.service",
  "systemd-binfmt.service",
  "systemd-sysctl.service",
  "systemd-hibernate-clear.service",
  "ldconfig.service",
  "modprobe@.service",
  "getty.target",
  "machines.target",
  "remote-fs.target",
  "var-lib-machines.mount",
  "tmp.mount",
  "run-lock.mount",
  "dev-hugepages.mount",
  "dev-mqueue.mount",
  "sys-kernel-debug.mount",
  "sys-kernel-tracing.mount",
  "apt-daily.timer",
  "apt-daily-upgrade.timer",
  "dpkg-db-backup.timer",
  "fstrim.timer",
  "systemd-tmpfiles-clean.timer",
  "systemd-ask-password-console.path",
  "systemd-ask-password-wall.path",
];

/** Without udev, networkd waits for links for ever: the initrd asks DHCP instead. */
const INIT = `#!/bin/busybox sh
B=/bin/busybox
$B mount -t devtmpfs d /dev; $B mount -t proc p /proc; $B mount -t sysfs s /sys
for m in ${MODULES.join(" ")}; do $B insmod /lib/$m.ko; done
until [ -b /dev/vda ]; do $B usleep 10000; done
$B ip link set lo up
if $B ip link set eth0 up; then $B udhcpc -i eth0 -n -q -t 10 -T 1 -s /dhcp.sh; fi
$B mount -t ext4 -o rw,noatime /dev/vda /new || exec $B sh
$B mount --move /dev /new/dev; $B umount /proc /sys
exec $B switch_root /new /usr/lib/systemd/systemd
`;
const DHCP = `#!/bin/busybox sh
[ "$1" = bound ] || exit 0
/bin/busybox ip addr add $ip/$mask dev $interface; /bin/busybox ip route add default via $router
`;

/** Shuts down when its power button is pressed, or any key: logind would need udev. */
const BUTTON = `[Unit]
Description=Power button
ConditionPathExists=/dev/input/event0
[Service]
ExecStart=/bin/sh -c 'for e in /dev/input/event*; do (dd if=$$e of=/dev/null bs=24 count=1 && echo "guest: power button" >/dev/console && systemctl poweroff) & done; wait'
[Install]
WantedBy=multi-user.target
`;

/** Says on the console what it was given. */
const REPORT = `[Unit]
Description=What this guest was given
[Service]
Type=oneshot
StandardOutput=file:/dev/console
ExecStart=/bin/sh -c 'echo "guest: kernel $(uname -r) host $(cat /proc/sys/kernel/hostname) id $(cat /etc/machine-id)"; \\
 ip -o address show dev eth0 | sed "s/^/guest: address /"; \\
 for f in /run/credentials/@system/*; do echo "guest: credential $(basename "$f")"; done; \\
 mkdir -p /run/seed; mount -t iso9660 -o ro /dev/vdb /run/seed && for f in /run/seed/*; do sed "s|^|guest: seed $(basename "$f"): |" "$f"; done; \\
 ls -d /sys/firmware/efi /dev/tpm0 | sed "s/^/guest: has /"'
[Install]
WantedBy=multi-user.target
`;

/** Shell text that mmdebstrap runs on this host: the guest's root is `$1`, kernel and initrd go to `$WORK`. */
function finishScript(): string {
  return `set -eu
root="$1"; S="$root/etc/systemd/system"
here="$WORK"
kernel=$(APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \\(linux-image-[0-9].*\\)/\\1/p' | head -n1)
(cd "$here"; APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get -o APT::Sandbox::User=root download "$kernel"; dpkg-deb -x linux-image*.deb kernel; mv kernel/boot/vmlinuz-* vmlinuz)
mkdir -p "$here"/ird/bin "$here"/ird/lib "$here"/ird/proc "$here"/ird/sys "$here"/ird/dev "$here"/ird/new
cp "$root/usr/bin/busybox" "$here/ird/bin/"
for m in ${MODULES.join(" ")}; do find "$here/kernel" -name "$m.ko.xz" -exec "$root/usr/bin/busybox" xz -dc {} \\; > "$here/ird/lib/$m.ko"; test -s "$here/ird/lib/$m.ko"; done
cat > "$here/ird/init" <<'X'
${INIT}X
cat > "$here/ird/dhcp.sh" <<'X'
${DHCP}X
chmod +x "$here/ird/init" "$here/ird/dhcp.sh"
(cd "$here/ird"; find . | "$root/usr/bin/busybox" cpio -o -H newc | gzip -1) > "$here/initrd"
rm -rf "$here/kernel" "$here/ird" "$here"/*.deb
: > "$root/etc/machine-id"; rm -f "$root/etc/hostname" "$root/etc/resolv.conf"; : > "$root/etc/fstab"
mkdir -p "$root/usr/lib/modules" "$root/etc/systemd/system-generators" "$root/etc/systemd/journald.conf.d"
touch "$root/etc/.updated" "$root/var/.updated"
printf '[Journal]\\nStorage=volatile\\n' > "$root/etc/systemd/journald.conf.d/guest.conf"
for u in ${MASKED.join(" ")}; do ln -sf /dev/null "$S/$u"; done
for g in "$root"/usr/lib/systemd/system-generators/*; do case "$g" in */systemd-debug-generator) ;; *) ln -sf /dev/null "$root/etc/systemd/system-generators/\${g##*/}";; esac; done
cat > "$S/guest-report.service" <<'X'
${REPORT}X
cat > "$S/guest-button.service" <<'X'
${BUTTON}X
chroot "$root" systemctl --quiet enable guest-report guest-button
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/*
`;
}

const PACK = `set -eu; cd "$WORK"
cp vmlinuz root/boot/vmlinuz-guest; cp initrd root/boot/initrd.img-guest
mke2fs -q -t ext4 -O ^has_journal -E lazy_itable_init=1,root_owner=0:0 -d root disk.raw 420M
zstd -q -T0 disk.raw -o "$OUT"`;

/** A compressed disk: ext4 without partitions, kernel and initrd in its /boot. */
const build: ImageBuilder = async (file, packages, workFolder, onProgress) => {
  const mirror = mirrorOf(process.env);
  onProgress("building the guest of virtual machines (about a minute)");
  const options = [...proxyOptions(), 'Acquire::Languages "none"'];
  const argv = [
    "mmdebstrap",
    "--quiet",
    "--variant=essential",
    "--mode=root",
    "--format=directory",
    `--include=${packages.join(",")}`,
    ...options.map((line) => `--aptopt=${line}`),
    ...EXCLUDED_PATHS.map((path) => `--dpkgopt=path-exclude=${path}`),
    `--customize-hook=${finishScript()}`,
    IMAGE_SUITE,
    join(workFolder, "root"),
    mirror,
  ];
  const env = { ...process.env, TMPDIR: workFolder, LC_ALL: "C.UTF-8", WORK: workFolder, OUT: file };
  const made = await runProgram(argv, { env });
  // Not in the hook: mmdebstrap has /proc mounted in the root while that runs.
  const end = made.status === 0 ? await runProgram(["sh", "-c", PACK], { env }) : made;
  if (end.status === 0) return success(undefined);
  throw new Error(`the guest of virtual machines can't be built: ${end.stderr}`);
};

/** The guest, from the cache or built; see `ensureImage`. Builds only where there is a network. */
export async function vmImage(): Promise<Image> {
  const recipe = createHash("sha256")
    .update(finishScript())
    .update(PACK)
    .update(PACKAGES.join(" "))
    .digest("hex");
  const key = `vm-${IMAGE_SUITE}-${recipe.slice(0, 16)}`;
  const onProgress = (line: string): void => console.error(line);
  return unwrap(await ensureImage({ packages: PACKAGES, key, builder: build, onProgress }));
}
