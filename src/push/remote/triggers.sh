# shellcheck shell=bash
# The remote program, part 6: the subsystems that read a folder of configuration: how each is told, in which order, and
# what comes back when its files go. Must not know units, nor what changed.

# As the boot has it: users before what they own, modules before their keys, devices before links; and between the two
# lines the firewall, so that no new address is open for a moment.
TRIGGERS_EARLY='sysusers tmpfiles modules-load sysctl udev binfmt'
TRIGGERS_LATE='networkd dbus'

# True for a trigger line that is safe to run: a known name, then absolute paths.
valid_trigger() { # NAME FILE...
  local word
  case ${1-} in
    sysusers | tmpfiles | modules-load | sysctl | udev | binfmt | networkd | dbus) ;;
    *) return 1 ;;
  esac
  for word in "${@:2}"; do [[ $word == /* && $word != *[[:cntrl:]]* ]] || return 1; done
}

run_trigger() { # NAME FILE...
  local name=$1 library=${LABCTL_SYSTEMD_LIBRARY:-/usr/lib/systemd}
  local -a NAMES=()
  shift
  if (($# > 0)); then
    present_names "$@"
    # A revert has taken them away again.
    ((${#NAMES[@]} > 0)) || return 0
  fi
  case $name in
    sysusers) systemd-sysusers -- "${NAMES[@]}" ;;
    tmpfiles) systemd-tmpfiles --create -- "${NAMES[@]}" ;;
    # A container cannot load modules or interpreters or write device nodes; its host does.
    modules-load) systemd-detect-virt --container --quiet || "$library/systemd-modules-load" -- "${NAMES[@]}" ;;
    binfmt) systemd-detect-virt --container --quiet || "$library/systemd-binfmt" ;;
    sysctl)
      restore_sysctl
      "$library/systemd-sysctl"
      ;;
    udev) [[ ! -S /run/udev/control ]] || udevadm control --reload ;;
    # Where another program looks after the network, nobody reads these files.
    networkd) ! "$SYSTEMCTL" --quiet is-active systemd-networkd.service || networkctl reload ;;
    dbus) ! "$SYSTEMCTL" --quiet is-active dbus.service || "$SYSTEMCTL" reload dbus.service ;;
  esac
}

# Sets NAMES to the bare names of those files that the tree has. By its bare name a file is found as at boot: an
# administrator's file of the same name in /etc stands in for it.
present_names() {
  local file
  for file in "$@"; do
    if [[ -e $ROOT/${file#/usr/local/} ]]; then NAMES+=("${file##*/}"); fi
  done
}

# Users that this commit's own files make are needed before it: files are handed to their owners in the stage.
# sysusers only ever adds, so a commit that then stops here has left nothing that matters.
early_users() { # STAGED TREE, LINE... of the apply list
  local tree=$1 line file
  local -a files=()
  shift
  for line in "$@"; do
    [[ $line == "trigger${TAB}sysusers$TAB"* ]] || continue
    IFS=$TAB read -r -a files <<<"${line#*"$TAB"*"$TAB"}"
    local -a staged=()
    for file in "${files[@]}"; do
      file=$tree/${file#/usr/local/}
      if [[ -f $file ]]; then staged+=("$file"); fi
    done
    ((${#staged[@]} == 0)) || systemd-sysusers -- "${staged[@]}" || return 1
  done
}

# Kernel settings have no "unset". What a key was before a file of the tree first set it is kept in $STATE/sysctl, and
# written back once no file of the tree sets it; the files of the system are applied after that.
restore_sysctl() {
  local key value line changed=0
  local -A now=() known=()
  local -a lines=()
  while IFS= read -r key; do now[$key]=1; done < <(sysctl_keys)
  [[ ! -r $STATE/sysctl ]] || mapfile -t lines <"$STATE/sysctl"
  for line in "${lines[@]}"; do
    key=${line%%"$TAB"*} value=${line#*"$TAB"}
    if [[ -n $key && -n ${now[$key]-} ]]; then
      known[$key]=$value
    elif [[ -n $key ]]; then
      changed=1
      if [[ -w /proc/sys/$key ]]; then printf '%s\n' "$value" >"/proc/sys/$key"; fi
    fi
  done 2>/dev/null
  for key in "${!now[@]}"; do
    [[ ! -v known[$key] && -f /proc/sys/$key && -r /proc/sys/$key ]] || continue
    # Keys of several lines are tables, not settings.
    if value=$(<"/proc/sys/$key") && [[ $value != *$'\n'* ]]; then known[$key]=$value changed=1; fi
  done 2>/dev/null
  ((changed)) || return 0
  for key in "${!known[@]}"; do printf '%s\t%s\n' "$key" "${known[$key]}"; done | sort >"$STATE/sysctl.new"
  mv -f -T -- "$STATE/sysctl.new" "$STATE/sysctl"
}

# Prints each key that the tree sets, as a path below /proc/sys. Patterns are left out. sysctl.d(5): where the first
# separator is a dot, dots and slashes change places.
sysctl_keys() {
  local file line key
  while IFS= read -r file; do
    while IFS= read -r line || [[ -n $line ]]; do
      line=${line#"${line%%[![:space:]]*}"}
      [[ $line == *=* && $line != [#\;]* ]] || continue
      key=${line%%=*} key=${key#-} key=${key%"${key##*[![:space:]]}"}
      if [[ ${key%%/*} == *.* ]]; then key=${key//./$TAB} key=${key//\//.} key=${key//$TAB//}; fi
      [[ $key != /* && $key != *..* && $key =~ ^[A-Za-z0-9_./:-]+$ ]] && printf '%s\n' "$key"
    done <"$file"
  done < <(find "$ROOT/lib/sysctl.d" -mindepth 1 -maxdepth 1 -name '*.conf' 2>/dev/null | sort)
}
