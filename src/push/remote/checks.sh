# shellcheck shell=bash
# The remote program, part 8: after the actions, whether the machine does its work: the layers' own checks, units that
# fail or die over and over, and what must still work because it did before. Must not change anything.

CHECK_LIMIT_S=10
# Once one has failed the push is lost, so the others get this long to say their word.
CHECK_REST_S=1
CHECK_LINES=50
CHECK_KIB=1024

milliseconds_since() { REPLY=$(((${EPOCHREALTIME/./} - $1 + 500) / 1000)); }

failed_units() {
  local unit
  "$SYSTEMCTL" list-units --failed --all --plain --no-legend --no-pager 2>/dev/null |
    while read -r unit _; do printf '%s\n' "$unit"; done
}

# run_checks PATH...: all at once, each in a process group of its own; each one's verdict, then what it printed last.
run_checks() {
  local folder path i any=0 took line verdict detail ends cutting=''
  (($# > 0)) || return 0
  # Not below /usr/local: a check must be able to say that it is full.
  folder=$(mktemp -d /run/labctl-checks.XXXXXXXX 2>/dev/null || mktemp -d "$STATE/checks.XXXXXXXX") || {
    problem check-failed "no folder for the output of checks"
    return 1
  }
  local -a paths=("$@")
  # They say by a pipe when they end: `wait -n` overlooks those that end at the same time.
  exec {ends}< <(for i in "${!paths[@]}"; do run_check "$folder/$i" "$ROOT/${paths[i]}" & done; wait)
  while IFS= read -r -u "$ends" verdict; do
    if [[ $verdict != ok && -z $cutting ]]; then
      cutting=1
      cut_checks "$folder" "${!paths[@]}" &
    fi
  done
  exec {ends}<&-
  for i in "${!paths[@]}"; do
    verdict=failed took=0 detail='nothing is known of it'
    [[ ! -r $folder/$i.end ]] || IFS=$TAB read -r verdict took detail <"$folder/$i.end"
    path=${paths[i]}
    record check "$path" "$verdict" "$took" ${detail:+"$detail"}
    [[ ! -s $folder/$i.out ]] ||
      while IFS= read -r line; do record out "$line"; done < <(tail -n "$CHECK_LINES" -- "$folder/$i.out" | cut -b -1000)
    [[ $verdict != ok ]] || continue
    any=1
    [[ $verdict == cut ]] || problem check-failed "$path${detail:+: $detail}"
  done
  rm -rf -- "$folder"
  ((any == 0))
}

# run_check BASE PROGRAM: writes BASE.group, BASE.out and "verdict TAB milliseconds TAB detail" to BASE.end.
run_check() {
  local base=$1 child status detail='' verdict=failed began=${EPOCHREALTIME/./} i
  cd /
  # Not the lock: a process that a check leaves behind must not hold the machine.
  exec 9>&-
  # A pipe, not a file: a check may print without end. Nobody waits for a process that keeps the pipe open.
  timeout -k 1 "$CHECK_LIMIT_S" "$2" </dev/null > >(exec >/dev/null 2>&1
    # cat(1) writes what it reads at once, and the kernel ends it at the limit (in KiB).
    (ulimit -f "$CHECK_KIB" && exec cat >"$base.out") ||
      printf '\n(it printed more than %d KiB)\n' "$CHECK_KIB" >>"$base.out"
    : >"$base.read"
    exec cat) 2>&1 &
  child=$!
  # timeout(1) puts itself and its command into a group of that number.
  printf '%s\n' "$child" >"$base.group"
  wait "$child"
  status=$?
  milliseconds_since "$began"
  kill -KILL -- "-$child" 2>/dev/null
  if ((status == 0)); then
    verdict=ok
  elif [[ -e $base.cut ]]; then
    verdict=cut detail='cut short, since another one had failed'
  elif ((status == 124 || (status == 137 && REPLY >= CHECK_LIMIT_S * 1000))); then
    verdict=timeout detail="it did not end within $CHECK_LIMIT_S s"
  elif ((status == 126)); then
    detail='it can not be executed'
  elif ((status == 127)); then
    detail='it, or the program its first line names, is not there'
  elif ((status > 128)); then
    detail="killed by signal $((status - 128))"
  else
    detail="exit status $status"
  fi
  printf '%s\t%s\t%s\n' "$verdict" "$REPLY" "$detail" >"$base.end"
  for ((i = 0; i < 200; i++)); do
    [[ ! -e $base.read ]] || break
    sleep 0.01
  done
  printf '%s\n' "$verdict"
}

cut_checks() { # FOLDER INDEX...
  local folder=$1 i group
  shift
  exec 9>&- >/dev/null 2>&1
  sleep "$CHECK_REST_S"
  for i in "$@"; do
    [[ ! -e $folder/$i.end && -r $folder/$i.group ]] || continue
    : >"$folder/$i.cut"
    read -r group <"$folder/$i.group"
    kill -KILL -- "-$group"
  done
}

# A service that dies at once and that systemd restarts does not count as failed for a while. Its count of restarts,
# which our own start set to 0, tells, once SETTLE_MS have passed since then.
SETTLE_MS=150
settle() { # SINCE-MICROSECONDS UNIT...
  local rest
  (($# > 1)) || return 0
  milliseconds_since "$1"
  if ((REPLY < SETTLE_MS)); then
    printf -v rest '0.%03d' "$((SETTLE_MS - REPLY))"
    sleep "$rest"
  fi
  none_restarting "${@:2}"
}

none_restarting() { # UNIT...
  local line any=0 i=0
  local -A looping=()
  (($# > 0)) || return 0
  while IFS= read -r line; do
    case $line in
      '') ((i += 1)) ;;
      NRestarts=0 | NRestarts=) ;;
      NRestarts=* | SubState=auto-restart*) looping[$i]=1 ;;
    esac
  done < <("$SYSTEMCTL" show --no-pager --property=SubState,NRestarts -- "$@" 2>/dev/null)
  i=0
  for line in "$@"; do
    if [[ -n ${looping[$i]-} ]]; then
      problem unit-restarting "$line"
      any=1
    fi
    ((i += 1))
  done
  ((any == 0))
}

# none_failed FAILED-BEFORE: none of the failed units on standard input that had not failed before.
none_failed() {
  local unit any=0
  while IFS= read -r unit; do
    [[ -n $unit && $'\n'$1$'\n' != *$'\n'"$unit"$'\n'* ]] || continue
    problem unit-failed "$unit"
    any=1
  done
  ((any == 0))
}
