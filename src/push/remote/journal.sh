# shellcheck shell=bash
# The remote program, part 6: what a journal says, done forward or backward. Each step may run again after it was
# killed at any instant: a step that was done finds nothing left to do. Must not decide what changes; plan.sh did.
#
# journal       complete by its name alone (written aside, synced, renamed): the commit will stand
# journal.back  "generation TAB n": generation n is being taken back
# generations/n holds what either way needs: replaced/ (hard links to the old inodes), added, changes, paths,
#               touched, manifest.json, and before/ with labctl's own files of the generation before

# attributes FOLDER LINE...: mode and owner for "mode TAB owner TAB group TAB path", one run for equal ones.
# Owner `-` leaves it. Links have no mode of their own.
attributes() {
  local folder=$1 line path key i
  local -a paths=() names=()
  local -A modes=() owners=()
  shift
  for line in "$@"; do
    path=${line#*"$TAB"*"$TAB"*"$TAB"}
    # Gone since: an administrator's doing, and no reason to stop half-way.
    [[ -L $folder/$path || -e $folder/$path ]] || continue
    key=${line%%"$TAB"*}
    i=${#paths[@]}
    paths+=("./$path")
    [[ -L $folder/$path ]] || modes[$key]+=" $i"
    key=${line#*"$TAB"}
    key=${key%%"$TAB$path"}
    [[ $key == "-$TAB-" ]] || owners[${key/"$TAB"/:}]+=" $i"
  done
  # The owner comes first: chown clears the set-user-id bit.
  for key in "${!owners[@]}"; do
    names=()
    for i in ${owners[$key]}; do names+=("${paths[i]}"); done
    (cd -- "$folder" && batch chown -h "$key" -- "${names[@]}") || return 1
  done
  for key in "${!modes[@]}"; do
    names=()
    for i in ${modes[$key]}; do names+=("${paths[i]}"); done
    (cd -- "$folder" && batch chmod "$key" -- "${names[@]}") || return 1
  done
}

# move_into POINT FROM PATH...: renames FROM/path to the same path in the tree, one process per folder. The rename replaces
# an old file in one instant; a path is never absent in between.
move_into() {
  local point=$1 from=$2 path folder i
  local -a folders=() names=()
  local -A members=()
  shift 2
  local -a paths=("$@")
  for i in "${!paths[@]}"; do
    path=${paths[i]}
    folder=.
    [[ $path != */* ]] || folder=${path%/*}
    [[ -n ${members[$folder]-} ]] || folders+=("$folder")
    members[$folder]+=" $i"
  done
  cd -- "$from" || return 1
  for folder in "${folders[@]}"; do
    names=()
    for i in ${members[$folder]}; do names+=("./${paths[i]}"); done
    if through_link "$folder/x"; then
      printf '%s leads through a link\n' "$folder" >&2
      return 1
    fi
    [[ -d $ROOT/$folder ]] || mkdir -p -- "$ROOT/$folder" || return 1
    for ((i = 0; i < ${#names[@]}; i += 400)); do
      mv -f -t "$ROOT/$folder" -- "${names[@]:i:400}" || return 1
    done
    at "$point-$folder" || return 1
  done
  cd /
}

# remove_files PATH...: never a folder, never through a link.
remove_files() {
  local path
  local -a names=()
  for path in "$@"; do
    if [[ -L $ROOT/$path || (-e $ROOT/$path && ! -d $ROOT/$path) ]] && ! through_link "$path"; then
      names+=("$ROOT/$path")
    fi
  done
  batch rm -f -- "${names[@]}"
}

# remove_folders PATH...: only empty ones, inner before outer; one that holds somebody's file stays.
remove_folders() {
  local path
  local -a names=() sorted=()
  for path in "$@"; do
    if [[ -d $ROOT/$path && ! -L $ROOT/$path ]] && ! through_link "$path"; then names+=("$ROOT/$path"); fi
  done
  ((${#names[@]} > 0)) || return 0
  mapfile -t sorted < <(printf '%s\n' "${names[@]}" | sort -r)
  batch rmdir --ignore-fail-on-non-empty -- "${sorted[@]}"
}

# make_folders LINE...: "mode TAB owner TAB group TAB path"; closed until its attributes are set.
make_folders() {
  local line
  local -a names=()
  for line in "$@"; do names+=("$ROOT/${line#*"$TAB"*"$TAB"*"$TAB"}"); done
  ((${#names[@]} > 0)) || return 0
  (umask 077 && batch mkdir -p -- "${names[@]}") || return 1
  attributes "$ROOT" "$@"
}

# go_forward: does what the journal says and makes the generation current. False: a step failed, go back. What it leaves to
# be done is `settle_forward`, beside which units may be told already: until then the journal leads to the same place.
FORWARD_SESSION=''
go_forward() {
  local -a lines=() early_del=() early_rmdir=() mkdir=() put=() attr=() del=() rmdir=() apply=()
  local line rest session='' n='' id=''
  mapfile -t lines <"$STATE/journal"
  for line in "${lines[@]}"; do
    rest=${line#*"$TAB"}
    case ${line%%"$TAB"*} in
      session) session=$rest ;;
      generation) n=${rest%%"$TAB"*} id=${rest#*"$TAB"} ;;
      early-del) early_del+=("$rest") ;;
      early-rmdir) early_rmdir+=("$rest") ;;
      mkdir) mkdir+=("$rest") ;;
      put) [[ ! -L $STATE/stage/$session/tree/$rest && ! -e $STATE/stage/$session/tree/$rest ]] || put+=("$rest") ;;
      attr) attr+=("$rest") ;;
      del) del+=("$rest") ;;
      rmdir) rmdir+=("$rest") ;;
      apply) apply+=("$rest") ;;
    esac
  done
  # Cut short, it would make half of a tree the current generation.
  [[ ${lines[-1]-} == end ]] && valid_session "$session" && valid_number "$n" || return 1
  # What is a link now may be a folder a line later.
  LINK_ABOVE=()
  remove_files "${early_del[@]}" && at early-deleted || return 1
  remove_folders "${early_rmdir[@]}" && at early-removed || return 1
  LINK_ABOVE=()
  make_folders "${mkdir[@]}" && at folders-made || return 1
  if ((${#put[@]} > 0)); then move_into moved "$STATE/stage/$session/tree" "${put[@]}" || return 1; fi
  at moved || return 1
  LINK_ABOVE=()
  attributes "$ROOT" "${attr[@]}" && at attributes-set || return 1
  remove_files "${del[@]}" && at deleted || return 1
  remove_folders "${rmdir[@]}" && at folders-removed || return 1
  make_current "$n" "$id" "$STATE/stage/$session" "${apply[@]}" || return 1
  FORWARD_SESSION=$session
}

settle_forward() {
  sync -f -- "$STATE" && at synced || return 1
  rm -f -- "$STATE/journal" && at committed
  rm -rf -- "$STATE/stage/$FORWARD_SESSION"
}

# make_current N ID STAGE LINE...: labctl's own files follow the tree. The lines are the unit actions that are still to
# be done, for whoever comes after an interruption. All files are made aside, then renamed in this order.
make_current() {
  local folder=$STATE/generations/$1 aside=$3/own
  local -a names=(pending fingerprint paths manifest.json generation)
  [[ -d $aside ]] || mkdir -p -- "$aside" || return 1
  if (($# > 3)); then
    # Who reads it compares the boot: after another one there is nothing left to do.
    boot_id
    { printf 'boot\t%s\n' "$REPLY" && printf '%s\n' "${@:4}"; } >"$aside/pending" || return 1
  else
    [[ ! -e $STATE/pending ]] || rm -f -- "$STATE/pending" || return 1
    names=("${names[@]:1}")
  fi
  merge_fingerprint touched "$folder/paths" "$folder/touched" >"$aside/fingerprint" &&
    cp -t "$aside" -- "$folder/paths" "$folder/manifest.json" &&
    printf '%s %s\n' "$1" "$2" >"$aside/generation" && at current-prepared || return 1
  mv -f -t "$STATE" -- "${names[@]/#/$aside/}" && at generation-written
}

# Room that a full disk leaves for the way back: it needs copies of labctl's own files. Made before a commit begins.
make_reserve() {
  local size=0 have=0 name bytes
  while read -r bytes name; do
    if [[ $name == "$STATE/reserve" ]]; then have=$bytes; else size=$((size + bytes)); fi
  done < <(stat -c '%s %n' -- "$STATE"/{reserve,manifest.json,paths,fingerprint,operations} 2>/dev/null)
  size=$((size * 2 + 262144))
  ((have < size)) || return 0
  rm -f -- "$STATE/reserve"
  # Written, not only promised: not every file system keeps what fallocate(1) reserved. Unlike zeros nothing shrinks it.
  head -c "$size" /dev/urandom >"$STATE/reserve"
}

free_reserve() {
  [[ -e $STATE/reserve ]] || return 1
  rm -f -- "$STATE/reserve"
  # Some file systems give the room back with their next transaction only.
  sync -f -- "$STATE"
}

# go_back N: the tree and labctl's own files as they were before generation n; then generation n is gone. What failed
# for want of room is done again with the reserve.
go_back() {
  go_back_once "$1" || { free_reserve && go_back_once "$1"; }
}

go_back_once() {
  local n=$1 folder=$STATE/generations/$1 line rest
  local -a lines=() files=() folders=() removed=() attr=() replaced=()
  # Without its folder nothing says what it replaced, and labctl's own files must not go.
  if ! valid_number "$n" || [[ ! -d $folder ]]; then
    printf 'generation %s is not kept\n' "$n" >&2
    return 1
  fi
  printf 'generation\t%s\n' "$n" >"$STATE/journal.back.new" &&
    mv -f -T -- "$STATE/journal.back.new" "$STATE/journal.back" || return 1
  rm -f -- "$STATE/journal" && at back-begun || return 1
  [[ -r $folder/added ]] && mapfile -t lines <"$folder/added"
  for line in "${lines[@]}"; do
    rest=${line#*"$TAB"}
    if [[ ${line%%"$TAB"*} == folder ]]; then folders+=("$rest"); else files+=("$rest"); fi
  done
  lines=()
  [[ -r $folder/changes ]] && mapfile -t lines <"$folder/changes"
  for line in "${lines[@]}"; do
    rest=${line#*"$TAB"}
    case ${line%%"$TAB"*} in
      removed) removed+=("$rest") ;;
      attr) attr+=("$rest") ;;
    esac
  done
  LINK_ABOVE=()
  remove_files "${files[@]}" && at back-files-removed || return 1
  remove_folders "${folders[@]}" && at back-folders-removed || return 1
  LINK_ABOVE=()
  make_folders "${removed[@]}" && at back-folders-made || return 1
  if [[ -d $folder/replaced ]]; then
    mapfile -d '' -t lines < <(find "$folder/replaced" -mindepth 1 ! -type d -printf '%P\0')
    for rest in "${lines[@]}"; do
      still_there "$folder/replaced/$rest" "$ROOT/$rest" || replaced+=("$rest")
    done
    if ((${#replaced[@]} > 0)); then move_into back-moved "$folder/replaced" "${replaced[@]}" || return 1; fi
  fi
  at back-moved || return 1
  attributes "$ROOT" "${attr[@]}" && at back-attributes-set || return 1
  restore_before "$n" || return 1
  sync -f -- "$STATE" && at back-synced || return 1
  rm -f -- "$STATE/journal.back" && at back-done || return 1
  rm -rf -- "$folder"
}

# still_there BACKUP LIVE: the commit did not come as far as this file. mv refuses to rename a file onto itself.
still_there() {
  if [[ -L $1 || -L $2 ]]; then
    [[ -L $1 && -L $2 && $(readlink -n -- "$1") == "$(readlink -n -- "$2")" ]]
  else
    [[ $1 -ef $2 ]]
  fi
}

restore_before() {
  local folder=$STATE/generations/$1 name
  for name in paths fingerprint manifest.json; do
    if [[ -e $folder/before/$name ]]; then
      cp -- "$folder/before/$name" "$STATE/$name.new" && mv -f -T -- "$STATE/$name.new" "$STATE/$name" || return 1
    else
      rm -f -- "$STATE/$name"
    fi
  done
  [[ ! -r $folder/touched ]] || settle_ctimes "$folder/touched" || return 1
  if [[ -e $folder/before/pending ]]; then
    cp -- "$folder/before/pending" "$STATE/pending.new" && mv -f -T -- "$STATE/pending.new" "$STATE/pending" || return 1
  else
    rm -f -- "$STATE/pending"
  fi
  at back-state-written || return 1
  if [[ -e $folder/before/generation ]]; then
    cp -- "$folder/before/generation" "$STATE/generation.new" &&
      mv -f -T -- "$STATE/generation.new" "$STATE/generation"
  else
    rm -f -- "$STATE/generation"
  fi
}

# drop_unborn N: a generation that never got its journal: only backups were made, the tree was not touched.
drop_unborn() {
  local folder=$STATE/generations/$1
  rm -f -- "$STATE/journal.new"
  [[ -d $folder ]] || return 0
  find "$folder/replaced" -mindepth 1 ! -type d -printf '%P\n' >"$STATE/touched.new" 2>/dev/null
  rm -rf -- "$folder"
  settle_ctimes "$STATE/touched.new"
  rm -f -- "$STATE/touched.new"
}
