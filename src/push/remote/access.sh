# shellcheck shell=bash
# The remote program, part 13: before a commit, whether the firewall that it brings would still let this pusher in. The
# rules that are loaded now and then the new ones are loaded in a network namespace of its own, with the machine's
# address on one end of a link and the pusher's on the other, and one byte goes to the port of this very connection and
# back. Changes nothing. Must not know how files are committed. Whatever the machine lacks for it is a note, no refusal.

# prove_access STAGE: false, with a problem, if the new rules are refused or shut the pusher out.
prove_access() {
  local rules=etc/nftables.conf work=$1/access
  access_concerns "$1/tree" || return 0
  rm -rf -- "$work" && mkdir -p -- "$work/rules" && copy_rules "$1/tree" "$work/rules" || return 1
  try_rules "$work/rules/$rules" "$work"
}

# True if this commit makes nftables.service load rules of the tree.
access_concerns() { # STAGED TREE
  local line
  for line in restart try-restart reload start; do
    if listed "unit$TAB$line$TAB$FIREWALL" "${APPLY[@]}"; then
      [[ -f $1/etc/nftables.conf || (-f $ROOT/etc/nftables.conf && -z ${DEL_SET[etc/nftables.conf]-}) ]]
      return
    fi
  done
  return 1
}

# The rules as they will be, their includes leading to these copies.
copy_rules() { # STAGED TREE, FOLDER
  local path
  mkdir -p -- "$2/etc"
  for path in nftables.conf nftables.d; do
    [[ ! -e $ROOT/etc/$path ]] || cp -RL -- "$ROOT/etc/$path" "$2/etc" || return 1
  done
  for path in "${!DEL_SET[@]}"; do [[ $path != etc/nftables* ]] || rm -f -- "$2/$path"; done
  for path in "${PUTS[@]}"; do
    [[ $path == etc/nftables* && -f $1/$path ]] || continue
    mkdir -p -- "$2/${path%/*}" && rm -rf -- "${2:?}/$path" && cp -L -- "$1/$path" "$2/$path" || return 1
  done
  find "$2" -type f -exec sed -i "s|^\([[:space:]]*include[[:space:]]*[\"']\)$ROOT/etc/nftables|\1$2/etc/nftables|" {} +
}

# try_rules FILE FOLDER: FOLDER is for what it needs meanwhile.
try_rules() {
  local said status tool
  local -a from=()
  for tool in nft ip unshare nsenter timeout systemd-socket-activate; do
    if ! command -v "$tool" >/dev/null; then
      # The package may come with this very push.
      note access-unproved "$tool is not installed"
      return 0
    fi
  done
  if ! said=$(nft -c -f "$1" 2>&1); then
    problem rules-refused "${said//"${1%/etc/nftables.conf}"/"$ROOT"}"
    return 1
  fi
  read -r -a from < <(connection_of_pusher)
  if ((${#from[@]} != 4)); then
    note access-unproved 'the address of the pusher is not known'
    return 0
  fi
  declare -f access_in_namespace pusher_connects >"$2/program"
  printf 'access_in_namespace "$@"\n' >>"$2/program"
  nft list ruleset >"$2/loaded" 2>/dev/null
  said=$(timeout 20 unshare --net bash --norc "$2/program" "$1" "$2/loaded" "${from[@]}" \
    "$(link_to "${from[0]}")" 2>&1 </dev/null 9>&-)
  status=$?
  case $status in
    0) return 0 ;;
    3)
      problem access-cut "${from[0]%%%*} ${from[3]}"
      return 1
      ;;
  esac
  note access-unproved "${said:-ended with status $status}"
}

# What sshd told the shell above: address and port of the pusher, then of the machine. sudo clears it for us.
connection_of_pusher() {
  local pid=$$ name value
  if [[ -n ${SSH_CONNECTION-} ]]; then
    printf '%s\n' "$SSH_CONNECTION"
    return
  fi
  while [[ $pid =~ ^[0-9]+$ ]] && ((pid > 1)); do
    while IFS='=' read -r -d '' name value; do
      if [[ $name == SSH_CONNECTION ]]; then
        printf '%s\n' "$value"
        return
      fi
    done <"/proc/$pid/environ"
    while IFS=$':\t' read -r name value; do [[ $name != PPid ]] || break; done <"/proc/$pid/status"
    pid=${value//[!0-9]/}
  done 2>/dev/null
}

# The link by which packets of ADDRESS come in: the one by which answers go out.
link_to() {
  local word='' previous=''
  case $1 in
    *%*) printf '%s' "${1#*%}" ;;
    *) for word in $(ip -o route get "$1" 2>/dev/null); do
      [[ $previous != dev ]] || printf '%s' "$word"
      previous=$word
    done ;;
  esac
}

# In the namespace: RULES LOADED CLIENT CLIENT-PORT SERVER SERVER-PORT LINK. Exits 3 if the pusher does not get in, 1
# with a reason if it can't be tried.
access_in_namespace() {
  local rules=$1 loaded=$2 client=${3%%%*} server=${5%%%*} port=$6 link=${7:-eth0} name length=32 zone='' inside
  local -a enter=() extra=()
  started=()
  trap 'kill "${started[@]}" 2>/dev/null' EXIT
  ip link set lo up || exit 1
  [[ $client != *:* ]] || length=128 extra=(nodad)
  # Rules that name other links by their index can't be loaded where these are absent.
  while IFS= read -r name; do
    [[ $name == lo || $name == "$link" ]] || ip link add "$name" type bridge 2>/dev/null
  done < <(sed -n 's/^ *\([^ :]*\):.*/\1/p' /proc/1/net/dev 2>/dev/null)
  if [[ $link == lo || $client == "$server" ]]; then
    ip address add "$server/$length" dev lo "${extra[@]}" 2>/dev/null
  else
    unshare --net sleep 30 >/dev/null 2>&1 &
    inside=$!
    started+=("$inside")
    for _ in {1..100}; do
      [[ $(readlink "/proc/$inside/ns/net") == "$(readlink /proc/self/ns/net)" ]] || break
      sleep 0.01
    done
    enter=(nsenter --net="/proc/$inside/ns/net")
    ip link add "$link" type veth peer name pusher netns "$inside" || exit 1
    ip address add "$server/$length" dev "$link" "${extra[@]}" && ip link set "$link" up || exit 1
    "${enter[@]}" ip address add "$client/$length" dev pusher "${extra[@]}" && "${enter[@]}" ip link set pusher up || exit 1
    ip route replace "$client/$length" dev "$link" && "${enter[@]}" ip route replace "$server/$length" dev pusher || exit 1
    [[ $server != fe80:* ]] || zone=%pusher
  fi
  # The new rules do not replace what others have loaded. Rules that iptables made can't be loaded from their text.
  nft -f "$loaded" 2>/dev/null
  if ! name=$(nft -f "$rules" 2>&1); then
    printf 'the rules can not be loaded in a namespace: %s' "$name"
    exit 1
  fi
  systemd-socket-activate --listen="$port" --accept --inetd cat >/dev/null 2>&1 &
  started+=("$!")
  for _ in {1..100}; do
    ! grep -qi ":$(printf '%04X' "$port") 0*:0000 0A " /proc/net/tcp /proc/net/tcp6 2>/dev/null || break
    sleep 0.02
  done
  declare -f pusher_connects >"$loaded.connect"
  printf 'pusher_connects "$@"\n' >>"$loaded.connect"
  timeout 4 "${enter[@]}" bash --norc "$loaded.connect" "$server$zone" "$port" 2>/dev/null || exit 3
}

pusher_connects() { # ADDRESS PORT
  local answer=''
  exec 3<>"/dev/tcp/$1/$2" && printf x >&3 && read -r -n 1 -t 3 answer <&3 && [[ $answer == x ]]
}
