# shellcheck shell=bash
# The remote program, part 10: Debian packages: installing what is missing in one transaction, removing what labctl
# itself installed. Owns .labctl/packages, the record of that; must not touch the tree.
#
# packages  one line for each package that came with a transaction of labctl and was not there before:
#           "asked NAME" or "dependency NAME". What is in no line is never removed.

PACKAGES_LINES=12

valid_package() { [[ $1 =~ ^[a-z0-9][a-z0-9+.-]{1,127}$ ]]; }

# Sets NAMES to the package names on standard input; false and a problem for what is none.
read_packages() {
  local name
  mapfile -t NAMES
  for name in "${NAMES[@]}"; do
    valid_package "$name" && continue
    problem bad-operation "$name"
    return 1
  done
  ((${#NAMES[@]} > 0))
}

installed_packages() {
  # shellcheck disable=SC2016 # the braces are dpkg-query's
  dpkg-query -W -f '${db:Status-Status} ${Package}\n' | sed -n 's/^installed //p' | sort -u
}

# run_apt ARGUMENT...: its output goes to a file, not to the connection, so that a lost one ends no dpkg half-way. Waits for
# another apt; keeps configuration files that an administrator changed.
run_apt() {
  # shellcheck disable=SC2153 # labctl's folder
  DEBIAN_FRONTEND=noninteractive apt-get -y -q -o DPkg::Lock::Timeout=120 -o Dpkg::Options::=--force-confdef \
    -o Dpkg::Options::=--force-confold "$@" >>"$STATE/apt.log" 2>&1 </dev/null 9>&-
}

begin_packages() {
  mkdir -p -- "$STATE"
  lock 0 || finish failed-unchanged 1
  trap '' PIPE HUP INT
  read_packages || finish failed-unchanged 1
  : >"$STATE/apt.log"
}

finish_packages() { # CODE
  local line
  while IFS= read -r line; do record out "$line"; done < <(tail -n "$PACKAGES_LINES" -- "$STATE/apt.log" | cut -b -500)
  problem "$1" "${NAMES[*]}"
  finish failed-unchanged 1
}

# record_packages: "STATE NAME" lines on standard input replace the record.
record_packages() {
  sort -u >"$STATE/packages.new" && mv -f -T -- "$STATE/packages.new" "$STATE/packages"
}

recorded_packages() { [[ ! -r $STATE/packages ]] || cat -- "$STATE/packages"; }

# install-packages: standard input lists names, one a line. Whatever comes with them is recorded, also after a failure.
verb_install_packages() {
  local status=0 name before
  local -a NAMES=()
  local -A asked=()
  begin_packages
  before=$(installed_packages)
  # A machine that never ran `apt-get update` knows no packages; then once more with fresh lists.
  run_apt install --no-install-recommends -- "${NAMES[@]}" ||
    { run_apt update && run_apt install --no-install-recommends -- "${NAMES[@]}"; } || status=1
  for name in "${NAMES[@]}"; do asked[$name]=1; done
  {
    recorded_packages
    comm -13 <(printf '%s\n' "$before") <(installed_packages) | while IFS= read -r name; do
      if [[ -n ${asked[$name]-} ]]; then echo "asked $name"; else echo "dependency $name"; fi
    done
  } | record_packages
  ((status == 0)) || finish_packages packages-failed
  finish ok 0
}

# What removing packages would remove, without doing it.
would_remove() { # apt-get COMMAND, NAME...
  LC_ALL=C apt-get -s -q -o Debug::NoLocking=1 "$@" 2>>"$STATE/apt.log" | sed -n 's/^Remv \([^ :]*\).*/\1/p' | sort -u
}

# remove-packages: standard input lists names that labctl installed. They go, and of what came with them what nobody
# needs; refused whole if anything else would go with them.
verb_remove_packages() {
  local name state others
  local -a NAMES=() go=()
  local -A ours=() gone=()
  begin_packages
  while read -r state name; do ours[$name]=$state; done < <(recorded_packages)
  for name in "${NAMES[@]}"; do
    [[ ${ours[$name]-} != asked ]] || continue
    problem package-not-ours "$name"
    finish failed-unchanged 1
  done
  while IFS= read -r name; do
    [[ -z ${ours[$name]-} ]] || go+=("$name")
  done < <(would_remove autoremove -- "${NAMES[@]}")
  # The record may say of a package that somebody removed since that it is there.
  if ((${#go[@]} > 0)); then
    others=$(would_remove remove -- "${go[@]}" | grep -vxF -f <(printf '%s\n' "${go[@]}"))
    if [[ -n $others ]]; then
      problem package-needed "${others//$'\n'/ }"
      finish failed-unchanged 1
    fi
    run_apt remove -- "${go[@]}" || finish_packages packages-not-removed
  fi
  for name in "${NAMES[@]}" "${go[@]}"; do gone[$name]=1; done
  recorded_packages | while read -r state name; do
    [[ -n ${gone[$name]-} ]] || echo "$state $name"
  done | record_packages
  for name in "${go[@]}"; do record removed "$name"; done
  finish ok 0
}
