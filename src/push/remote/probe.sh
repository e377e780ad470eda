# shellcheck shell=bash
# The remote program, part 4: the verbs that only look: `probe`, `read`, `list`, and `stage-begin`.
# Must not change the tree. Everything slow runs at once and is read at the end.

UNIT_PROPERTIES=Id,Names,LoadState,ActiveState,SubState,UnitFileState,CanReload,FragmentPath,Type,RequiredBy,RequisiteOf,BoundBy,ConsistsOf

# data NAME TEXT: a length in bytes, then that many bytes and a newline, so no byte of the text can end the record.
data() { printf 'data\t%s\t%d\n%s\n' "$1" "${#2}" "$2"; }

# probe [--manifest-unless ID] [--package NAME]... [--stdin] [UNIT-OR-PATTERN]...
verb_probe() {
  local known='' fingerprint='' text line path
  local -a units=() packages=() lines=()
  local word
  while (($# > 0)); do
    case $1 in
      --manifest-unless) known=${2-}; shift ;;
      --package) packages+=("${2-}"); shift ;;
      --stdin)
        mapfile -t lines
        for line in "${lines[@]}"; do
          case $line in
            "unit$TAB"*) units+=("${line#*"$TAB"}") ;;
            fingerprint) fingerprint=1 ;;
            "package$TAB"*) packages+=("${line#*"$TAB"}") ;;
          esac
        done
        ;;
      *) units+=("$1") ;;
    esac
    shift
  done

  record labctl "$PROTOCOL"
  # Before any recovery: one that believed a damaged `generation` would drop the generations above it.
  if find_damage; then
    # A problem would refuse the probe; a pusher that takes over wants its answer.
    while IFS=$TAB read -r word line; do
      if [[ $word == problem ]]; then printf '%s\n' "$line"; else printf '%s\t%s\n' "$word" "$line"; fi
    done < <({ [[ -L $STATE || ! -d $STATE ]] || lock 0; } && mend)
    DAMAGE=()
  fi
  if [[ -r $STATE/remote.sh ]] && { interrupted || { read_undo && ((UNDO_LEFT == 0)); }; }; then
    # The program that began the commit is the one that knows its journal.
    LABCTL_WHO="${WHO-}" LABCTL_QUIET_DONE=1 bash --norc "$STATE/remote.sh" recover contact
  fi

  local fd_version fd_states fd_units='' fd_packages='' fd_fresh='' fd_free fd_stamp
  exec {fd_version}< <("$SYSTEMCTL" --version 2>/dev/null)
  # All of them where units are asked about: what a restart carries along depends on what runs.
  local -a which=(--all)
  ((${#units[@]} > 0)) || which+=(--failed)
  exec {fd_states}< <("$SYSTEMCTL" list-units "${which[@]}" --plain --no-legend --no-pager 2>/dev/null)
  exec {fd_stamp}< <(packages_stamp)
  exec {fd_free}< <(stat -f -c '%a %S' -- "$ROOT" 2>/dev/null)
  if ((${#units[@]} > 0)); then
    exec {fd_units}< <("$SYSTEMCTL" show --no-pager --property="$UNIT_PROPERTIES" -- "${units[@]}" 2>/dev/null)
  fi
  if ((${#packages[@]} > 0)) && type -P dpkg-query >/dev/null; then
    # shellcheck disable=SC2016 # the braces are dpkg-query's
    exec {fd_packages}< <(dpkg-query -W -f '${Package} ${db:Status-Status}\n' -- "${packages[@]}" 2>/dev/null)
  fi
  read_generation
  if ((GEN > 0)) && [[ -r $STATE/fingerprint && -r $STATE/paths ]]; then
    exec {fd_fresh}< <(fresh_fingerprint "$STATE/paths")
  fi

  record host "${HOSTNAME-}"
  record clock "$EPOCHSECONDS"
  record generation "$GEN" "$GEN_ID"
  probe_repository
  probe_state
  probe_writable
  if type -P rsync >/dev/null; then record rsync yes; else record rsync no; fi

  local blocks='' size=''
  read -r blocks size <&"$fd_free"
  record free "$((${blocks:-0} * ${size:-0}))"
  read -r word size _ <&"$fd_version"
  if [[ ${word-} == systemd ]]; then record systemd "${size-}"; else record systemd none; fi
  probe_drift "$fd_fresh" "$fingerprint"
  probe_packages "$fd_packages" "${packages[@]}"
  IFS= read -r text <&"$fd_stamp"
  record packages-stamp "$text"
  probe_states "$fd_states"
  if [[ -n $fd_units ]]; then
    text=$(cat <&"$fd_units")
    data units "$text"
  fi
  if [[ -n $known && $known != "$GEN_ID" && -r $STATE/manifest.json ]]; then
    text=$(gzip -1 -c "$STATE/manifest.json" | base64 -w0)
    data manifest.gz.base64 "$text"
  fi
  finish ok 0
}

# The repository that the current generation came from, where its pusher named one: TIME BY NAME.
probe_repository() {
  local key value
  local -A meta=()
  [[ -r $STATE/generations/$GEN/meta ]] || return 0
  while IFS='=' read -r key value; do
    case $key in repository | by | time) meta[$key]=$value ;; esac
  done <"$STATE/generations/$GEN/meta"
  [[ -z ${meta[repository]-} ]] || record repository "${meta[time]-}" "${meta[by]-}" "${meta[repository]}"
}

# `failed` for each failed unit, then name and ActiveState of all that were listed but devices, which never stop.
probe_states() { # descriptor
  local line text=''
  local -a words=()
  split "$(cat <&"$1")"
  for line in "${ROWS[@]}"; do
    # shellcheck disable=SC2206 # words of systemctl
    words=($line)
    [[ ${words[2]-} != failed ]] || record failed "${words[0]}"
    [[ ${words[0]} == *.device ]] || text+="${words[0]} ${words[2]-}"$'\n'
  done
  data states "${text%$'\n'}"
}

probe_state() {
  if [[ -e $STATE/journal ]]; then record journal yes; else record journal no; fi
  read_pending
  if ((${#PENDING[@]} > 0)); then record pending yes; else record pending no; fi
  local line
  local -a words=()
  for line in "${PENDING[@]}"; do
    IFS=$TAB read -r -a words <<<"$line"
    record left "${words[@]}"
  done
  if read_undo; then record undo "$UNDO_N" "$UNDO_LEFT"; else record undo no; fi
}

probe_writable() {
  local place=$STATE why
  [[ -d $STATE ]] || place=$ROOT
  if [[ ! -d $place ]]; then
    why='no such folder'
  elif [[ -w $place ]]; then
    record writable yes
    return
  elif ((EUID == 0)); then
    why='read-only file system'
  else
    why="permission denied for user ${USER:-$EUID}"
  fi
  record writable no "$why"
}

probe_drift() { # descriptor of a fresh fingerprint, or empty; 1 to have a hash of it
  if [[ -z $1 ]]; then
    record drift unknown
    return
  fi
  local stored fresh line
  # bash warns of bytes that a damaged one may hold.
  { stored=$(<"$STATE/fingerprint"); } 2>/dev/null
  fresh=$(cat <&"$1")
  if [[ -n ${2-} ]]; then
    line=$(sha256sum <<<"$fresh")
    record fingerprint "${line%% *}"
  fi
  if [[ $stored == "$fresh" ]]; then
    record drift none
    return
  fi
  local -a differing=()
  local -A found=()
  mapfile -t differing < <(comm -3 <(sort <<<"$stored") <(sort <<<"$fresh"))
  for line in "${differing[@]}"; do
    line=${line##*"$TAB"}
    [[ -z $line ]] || found[$line]=1
  done
  if ((${#found[@]} == 0)); then
    record drift none
    return
  fi
  record drift changed "${#found[@]}"
  printf '%s\n' "${!found[@]}" | sort | head -n 1000 | while IFS= read -r line; do record drifted "$line"; done
}

probe_packages() { # descriptor or empty, names
  local fd=$1 name status
  local -A installed=() providers=()
  shift
  if [[ -n $fd ]]; then
    while read -r name status <&"$fd"; do
      [[ $status == installed ]] && installed[$name]=1
    done
    probe_provided "$@"
  fi
  # A package that stands for a virtual one that is asked for is needed under another name.
  if [[ -r $STATE/packages ]]; then
    while read -r status name; do
      [[ $status != asked || -n ${providers[$name]-} ]] || record ours "$name"
    done <"$STATE/packages"
  fi
  for name in "$@"; do
    if [[ -z $fd ]]; then
      record package "$name" unknown
    else
      record package "$name" "$([[ -n ${installed[$name]-} ]] && echo installed || echo missing)"
    fi
  done
}

# Another text after anything was installed or removed.
packages_stamp() { stat -c '%i %s %.Y' /var/lib/dpkg/status 2>/dev/null || echo none; }

# Of the names that no package has, those that installed packages provide count as INSTALLED, and who does as PROVIDERS.
probe_provided() { # NAME...
  local name status provides
  local -a words
  local -A wanted=()
  for name in "$@"; do [[ -n ${installed[$name]-} ]] || wanted[$name]=1; done
  ((${#wanted[@]} > 0)) || return 0
  # shellcheck disable=SC2016 # the braces are dpkg-query's
  while IFS=$'\t' read -r status name provides; do
    [[ $status == installed && -n $provides ]] || continue
    # `a, b (= 1)`: of no use as names, versions do no harm among them.
    IFS=', ' read -r -a words <<<"$provides"
    for provides in "${words[@]}"; do
      [[ -n ${wanted[$provides]-} ]] || continue
      installed[$provides]=1
      providers[$name]=1
    done
  done < <(dpkg-query -W -f '${db:Status-Status}\t${Package}\t${Provides}\n' 2>/dev/null)
}

# begin_stage SESSION: an empty private folder to rsync into; stages untouched for an hour belong to dead sessions.
begin_stage() {
  if ! valid_session "$1"; then
    problem bad-session "$1"
    return 1
  fi
  if ! { { [[ -d $STATE/stage ]] || mkdir -p -- "$STATE/stage"; } && (umask 077 && exec mkdir -p -- "$STATE/stage/$1/tree" "$STATE/stage/$1/own"); } 2>/dev/null; then
    problem not-writable "$STATE/stage"
    return 1
  fi
  # A journal may still need its stage, however old.
  [[ -e $STATE/journal ]] || ! entries "$STATE/stage" || ((${#ENTRIES[@]} == 1)) ||
    find "$STATE/stage" -mindepth 1 -maxdepth 1 ! -name "$1" -mmin +60 -exec rm -rf -- '{}' +
  record stage "$1" "$STATE/stage/$1"
}

verb_stage_begin() { if begin_stage "${1-}"; then finish ok 0; else finish failed-unchanged 1; fi; }

# read: standard input lists tree paths, one a line, or `K TAB PATH` for what generation K replaced there; answers `file PATH LENGTH` and bytes, `link PATH TARGET`,
# `folder PATH` or `absent PATH` for each, in their order.
verb_read() {
  local path text line root
  local -a list=()
  mapfile -t list
  for line in "${list[@]}"; do
    path=${line#*"$TAB"} root=$ROOT
    if [[ $line == *"$TAB"* ]]; then
      # What generation K replaced or removed.
      if ! valid_number "${line%%"$TAB"*}"; then
        problem bad-operation "$line"
        continue
      fi
      root=$STATE/generations/${line%%"$TAB"*}/replaced
    fi
    if ! valid_path "$path" || through_link "$path"; then
      problem bad-path "$path"
    elif [[ -L $root/$path ]]; then
      record link "$path" "$(readlink -n -- "$root/$path")"
    elif [[ -d $root/$path ]]; then
      record folder "$path"
    elif [[ ! -f $root/$path || ! -r $root/$path ]]; then
      record absent "$path"
    elif ! IFS= read -r -d '' text <"$root/$path"; then
      # No NUL in it: the variable holds every byte and no process was needed.
      printf 'file\t%s\t%d\n%s\n' "$path" "${#text}" "$text"
    else
      read_binary "$root" "$path"
    fi
  done
  finish ok 0
}

read_binary() {
  local fd size
  exec {fd}<"$1/$2"
  # Length and bytes come from one open file, so a replacement in between cannot make them disagree.
  size=$(stat -L -c %s "/dev/fd/$fd")
  printf 'file\t%s\t%d\n' "$2" "$size"
  head -c "$size" <&"$fd"
  printf '\n'
  exec {fd}<&-
}

# list: `meta N KEY=VALUE` for every generation kept, oldest first.
verb_list() {
  local n line
  while IFS= read -r n; do
    [[ -r $STATE/generations/$n/meta ]] || continue
    while IFS= read -r line; do record meta "$n" "$line"; done <"$STATE/generations/$n/meta"
  done < <(generation_numbers)
  finish ok 0
}

# occupied: standard input lists tree paths that would be new; answers `occupied PATH` for each at which stands a file
# that labctl does not own, or that lies behind a link.
verb_occupied() {
  local path
  local -a list=()
  mapfile -t list
  read_owned
  for path in "${list[@]}"; do
    valid_path "$path" || continue
    if through_link "$path" || [[ -z ${OWNED[$path]-} && (-e $ROOT/$path || -L $ROOT/$path) ]]; then
      record occupied "$path"
    fi
  done
  finish ok 0
}

# stage-drop SESSION: a push that will not commit takes its stage along, unless a journal may still need it.
verb_stage_drop() {
  if valid_session "${1-}" && [[ ! -e $STATE/journal ]]; then rm -rf -- "$STATE/stage/$1"; fi
  finish ok 0
}

# manifests FIRST LAST: the manifest of every generation kept in that range, as `data manifest.N`.
verb_manifests() {
  local n text
  while IFS= read -r n; do
    ((n >= ${1-0} && n <= ${2-0})) && [[ -r $STATE/generations/$n/manifest.json ]] || continue
    text=$(gzip -1 -c "$STATE/generations/$n/manifest.json" | base64 -w0)
    data "manifest.$n" "$text"
  done < <(generation_numbers)
  finish ok 0
}
