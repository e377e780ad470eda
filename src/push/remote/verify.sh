# shellcheck shell=bash
# The remote program, part 3c: the verb `verify`: how the machine differs from what was pushed: files by the fingerprint
# that `probe` compares too, entries in labctl's folders that are not labctl's, units with what they run and see.
# Must not change anything, nor hold the lock: a push goes first. Judges nothing; the pusher does.

VERIFY_PROPERTIES=Id,Names,LoadState,ActiveState,SubState,UnitFileState,FragmentPath,DropInPaths,NeedDaemonReload,Type
VERIFY_PROPERTIES+=,RemainAfterExit,Result,ConditionResult,ConditionTimestamp,InactiveExitTimestamp,StateChangeTimestamp
VERIFY_PROPERTIES+=,ExecMainStartTimestamp,MainPID,ControlGroup,NRestarts,BindPaths,BindReadOnlyPaths

# A machine whose every file was copied to another disk differs in all of them, and is told so once.
VERIFY_PATHS=5000
VERIFY_EXTRAS=1000

# verify [--manifest-unless ID] [--stdin]: standard input lists `unit TAB NAME-OR-PATTERN`.
verb_verify() {
  local known='' line text
  local -a lines=() units=()
  while (($# > 0)); do
    case $1 in
      --manifest-unless) known=${2-}; shift ;;
      --stdin)
        mapfile -t lines
        for line in "${lines[@]}"; do [[ $line != "unit$TAB"* ]] || units+=("${line#*"$TAB"}"); done
        ;;
    esac
    shift
  done
  record labctl "$PROTOCOL"
  read_generation
  record generation "$GEN" "$GEN_ID"
  verify_quiet || finish ok 0

  local fd_failed fd_units='' fd_loaded fd_fresh='' fd_extras='' first=$GEN
  exec {fd_failed}< <("$SYSTEMCTL" list-units --failed --all --plain --no-legend --no-pager 2>/dev/null)
  exec {fd_loaded}< <("$SYSTEMCTL" show --no-pager --timestamp=us+utc --property=UnitsLoadTimestamp 2>/dev/null)
  if ((${#units[@]} > 0)); then
    exec {fd_units}< <("$SYSTEMCTL" show --no-pager --timestamp=us+utc --property="$VERIFY_PROPERTIES" -- "${units[@]}" 2>/dev/null)
  fi
  if ((GEN > 0)) && [[ -r $STATE/fingerprint && -r $STATE/paths ]]; then
    exec {fd_fresh}< <(fresh_fingerprint "$STATE/paths")
    exec {fd_extras}< <(list_extras)
  fi
  record clock "$EPOCHSECONDS"
  probe_state
  verify_paths "$fd_fresh"
  if [[ -n $fd_extras ]]; then
    text=$(cat <&"$fd_extras")
    [[ -z $text ]] || data extras.base64 "$text"
  fi
  while read -r line _ <&"$fd_failed"; do record failed "$line"; done
  read -r line <&"$fd_loaded"
  record loaded-at "${line#*=}"
  if [[ -n $fd_units ]]; then
    text=$(cat <&"$fd_units")
    data units "$text"
    verify_units "$text"
  fi
  if [[ -n $known && $known != "$GEN_ID" && -r $STATE/manifest.json ]]; then
    text=$(gzip -1 -c "$STATE/manifest.json" | base64 -w0)
    data manifest.gz.base64 "$text"
  fi
  # What a push does meanwhile looks like damage.
  read_generation
  if ((GEN != first)); then record busy push 'another push'; else verify_quiet; fi
  finish ok 0
}

# False, with a record, while a push is at work or was broken off half-way. The lock is not tried: a push that came in
# that instant would be refused for it.
verify_quiet() {
  local holder='' inode line
  if [[ -r $STATE/lock && -r /proc/locks ]] && inode=$(stat -c %i -- "$STATE/lock"); then
    while IFS= read -r line; do
      [[ $line == *FLOCK*WRITE*:"$inode "* ]] || continue
      IFS= read -r holder <"$STATE/lock"
      record busy push "${holder:-unknown}"
      return 1
    done </proc/locks
  fi
  if interrupted; then
    record busy interrupted
    return 1
  fi
}

# verify_paths DESCRIPTOR: `differs PATH absent` or `differs PATH TYPE MODE USER GROUP SIZE CTIME WRITTEN TARGET`.
# WRITTEN no: that it was touched is explained without anyone having written it, by its attributes or by a link to it.
verify_paths() {
  if [[ -z $1 ]]; then
    record drift unknown
    return
  fi
  local stored fresh line path
  local -a list=()
  local -A was=() is=() names=()
  stored=$(<"$STATE/fingerprint")
  fresh=$(cat <&"$1")
  if [[ $stored != "$fresh" ]]; then
    mapfile -t list < <(comm -3 <(sort <<<"$stored") <(sort <<<"$fresh"))
    for line in "${list[@]}"; do
      if [[ $line == "$TAB"* ]]; then
        line=${line#"$TAB"}
        is[${line#*"$TAB"}]=${line%%"$TAB"*}
      elif [[ -n $line ]]; then
        was[${line#*"$TAB"}]=${line%%"$TAB"*}
      fi
      line=${line#*"$TAB"}
      [[ -z $line ]] || names[$line]=1
    done
  fi
  # A path that went away before it was ever recorded has no line on either side.
  local -a owned=()
  mapfile -t owned <"$STATE/paths"
  mapfile -t list <<<"$fresh"
  if ((${#owned[@]} != ${#list[@]})); then
    while IFS= read -r line; do [[ -z $line ]] || names[$line]=1; done < <(comm -23 "$STATE/paths" <(cut -f2- <<<"$fresh" | sort))
  fi
  if ((${#names[@]} == 0)); then
    record drift none
    return
  fi
  record drift changed "${#names[@]}"
  local -a before after=() present=()
  local type mode user group size ctime links target written
  while IFS= read -r path; do
    if [[ -z ${is[$path]-} ]]; then record differs "$path" absent; else present+=("$path"); fi
  done < <(printf '%s\n' "${!names[@]}" | sort | head -n "$VERIFY_PATHS")
  ((${#present[@]} > 0)) || return 0
  while IFS=$TAB read -r -d '' path type mode user group size ctime links target; do
    read -r -a before <<<"${was[$path]-}"
    read -r -a after <<<"${is[$path]}"
    # Fields: type mode uid gid size mtime ctime inode. Writing can put the time back, but not a file's ctime; that is
    # also set by chmod, chown and hard links. labctl's own files have no second name.
    written=yes
    if [[ "${before[0]-} ${before[4]-} ${before[5]-} ${before[7]-}" == "${after[0]} ${after[4]} ${after[5]} ${after[7]}" ]]; then
      [[ "${before[*]:1:3}" == "${after[*]:1:3}" ]] && ((links == 1)) || written=no
    fi
    record differs "$path" "$type" "$mode" "$user" "$group" "$size" "$ctime" "$written" "$target"
  done < <(
    cd -- "$ROOT" 2>/dev/null || exit 0
    # shellcheck disable=SC2185 # the paths come from the list
    printf '%s\0' "${present[@]}" | find -files0-from - -maxdepth 0 -printf '%p\t%y\t%m\t%u\t%g\t%s\t%C@\t%n\t%l\0' 2>/dev/null
  )
}

# What lies in folders that labctl made and is not labctl's, for `data extras.base64`: a letter for the type and the
# path, each ended by NUL, since somebody else's names may hold anything but that.
list_extras() {
  cd -- "$ROOT" 2>/dev/null || return 0
  # shellcheck disable=SC2185 # the folders come from the list
  sed -n 's/^d [^\t]*\t//p' "$STATE/fingerprint" | tr '\n' '\0' |
    find -files0-from - -mindepth 1 -maxdepth 1 -print0 2>/dev/null | sort -z |
    comm -z -23 - <(tr '\n' '\0' <"$STATE/paths") | head -z -n "$VERIFY_EXTRAS" |
    find -files0-from - -maxdepth 0 -printf '%y%p\0' 2>/dev/null | base64 -w0
}

# verify_units TEXT: for each block of `systemctl show`: `bind UNIT other|absent SOURCE TARGET` where a running unit does
# not see the tree's own file or folder at a bind's target; `unit-file UNIT CTIME PATH` where systemd wants a reload.
verify_units() {
  local line id='' pid='' group='' reload='' binds='' files=''
  while IFS= read -r line; do
    case $line in
      '')
        verify_unit "$id" "$pid" "$group" "$reload" "$binds" "$files"
        id='' pid='' group='' reload='' binds='' files=''
        ;;
      Id=*) id=${line#*=} ;;
      MainPID=*) pid=${line#*=} ;;
      ControlGroup=*) group=${line#*=} ;;
      NeedDaemonReload=*) reload=${line#*=} ;;
      BindPaths=* | BindReadOnlyPaths=*) binds+=" ${line#*=}" ;;
      FragmentPath=* | DropInPaths=*) files+=" ${line#*=}" ;;
    esac
  done <<<"$1"$'\n'
}

verify_unit() { # ID MAIN-PID CONTROL-GROUP NEED-DAEMON-RELOAD BINDS FILES
  local id=$1 pid=$2 item source target file changed
  local -a files=()
  if [[ $4 == yes ]]; then
    read -r -a files <<<"$6"
    for file in "${files[@]}"; do
      changed=$(stat -c %.Z -- "$file" 2>/dev/null) && record unit-file "$id" "$changed" "$file"
    done
  fi
  [[ $5 == *"$ROOT/"* ]] || return 0
  # Without a main process any other of the unit has the same view.
  if [[ ! $pid =~ ^[1-9][0-9]*$ && -n $3 && -r /sys/fs/cgroup$3/cgroup.procs ]]; then
    read -r pid <"/sys/fs/cgroup$3/cgroup.procs"
  fi
  [[ $pid =~ ^[1-9][0-9]*$ && -e /proc/$pid/root/ ]] || return 0
  # A process in the machine's own view sees no bind, whatever its unit says.
  [[ ! /proc/$pid/ns/mnt -ef /proc/1/ns/mnt ]] || return 0
  while IFS= read -r item; do
    item=${item#"${item%%[! ]*}"}
    item=${item#-}
    source=${item%%:*} target=${item#*:}
    [[ $source == "$ROOT/"* && $target == /* && -e $source ]] || continue
    [[ ! /proc/$pid/root$target -ef $source ]] || continue
    # A target behind links is mounted where they lead, and links of another root can't be followed from here.
    if verify_mounted "$pid" "$source"; then continue; fi
    if [[ ! -e /proc/$pid/root ]]; then return 0; fi
    if [[ -e /proc/$pid/root$target ]]; then
      record bind "$id" other "${source#"$ROOT/"}" "$target"
    else
      record bind "$id" absent "${source#"$ROOT/"}" "$target"
    fi
  done < <(printf '%s\n' "$5" | sed -E 's/:(no)?rbind( |$)/\n/g')
}

# verify_mounted PID SOURCE: true if SOURCE is mounted at any place that the process sees.
verify_mounted() {
  local point
  while read -r _ _ _ _ point _; do
    printf -v point %b "$point"
    [[ ! /proc/$1/root$point -ef $2 || $point == / ]] || return 0
  done 2>/dev/null <"/proc/$1/mountinfo"
  return 1
}
