# shellcheck shell=bash
# The remote program, part 12: old generations: staging files from them, deleting the oldest, running what is pending.
# Must not touch the tree.

# stage-from-generations SESSION [T]: standard input lists "K TAB PATH": the file that generation K replaced or removed is
# copied into the stage. A copy, not a link: setting the staged file's attributes must not reach into the past. With T the
# stage is made first, and generation T's manifest becomes the staged one: one call for a whole rollback.
verb_stage_from_generations() {
  local session=${1-} target=${2-} line n path any=0 i
  local -a lines=() paths=()
  local -A members=()
  if [[ -n $target ]] && valid_session "$session"; then begin_stage "$session" || finish failed-unchanged 1; fi
  if ! valid_session "$session" || [[ ! -d $STATE/stage/$session/tree ]]; then
    problem no-stage "$session"
    finish failed-unchanged 1
  fi
  mapfile -t lines
  for line in "${lines[@]}"; do
    n=${line%%"$TAB"*} path=${line#*"$TAB"}
    if ! valid_number "$n" || ! valid_path "$path"; then
      problem bad-operation "$line"
      any=1
    elif [[ ! -L $STATE/generations/$n/replaced/$path && ! -f $STATE/generations/$n/replaced/$path ]]; then
      problem not-kept "$path"
      any=1
    else
      members[$n]+=" ${#paths[@]}"
      paths+=("./$path")
    fi
  done
  ((any == 0)) || finish failed-unchanged 1
  for n in "${!members[@]}"; do
    lines=()
    for i in ${members[$n]}; do lines+=("${paths[i]}"); done
    if ! (cd -- "$STATE/generations/$n/replaced" &&
      batch cp -a --reflink=auto --parents -t "$STATE/stage/$session/tree" -- "${lines[@]}"); then
      problem not-writable "$STATE/stage/$session"
      finish failed-unchanged 1
    fi
  done
  step stage-from-generations "${#paths[@]} files"
  if [[ -n $target ]]; then
    if ! valid_number "$target" ||
      ! cp -- "$STATE/generations/$target/manifest.json" "$STATE/stage/$session/manifest.json" 2>/dev/null; then
      problem not-kept "the manifest of generation $target"
      finish failed-unchanged 1
    fi
  fi
  finish ok 0
}

# prune N: deletes the oldest generations beyond the newest N, never the current one.
prune() {
  local -a numbers=()
  local i
  # Most often there are too few to look further.
  entries "$STATE/generations" && ((${#ENTRIES[@]} > $1)) || return 0
  read_generation
  mapfile -t numbers < <(generation_numbers)
  for ((i = 0; i < ${#numbers[@]} - $1; i++)); do
    ((numbers[i] != GEN)) || continue
    rm -rf -- "$STATE/generations/${numbers[i]}"
    record pruned "${numbers[i]}"
  done
}

verb_prune() {
  if ! valid_number "${1-}" || (($1 < 1)); then
    problem bad-operation "prune ${1-}"
    finish failed-unchanged 1
  fi
  lock 10 && mend || finish failed-unchanged 1
  prune "$1"
  finish ok 0
}

# apply: the unit actions that an interrupted push left undone, on the tree as it stands.
verb_apply() {
  local line
  local -a apply=()
  lock 0 && mend || finish failed-unchanged 1
  if interrupted; then recover_now contact; fi
  read_generation
  read_pending
  for line in "${PENDING[@]}"; do
    if valid_apply "$line"; then apply+=("$line"); fi
  done
  trap '' PIPE HUP INT
  apply "$GEN" "$(failed_units)" "${apply[@]}" || finish failed-pending 1
  rm -f -- "$STATE/pending"
  finish ok 0
}

# check: standard input lists checks of the tree, one a line; runs them, and tells which units are failed.
verb_check() {
  local path unit
  local -a list=()
  mapfile -t list
  for path in "${list[@]}"; do
    valid_path "$path" && continue
    problem bad-path "$path"
    finish failed-unchanged 1
  done
  run_checks "${list[@]}"
  while IFS= read -r unit; do record failed "$unit"; done < <(failed_units)
  read_generation
  record generation "$GEN" "$GEN_ID"
  finish ok 0
}

# forget: labctl's memory of a machine whose own files are beyond repair is set aside, but for the paths it owns. The
# next commit names a whole tree; what is owned and not in it goes (plan.sh).
verb_forget() {
  local name
  if [[ -L $STATE || ! -d $STATE || ! -O $STATE ]]; then
    problem damaged "folder${TAB}it is no folder of root's"
    finish failed-unchanged 1
  fi
  lock 10 || finish failed-unchanged 1
  for name in generation manifest.json fingerprint undo pending journal journal.back generations remote.sh; do
    [[ ! -L $STATE/$name && ! -e $STATE/$name ]] || set_aside "$name"
  done
  [[ -d $STATE/stage && ! -L $STATE/stage && -O $STATE/stage ]] || [[ ! -L $STATE/stage && ! -e $STATE/stage ]] || set_aside stage
  if [[ (-L $STATE/paths || -e $STATE/paths) && (-L $STATE/paths || ! -f $STATE/paths || ! -O $STATE/paths) ]]; then
    set_aside paths
  fi
  printf '0 -\n' >"$STATE/generation" || finish failed-unchanged 1
  : >>"$STATE/paths"
  finish ok 0
}
