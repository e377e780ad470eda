# shellcheck shell=bash
# The remote program, part 11: the verb `commit`: lock, check, back up, write the journal, go forward, apply, check.
# Up to the journal every failure leaves the tree as it was; after it the tree is the new one or the old one.

# The processes that copy the way in, and that write to the disk what stands.
SAVING='' SETTLING=''

# commit SESSION [WHO [BYTES SHA256 [seen UNIT...]]]: operations on standard input, after a parcel of that length with what is
# staged; without one (0 and -), staged files are under stage/SESSION. `seen`: it was planned from memory, which is of these units.
verb_commit() {
  local session=${1-} stage
  WHO=${2-$WHO}
  clean "$WHO"
  WHO=$REPLY
  if [[ ${5-} == seen ]] && ! look_again "${@:6}"; then
    problem bad-operation "${*:6}"
    finish failed-unchanged 1
  fi
  if [[ ${3:-0} != 0 ]] && valid_session "$session"; then
    receive_parcel "$session" "$3" "${4-}" || finish failed-unchanged 1
  fi
  if ! valid_session "$session" || [[ ! -d $STATE/stage/$session/tree ]]; then
    problem no-stage "$session"
    finish failed-unchanged 1
  fi
  stage=$STATE/stage/$session
  # A file reads in blocks where a pipe would be read byte by byte.
  if ! { cat >"$stage/operations"; } 2>/dev/null; then
    problem not-writable "$stage"
    finish failed-unchanged 1
  fi
  step receive
  lock 0 || finish failed-unchanged 1
  # The pusher may vanish; what has begun is finished without it.
  trap '' PIPE HUP INT
  mend || finish failed-unchanged 1
  if interrupted; then recover_now contact; fi
  mend_paths
  read_operations "$stage/operations" || finish failed-unchanged 1
  read_generation
  if ((GEN != EXPECT)); then
    problem generation-moved "$GEN $GEN_ID"
    finish failed-unchanged 1
  fi
  if read_undo; then
    problem confirm-pending "$UNDO_N $UNDO_LEFT"
    finish failed-unchanged 1
  fi
  if [[ ! -s $stage/manifest.json ]]; then
    problem stage-incomplete manifest.json
    finish failed-unchanged 1
  fi
  plan_commit "$stage/tree" || finish failed-unchanged 1
  as_seen || finish failed-unchanged 1
  adopt_pending
  step plan "${#PUTS[@]} put, ${#BACKUP[@]} replaced or removed"
  # What systemd is asked for, and what a login needs, is dealt with while files are copied. Both are awaited before
  # anything live changes.
  local failed_before fd_failed arming=''
  exec {fd_failed}< <(failed_units)
  if ((CONFIRM > 0)); then
    drop_way_in
    if runs_something; then
      save_way_in "$NEW_N" "${APPLY[@]}" &
      SAVING=$!
    fi
    arm_undo "$NEW_N" "$CONFIRM" &
    arming=$!
  fi
  if ! prepare "$session"; then
    [[ -z $arming ]] || wait "$arming"
    abort "$stage"
  fi
  step prepare
  if ((CONFIRM > 0)) && ! prove_access "$stage" 2>"$stage/errors"; then
    [[ -z $SAVING ]] || wait "$SAVING"
    [[ -z $arming ]] || wait "$arming"
    disarm_undo
    drop_unborn "$NEW_N"
    [[ ! -s $stage/errors ]] || report_failure commit-refused "$stage/errors"
    finish failed-unchanged 1
  fi
  if [[ -n $arming ]]; then
    wait "$arming" || abort "$stage" confirm-not-armed
    if [[ -n $SAVING ]] && ! wait "$SAVING"; then
      printf 'the way in could not be saved
' >"$stage/errors"
      abort "$stage" confirm-not-armed
    fi
    step arm "$CONFIRM s"
  fi
  IFS= read -r -d '' failed_before <&"$fd_failed"
  exec {fd_failed}<&-
  write_journal "$session" 2>"$stage/errors" || abort "$stage"
  step journal
  if ! go_forward 2>"$STATE/errors"; then
    report_failure commit-failed "$STATE/errors"
    take_back "$NEW_N"
  fi
  # The disk is slower than systemd.
  settle_forward 2>"$STATE/errors" &
  SETTLING=$!
  step commit "${#PUTS[@]} renamed"
  if ! { apply "$NEW_N" "$failed_before" "${APPLY[@]}" && { ((CONFIRM == 0)) || still_works; }; }; then
    step apply
    take_back "$NEW_N"
  fi
  if ! settled; then take_back "$NEW_N"; fi
  rm -f -- "$STATE/pending" "$STATE/errors"
  prune "$KEEP"
  if ((CONFIRM > 0)); then
    # For the look that `confirm` takes.
    if [[ -d $WAY_IN ]]; then
      printf '%s\n' "$failed_before" >"$WAY_IN/failed"
      ((${#BEGUN[@]} == 0)) || printf '%s\n' "${BEGUN[@]}" >"$WAY_IN/begun"
    fi
    # The time to confirm begins when there is something to confirm.
    write_undo "$NEW_N" "$CONFIRM"
    finish unconfirmed 0
  fi
  finish ok 0
}

# False: nothing but checks follows the files, so that the old files are the whole way back.
runs_something() {
  local line
  for line in "${APPLY[@]}"; do [[ $line == check"$TAB"* ]] || return 0; done
  return 1
}

# What an interrupted push left undone becomes a part of this one, which knows nothing of it: units that it does not
# name itself, and only where its own removals leave the unit and the files that are meant. Checks it brings anyway.
adopt_pending() {
  local line word
  local -a words=() adopted=()
  local -A known=()
  read_pending
  ((${#PENDING[@]} > 0)) || return 0
  for line in "${APPLY[@]}"; do
    known[$line]=1
    [[ $line != unit"$TAB"* ]] || known[${line##*"$TAB"}]=1
  done
  for line in "${PENDING[@]}"; do
    if [[ $line == check"$TAB"* || -n ${known[$line]-} ]] || ! valid_apply "$line"; then continue; fi
    IFS=$TAB read -r -a words <<<"$line"
    if [[ ${words[0]} == unit ]]; then
      [[ -z ${known[${words[2]}]-} ]] || continue
      [[ ${words[1]} == stop || -z ${DEL_SET[lib/systemd/system/${words[2]}]-} ]] || continue
    fi
    for word in "${words[@]:2}"; do [[ -z ${DEL_SET[${word#"$ROOT"/}]-} ]] || continue 2; done
    adopted+=("$line")
  done
  APPLY=("${adopted[@]}" "${APPLY[@]}")
}

report_failure() { # CODE FILE: the last line of what a failed command said
  local line='' last=''
  if [[ -r $2 ]]; then
    while IFS= read -r line || [[ -n $line ]]; do [[ -z $line ]] || last=$line; done <"$2"
  fi
  problem "$1" "${last:-no message}"
}

# False, with a problem, where the disk did not take what stands.
settled() {
  local process=$SETTLING
  SETTLING=''
  [[ -z $process ]] || wait "$process" && return 0
  report_failure commit-failed "$STATE/errors"
  return 1
}

# Nothing live was touched: take away what was prepared and say why.
abort() { # STAGE [CODE]
  # What still copies the way in must not write to it any more.
  [[ -z $SAVING ]] || wait "$SAVING"
  report_failure "${2-commit-refused}" "$1/errors"
  disarm_undo
  drop_unborn "$NEW_N"
  finish failed-unchanged 1
}

# The generation stands or stands half-way and must not: put back the tree and what ran.
take_back() {
  # It must not take the journal away while the way back writes its own.
  [[ -z $SETTLING ]] || wait "$SETTLING"
  if revert_generation "$1"; then finish failed-reverted 1; fi
  problem half-way "generation $1"
  finish failed-half 1
}

# Everything that can fail without harm: owners, space, backups, the generation's own files.
prepare() { # SESSION
  local stage=$STATE/stage/$1 folder=$STATE/generations/$NEW_N path line
  local -a lines=() present=()
  {
    check_room && make_reserve || return 1
    [[ ! -e $folder ]] || rm -rf -- "$folder"
    mkdir -p -- "$folder/replaced" "$folder/before" && at prepare-begun || return 1
    save_program && early_users "$stage/tree" "${APPLY[@]}" && check_owners "$stage" || return 1
    for path in "${PUTS[@]}"; do
      # A mode with special bits is set anew: whether tar kept them is not worth a doubt.
      [[ -n $UNPACKED && ${PUT_ATTR[$path]} == 00???"${TAB}root${TAB}root" && $EUID == 0 ]] ||
        lines+=("${PUT_ATTR[$path]}$TAB$path")
    done
    attributes "$stage/tree" "${lines[@]}" && at stage-attributes-set || return 1
    for path in generation paths fingerprint manifest.json pending; do
      [[ ! -e $STATE/$path ]] || present+=("$STATE/$path")
    done
    batch cp -p -t "$folder/before" -- "${present[@]}" || return 1
    cd -- "$ROOT" && batch cp -l -P --parents -t "$folder/replaced" -- "${BACKUP[@]}" && at backed-up || return 1
    # Copies: a second name would show in the live file's ctime.
    batch cp -p -P --reflink=auto --parents -t "$folder/replaced" -- "${TAKES[@]}" || return 1
    cp -- "$stage/manifest.json" "$folder/manifest.json" &&
      owned_after >"$folder/paths" && write_added >"$folder/added" && write_changes >"$folder/changes" || return 1
    : >"$folder/actions"
    if ((${#PLANNED[@]} > 0)); then printf '%s\n' "${PLANNED[@]}"; fi >"$folder/plan"
    if ((${#TOUCHED[@]} > 0)); then printf '%s\n' "${TOUCHED[@]}"; fi >"$folder/touched"
    line=unasked
    ((CONFIRM == 0)) || line=no
    {
      printf '%s\n' "number=$NEW_N" "id=$NEW_ID" "previous=$GEN" "previous_id=$GEN_ID" "time=$EPOCHSECONDS" \
        "by=$WHO" "confirmed=$line"
      for line in "${META[@]}"; do printf '%s\n' "$line"; done
    } >"$folder/meta" && at prepared
  } 2>"$stage/errors"
}

# A rename cannot cross file systems, and a commit must not run out of inodes half-way.
check_room() {
  local blocks size total inodes path device='' folder
  local -a folders=()
  local -A seen=()
  read -r blocks size total inodes < <(stat -f -c '%a %S %c %d' -- "$STATE")
  if ((blocks * size < 1048576)) || ((total > 0 && inodes < ${#PUTS[@]} + ${#MKDIR[@]} + 64)); then
    printf 'no space left: %d bytes, %d inodes free\n' "$((blocks * size))" "$inodes" >&2
    return 1
  fi
  for path in "${PUTS[@]}" "${BACKUP[@]}"; do
    folder=$ROOT
    [[ $path != */* ]] || folder=$ROOT/${path%/*}
    [[ -n ${seen[$folder]-} || ! -d $folder ]] && continue
    seen[$folder]=1
    folders+=("$folder")
  done
  while IFS= read -r path; do
    [[ -n $device ]] || device=${path%% *}
    if [[ ${path%% *} != "$device" ]]; then
      printf 'another file system is mounted at %s\n' "${path#* }" >&2
      return 1
    fi
  done < <(batch stat -c '%d %n' -- "$STATE" "${folders[@]}")
}

# Owners of folders and of attribute changes must exist; those of staged files show when they are set.
check_owners() {
  local line key
  local -A seen=()
  for line in "${MKDIR[@]}" "${SET_ATTR[@]}"; do
    key=${line#*"$TAB"} key=${key%"$TAB"*}
    [[ $key == "-$TAB-" || -n ${seen[$key]-} ]] && continue
    seen[$key]=1
    : >"$1/owner" && chown -- "${key/"$TAB"/:}" "$1/owner" || return 1
  done
}

# The revert timer and the boot's recovery run this very program.
save_program() {
  local text=${LABCTL_PROGRAM-} saved=''
  [[ -n $text ]] || return 0
  [[ ! -r $STATE/remote.sh ]] || IFS= read -r -d '' saved <"$STATE/remote.sh"
  [[ $saved != "$text"$'\n' ]] || return 0
  printf '%s\n' "$text" >"$STATE/remote.sh.new" && mv -f -T -- "$STATE/remote.sh.new" "$STATE/remote.sh"
}

write_added() {
  ((${#ADDED_FILES[@]} == 0)) || printf 'file\t%s\n' "${ADDED_FILES[@]}"
  ((${#ADDED_FOLDERS[@]} == 0)) || printf 'folder\t%s\n' "${ADDED_FOLDERS[@]}"
}

# Attributes as they are now of what will change them or go.
write_changes() {
  local line
  local -a paths=() removed=("${EARLY_RMDIR[@]}" "${LATE_RMDIR[@]}")
  for line in "${SET_ATTR[@]}"; do paths+=("./${line#*"$TAB"*"$TAB"*"$TAB"}"); done
  cd -- "$ROOT" || return 1
  batch stat --printf 'attr\t0%a\t%u\t%g\t%n\n' -- "${paths[@]}" || return 1
  batch stat --printf 'removed\t0%a\t%u\t%g\t%n\n' -- "${removed[@]/#/./}"
}

write_journal() { # SESSION
  local path
  {
    printf 'labctl-journal\t%s\nsession\t%s\ngeneration\t%s\t%s\n' "$PROTOCOL" "$1" "$NEW_N" "$NEW_ID"
    for path in "${EARLY_DEL[@]}"; do printf 'early-del\t%s\n' "$path"; done
    for path in "${EARLY_RMDIR[@]}"; do printf 'early-rmdir\t%s\n' "$path"; done
    for path in "${MKDIR[@]}"; do printf 'mkdir\t%s\n' "$path"; done
    for path in "${PUTS[@]}"; do printf 'put\t%s\n' "$path"; done
    for path in "${SET_ATTR[@]}"; do printf 'attr\t%s\n' "$path"; done
    for path in "${LATE_DEL[@]}"; do printf 'del\t%s\n' "$path"; done
    for path in "${LATE_RMDIR[@]}"; do printf 'rmdir\t%s\n' "$path"; done
    for path in "${APPLY[@]}"; do printf 'apply\t%s\n' "$path"; done
    printf 'end\n'
  } >"$STATE/journal.new" && at journal-written && sync -f -- "$STATE" && at journal-synced &&
    mv -f -T -- "$STATE/journal.new" "$STATE/journal" && sync -- "$STATE" && at journal-stands
}
