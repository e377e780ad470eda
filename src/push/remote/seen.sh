# shellcheck shell=bash
# The remote program, part 9: what a commit was planned from, where that was the pusher's memory of an earlier look
# (docs/decisions/0022). All of it is asked anew, under the lock; what is otherwise refuses the commit. Must not change
# anything.

# The generation that the memory is of; empty: the pusher has just looked.
SEEN_ID='' SEEN_STAMP=''
# What `systemctl show` said of the units that the commit was called with.
SEEN_TEXT=''
# Further units by name: yes, it ran; no, it did not.
declare -A SEEN_RUNS=()
FD_FILES='' FD_STAMP='' FD_UNITS='' FD_STATES=''
# The units that were asked about, and what `systemctl show` said of each by now.
declare -a ASKED_UNITS=() SHOWN_UNITS=()

# look_again UNIT...: what takes its time begins here, and is awaited by `as_seen`. Before the commit has arrived and holds
# the lock: whoever else is at work until then makes another generation.
look_again() {
  local unit
  exec {FD_FILES}< <(fresh_fingerprint "$STATE/paths")
  exec {FD_STAMP}< <(packages_stamp)
  (($# > 0)) || return 0
  for unit in "$@"; do valid_unit "$unit" || return 1; done
  ASKED_UNITS=("$@")
  exec {FD_UNITS}< <("$SYSTEMCTL" show --no-pager --property="$UNIT_PROPERTIES,$REACH_PROPERTIES" -- "$@" 2>/dev/null && echo)
}

# read_seen OPERATION REST: false if it makes no sense.
read_seen() {
  case $1 in
    seen)
      SEEN_ID=${2%%"$TAB"*} SEEN_STAMP=${2#*"$TAB"}
      [[ $SEEN_ID =~ ^[0-9a-f]{64}$ ]]
      ;;
    saw) SEEN_TEXT+=$2$'\n' ;;
    seen-runs | seen-rests)
      valid_unit "$2" || return 1
      SEEN_RUNS[$2]=no
      [[ $1 == seen-rests ]] || SEEN_RUNS[$2]=yes
      ;;
  esac
}

# False, with a problem that says what, where something is not as the pusher saw it.
as_seen() {
  local stored='' fresh='' line unit
  local -a words=()
  local -A runs=()
  [[ -n $SEEN_ID ]] || return 0
  if [[ -z $FD_FILES ]]; then
    problem bad-operation 'seen, without a look'
    return 1
  fi
  if ((${#SEEN_RUNS[@]} > 0)); then
    # Patterns, in which a backslash stands for itself.
    exec {FD_STATES}< <("$SYSTEMCTL" list-units --all --plain --no-legend --no-pager -- "${!SEEN_RUNS[@]}" 2>/dev/null)
  fi
  read_pending
  [[ ! -r $STATE/fingerprint ]] || { stored=$(<"$STATE/fingerprint"); } 2>/dev/null
  fresh=$(cat <&"$FD_FILES")
  line=$(cat <&"$FD_STAMP")
  exec {FD_FILES}<&- {FD_STAMP}<&-
  [[ $GEN_ID == "$SEEN_ID" ]] || moved "generation $GEN is $GEN_ID" || return
  ((${#PENDING[@]} == 0)) || moved 'something is left undone' || return
  [[ -n $stored && $stored == "$fresh" ]] || moved 'a file was changed by someone else' || return
  [[ $line == "$SEEN_STAMP" ]] || moved 'packages were installed or removed' || return
  read_shown
  [[ $REPLY == "$SEEN_TEXT" ]] || moved 'a unit is in another state' || return
  [[ -n $FD_STATES ]] || return 0
  split "$(cat <&"$FD_STATES")"
  exec {FD_STATES}<&-
  for line in "${ROWS[@]}"; do
    # shellcheck disable=SC2206 # words of systemctl
    words=($line)
    case ${words[2]-} in active | reloading | refreshing | activating) runs[${words[0]}]=yes ;; esac
  done
  for unit in "${!SEEN_RUNS[@]}"; do
    [[ ${runs[$unit]-no} == "${SEEN_RUNS[$unit]}" ]] || moved "$unit" || return
  done
}

# Sets SHOWN_UNITS, and REPLY to what of it a probe would have shown.
read_shown() {
  local line block='' more
  REPLY=''
  [[ -n $FD_UNITS ]] || return 0
  while IFS= read -r line <&"$FD_UNITS"; do
    # A command's words may hold newlines, and blank lines among them.
    while [[ $line == Exec*={* && $line != *\} ]] && IFS= read -r more <&"$FD_UNITS"; do line+=" $more"; done
    if [[ -z $line ]]; then
      SHOWN_UNITS+=("$block")
      block=''
      REPLY+=$'\n'
    else
      block+=$line$'\n'
      [[ ,$UNIT_PROPERTIES, != *",${line%%=*},"* ]] || REPLY+=$line$'\n'
    fi
  done
  exec {FD_UNITS}<&-
  # Blocks are divided by a blank line, and not ended by one.
  REPLY=${REPLY%$'\n'}
}

# Always false.
moved() {
  problem state-moved "$1"
  return 1
}
