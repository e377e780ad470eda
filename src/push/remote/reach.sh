# shellcheck shell=bash
# The remote program, part 10: whether what a commit runs can reach what a login needs. Where it can't, the old files are
# the whole way back (docs/decisions/0015). Must not change anything.

REACH_PROPERTIES=Id,FragmentPath,DropInPaths,User,Group,DynamicUser,SupplementaryGroups,NoNewPrivileges,AmbientCapabilities,Conflicts,RequiredBy,RequisiteOf,BoundBy,ConsistsOf,PropagatesReloadTo,PropagatesStopTo,Requires,Wants,BindsTo,Upholds,OnSuccess,OnFailure,ExecConditionEx,ExecStartPreEx,ExecStartEx,ExecStartPostEx,ExecReloadEx,ExecStopEx,ExecStopPostEx
# With these nobody changes others' files, processes or network.
HARMLESS_CAPABILITIES=' cap_net_bind_service cap_sys_nice cap_ipc_lock '
# Whose members are as good as root, or configure the network.
MIGHTY_GROUPS=' root sudo wheel disk shadow docker lxd incus incus-admin libvirt netdev systemd-network systemd-resolve '

# reaches_login LINE...: false where the apply list holds nothing but checks, and reloads and restarts of services that run
# as an ordinary user, can't become another, and start nothing but such services. It errs on the side of true.
reaches_login() {
  local line restarts=''
  local -a units=() pulled=() reactions=() more=()
  for line in "$@"; do
    case $line in
      check"$TAB"*) ;;
      "unit${TAB}reload$TAB"*) units+=("${line##*"$TAB"}") ;;
      "unit${TAB}restart$TAB"* | "unit${TAB}try-restart$TAB"*) units+=("${line##*"$TAB"}") restarts=1 ;;
      *) return 0 ;;
    esac
  done
  ((${#units[@]} > 0)) || return 1
  are_confined "${units[@]}" || return 0
  [[ -n $restarts ]] || return 1
  # One that ends, in whichever way, and one that starts have systemd start others.
  more=("${reactions[@]}") reactions=()
  ((${#more[@]} == 0)) || are_confined "${more[@]}" || return 0
  ((${#reactions[@]} > 0)) || ! are_up "${pulled[@]}"
}

# are_confined UNIT...: judges each of them; adds what starts with them to `pulled`, and what starts after them to `reactions`.
are_confined() {
  local line count=0
  local -A unit=()
  while IFS= read -r line; do
    if [[ -n $line ]]; then
      # Names with an escape in them stand in quotes there, and each backslash twice.
      [[ $line == Exec* || $line != *=*\"* ]] || line=${line//\"/} line=${line//\\\\/\\}
      # A command's property comes once for each command.
      unit[${line%%=*}]+="${line#*=} "
      continue
    fi
    is_confined " ${units[*]} " || return 1
    # shellcheck disable=SC2206 # names of units
    pulled+=(${unit[Requires]-} ${unit[Wants]-} ${unit[BindsTo]-} ${unit[Upholds]-}) reactions+=(${unit[OnSuccess]-} ${unit[OnFailure]-})
    unit=()
    ((count += 1))
  done < <(show_reach "$@")
  ((count == $#))
}

# are_up UNIT...: none of them but slices, which do nothing, would be started.
are_up() {
  local word load state
  local -A up=()
  (($# > 0)) || return 0
  while read -r word load state _; do
    case $load/$state in not-found/* | masked/* | */active | */reloading) up[$word]=1 ;; esac
  done < <("$SYSTEMCTL" list-units --all --plain --no-legend --no-pager -- "$@" 2>/dev/null)
  for word in "$@"; do [[ $word == *.slice || -n ${up[$word]-} ]] || return 1; done
}

# show_reach UNIT...: a block each, a blank line after it; of those that were asked about already what was said then.
show_reach() {
  local unit i text=''
  for unit in "$@"; do
    for i in "${!ASKED_UNITS[@]}"; do
      [[ ${ASKED_UNITS[i]} != "$unit" || -z ${SHOWN_UNITS[i]-} ]] || { text+=${SHOWN_UNITS[i]}$'\n' && continue 2; }
    done
    "$SYSTEMCTL" show --no-pager --property="$REACH_PROPERTIES" -- "$@" 2>/dev/null && echo
    return
  done
  printf '%s' "$text"
}

# is_confined UNITS: judges the properties in `unit`; false where one opens a way out, or what another needs is missing.
is_confined() {
  local key word text=''
  local user=${unit[User]-}
  user=${user% }
  [[ ${unit[Id]-} == *.service\  && ${unit[NoNewPrivileges]-} == 'yes ' ]] || return 1
  # The name of a dynamic user is nobody's else, or it is no dynamic one.
  ordinary_user "$user" "${unit[DynamicUser]-}" || return 1
  for word in ${unit[Group]-} ${unit[SupplementaryGroups]-}; do ordinary_group "$word" || return 1; done
  for word in ${unit[AmbientCapabilities]-}; do [[ $HARMLESS_CAPABILITIES == *" $word "* ]] || return 1; done
  # What is stopped by the way, or carried along, is no part of the plan, unless it is one of those asked about.
  for word in ${unit[Conflicts]-}; do [[ $word == shutdown.target ]] || return 1; done
  for key in RequiredBy RequisiteOf BoundBy ConsistsOf PropagatesReloadTo PropagatesStopTo; do
    for word in ${unit[$key]-}; do [[ $1 == *" $word "* ]] || return 1; done
  done
  # `+` and `!` before a command: with more rights than the unit has.
  for key in "${!unit[@]}"; do
    [[ $key != Exec* || ! ${unit[$key]} =~ flags=([a-z-]+\ )*(privileged|no-setuid|ambient) ]] || return 1
  done
  # The old word for that is no property.
  for word in ${unit[FragmentPath]-} ${unit[DropInPaths]-}; do
    [[ -r $word ]] || return 1
    IFS= read -r -d '' text <"$word"
    [[ $text != *PermissionsStartOnly* ]] || return 1
  done
}

# ordinary_user NAME DYNAMIC: not root, nor the pusher, whose keys lie in a folder of theirs, by any name, and in no group
# that is as good as root.
ordinary_user() {
  local name='' uid='' gid='' line number members
  [[ $1 =~ ^[A-Za-z_][A-Za-z0-9_-]*$ && $1 != "${SUDO_USER-}" ]] || return 1
  while IFS=: read -r name _ uid gid _; do
    [[ $name != "$1" ]] || break
  done </etc/passwd
  if [[ $name == "$1" ]]; then [[ $uid =~ ^[1-9][0-9]*$ && $uid != "${SUDO_UID-}" ]]; else [[ $2 == 'yes ' ]]; fi || return 1
  while IFS=: read -r line _ number members; do
    [[ ,$members, != *,"$1",* && ($number != "$gid" || $name != "$1") ]] || ordinary_group "$line" || return 1
  done </etc/group
}

ordinary_group() { [[ $1 =~ ^[A-Za-z_][A-Za-z0-9_-]*$ && $MIGHTY_GROUPS != *" $1 "* ]]; }
