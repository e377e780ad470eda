# shellcheck shell=bash
# The remote program, part 3: damage to labctl's own files: found by every probe, mended from what generations/ keeps
# where that is exact, refused where it is not. Must not touch the tree.

# "NAME TAB WHY" of each thing that is wrong.
declare -a DAMAGE=()

# Sets DAMAGE; false if nothing is wrong. Builtins only, since every probe asks.
find_damage() {
  local name meta id=''
  DAMAGE=()
  [[ -e $STATE || -L $STATE ]] || return 1
  if [[ -L $STATE || ! -d $STATE ]]; then
    DAMAGE+=("folder${TAB}it is no folder")
    return 0
  fi
  # Whoever can write here has root run what they like.
  [[ -O $STATE ]] || DAMAGE+=("folder${TAB}it belongs to someone else")
  for name in generation paths fingerprint manifest.json undo journal journal.back pending remote.sh; do
    [[ -L $STATE/$name || -e $STATE/$name ]] || continue
    if [[ -L $STATE/$name || ! -f $STATE/$name ]]; then
      DAMAGE+=("$name${TAB}it is no file")
    elif [[ ! -O $STATE/$name ]]; then
      DAMAGE+=("$name${TAB}it belongs to someone else")
    fi
  done
  for name in generations stage; do
    [[ -L $STATE/$name || -e $STATE/$name ]] || continue
    if [[ -L $STATE/$name || ! -d $STATE/$name ]]; then
      DAMAGE+=("$name${TAB}it is no folder")
    elif [[ ! -O $STATE/$name ]]; then
      DAMAGE+=("$name${TAB}it belongs to someone else")
    fi
  done
  # While one of these stands, labctl's own files may be those of either generation.
  if [[ ! -e $STATE/journal && ! -e $STATE/journal.back ]]; then
    if ! read_generation; then
      DAMAGE+=("generation${TAB}it names no generation")
    elif [[ ! -e $STATE/generation ]]; then
      # Written last and removed last: without it there are no others.
      for name in manifest.json paths; do
        if [[ -e $STATE/$name ]]; then
          DAMAGE+=("generation${TAB}it is gone")
          break
        fi
      done
    elif ((GEN > 0)); then
      meta=$STATE/generations/$GEN/meta
      if [[ -f $meta ]]; then
        while IFS= read -r name; do
          if [[ $name == id=* ]]; then id=${name#id=}; fi
        done <"$meta"
        [[ -z $id || $id == "$GEN_ID" ]] || DAMAGE+=("generation${TAB}it disagrees with generations/$GEN/meta")
      fi
      [[ -s $STATE/manifest.json ]] || DAMAGE+=("manifest.json${TAB}it is empty or gone")
      for name in paths fingerprint; do
        [[ -e $STATE/$name ]] || DAMAGE+=("$name${TAB}it is gone")
      done
    fi
  fi
  ((${#DAMAGE[@]} > 0))
}

# Under the lock: mends what it can and says so; false with a problem for each damage that stays.
mend() {
  local line name
  find_damage || return 0
  for line in "${DAMAGE[@]}"; do
    name=${line%%"$TAB"*}
    case $name in
      folder | generations) ;;
      *)
        # Never deleted: it may be somebody's.
        if [[ -L $STATE/$name || -d $STATE/$name || (-e $STATE/$name && ! -O $STATE/$name) ]]; then
          set_aside "$name"
        fi
        ;;
    esac
    case $name in
      generation) mend_generation ;;
      manifest.json | paths) mend_copy "$name" ;;
      fingerprint)
        # Nothing says any more what was put there: all of it counts as changed, and the next push puts it again.
        [[ -s $STATE/fingerprint ]] || : >"$STATE/fingerprint"
        ;;
    esac
  done 2>/dev/null
  local -A left=()
  local -a before=("${DAMAGE[@]}")
  if find_damage; then
    for line in "${DAMAGE[@]}"; do
      left[${line%%"$TAB"*}]=1
      problem damaged "$line"
    done
  fi
  for line in "${before[@]}"; do
    [[ -n ${left[${line%%"$TAB"*}]-} ]] || record recovered mended "$line"
  done
  ((${#left[@]} == 0))
}

set_aside() { # NAME
  local place=$STATE/damaged/$EPOCHSECONDS
  (umask 077 && mkdir -p -- "$place") && mv -f -T -- "$STATE/$1" "$place/$1"
}

# The newest generation that has the current manifest and says its id is the current one.
mend_generation() {
  local n line id found=''
  [[ -s $STATE/manifest.json ]] || return 1
  while IFS= read -r n; do
    cmp -s -- "$STATE/manifest.json" "$STATE/generations/$n/manifest.json" || continue
    id=''
    while IFS= read -r line; do
      if [[ $line == id=* ]]; then id=${line#id=}; fi
    done <"$STATE/generations/$n/meta"
    [[ ! $id =~ ^[0-9a-f]{64}$ ]] || found="$n $id"
  done < <(generation_numbers)
  [[ -n $found ]] || return 1
  printf '%s\n' "$found" >"$STATE/generation.new" && mv -f -T -- "$STATE/generation.new" "$STATE/generation"
}

mend_copy() { # manifest.json or paths
  read_generation && ((GEN > 0)) && [[ -f $STATE/generations/$GEN/$1 ]] || return 1
  cp -- "$STATE/generations/$GEN/$1" "$STATE/$1.new" && mv -f -T -- "$STATE/$1.new" "$STATE/$1"
}

# Before a commit: `paths` decides what labctl may replace. Cut short by somebody, it equals its original no more.
mend_paths() {
  read_generation
  ((GEN == 0)) || [[ ! -f $STATE/generations/$GEN/paths ]] && return 0
  ! cmp -s -- "$STATE/paths" "$STATE/generations/$GEN/paths" || return 0
  mend_copy paths && record recovered mended "paths${TAB}it was not what generation $GEN left"
}
