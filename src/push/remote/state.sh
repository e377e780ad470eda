# shellcheck shell=bash
# The remote program, part 2: labctl's own files under .labctl: generation, owned paths, fingerprint, undo.
# Must not know how a commit proceeds.
#
# paths        every tree path that labctl put here, one a line, sorted by bytes
# fingerprint  one line for each of them: type mode uid gid size mtime ctime inode, TAB, path
# undo         "<n> <boot id> <deadline> <seconds>": generation n waits for its confirmation until the machine's
#              uptime reaches the deadline, in whole seconds

# Sets GEN and GEN_ID; 0 and `-` on a machine that labctl never committed to, and after `forget`. False, with the same,
# where the file is there and says neither.
read_generation() {
  local rest=''
  GEN=0 GEN_ID=-
  [[ -f $STATE/generation ]] || return 0
  read -r GEN GEN_ID rest <"$STATE/generation" 2>/dev/null
  if [[ -z $rest ]] && valid_number "$GEN"; then
    ((GEN > 0)) && [[ $GEN_ID =~ ^[0-9a-f]{64}$ ]] && return 0
    [[ $GEN == 0 && $GEN_ID == - ]] && return 0
  fi
  GEN=0 GEN_ID=-
  return 1
}

# Sets the associative array OWNED, the paths that labctl put here, and OWNED_LIST, the same as they are listed.
declare -A OWNED=()
declare -a OWNED_LIST=()
read_owned() {
  local path
  OWNED=() OWNED_LIST=()
  [[ -r $STATE/paths ]] || return 0
  mapfile -t OWNED_LIST <"$STATE/paths"
  for path in "${OWNED_LIST[@]}"; do
    [[ -z $path ]] || OWNED[$path]=1
  done
}

# fresh_fingerprint FILE: a line for each path listed in FILE that exists now. A folder's size and times change with
# what an administrator keeps in it, so only its attributes count; ctime and inode are there because a file can be
# edited and its mtime and size put back.
fresh_fingerprint() {
  (
    cd -- "$ROOT" 2>/dev/null || exit 0
    # shellcheck disable=SC2185 # the paths come from the list
    tr '\n' '\0' <"$1" | find -files0-from - -maxdepth 0 \
      \( -type d -printf 'd %m %U %G - - - -\t%p\n' -o -printf '%y %m %U %G %s %T@ %C@ %i\t%p\n' \) 2>/dev/null
  )
}

# merge_fingerprint MODE PATHS TOUCHED: prints the fingerprint to store for the paths in file PATHS.
#   touched: the lines of paths in file TOUCHED are new, all others stay as stored: what drifted before still shows.
#   ctime:   a line in TOUCHED is new only where nothing but its ctime differs: a hard link was made and removed again.
merge_fingerprint() {
  local mode=$1 line path
  local -a stored=() list=()
  local -A old=() touched=() seen=()
  [[ -r $STATE/fingerprint ]] && mapfile -t stored <"$STATE/fingerprint"
  # A damaged one may hold lines without a path.
  for line in "${stored[@]}"; do [[ $line != *"$TAB"?* ]] || old[${line#*"$TAB"}]=$line; done
  mapfile -t list <"$3"
  for path in "${list[@]}"; do [[ -z $path ]] || touched[$path]=1; done
  split "$(fresh_fingerprint "$2")"
  for line in "${ROWS[@]}"; do
    path=${line#*"$TAB"}
    seen[$path]=1
    if [[ -z ${old[$path]-} ]]; then
      # In ctime mode a path without a stored line was missing before, which is drift to keep showing.
      [[ $mode == ctime && ${#stored[@]} -gt 0 ]] || printf '%s\n' "$line"
    elif [[ -z ${touched[$path]-} ]]; then
      printf '%s\n' "${old[$path]}"
    elif [[ $mode == ctime ]] && ! same_but_ctime "$line" "${old[$path]}"; then
      printf '%s\n' "${old[$path]}"
    else
      printf '%s\n' "$line"
    fi
  done
  mapfile -t list <"$2"
  for path in "${list[@]}"; do
    [[ -z $path || -n ${seen[$path]-} || -z ${old[$path]-} ]] && continue
    [[ $mode == touched && -n ${touched[$path]-} ]] || printf '%s\n' "${old[$path]}"
  done
}

same_but_ctime() {
  local -a a b
  read -r -a a <<<"${1%%"$TAB"*}"
  read -r -a b <<<"${2%%"$TAB"*}"
  a[6]=- b[6]=-
  [[ "${a[*]}" == "${b[*]}" ]]
}

# Stores the fingerprint anew after hard links to the paths in file TOUCHED came and went.
settle_ctimes() {
  [[ -s $1 && -r $STATE/paths && -r $STATE/fingerprint ]] || return 0
  merge_fingerprint ctime "$STATE/paths" "$1" >"$STATE/fingerprint.new" &&
    mv -f -T -- "$STATE/fingerprint.new" "$STATE/fingerprint"
}

boot_id() { IFS= read -r REPLY </proc/sys/kernel/random/boot_id; }
uptime_seconds() {
  read -r REPLY _ </proc/uptime
  REPLY=${REPLY%%.*}
}

# Sets UNDO_N and UNDO_LEFT (seconds, 0 when due, also after a reboot); false if nothing is armed. A damaged file says
# that something waits and not until when: then the current generation is due.
read_undo() {
  local boot='' deadline=''
  UNDO_N=0 UNDO_LEFT=0
  [[ -f $STATE/undo ]] || return 1
  read -r UNDO_N boot deadline _ <"$STATE/undo"
  if ! valid_number "$UNDO_N" || ((UNDO_N == 0)) || ! valid_number "$deadline"; then
    read_generation
    UNDO_N=$GEN
    ((GEN > 0))
    return
  fi
  boot_id
  if [[ $boot == "$REPLY" ]]; then
    uptime_seconds
    UNDO_LEFT=$((deadline > REPLY ? deadline - REPLY : 0))
  fi
}

write_undo() { # N SECONDS
  local boot
  boot_id
  boot=$REPLY
  uptime_seconds
  printf '%s %s %s %s\n' "$1" "$boot" "$((REPLY + $2))" "$2" >"$STATE/undo.new" &&
    mv -f -T -- "$STATE/undo.new" "$STATE/undo"
}

# Sets PENDING to the unit actions that an interrupted push left; none from before a reboot, since units then started
# on the tree as it stands.
declare -a PENDING=()
read_pending() {
  PENDING=()
  [[ -f $STATE/pending ]] || return 0
  mapfile -t PENDING <"$STATE/pending"
  boot_id
  [[ ${PENDING[0]-} == "boot$TAB$REPLY" ]] || PENDING=()
  PENDING=("${PENDING[@]:1}")
}

# True if a commit or a revert stopped half-way: a journal, or a generation above the current one.
interrupted() {
  [[ -e $STATE/journal || -e $STATE/journal.back || -e $STATE/journal.new ]] && return 0
  read_generation
  [[ -d $STATE/generations/$((GEN + 1)) ]]
}

# entries FOLDER: the names in a folder of labctl's own, in ENTRIES; false if there are none.
declare -a ENTRIES=()
entries() {
  ENTRIES=()
  set +f
  local name
  for name in "$1"/*; do [[ ! -e $name && ! -L $name ]] || ENTRIES+=("${name##*/}"); done
  set -f
  ((${#ENTRIES[@]} > 0))
}

# Numbers of the generations kept, ascending.
generation_numbers() {
  local name
  entries "$STATE/generations" || return 0
  for name in "${ENTRIES[@]}"; do
    [[ $name != [1-9]* || ! -d $STATE/generations/$name ]] || printf '%s\n' "$name"
  done | sort -n
}
