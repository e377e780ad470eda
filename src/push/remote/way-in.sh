# shellcheck shell=bash
# The remote program, part 9: the way in. While a generation waits for its confirmation, .labctl/way-in holds what a
# login needs and a push can break beside the tree; the way back puts it right. docs/decisions/0015 says what and why.
# Must not know how a generation is taken back.
#
# way-in/generation   the generation that waits
# way-in/paths, files what is watched, and copies of what of it was there
# way-in/passwd, shadow, network, tables, ruleset, units, failed, names, begun   as found before the commit

WAY_IN=$STATE/way-in
WATCHED_FILES=(/etc/ssh /etc/pam.d /etc/security /etc/sudoers /etc/sudoers.d /etc/nsswitch.conf /etc/resolv.conf
  /etc/hosts /etc/hosts.allow /etc/hosts.deny /etc/nologin /run/nologin /etc/shells /etc/profile /etc/bash.bashrc)
# Of each user who may be the pusher; keys of their own are not copied.
WATCHED_AT_HOME=(.ssh/authorized_keys .ssh/authorized_keys2 .ssh/environment .ssh/rc .bashrc .profile .bash_profile .bash_login)

# Tests run on a folder; the host's own network and logins are not theirs.
watches_way_in() { [[ $ROOT == /usr/local ]]; }

drop_way_in() { [[ ! -e $WAY_IN ]] || rm -rf -- "$WAY_IN"; }

# save_way_in N LINE...: before anything live changes, for what the apply list can reach. Beside `prepare`, so that it
# costs no time of its own.
save_way_in() {
  local user path users='root'
  local -a there=() asking=() names=()
  watches_way_in || return 0
  mkdir -m 0700 -- "$WAY_IN" && printf '%s\n' "$1" >"$WAY_IN/generation" || return 1
  # First what takes its time, and alone needs no processor.
  ask_names
  if ! reaches_login "${@:2}"; then
    # A resolver may be among the services.
    keep_names
    return 0
  fi
  mkdir -m 0700 -- "$WAY_IN/files" || return 1
  [[ -z ${SUDO_USER-} || $SUDO_USER == root ]] || users+=" $SUDO_USER"
  {
    printf '%s\n' "${WATCHED_FILES[@]}"
    for user in $users; do
      home_of "$user"
      for path in "${WATCHED_AT_HOME[@]}"; do printf '%s\n' "${REPLY:-/root}/$path"; done
    done
  } >"$WAY_IN/paths"
  while IFS= read -r path; do
    [[ ! -e $path && ! -L $path ]] || there+=("$path")
  done <"$WAY_IN/paths"
  # From the root: coreutils 9.1 (Debian 12) looks for the parents of absolute paths below the current folder.
  (cd / && cp -a --parents -t "$WAY_IN/files" -- "${there[@]}") || return 1
  for path in passwd shadow; do account_lines "$users" <"/etc/$path" >"$WAY_IN/$path"; done
  network_lines >"$WAY_IN/network"
  if type -P nft >/dev/null; then
    nft list ruleset >"$WAY_IN/ruleset"
    if [[ -s $WAY_IN/ruleset ]]; then nft -s -t list ruleset; fi >"$WAY_IN/tables"
  fi
  active_units >"$WAY_IN/units"
  keep_names
  return 0
} 2>/dev/null

# home_of USER: in REPLY; root's without a process.
home_of() {
  local name='' home=''
  while IFS=: read -r name _ _ _ _ home _; do
    [[ $name != "$1" ]] || break
  done </etc/passwd
  [[ $name == "$1" ]] || IFS=: read -r name _ _ _ _ home _ < <(getent passwd -- "$1")
  REPLY=''
  [[ $name != "$1" ]] || REPLY=$home
}

account_lines() { # USERS
  local line
  while IFS= read -r line || [[ -n $line ]]; do
    [[ " $1 " != *" ${line%%:*} "* ]] || printf '%s\n' "$line"
  done
}

active_units() {
  local line
  split "$("$SYSTEMCTL" list-units --plain --no-legend --no-pager --state=active,reloading \
    --type=service,socket,path,timer,mount 2>/dev/null)"
  for line in "${ROWS[@]}"; do [[ $line == labctl-revert.* ]] || printf '%s\n' "${line%% *}"; done
}

# `link NAME` for each that is up, `addr DEV WORDS…`, `route -4 WORDS…`, in the words of ip(8).
network_lines() {
  local line name word family=-4
  local -a words=() out=()
  type -P ip >/dev/null || return 0
  # The families' routes apart: nothing in a line says which it is of.
  split "$(ip -o -force -batch - <<<$'link show\naddr show\nroute show table main'
    printf '\f\n'
    ip -o -6 route show table main)"
  for line in "${ROWS[@]}"; do
    # shellcheck disable=SC2206 # words of ip
    words=(${line%%\\*})
    name=${words[1]-}
    # After links and addresses, whose lines begin with `N:`, come IPv4's routes: a colon and a space stands in IPv6's, too.
    case $family${words[0]-} in
      *$'\f') family=-6 ;;
      -4*:)
        # An address has no flags in angle brackets.
        if [[ ${words[2]} == '<'* ]]; then
          name=${name%:} word=${words[2]}
          [[ ,${word//[<>]/,} != *,UP,* ]] || printf 'link %s\n' "${name%@*}"
          continue
        fi
        # Flags that the kernel shows and ip(8) does not take; the last word is the label.
        out=("${words[3]}")
        for word in "${words[@]:4}"; do
          case $word in
            dynamic | secondary | temporary | deprecated | tentative | permanent | dadfailed | "$name" | "$name":*) ;;
            *) out+=("$word") ;;
          esac
        done
        printf 'addr %s %s\n' "$name" "${out[*]}"
        ;;
      *)
        line=" ${line//\\/} "
        for word in linkdown dead offload trap rt_offload rt_trap; do line=${line// $word / }; done
        [[ ! $line =~ \ expires\ [0-9]+sec ]] || line=${line/"${BASH_REMATCH[0]}"/}
        # shellcheck disable=SC2206 # words of ip
        words=($line)
        printf 'route %s %s\n' "$family" "${words[*]}"
        ;;
    esac
  done
}

# ask_names: two of the package sources' hosts, in `names`, and the processes that ask for them, in `asking`.
ask_names() {
  local line name known=' '
  while IFS= read -r line; do
    name=${line##*://}
    [[ $known != *" $name "* ]] || continue
    known+="$name "
    (exec 9>&- timeout 1 getent ahosts -- "$name" </dev/null >/dev/null 2>&1) &
    asking+=("$!") names+=("$name")
    ((${#asking[@]} < 2)) || break
  done < <(grep -rhoE '^[^#]*https?://[A-Za-z0-9.-]+' /etc/apt/sources.list /etc/apt/sources.list.d 2>/dev/null)
}

# keep_names: those that the resolver knew within a second.
keep_names() {
  local i
  for i in "${!asking[@]}"; do
    ! wait "${asking[i]}" || printf '%s\n' "${names[i]}"
  done >"$WAY_IN/names"
}

# still_works: what worked before the commit works now: room, a default route, names. False with a problem for each that
# does not. A daemon that was restarted gets some seconds to come back.
still_works() {
  local blocks size family name saved='' any=0 deadline=$((SECONDS + 5))
  read -r blocks size < <(stat -f -c '%a %S' -- "$STATE")
  if ((blocks * size < 65536)); then
    problem no-space "$ROOT"
    any=1
  fi
  [[ -d $WAY_IN ]] || return "$any"
  [[ ! -r $WAY_IN/network ]] || IFS= read -r -d '' saved <"$WAY_IN/network"
  for family in -4 -6; do
    [[ $'\n'$saved == *$'\n'"route $family default "* ]] || continue
    until [[ $'\n'$(ip -o "$family" route show table main) == *$'\n''default '* ]]; do
      if ((SECONDS >= deadline)); then
        problem route-lost "IPv${family#-}"
        any=1
        break
      fi
      sleep 0.2
    done
  done
  [[ -s $WAY_IN/names ]] || return "$any"
  while IFS= read -r name; do
    until timeout 3 getent ahosts -- "$name" >/dev/null 2>&1 </dev/null; do
      if ((SECONDS >= deadline)); then
        problem names-lost "$name"
        any=1
        break
      fi
      sleep 0.2
    done
  done <"$WAY_IN/names"
  return "$any"
}

# restore_way_in: everything as it was saved; each thing that was not is named. For the undo's last part.
restore_way_in() {
  [[ -d $WAY_IN/files ]] || return 0
  local changed=0
  restore_files
  restore_accounts
  if restore_network; then changed=1; fi
  restore_tables
  restore_units
  # networkd configures a link some time after it was told to.
  if ((changed)); then
    sleep 1
    restore_network
  fi
  return 0
}

# What stands at a watched path and was not there, or was otherwise, is kept beside the copies.
restore_files() {
  local path saved top any=0 aside=$STATE/damaged/$EPOCHSECONDS-way-in
  local -a tops=()
  mapfile -t tops <"$WAY_IN/paths"
  for top in "${tops[@]}"; do
    saved=$WAY_IN/files$top
    # A folder above may have gone or changed hands: sshd then trusts nothing in it.
    if [[ -e $saved || -L $saved ]]; then restore_parents "$top"; fi
    if [[ -e $top || -L $top ]]; then
      while IFS= read -r -d '' path; do
        [[ ! -e $WAY_IN/files$path && ! -L $WAY_IN/files$path ]] || continue
        put_aside "$aside" "$path" &&
          note restored "$path is gone again" && [[ $path == /etc/ssh/* ]] && any=1
      done < <(find "$top" -depth -print0 2>/dev/null)
    fi
    [[ -e $saved || -L $saved ]] || continue
    while IFS= read -r -d '' path; do
      same_file "$WAY_IN/files$path" "$path" && continue
      if [[ -d $WAY_IN/files$path && ! -L $WAY_IN/files$path ]]; then
        [[ -d $path && ! -L $path ]] || { rm -f -- "$path"; mkdir -p -- "$path"; }
        chown --reference="$WAY_IN/files$path" -- "$path" && chmod --reference="$WAY_IN/files$path" -- "$path"
      else
        if [[ -e $path || -L $path ]]; then
          put_aside "$aside" "$path"
        fi
        cp -a -T -- "$WAY_IN/files$path" "$path.labctl" && mv -f -T -- "$path.labctl" "$path"
      fi
      note restored "$path"
      [[ $path != /etc/ssh/* ]] || any=1
    done < <(find "$saved" -printf "$top/%P\0" 2>/dev/null | sed -z 's,/$,,')
  done
  ((any)) || return 0
  # Others are read for each login.
  for path in ssh.service sshd.service; do
    ! grep -qsx -- "$path" "$WAY_IN/units" || "$SYSTEMCTL" --no-block restart "$path" 2>/dev/null
  done
}

put_aside() { # FOLDER PATH
  (umask 077 && mkdir -p -- "$1${2%/*}") && mv -f -T -- "$2" "$1$2" 2>/dev/null
}

restore_parents() { # PATH
  local folder=${1%/*}
  [[ -n $folder && -d $WAY_IN/files$folder ]] || return 0
  restore_parents "$folder"
  same_file "$WAY_IN/files$folder" "$folder" && return 0
  [[ -d $folder ]] || { rm -f -- "$folder"; mkdir -- "$folder"; }
  chown --reference="$WAY_IN/files$folder" -- "$folder" && chmod --reference="$WAY_IN/files$folder" -- "$folder" &&
    note restored "$folder"
}

same_file() { # SAVED LIVE
  if [[ -L $1 || -L $2 ]]; then
    [[ -L $1 && -L $2 && $(readlink -n -- "$1") == "$(readlink -n -- "$2")" ]]
    return
  fi
  [[ -e $2 && $(stat -c '%f %u %g' -- "$1") == "$(stat -c '%f %u %g' -- "$2")" ]] || return 1
  [[ -d $1 ]] || cmp -s -- "$1" "$2"
}

# Only the lines of who may log in as the pusher.
restore_accounts() {
  local file line now name out found
  for file in passwd shadow; do
    [[ -s $WAY_IN/$file ]] || continue
    while IFS= read -r line; do
      name=${line%%:*} out='' found=''
      while IFS= read -r now || [[ -n $now ]]; do
        if [[ $now == "$name:"* ]]; then
          found=1
          [[ $now != "$line" ]] || continue 2
          now=$line
        fi
        out+=$now$'\n'
      done <"/etc/$file"
      [[ -n $found ]] || out=$line$'\n'$out
      cp -a -- "/etc/$file" "/etc/$file.labctl" && printf '%s' "$out" >"/etc/$file.labctl" &&
        mv -f -T -- "/etc/$file.labctl" "/etc/$file" && note restored "/etc/$file: $name"
    done <"$WAY_IN/$file"
  done
}

# True if something was missing.
restore_network() {
  local line any=1
  local -a words=() saved=() late=()
  local -A now=() before=()
  [[ -s $WAY_IN/network ]] || return 1
  mapfile -t saved <"$WAY_IN/network"
  for line in "${saved[@]}"; do before[$line]=1; done
  while IFS= read -r line; do now[$line]=1; done < <(network_lines 2>/dev/null)
  # What came and takes traffic away; other routes and all addresses that came are left.
  for line in "${!now[@]}"; do
    [[ -z ${before[$line]-} ]] || continue
    read -r -a words <<<"$line"
    case ${words[0]}/${words[2]-} in
      route/default | route/blackhole | route/unreachable | route/prohibit | route/throw)
        ip "${words[1]}" route del "${words[@]:2}" 2>/dev/null && note restored "removed $line" && any=0
        ;;
    esac
  done
  for line in "${saved[@]}"; do
    [[ -z ${now[$line]-} ]] || continue
    read -r -a words <<<"$line"
    case $line in
      link\ *) ip link set dev "${words[1]}" up 2>/dev/null && note restored "$line" && any=0 ;;
      addr\ *) ip addr add dev "${words[1]}" "${words[@]:2}" 2>/dev/null && note restored "$line" && any=0 ;;
      # A gateway must be within reach before a route can name it.
      *\ via\ *) late+=("$line") ;;
      *) ip "${words[1]}" route add "${words[@]:2}" 2>/dev/null && note restored "$line" && any=0 ;;
    esac
  done
  for line in "${late[@]}"; do
    read -r -a words <<<"$line"
    ip "${words[1]}" route add "${words[@]:2}" 2>/dev/null && note restored "$line" && any=0
  done
  return "$any"
}

# split_tables FILE: sets TABLES, the text of each table by its first line.
declare -A TABLES=()
split_tables() {
  local line name=''
  TABLES=()
  while IFS= read -r line; do
    if [[ $line == 'table '* ]]; then name=$line; fi
    [[ -z $name ]] || TABLES[$name]+=$line$'\n'
    if [[ $line == '}' ]]; then name=''; fi
  done <"$1"
}

# Tables of nftables whose rules differ, elements of sets aside: a ban that was set meanwhile is no difference.
restore_tables() {
  local name script=''
  local -A before=() full=() now=()
  [[ -e $WAY_IN/tables ]] && nft -s -t list ruleset >"$WAY_IN/tables.now" 2>/dev/null || return 0
  split_tables "$WAY_IN/tables"
  for name in "${!TABLES[@]}"; do before[$name]=${TABLES[$name]}; done
  split_tables "$WAY_IN/ruleset"
  for name in "${!TABLES[@]}"; do full[$name]=${TABLES[$name]}; done
  split_tables "$WAY_IN/tables.now"
  for name in "${!TABLES[@]}"; do
    now[$name]=${TABLES[$name]}
    [[ -n ${before[$name]-} ]] || script+="delete ${name% \{}"$'\n'
  done
  for name in "${!before[@]}"; do
    [[ ${now[$name]-} != "${before[$name]}" ]] || continue
    # What iptables-nft made can't be read back by nft.
    [[ ${full[$name]-} != *' xt '* ]] || continue
    script+="add ${name% \{}"$'\n'"delete ${name% \{}"$'\n'"${full[$name]-}"
  done
  [[ -n $script ]] || return 0
  if nft -f - <<<"$script" 2>/dev/null; then note restored 'the rules of nftables'; else note undo-incomplete 'nftables refused its old rules'; fi
}

# Units that ran before and stopped by the way: one that conflicts, one that a unit of the push stopped.
restore_units() {
  local line i=0 wanted='' load=''
  local -a gone=() extra=() start=() stop=()
  local -A before=() now=()
  [[ -s $WAY_IN/units ]] || return 0
  while IFS= read -r line; do before[$line]=1; done <"$WAY_IN/units"
  while IFS= read -r line; do now[$line]=1; done < <(active_units)
  for line in "${!before[@]}"; do [[ -n ${now[$line]-} ]] || gone+=("$line"); done
  for line in "${!now[@]}"; do [[ -n ${before[$line]-} ]] || extra+=("$line"); done
  if ((${#gone[@]} > 0)); then
    # What nothing wants at boot comes and goes by itself.
    while IFS= read -r line; do
      case $line in
        '')
          [[ -z $wanted || $load != loaded ]] || start+=("${gone[i]}")
          wanted='' load=''
          ((i += 1))
          ;;
        LoadState=*) load=${line#*=} ;;
        WantedBy=?* | RequiredBy=?*) wanted=1 ;;
      esac
    done < <("$SYSTEMCTL" show --no-pager --property=LoadState,WantedBy,RequiredBy -- "${gone[@]}" 2>/dev/null; echo)
  fi
  i=0
  if ((${#extra[@]} > 0)); then
    while IFS= read -r line; do
      case $line in
        '') ((i += 1)) ;;
        LoadState=not-found) stop+=("${extra[i]}") ;;
      esac
    done < <("$SYSTEMCTL" show --no-pager --property=LoadState -- "${extra[@]}" 2>/dev/null)
  fi
  APPLY_N=0
  run_units stop "${stop[@]}"
  run_units start "${start[@]}"
}
