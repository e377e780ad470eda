# shellcheck shell=bash
# The remote program, part 5: reads a commit's operations, judges each against the live tree, and settles in what
# order paths change. Changes nothing; refuses before anything is touched. Must not know how changes are made.

EXPECT='' NEW_N='' NEW_ID='' KEEP=10 CONFIRM=0
declare -a META=() APPLY=() PLANNED=()
# Operations as asked: path to its attributes "mode TAB owner TAB group", in the order of arrival.
declare -a PUTS=() DIRS=() ATTRS=() DELS=() RMDIRS=()
# Live files that stay as someone else wrote them; what they are now is kept with the generation that takes them.
declare -a TAKES=()
declare -A TAKE_SET=()
declare -A PUT_ATTR=() DIR_ATTR=() ATTR_ATTR=() DEL_SET=() RMDIR_SET=() ADOPT=()
# What the plan comes to. Early removals make room where a folder becomes a file or a file a folder.
declare -a EARLY_DEL=() EARLY_RMDIR=() MKDIR=() LATE_DEL=() LATE_RMDIR=() SET_ATTR=()
# Existing non-folders that are replaced or removed; paths that exist only from this generation on.
declare -a BACKUP=() ADDED_FILES=() ADDED_FOLDERS=() TOUCHED=()
declare -a FAULTS=() TYPE_CHANGES=()
declare -A FOLDER_STATE=() NEW_OWNED=()

fault() { FAULTS+=("$1$TAB$2"); }

# read_operations FILE: fills the arrays; false and a problem for the first line that cannot be trusted.
read_operations() {
  local -a lines=()
  local line op rest mode owner group path flag
  mapfile -t lines <"$1"
  # A connection lost while the list was under way leaves a shorter list that looks whole.
  if ((${#lines[@]} == 0)) || [[ ${lines[-1]} != end ]]; then
    problem operations-truncated "${#lines[@]} lines, the last is not \`end\`"
    return 1
  fi
  unset 'lines[-1]'
  for line in "${lines[@]}"; do
    op=${line%%"$TAB"*} rest=${line#*"$TAB"}
    case $op in
      put | dir | attr | take)
        mode=${rest%%"$TAB"*} rest=${rest#*"$TAB"}
        owner=${rest%%"$TAB"*} rest=${rest#*"$TAB"}
        group=${rest%%"$TAB"*} rest=${rest#*"$TAB"}
        flag=''
        if [[ $rest == *"${TAB}adopt" ]]; then flag=adopt rest=${rest%"${TAB}adopt"}; fi
        path=$rest
        if ! valid_path "$path" || ! valid_mode "$mode" || ! valid_name "$owner" || ! valid_name "$group"; then
          refuse_line "$line"
          return 1
        fi
        while ((${#mode} < 5)); do mode=0$mode; done
        [[ -z $flag ]] || ADOPT[$path]=1
        case $op in
          put) PUTS+=("$path") PUT_ATTR[$path]=$mode$TAB$owner$TAB$group ;;
          dir) DIRS+=("$path") DIR_ATTR[$path]=$mode$TAB$owner$TAB$group ;;
          attr) ATTRS+=("$path") ATTR_ATTR[$path]=$mode$TAB$owner$TAB$group ;;
          take) ATTRS+=("$path") TAKE_SET[$path]=1 ATTR_ATTR[$path]=$mode$TAB$owner$TAB$group ;;
        esac
        ;;
      del | rmdir)
        if ! valid_path "$rest" || [[ $line != "$op$TAB"* ]]; then
          refuse_line "$line"
          return 1
        fi
        if [[ $op == del ]]; then
          DELS+=("$rest") DEL_SET[$rest]=1
        else
          RMDIRS+=("$rest") RMDIR_SET[$rest]=1
        fi
        ;;
      expect) EXPECT=$rest ;;
      generation) NEW_N=${rest%%"$TAB"*} NEW_ID=${rest#*"$TAB"} ;;
      meta)
        if [[ ! ${rest%%"$TAB"*} =~ ^[a-z][a-z0-9_-]{0,31}$ || ${rest#*"$TAB"} == *[[:cntrl:]]* ]]; then
          refuse_line "$line"
          return 1
        fi
        META+=("${rest%%"$TAB"*}=${rest#*"$TAB"}")
        ;;
      plan)
        if [[ $rest == *[[:cntrl:]]* ]]; then
          refuse_line "$line"
          return 1
        fi
        PLANNED+=("$rest")
        ;;
      keep) KEEP=$rest ;;
      confirm) CONFIRM=$rest ;;
      seen | saw | seen-runs | seen-rests)
        if ! read_seen "$op" "$rest"; then
          refuse_line "$line"
          return 1
        fi
        ;;
      daemon-reload | trigger | unit | check)
        if ! valid_apply "$line"; then
          refuse_line "$line"
          return 1
        fi
        APPLY+=("$line")
        ;;
      *)
        refuse_line "$line"
        return 1
        ;;
    esac
  done
  if ! valid_number "$EXPECT" || ! valid_number "$NEW_N" || ! valid_number "$KEEP" || ! valid_number "$CONFIRM" ||
    [[ ! $NEW_ID =~ ^[0-9a-f]{64}$ ]] || ((NEW_N != EXPECT + 1 || KEEP < 1 || CONFIRM > 3600)); then
    problem bad-operation "expect $EXPECT, generation $NEW_N $NEW_ID, keep $KEEP, confirm $CONFIRM"
    return 1
  fi
}

refuse_line() { problem bad-operation "${1:0:300}"; }

# Sets FOLDER_STATE[folder]: `ok` a real folder, `fresh` will be made by this commit, or `bad`: something else that
# stays is in the way, or a link that would lead the change out of the tree. Folders nobody asked for are added.
folder_state() {
  local folder=$1 above=''
  [[ -z ${FOLDER_STATE[$folder]-} ]] || return 0
  [[ $folder != */* ]] || above=${folder%/*}
  [[ -z $above ]] || folder_state "$above"
  if [[ -n $above && ${FOLDER_STATE[$above]} != ok ]]; then
    FOLDER_STATE[$folder]=${FOLDER_STATE[$above]}
  elif [[ -L $ROOT/$folder || (-e $ROOT/$folder && ! -d $ROOT/$folder) ]]; then
    FOLDER_STATE[$folder]=bad
    if [[ -n ${DIR_ATTR[$folder]-} && -n ${OWNED[$folder]-}${ADOPT[$folder]-} ]]; then
      FOLDER_STATE[$folder]=fresh
      EARLY_DEL+=("$folder") BACKUP+=("$folder")
    fi
  elif [[ -d $ROOT/$folder ]]; then
    FOLDER_STATE[$folder]=ok
  else
    FOLDER_STATE[$folder]=fresh
  fi
  if [[ ${FOLDER_STATE[$folder]} == fresh ]]; then
    MKDIR+=("${DIR_ATTR[$folder]-00755$TAB-$TAB-}$TAB$folder")
    ADDED_FOLDERS+=("$folder") TOUCHED+=("$folder")
  fi
}

# The state of the folder that holds a path.
state_above() {
  REPLY=ok
  [[ $1 == */* ]] || return 0
  folder_state "${1%/*}"
  REPLY=${FOLDER_STATE[${1%/*}]}
}

plan_folders() {
  local path
  for path in "${DIRS[@]}"; do
    folder_state "$path"
    case ${FOLDER_STATE[$path]} in
      bad) fault foreign-file "$path" ;;
      fresh) NEW_OWNED[$path]=1 ;;
      ok)
        # A folder that was here before labctl stays as its owner made it, unless the layers claim it.
        if [[ -n ${OWNED[$path]-}${ADOPT[$path]-} ]]; then
          SET_ATTR+=("${DIR_ATTR[$path]}$TAB$path")
          NEW_OWNED[$path]=1
          TOUCHED+=("$path")
        fi
        ;;
    esac
  done
}

plan_puts() { # STAGED TREE
  local tree=$1 path missing=0
  for path in "${PUTS[@]}"; do
    NEW_OWNED[$path]=1
    TOUCHED+=("$path")
    if [[ ! -L $tree/$path && ! -f $tree/$path ]]; then
      ((missing++ >= 20)) || fault stage-incomplete "$path"
      continue
    fi
    state_above "$path"
    if [[ $REPLY == bad ]]; then
      fault foreign-file "${path%/*}"
    elif [[ $REPLY == fresh || (! -L $ROOT/$path && ! -e $ROOT/$path) ]]; then
      ADDED_FILES+=("$path")
    elif [[ ! -L $ROOT/$path && -d $ROOT/$path ]]; then
      ADDED_FILES+=("$path")
      TYPE_CHANGES+=("$path")
      plan_emptying "$path"
    elif [[ -n ${OWNED[$path]-}${ADOPT[$path]-} ]]; then
      BACKUP+=("$path")
    else
      fault foreign-file "$path"
    fi
  done
}

# A folder is to become a file: everything in it must go by this commit's own operations.
plan_emptying() {
  local inside
  if [[ -z ${OWNED[$1]-} || -z ${RMDIR_SET[$1]-} ]]; then
    fault foreign-file "$1"
    return
  fi
  while IFS= read -r -d '' inside; do
    inside=${inside#"$ROOT/"}
    if [[ -z ${OWNED[$inside]-} || -z ${DEL_SET[$inside]-}${RMDIR_SET[$inside]-} ]]; then
      fault foreign-file "$inside"
      return
    fi
  done < <(find "$ROOT/$1" -mindepth 1 -print0)
}

makes_room() {
  local change
  for change in "${TYPE_CHANGES[@]}"; do
    [[ $1 == "$change" || $1 == "$change"/* ]] && return 0
  done
  return 1
}

plan_removals() {
  local path
  for path in "${DELS[@]}"; do
    [[ -z ${PUT_ATTR[$path]-}${DIR_ATTR[$path]-} ]] || continue
    TOUCHED+=("$path")
    if through_link "$path" || [[ -z ${OWNED[$path]-} || (-d $ROOT/$path && ! -L $ROOT/$path) ]]; then
      [[ ! -e $ROOT/$path ]] || note kept "$path"
    elif [[ -L $ROOT/$path || -e $ROOT/$path ]]; then
      BACKUP+=("$path")
      if makes_room "$path"; then EARLY_DEL+=("$path"); else LATE_DEL+=("$path"); fi
    fi
  done
  for path in "${RMDIRS[@]}"; do
    [[ -z ${DIR_ATTR[$path]-} ]] || continue
    TOUCHED+=("$path")
    if [[ -n ${OWNED[$path]-} && -d $ROOT/$path && ! -L $ROOT/$path ]] && ! through_link "$path"; then
      if makes_room "$path"; then EARLY_RMDIR+=("$path"); else LATE_RMDIR+=("$path"); fi
    fi
  done
  for path in "${ATTRS[@]}"; do
    [[ -n ${OWNED[$path]-}${ADOPT[$path]-} ]] || continue
    if through_link "$path" || [[ ! -L $ROOT/$path && ! -e $ROOT/$path ]]; then
      fault missing-file "$path"
    else
      [[ -z ${TAKE_SET[$path]-} ]] || TAKES+=("$path")
      SET_ATTR+=("${ATTR_ATTR[$path]}$TAB$path")
      NEW_OWNED[$path]=1
      TOUCHED+=("$path")
    fi
  done
}

# A commit on nothing names the whole tree: what labctl owns and it does not name was built by a generation that is
# forgotten, and goes.
forsake_owned() {
  local path
  for path in "${!OWNED[@]}"; do
    [[ -z ${PUT_ATTR[$path]-}${DIR_ATTR[$path]-}${ATTR_ATTR[$path]-}${DEL_SET[$path]-}${RMDIR_SET[$path]-} ]] || continue
    if [[ -d $ROOT/$path && ! -L $ROOT/$path ]]; then
      RMDIRS+=("$path") RMDIR_SET[$path]=1
    else
      DELS+=("$path") DEL_SET[$path]=1
    fi
  done
}

# plan_commit STAGED TREE: false, with every fault reported, if the commit must not begin.
plan_commit() {
  local line
  read_owned
  ((EXPECT > 0)) || forsake_owned
  plan_folders
  plan_puts "$1"
  plan_removals
  ((${#FAULTS[@]} > 0)) || return 0
  for line in "${FAULTS[@]:0:100}"; do problem "${line%%"$TAB"*}" "${line#*"$TAB"}"; done
  return 1
}

# Prints the paths that labctl owns once this commit stands, sorted.
owned_after() {
  local path same=1
  for path in "${DELS[@]}" "${RMDIRS[@]}"; do OWNED[$path]='' same=''; done
  for path in "${!NEW_OWNED[@]}"; do
    [[ -n ${OWNED[$path]-} ]] || same=''
    OWNED[$path]=1
  done
  if [[ -n $same && -s $STATE/paths ]]; then
    printf '%s\n' "${OWNED_LIST[@]}"
    return
  fi
  for path in "${!OWNED[@]}"; do
    [[ -z ${OWNED[$path]} ]] || printf '%s\n' "$path"
  done | sort
}
