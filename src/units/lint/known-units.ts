/**
 * Names of units that systemd itself and common Debian packages bring: the unit folders of Debian 12 and 13 with
 * systemd and some servers installed, and well-known names of further packages. A name that is missing here costs a
 * doubt (`known-names.ts`), never by itself a finding where a machine has packages. Data only.
 */
export const KNOWN_UNITS = `
ModemManager.service NetworkManager-dispatcher.service NetworkManager-wait-online.service
NetworkManager.service accounts-daemon.service acme.service acpid.service anacron.service
apache-htcacheclean.service apache-htcacheclean@.service apache2.service apache2@.service apcupsd.service
apparmor.service apt-daily-upgrade.service apt-daily-upgrade.timer apt-daily.service apt-daily.timer
at-spi-dbus-bus.service atd.service auditd.service auth-rpcgss-module.service autofs.service autovt@.service
avahi-daemon.service avahi-daemon.socket basic.target bind9.service bird.service blk-availability.service
blockdev@.target bluetooth.service bluetooth.target boot-complete.target caddy.service capsule@.service
capsule@.target certbot.service certbot.timer chrony-wait.service chrony.service chronyd.service
cloud-config.service cloud-final.service cloud-init-local.service cloud-init.service cockpit.service
cockpit.socket collectd.service console-getty.service console-setup.service consul.service
container-getty@.service containerd.service crio.service cron.service crond.service cryptdisks-early.service
cryptdisks.service cryptsetup-pre.target cryptsetup.target ctrl-alt-del.target cups.path cups.service
cups.socket dbus-broker.service dbus-org.freedesktop.hostname1.service dbus-org.freedesktop.import1.service
dbus-org.freedesktop.locale1.service dbus-org.freedesktop.login1.service dbus-org.freedesktop.machine1.service
dbus-org.freedesktop.network1.service dbus-org.freedesktop.portable1.service
dbus-org.freedesktop.resolve1.service dbus-org.freedesktop.timedate1.service
dbus-org.freedesktop.timesync1.service dbus.service dbus.socket dconf.service debug-shell.service
default.target dirmngr.service dirmngr.socket display-manager.service dm-event.service dm-event.socket
dnsmasq.service dnsmasq@.service docker.service docker.socket dovecot.service dovecot.socket
dpkg-db-backup.service dpkg-db-backup.timer dropbear.service e2scrub@.service e2scrub_all.service
e2scrub_all.timer e2scrub_fail@.service e2scrub_reap.service elasticsearch.service emergency.service
emergency.target etcd.service exim4.service exit.target factory-reset.target fail2ban.service ferm.service
final.target firewalld.service first-boot-complete.target flatpak-system-helper.service forgejo.service
frr.service fsidd.service fstrim.service fstrim.timer gdm.service gdm3.service getty-pre.target
getty-static.service getty.target getty@.service gitea.service gitlab-runner.service gpg-agent-browser.socket
gpg-agent-extra.socket gpg-agent-ssh.socket gpg-agent.service gpg-agent.socket grafana-server.service
graphical-session-pre.target graphical-session.target graphical.target gunicorn.service halt.target
haproxy.service hibernate.target hostapd.service hostapd@.service httpd.service hwclock.service
hybrid-sleep.target hyperv-daemons.service ifup@.service ifupdown-pre.service ifupdown-wait-online.service
incus.service incus.socket influxdb.service initrd-cleanup.service initrd-fs.target initrd-parse-etc.service
initrd-root-device.target initrd-root-fs.target initrd-switch-root.service initrd-switch-root.target
initrd-udevadm-cleanup-db.service initrd-usr-fs.target initrd.target integritysetup-pre.target
integritysetup.target ipsec.service ipset.service iptables.service irqbalance.service isc-dhcp-server.service
isc-dhcp-server6.service iscsid.service jellyfin.service jenkins.service k3s.service kea-dhcp4-server.service
kea-dhcp6-server.service keepalived.service kexec.target keyboard-setup.service kmod-static-nodes.service
kmod.service kubelet.service ldconfig.service libvirtd.service libvirtd.socket lightdm.service
lighttpd.service lm-sensors.service local-fs-pre.target local-fs.target logrotate.service logrotate.timer
lvm2-lvmpolld.service lvm2-lvmpolld.socket lvm2-monitor.service lxc-net.service lxc.service lxc@.service
machine.slice machines.target man-db.service man-db.timer mariadb.service mdadm-grow-continue@.service
mdadm-last-resort@.service mdadm-last-resort@.timer mdadm.service mdcheck_continue.service
mdcheck_continue.timer mdcheck_start.service mdcheck_start.timer mdmon@.service mdmonitor-oneshot.service
mdmonitor-oneshot.timer mdmonitor.service memcached.service minidlna.service modprobe@.service mongod.service
mosquitto.service multi-user.target multipathd.service munin-node.service mysql.service mysqld.service
named-resolvconf.service named.service nebula.service netdata.service netfilter-persistent.service
network-online.target network-pre.target network.target networking.service nfs-blkmap.service
nfs-client.target nfs-common.service nfs-idmapd.service nfs-kernel-server.service nfs-mountd.service
nfs-server.service nfs-utils.service nfsdcld.service nftables.service nginx-debug.service nginx.service
nmbd.service nomad.service nss-lookup.target nss-user-lookup.target ntp.service ntpd.service ntpsec.service
nut-monitor.service nut-server.service open-iscsi.service open-vm-tools.service openvpn-client@.service
openvpn-server@.service openvpn.service openvpn@.service packagekit-offline-update.service packagekit.service
pam_namespace.service paths.target pg_basebackup@.service pg_basebackup@.timer pg_compresswal@.service
pg_compresswal@.timer pg_dump@.service pg_dump@.timer pg_receivewal@.service pgbouncer.service
php8.2-fpm.service php8.4-fpm.service pipewire.service pipewire.socket pk-debconf-helper.service
pk-debconf-helper.socket plexmediaserver.service podman-auto-update.timer podman-restart.service
podman.service podman.socket polkit.service portmap.service postfix.service postfix@.service
postgresql.service postgresql@.service power-profiles-daemon.service poweroff.target printer.target
procps.service proftpd.service prometheus-node-exporter.service prometheus.service pulseaudio.service
pulseaudio.socket pure-ftpd.service qemu-guest-agent.service quotaon-root.service quotaon.service
quotaon@.service rabbitmq-server.service radvd.service rc-local.service rc.service rcS.service reboot.target
redis-server.service redis-server@.service redis.service remote-cryptsetup.target remote-fs-pre.target
remote-fs.target remote-veritysetup.target rescue-ssh.target rescue.service rescue.target
resolvconf-pull-resolved.service resolvconf.service rpc-gssd.service rpc-statd-notify.service
rpc-statd.service rpc-svcgssd.service rpcbind.service rpcbind.socket rpcbind.target rsync.service
rsyslog.service runlevel0.target runlevel1.target runlevel2.target runlevel3.target runlevel4.target
runlevel5.target runlevel6.target samba-ad-dc.service sddm.service sendmail.service serial-getty@.service
shorewall.service shutdown.target sigpwr.target slapd.service sleep.target slices.target smartcard.target
smartd.service smartmontools.service smbd.service snapd.service snapd.socket snmpd.service sockets.target
soft-reboot.target sound.target spice-vdagentd.service squid.service ssh-access.target ssh-agent.service
ssh-agent.socket ssh.service ssh.socket ssh@.service sshd-keygen.service sshd.service sshd@.service
sssd.service storage-target-mode.target strongswan-starter.service strongswan.service sudo.service
suspend-then-hibernate.target suspend.target swap.target syncthing@.service sysinit.target syslog-ng.service
syslog.service syslog.socket system-update-cleanup.service system-update-pre.target system-update.target
systemd-ask-password-console.path systemd-ask-password-console.service systemd-ask-password-wall.path
systemd-ask-password-wall.service systemd-backlight@.service systemd-battery-check.service
systemd-binfmt.service systemd-boot-check-no-failures.service systemd-boot-update.service systemd-bsod.service
systemd-confext.service systemd-coredump.socket systemd-coredump@.service systemd-creds.socket
systemd-creds@.service systemd-exit.service systemd-firstboot.service systemd-fsck-root.service
systemd-fsck@.service systemd-fsckd.service systemd-fsckd.socket systemd-growfs-root.service
systemd-growfs@.service systemd-halt.service systemd-hibernate-clear.service systemd-hibernate-resume.service
systemd-hibernate-resume@.service systemd-hibernate.service systemd-homed.service systemd-hostnamed.service
systemd-hostnamed.socket systemd-hwdb-update.service systemd-hybrid-sleep.service systemd-importd.service
systemd-importd.socket systemd-initctl.service systemd-initctl.socket systemd-journal-catalog-update.service
systemd-journal-flush.service systemd-journal-gatewayd.service systemd-journal-remote.service
systemd-journal-upload.service systemd-journald-audit.socket systemd-journald-dev-log.socket
systemd-journald-sync@.service systemd-journald-varlink@.socket systemd-journald.service
systemd-journald.socket systemd-journald@.service systemd-journald@.socket systemd-kexec.service
systemd-localed.service systemd-logind.service systemd-machine-id-commit.service systemd-machined.service
systemd-modules-load.service systemd-mountfsd.service systemd-mountfsd.socket
systemd-network-generator.service systemd-networkd-persistent-storage.service
systemd-networkd-wait-online.service systemd-networkd-wait-online@.service systemd-networkd.service
systemd-networkd.socket systemd-nspawn@.service systemd-nsresourced.service systemd-nsresourced.socket
systemd-oomd.service systemd-oomd.socket systemd-pcrextend.socket systemd-pcrextend@.service
systemd-pcrfs-root.service systemd-pcrfs@.service systemd-pcrlock-file-system.service
systemd-pcrlock-firmware-code.service systemd-pcrlock-firmware-config.service
systemd-pcrlock-machine-id.service systemd-pcrlock-make-policy.service
systemd-pcrlock-secureboot-authority.service systemd-pcrlock-secureboot-policy.service systemd-pcrlock.socket
systemd-pcrlock@.service systemd-pcrmachine.service systemd-pcrphase-initrd.service
systemd-pcrphase-sysinit.service systemd-pcrphase.service systemd-portabled.service systemd-poweroff.service
systemd-pstore.service systemd-quotacheck-root.service systemd-quotacheck.service systemd-quotacheck@.service
systemd-random-seed.service systemd-reboot.service systemd-remount-fs.service systemd-repart.service
systemd-resolved.service systemd-rfkill.service systemd-rfkill.socket systemd-soft-reboot.service
systemd-storagetm.service systemd-suspend-then-hibernate.service systemd-suspend.service
systemd-sysctl.service systemd-sysext.service systemd-sysext.socket systemd-sysext@.service
systemd-sysupdate-reboot.service systemd-sysupdate-reboot.timer systemd-sysupdate.service
systemd-sysupdate.timer systemd-sysusers.service systemd-time-wait-sync.service systemd-timedated.service
systemd-timesyncd.service systemd-tmpfiles-clean.service systemd-tmpfiles-clean.timer
systemd-tmpfiles-setup-dev-early.service systemd-tmpfiles-setup-dev.service systemd-tmpfiles-setup.service
systemd-tpm2-setup-early.service systemd-tpm2-setup.service systemd-udev-load-credentials.service
systemd-udev-settle.service systemd-udev-trigger.service systemd-udevd-control.socket
systemd-udevd-kernel.socket systemd-udevd.service systemd-update-done.service
systemd-update-utmp-runlevel.service systemd-update-utmp.service systemd-user-sessions.service
systemd-volatile-root.service tailscaled.service telegraf.service thermald.service time-set.target
time-sync.target timers.target tor.service tor@.service tor@default.service tpm2.target
transmission-daemon.service tuned.service udev.service udisks2.service ufw.service umount.target
unattended-upgrades.service unbound-resolvconf.service unbound.service usb-gadget.target
user-runtime-dir@.service user@.service uwsgi.service valkey-server.service varnish.service vault.service
vboxadd.service veritysetup-pre.target veritysetup.target virtlogd.service virtqemud.service vsftpd.service
waagent.service watchdog.service wg-quick.target wg-quick@.service winbind.service wireplumber.service
wpa_supplicant.service wpa_supplicant@.service x11-common.service xdg-desktop-autostart.target
zabbix-agent.service zabbix-server.service zed.service zerotier-one.service zfs-import.target
zfs-mount.service zfs.target
`;
