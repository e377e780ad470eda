# shellcheck shell=bash
# The remote program, part 10: the way back: confirm, revert, recovery after an interruption, the timer that undoes an
# unconfirmed generation without any connection. Must not read from standard input.

UNDO_UNIT=labctl-revert

# arm_undo N SECONDS: a transient timer; it runs the saved program, which waits longer if the deadline has moved.
arm_undo() {
  local stage_errors=$STATE/errors
  write_undo "$1" "$2" || return 1
  local -a command=(systemd-run --quiet --collect --unit="$UNDO_UNIT" --on-active="${2}s"
    --timer-property=AccuracySec=100ms --setenv=LABCTL_ROOT="$ROOT" bash --norc "$STATE/remote.sh" undo "$1")
  "${command[@]}" 2>"$stage_errors" </dev/null && return 0
  # One may be left from an earlier push that ended badly.
  "$SYSTEMCTL" stop "$UNDO_UNIT.timer" 2>/dev/null
  "$SYSTEMCTL" reset-failed "$UNDO_UNIT.timer" "$UNDO_UNIT.service" 2>/dev/null
  "${command[@]}" 2>"$stage_errors" </dev/null
}

disarm_undo() { # [--no-block]
  if [[ ! -e $STATE/undo ]]; then
    drop_way_in
    return 0
  fi
  # In this order.
  rm -rf -- "$WAY_IN" "$STATE/undo"
  "$SYSTEMCTL" "$@" stop "$UNDO_UNIT.timer" >/dev/null 2>&1
  return 0
}

# True if generation N is the current one and waits. A file `undo` that somebody removed is no confirmation: the
# generation's meta knows better.
waits() { # N
  read_generation
  [[ $GEN == "$1" ]] && ((GEN > 0)) || return 1
  if read_undo; then [[ $UNDO_N == "$1" ]]; else [[ $(meta_of "$1" confirmed) == no ]]; fi
}

meta_of() { # N KEY
  local line
  [[ -f $STATE/generations/$1/meta ]] || return 0
  while IFS= read -r line; do [[ $line != "$2="* ]] || printf '%s' "${line#*=}"; done <"$STATE/generations/$1/meta"
}

# confirm N: generation N stays, unless a look from the new connection finds what the commit was too early to see.
verb_confirm() {
  local any=0 failed='' fd_now
  local -a begun=()
  exec {fd_now}< <(failed_units)
  lock 10 && mend || finish failed-unchanged 1
  if ! waits "${1-}"; then
    problem not-waiting "generation $GEN $GEN_ID"
    finish failed-unchanged 1
  fi
  if [[ -r $WAY_IN/failed ]]; then
    failed=$(<"$WAY_IN/failed")
    mapfile -t begun <"$WAY_IN/begun"
    none_failed "$failed" <&"$fd_now" || any=1
    none_restarting "${begun[@]}" || any=1
  fi
  if ((any == 0)) && ! set_meta "$GEN" confirmed "$EPOCHSECONDS" 2>/dev/null; then
    problem no-space "$ROOT"
    any=1
  fi
  if ((any)); then
    unlock
    trap '' PIPE HUP INT
    # The whole program lies there; what was sent is a part of it.
    LABCTL_QUIET_DONE=1 bash --norc "$STATE/remote.sh" revert "$GEN" || finish failed-half 1
    finish failed-reverted 1
  fi
  # Nobody waits for it: a generation that is confirmed is not taken back.
  disarm_undo --no-block
  finish ok 0
}

set_meta() { # N KEY VALUE
  local file=$STATE/generations/$1/meta line
  {
    while IFS= read -r line; do [[ $line == "$2="* ]] || printf '%s\n' "$line"; done <"$file"
    printf '%s=%s\n' "$2" "$3"
  } >"$file.new" && mv -f -T -- "$file.new" "$file"
}

# revert N: generation N, which must be the current one, is taken back with everything it ran.
verb_revert() {
  lock 10 && mend || finish failed-unchanged 1
  trap '' PIPE HUP INT
  if interrupted; then recover_now contact; fi
  read_generation
  if [[ $GEN != "${1-}" ]] || ((GEN == 0)) || [[ ! -r $STATE/generations/$GEN/added ]]; then
    problem generation-moved "$GEN $GEN_ID"
    finish failed-unchanged 1
  fi
  revert_generation "$GEN" || finish failed-half 1
  finish reverted 0
}

# undo N: what the timer runs. Waits for a commit that is still at work, and for a deadline that it moved.
verb_undo() {
  while :; do
    lock 3600 || finish failed-unchanged 1
    # Damage that can't be mended is no reason to stay cut off: the generation's own folder is enough for the way back.
    mend || [[ ! -d $STATE/generations/${1-} ]] || printf '%s %s\n' "$1" "$(meta_of "$1" id)" >"$STATE/generation"
    if interrupted; then recover_now contact; fi
    waits "${1-}" || break
    if ! read_undo || ((UNDO_LEFT == 0)); then
      problem not-confirmed "generation $GEN"
      revert_generation "$GEN" || finish failed-half 1
      finish reverted 0
    fi
    unlock
    sleep "$UNDO_LEFT"
  done
  if read_undo && [[ $UNDO_N == "${1-}" ]]; then rm -f -- "$STATE/undo"; fi
  finish ok 0
}

# revert_generation N: the tree first, then the machine: what was started stops before its files go, what was stopped
# starts again, what was restarted or reloaded does so on the old files. A failing action does not stop the rest.
revert_generation() {
  local n=$1 line redo_failed=0
  local -a actions=() SELECTED=()
  [[ ! -r $STATE/generations/$n/actions ]] || mapfile -t actions <"$STATE/generations/$n/actions"
  APPLY_N=0
  select_units start "${actions[@]}"
  run_units stop "${SELECTED[@]}" || redo_failed=1
  if ! go_back "$n" 2>"$STATE/errors"; then
    report_failure revert-failed "$STATE/errors"
    return 1
  fi
  rm -f -- "$STATE/errors"
  step revert "generation $n"
  redo_actions "${actions[@]}" || redo_failed=1
  # Not before: killed in between, the next contact finds it.
  restore_way_in
  disarm_undo
  if ((redo_failed)); then note undo-incomplete "some unit actions failed; the tree is the old one"; fi
  read_generation
  record generation "$GEN" "$GEN_ID"
}

redo_actions() { # LINE... of generations/n/actions
  local any=0 line
  local -a SELECTED=() units=()
  (($# > 0)) || return 0
  for line in "$@"; do
    [[ $line == "unlinked$TAB"* ]] || continue
    line=${line#*"$TAB"}
    ln -s -- "${line#*"$TAB"}" "${line%%"$TAB"*}" 2>/dev/null
  done
  daemon_reload || any=1
  # One that fails must not keep the others from reading the old files.
  for line in $TRIGGERS_EARLY $TRIGGERS_LATE; do run_triggers "$line" "$@" || any=1; done
  for line in "$@"; do [[ $line != unit"$TAB"* ]] || units+=("${line##*"$TAB"}"); done
  # A unit that failed on the new files may have used up its start limit.
  ((${#units[@]} == 0)) || "$SYSTEMCTL" reset-failed -- "${units[@]}" 2>/dev/null
  select_units restart "$@"
  run_units restart "${SELECTED[@]}" || any=1
  select_units reload "$@"
  run_units reload "${SELECTED[@]}" || any=1
  select_units stop "$@"
  run_units start "${SELECTED[@]}" || any=1
  ((any == 0))
}

# recover boot|contact: ends what was interrupted.
verb_recover() {
  [[ -d $STATE ]] || finish ok 0
  # A probe does not wait for a commit that is at work; the boot has nobody to wait for it.
  lock "$([[ ${1-} == boot ]] && echo 60 || echo 0)" || finish failed-unchanged 1
  recover_now "${1-contact}" || finish failed-half 1
  finish ok 0
}

# Under the lock. A revert goes on; a journal goes forward, or back if it cannot; backups without a journal go away.
# At boot, an unconfirmed generation is taken back and unit actions that were pending are moot: units start afresh.
recover_now() {
  local n
  mend || return 1
  if [[ -e $STATE/journal.back ]]; then
    if journaled "$STATE/journal.back"; then recover_back "$REPLY" || return 1; fi
  elif [[ -e $STATE/journal ]] && journaled "$STATE/journal"; then
    n=$REPLY
    if { go_forward && settle_forward; } 2>"$STATE/errors"; then
      record recovered forward "$n"
    else
      report_failure commit-failed "$STATE/errors"
      recover_back "$n" || return 1
    fi
  fi
  read_generation
  # A commit holds the lock that we hold, so what is above the current generation has no owner.
  while IFS= read -r n; do
    ((n > GEN)) || continue
    drop_unborn "$n"
    record recovered dropped "$n"
  done < <(generation_numbers)
  rm -f -- "$STATE/journal.new" "$STATE/errors"
  if [[ $1 == boot ]]; then recover_boot; else recover_contact; fi
}

# journaled FILE: sets REPLY to the generation that a journal is about. One that names none which is kept was damaged
# from outside: then it was about the generation above the current one; without that nothing is half-way, and the
# journal goes away.
journaled() {
  local word n=''
  REPLY=''
  while IFS=$TAB read -r word n _ || [[ -n $word ]]; do
    if [[ $word == generation ]]; then
      REPLY=$n
      break
    fi
  done <"$1"
  if valid_number "$REPLY" && ((REPLY > 0)) && [[ -d $STATE/generations/$REPLY ]]; then return 0; fi
  read_generation
  REPLY=$((GEN + 1))
  [[ ! -d $STATE/generations/$REPLY ]] || return 0
  rm -f -- "$STATE/journal" "$STATE/journal.back"
  record recovered damaged "$GEN"
  return 1
}

recover_back() {
  if ! go_back "$1" 2>"$STATE/errors"; then
    report_failure revert-failed "$STATE/errors"
    problem half-way "generation $1"
    return 1
  fi
  record recovered back "$1"
}

recover_boot() {
  rm -f -- "$STATE/pending"
  if ! read_undo; then
    drop_way_in
    return 0
  fi
  if [[ $UNDO_N == "$GEN" ]]; then
    problem not-confirmed "generation $GEN"
    recover_back "$GEN" || return 1
    rm -f -- "$STATE/errors" "$STATE/pending"
    # The network and the units start afresh.
    if [[ -d $WAY_IN/files ]]; then restore_files && restore_accounts; fi
    "$SYSTEMCTL" daemon-reload
    # Units that the old tree wants and the new one did not are in no job of this boot yet.
    "$SYSTEMCTL" --no-block start default.target
  fi
  rm -f -- "$STATE/undo"
  drop_way_in
}

# The timer's own program ends an overdue wait; it is gone only after a reboot without the recovery unit.
recover_contact() {
  read_undo || return 0
  if [[ $UNDO_N != "$GEN" ]]; then
    # Taken back already, by somebody who was stopped before the end.
    restore_way_in
    disarm_undo
  elif ((UNDO_LEFT == 0)) && ! "$SYSTEMCTL" --quiet is-active "$UNDO_UNIT.timer" "$UNDO_UNIT.service"; then
    problem not-confirmed "generation $GEN"
    revert_generation "$GEN"
  fi
}
