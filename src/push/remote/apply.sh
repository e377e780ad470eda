# shellcheck shell=bash
# The remote program, part 7: what must run after the tree changed: unit actions and triggers; each reports.
# Must not know about files of a commit beyond generations/n/actions, where it writes what it began.

# A start that takes longer is given up, so that a machine that hangs does not hold its lock for ever.
UNIT_LIMIT_S=${LABCTL_UNIT_LIMIT_S:-300}

# True for a line of the apply list that is safe to act upon.
valid_apply() {
  local rest=${1#*"$TAB"}
  local -a words=()
  case ${1%%"$TAB"*} in
    daemon-reload) [[ $1 == daemon-reload ]] ;;
    unit)
      case ${rest%%"$TAB"*} in start | stop | reload | restart | try-restart | forget) valid_unit "${rest#*"$TAB"}" ;; *) false ;; esac
      ;;
    check) valid_path "$rest" ;;
    trigger)
      IFS=$TAB read -r -a words <<<"$rest"
      valid_trigger "${words[@]}"
      ;;
    *) false ;;
  esac
}

# begin LINE...: written before the action runs, so that an undo knows of one that was interrupted.
begin() {
  local file=$STATE/generations/$APPLY_N/actions
  [[ -d ${file%/actions} ]] || return 0
  { printf '%s\n' "$@" >>"$file"; } 2>/dev/null || { free_reserve && printf '%s\n' "$@" >>"$file"; }
}

within_limit() { timeout -k 5 "$UNIT_LIMIT_S" "$SYSTEMCTL" "$@"; }

# restart_units UNIT...: in one call, but for sockets: systemd opens one only while its service is stopped, and begins
# with the first job before it hears of the second. So both stop, in which time no connection starts the service, then
# the sockets open, then the services start.
restart_units() {
  local unit
  local -a sockets=() services=() rest=()
  local -A triggered=()
  for unit in "$@"; do [[ $unit != *.socket ]] || sockets+=("$unit"); done
  if ((${#sockets[@]} == 0)); then
    within_limit restart -- "$@"
    return
  fi
  for unit in $("$SYSTEMCTL" show --no-pager --property=Triggers --value -- "${sockets[@]}"); do triggered[$unit]=1; done
  for unit in "$@"; do
    [[ $unit != *.socket ]] || continue
    rest+=("$unit")
    [[ -z ${triggered[$unit]-} ]] || services+=("$unit")
  done
  within_limit stop -- "${sockets[@]}" "${services[@]}" && within_limit start -- "${sockets[@]}" || return
  ((${#rest[@]} == 0)) || within_limit restart -- "${rest[@]}"
}

# run_units ACTION UNIT...: one call for all, so that systemd orders them; then each one's result. False if any failed.
run_units() {
  local action=$1 began=${EPOCHREALTIME/./} said status unit i verdict any=0 flagged=0 line
  local -a units=() states=() verdicts=()
  shift
  (($# > 0)) || return 0
  units=("$@")
  begin "${units[@]/#/unit$TAB$action$TAB}"
  # systemd counts our starts, too: a few pushes within seconds would meet StartLimitBurst= and look like a crash.
  [[ $action != start && $action != restart ]] || "$SYSTEMCTL" reset-failed -- "${units[@]}" 2>/dev/null
  # The job goes on in systemd when its client is given up; a later stop cancels it.
  if [[ $action == restart ]]; then
    said=$(restart_units "${units[@]}" 2>&1 </dev/null)
  else
    said=$(within_limit "$action" -- "${units[@]}" 2>&1 </dev/null)
  fi
  status=$?
  ((status != 124 && status != 137)) || said="not done within $UNIT_LIMIT_S s: ${units[*]}"
  milliseconds_since "$began"
  local took=$REPLY
  # One block a unit, in their order, a blank line between; within a block systemd chooses the order.
  i=0
  while IFS= read -r line; do
    if [[ -z $line ]]; then
      ((i += 1))
      continue
    fi
    states[i]="${states[i]-}$line "
    # Reload failures leave the unit active; only this property tells.
    case $line in
      ActiveState=failed) [[ $action == stop ]] || verdicts[i]=failed ;;
      ReloadResult=success | ReloadResult=) ;;
      ReloadResult=*) [[ $action != reload ]] || verdicts[i]=failed ;;
    esac
  done < <("$SYSTEMCTL" show --no-pager --property=ActiveState,SubState,Result,ReloadResult -- "${units[@]}" 2>/dev/null)
  if ((status != 0)); then
    for i in "${!units[@]}"; do
      # The whole name: `p.service` is also the end of another's.
      if [[ " $said " == *[!A-Za-z0-9:_.@\\-]"${units[i]}"[!A-Za-z0-9:_@\\-]* ]]; then verdicts[i]=failed; fi
      [[ ${verdicts[i]-} != failed ]] || flagged=1
    done
  fi
  for i in "${!units[@]}"; do
    unit=${units[i]}
    verdict=${verdicts[i]-ok}
    if ((status != 0 && flagged == 0)); then verdict=failed; fi
    record unit "$action" "$unit" "$verdict" "$took" "${states[i]-}$([[ $verdict == ok ]] || printf '%s' "$said")"
    if [[ $verdict == failed ]]; then
      any=1
      while IFS= read -r line; do record out "$line"; done < <(journalctl -q -u "$unit" --since="@$((began / 1000000))" -n 20 --no-pager -o cat 2>/dev/null)
      problem unit-failed "$unit"
    fi
  done
  ((any == 0))
}

# Sets SELECTED to the units of one action in the apply list. Of those that are to restart only if they run, it takes
# the ones that do, so that one call restarts them all.
select_units() { # ACTION LINE...
  local action=$1 line unit
  local -a maybe=()
  shift
  SELECTED=()
  for line in "$@"; do
    case $line in
      "unit$TAB$action$TAB"*) SELECTED+=("${line##*"$TAB"}") ;;
      "unit${TAB}try-$action$TAB"*) maybe+=("${line##*"$TAB"}") ;;
    esac
  done
  for unit in "${maybe[@]}"; do
    if "$SYSTEMCTL" --quiet is-active "$unit"; then SELECTED+=("$unit"); fi
  done
}

# forget_units UNIT...: for units that are gone: links that `systemctl enable` made and that lead nowhere now, and the
# failed state, which systemd would else list for ever.
forget_units() {
  local unit link name
  (($# > 0)) || return 0
  for unit in "$@"; do
    name=${unit//\\/\\\\}
    while IFS= read -r link; do
      [[ ! -e $link ]] || continue
      begin "unlinked$TAB$link$TAB$(readlink -n -- "$link")"
      rm -f -- "$link"
    done < <(find ${LABCTL_UNIT_LINKS:-/etc/systemd/system /run/systemd/system} -maxdepth 2 -type l \
      \( -name "$name" -o -lname "*/$name" \) 2>/dev/null)
  done
  "$SYSTEMCTL" reset-failed -- "$@" 2>/dev/null
  step forget "$*"
}

run_triggers() { # "NAME..." LINE...: the first that fails ends it, but for a revert
  local name line said status began order=$1 any=0
  local -a words=()
  shift
  for name in $order; do
    for line in "$@"; do
      IFS=$TAB read -r -a words <<<"$line"
      [[ ${words[0]} == trigger && ${words[1]-} == "$name" ]] || continue
      begin "$line"
      began=${EPOCHREALTIME/./}
      said=$(run_trigger "${words[@]:1}" 2>&1 </dev/null)
      status=$?
      milliseconds_since "$began"
      record trigger "$name" "$( ((status == 0)) && echo ok || echo failed)" "$REPLY" "$said"
      if ((status != 0)); then
        problem trigger-failed "$name"
        ((APPLY_N == 0)) || return 1
        any=1
      fi
    done
  done
  ((any == 0))
}

daemon_reload() {
  local said
  begin daemon-reload
  if ! said=$("$SYSTEMCTL" daemon-reload 2>&1); then
    problem daemon-reload-failed "$said"
    return 1
  fi
  step daemon-reload
}

FIREWALL=nftables.service
listed() { # LINE LIST...
  local line
  for line in "${@:2}"; do [[ $line != "$1" ]] || return 0; done
  return 1
}

# What the last `apply` started or restarted.
declare -a BEGUN=()
# apply N FAILED-BEFORE LINE...: everything in order; false at the first stage that failed.
apply() {
  APPLY_N=$1
  local failed_before=$2 line any=0 i applied_at fd_now=''
  local -a SELECTED=() checks=() begun=()
  shift 2
  (($# > 0)) || return 0
  select_units stop "$@"
  run_units stop "${SELECTED[@]}" || return 1
  at units-stopped || return 1
  for line in "$@"; do
    [[ $line != daemon-reload ]] || daemon_reload || return 1
    [[ $line != check"$TAB"* ]] || checks+=("${line#*"$TAB"}")
  done
  select_units forget "$@"
  forget_units "${SELECTED[@]}"
  run_triggers "$TRIGGERS_EARLY" "$@" || return 1
  for line in restart reload start; do
    ! listed "unit$TAB$line$TAB$FIREWALL" "$@" || run_units "$line" "$FIREWALL" || return 1
  done
  run_triggers "$TRIGGERS_LATE" "$@" || return 1
  for line in restart reload start; do
    select_units "$line" "$@"
    for i in "${!SELECTED[@]}"; do [[ ${SELECTED[i]} != "$FIREWALL" ]] || unset "SELECTED[i]"; done
    [[ $line == reload ]] || begun+=("${SELECTED[@]}")
    run_units "$line" "${SELECTED[@]}" || return 1
    at "units-$line" || return 1
  done
  step applied
  applied_at=${EPOCHREALTIME/./}
  # Where nothing was started the look comes beside the checks; there is another when the push is confirmed.
  if ((${#begun[@]} == 0 && CONFIRM > 0)); then exec {fd_now}< <(failed_units); fi
  run_checks "${checks[@]}" || any=1
  settle "$applied_at" "${begun[@]}" || any=1
  [[ -n $fd_now ]] || exec {fd_now}< <(failed_units)
  none_failed "$failed_before" <&"$fd_now" || any=1
  exec {fd_now}<&-
  BEGUN=("${begun[@]}")
  step checks
  ((any == 0))
}
