# shellcheck shell=sh
# Reports what a machine is: one line a fact, fields separated by tabs, `end` last. POSIX sh, so that it runs on anything;
# a program that is missing leaves its facts out. Reads only. Arguments: names of packages whose versions are asked for.
LC_ALL=C
export LC_ALL
tab=$(printf '\t')

# say NAME VALUE...: control characters in a value would end a field.
say() {
  name=$1
  shift
  printf '%s' "$name"
  for value in "$@"; do
    printf '\t%s' "$(printf '%s' "$value" | tr -d '\000-\037\177')"
  done
  printf '\n'
}

first_line() { head -n 1 "$1" 2>/dev/null; }

say labctl-facts 1
say machine-id "$(first_line /etc/machine-id)"
say hostname "$(uname -n)"
say architecture "$(uname -m)"
say kernel "$(uname -r)"
say cpus "$(getconf _NPROCESSORS_ONLN 2>/dev/null)"
while read -r key value _; do
  [ "$key" = MemTotal: ] && say memory-kib "$value"
done </proc/meminfo
if command -v systemd-detect-virt >/dev/null; then say virtualisation "$(systemd-detect-virt 2>/dev/null)"; fi
if [ -r /etc/os-release ]; then
  (
    # The file is shell by its own standard: os-release(5).
    . /etc/os-release
    say os "${ID-}" "${VERSION_ID-}" "${VERSION_CODENAME-}"
  )
fi
if command -v systemctl >/dev/null; then
  systemctl --version 2>/dev/null | while read -r _ version _; do
    say systemd "$version"
    break
  done
fi
if [ -L /etc/localtime ]; then
  zone=$(readlink /etc/localtime)
  say time-zone "${zone#*zoneinfo/}"
elif [ -r /etc/timezone ]; then say time-zone "$(first_line /etc/timezone)"; fi
if [ -e /dev/kvm ]; then say kvm yes; else say kvm no; fi
if [ -r /sys/fs/cgroup/cgroup.controllers ]; then say cgroup-controllers "$(first_line /sys/fs/cgroup/cgroup.controllers)"; fi

# File systems that hold state: where, what kind, size and free space in KiB.
if command -v findmnt >/dev/null; then
  findmnt -rn -o TARGET,FSTYPE,SOURCE 2>/dev/null | while read -r target type source; do
    case $target in
      / | /var | /var/lib | /var/lib/*) ;;
      *) continue ;;
    esac
    case $type in autofs | proc | sysfs | cgroup* | bpf | tracefs) continue ;; esac
    set -- $(df -Pk "$target" 2>/dev/null | tail -n 1)
    say file-system "$target" "$type" "$source" "${2-}" "${4-}"
  done
fi

# Links in the order of the kernel's interface numbers, which is that in which udev met them; addresses; routes.
for link in /sys/class/net/*; do
  [ -e "$link/ifindex" ] || continue
  printf '%s %s\n' "$(first_line "$link/ifindex")" "${link##*/}"
done | sort -n | while read -r index name; do
  kind=virtual
  [ ! -e "/sys/class/net/$name/device" ] || kind=physical
  say link "$name" "$index" "$kind" "$(first_line "/sys/class/net/$name/address")" "$(first_line "/sys/class/net/$name/operstate")" "$(first_line "/sys/class/net/$name/mtu")"
done
if command -v ip >/dev/null; then
  ip -o addr show 2>/dev/null | while read -r _ name family address _; do say address "${name%%@*}" "$family" "$address"; done
  { ip -4 route show; ip -6 route show; } 2>/dev/null | while read -r line; do say route "$line"; done
fi

# The public half of a key pair that the layer wireguard makes on the machine.
if [ -r /var/lib/local/wireguard/public.key ]; then say wireguard-key "$(first_line /var/lib/local/wireguard/public.key)"; fi

# Display controllers have PCI class 03.
for device in /sys/bus/pci/devices/*; do
  case $(first_line "$device/class") in
    0x03*) say gpu "${device##*/}" "$(first_line "$device/vendor")" "$(first_line "$device/device")" ;;
  esac
done

# What can be given to virtual machines: devices in an IOMMU group, and mediated devices.
for device in /sys/bus/pci/devices/*; do
  [ -L "$device/iommu_group" ] || continue
  group=$(readlink "$device/iommu_group")
  say pci "${device##*/}" "$(first_line "$device/class")" "${group##*/}"
done
for device in /sys/bus/mdev/devices/*; do
  [ ! -e "$device" ] || say mdev "${device##*/}"
done

for package in "$@"; do
  case $package in *[!a-z0-9+.-]* | '') continue ;; esac
  version=$(dpkg-query -W -f '${Version}' "$package" 2>/dev/null)
  say package "$package" "$version"
done
say end
