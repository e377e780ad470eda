# shellcheck shell=bash
# The remote program, part 1: what every verb stands on: places, records, path checks, batching, the lock.
# Must not know any verb. Runs as the first part of a text that the pusher sends over SSH, or from
# .labctl/remote.sh at boot and by the revert timer; needs bash 5, coreutils, findutils and util-linux only.

# No glob may ever expand: a tree path can hold any of its characters.
set -uf
# Byte order in sort, byte counts in ${#x}, a dot in EPOCHREALTIME, on every machine.
export LC_ALL=C
umask 022
# With CDPATH set, `cd` may go elsewhere and print where.
unset CDPATH

ROOT=${LABCTL_ROOT:-/usr/local}
STATE=$ROOT/.labctl
SYSTEMCTL=${LABCTL_SYSTEMCTL:-systemctl}
PROTOCOL=1
# Who asked, user@host, for the lock's text and the generation's meta.
WHO=${LABCTL_WHO-}
TAB=$'\t'

# The tree's own folders come last: a broken `mv` or `bash` that a push ships must not break the way back from it.
prefer_own_programs() {
  local IFS=: part first='' last=''
  for part in $PATH; do
    case $part in
      "$ROOT" | "$ROOT"/*) last+=:$part ;;
      *) first+=:$part ;;
    esac
  done
  PATH=${first#:}$last
}
prefer_own_programs

STEP_US=${EPOCHREALTIME/./}

# Replaces what would end a field or a record. Result in REPLY.
clean() { REPLY=${1//[$'\t\n\r']/ }; }

# record FIELD...: one line on standard output; only the last field may hold foreign text.
record() {
  local line=$1
  shift
  while (($# > 0)); do
    clean "$1"
    line+=$TAB$REPLY
    shift
  done
  printf '%s\n' "$line"
}

# step NAME [DETAIL]: reports the time since the step before.
step() {
  local now=${EPOCHREALTIME/./}
  record step "$1" "$(((now - STEP_US + 500) / 1000))" "${2-}"
  STEP_US=$now
}

problem() { record problem "$1" "${2-}"; }
note() { record note "$1" "${2-}"; }

# finish STATUS EXIT: the last record of every verb.
finish() {
  # A verb that runs inside another leaves the last word to it.
  [[ -n ${LABCTL_QUIET_DONE-} ]] || record 'done' "$1"
  exit "$2"
}

# A named instant of a commit. Tests set LABCTL_TEST_KILL_AT or LABCTL_TEST_FAIL_AT; it does nothing otherwise.
at() {
  if [[ ${LABCTL_TEST_KILL_AT-} == "$1" ]]; then kill -9 $$; fi
  [[ ${LABCTL_TEST_FAIL_AT-} != "$1" ]]
}

# True for a path that may name something in the tree; the pusher checked already, this machine trusts nobody.
valid_path() {
  case $1 in
    '' | /* | */ | *//* | . | ./* | */./* | */. | .. | ../* | */../* | */..) return 1 ;;
    .labctl | .labctl/*) return 1 ;;
    # The second pattern is C1, U+0080 to U+009F, as UTF-8.
    *[[:cntrl:]]* | *$'\xc2'[$'\x80'-$'\x9f']*) return 1 ;;
  esac
  ((${#1} <= 4000))
}

valid_session() { [[ $1 =~ ^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$ ]]; }
valid_number() { [[ $1 =~ ^(0|[1-9][0-9]{0,8})$ ]]; }
valid_mode() { [[ $1 =~ ^[0-7]{3,4}$ ]]; }
valid_name() { [[ $1 =~ ^[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}$ ]]; }
valid_unit() {
  [[ $1 =~ ^[A-Za-z0-9:_.@\\-]{1,255}$ && $1 != -* ]] || return 1
  case ${1##*.} in
    service | socket | target | timer | path | mount | automount | swap | slice | scope | device) ;;
    *) return 1 ;;
  esac
}

# split TEXT: its lines that are not empty, in ROWS. From a pipe bash would read byte by byte.
declare -a ROWS=()
split() {
  local IFS=$'\n'
  # shellcheck disable=SC2206 # no glob expands here
  ROWS=($1)
}

# batch COMMAND... -- ARGUMENT...: as few runs of COMMAND as the argument limit allows; none without arguments.
batch() {
  local -a command=()
  while [[ $1 != -- ]]; do
    command+=("$1")
    shift
  done
  shift
  (($# > 0)) || return 0
  # One direct call where it fits: two processes fewer than a pipe into xargs.
  if (($# <= 400)); then
    "${command[@]}" -- "$@"
  else
    printf '%s\0' "$@" | xargs -0 -r -- "${command[@]}" --
  fi
}

# lock SECONDS: takes the machine's one lock, waiting that long. The text in the file says who holds it.
lock() {
  # Left by a damage; nobody can hold a folder.
  [[ ! -d $STATE/lock || -L $STATE/lock ]] || rmdir -- "$STATE/lock" 2>/dev/null
  { exec 9>>"$STATE/lock"; } 2>/dev/null || {
    problem not-writable "$STATE/lock"
    return 1
  }
  if ! flock -w "$1" 9; then
    local holder=
    IFS= read -r holder <"$STATE/lock"
    problem lock-held "${holder:-unknown}"
    return 1
  fi
  printf '%s %s %s\n' "${WHO:-"labctl@${HOSTNAME:-machine}"}" "$$" "$EPOCHSECONDS" >"$STATE/lock"
}

unlock() { exec 9>&-; }

# A path of the tree whose parents include a link would be changed somewhere else, perhaps in /etc.
declare -A LINK_ABOVE=()
through_link() {
  local folder=$1
  [[ $folder == */* ]] || return 1
  folder=${folder%/*}
  if [[ -z ${LINK_ABOVE[$folder]-} ]]; then
    if [[ -L $ROOT/$folder ]] || through_link "$folder"; then
      LINK_ABOVE[$folder]=yes
    else
      LINK_ABOVE[$folder]=no
    fi
  fi
  [[ ${LINK_ABOVE[$folder]} == yes ]]
}
