#!/bin/sh
# Makes a clone ready, then becomes a command:
#
#     sh setup/setup.sh demo|test [command…]
#
# Installs what is missing and nothing else: Debian packages (as root), npm's packages, the bundled labctl. Quiet and
# quick where nothing is missing. Needs only a shell and Node.js; runs before there is anything else. Tells the command
# in LABCTL_SETUP_MS how long it took, and in LABCTL_SETUP_DID what it did, empty if that was nothing.
# Backticks in messages mark commands.
# shellcheck disable=SC2016
set -eu

purpose=${1:-}
case $purpose in
demo | test) shift ;;
*)
  echo 'error[usage] setup.sh wants `demo` or `test`' >&2
  exit 64
  ;;
esac

cd "$(dirname "$0")/.."
# GNU date; elsewhere the time is only not told.
started=$(date +%s%3N)
did=

# refuse CODE MESSAGE HELP
refuse() {
  printf 'error[%s] %s\n  help: %s\n' "$1" "$2" "$3" >&2
  exit 1
}

say() {
  printf 'set-up: %s\n' "$1" >&2
}

# run_logged WHAT HELP COMMAND…: shows the output only where the command fails.
run_logged() {
  what=$1 help=$2
  shift 2
  log=$(mktemp)
  status=0
  "$@" </dev/null >"$log" 2>&1 || status=$?
  if [ $status -eq 0 ] || [ $status -ge 128 ]; then
    rm -f "$log"
    # Whoever interrupted it needs no explanation.
    [ $status -eq 0 ] || exit $status
    return 0
  fi
  tail -n 40 "$log" >&2
  rm -f "$log"
  refuse setup-failed "$what failed: its last lines are above" "$help"
}

check_node() {
  command -v node >/dev/null ||
    refuse node-missing 'Node.js is not on the path' 'install Node.js 20.19 or later with npm: https://nodejs.org/en/download'
  version=$(node --version)
  major=${version#v} major=${major%%.*}
  minor=${version#v*.} minor=${minor%%.*}
  if [ "$major" -lt 20 ] || { [ "$major" -eq 20 ] && [ "$minor" -lt 19 ]; }; then
    refuse node-old "Node.js is $version; labctl needs 20.19 or later" 'https://nodejs.org/en/download has newer ones; Debian 13 has 20.19'
  fi
}

wanted_packages() {
  while read -r name use _; do
    case $name in '' | '#'*) continue ;; esac
    if [ "$use" = demo ] || [ "$purpose" = test ]; then echo "$name"; fi
  done <setup/packages.txt
}

missing_packages() {
  # dpkg-query fails where it knows one of the names not at all, and lists the others all the same.
  # shellcheck disable=SC2016,SC2046
  have=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' $(wanted_packages) 2>/dev/null || true)
  for name in $(wanted_packages); do
    case "
$have
" in
    *"
$name installed
"*) ;;
    *) printf '%s ' "$name" ;;
    esac
  done
}

# Installing openssh-server would start a server for the world to reach; here only its program is wanted.
policy=/usr/sbin/policy-rc.d
install_packages() {
  sshd=present
  case " $1" in *' openssh-server '*) sshd=new ;; esac
  if [ "$sshd" = new ] && [ ! -e $policy ]; then
    trap 'rm -f $policy' EXIT
    trap 'exit 130' INT TERM HUP
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod 755 $policy
  fi
  export DEBIAN_FRONTEND=noninteractive
  help='install them by hand, then start again'
  run_logged 'apt-get update' "$help" apt-get -q update
  # shellcheck disable=SC2086
  run_logged 'apt-get install' "$help" \
    apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends $1
  if [ "$sshd" = new ]; then
    systemctl disable --quiet ssh.service ssh.socket >/dev/null 2>&1 || true
    rm -f $policy
    trap - EXIT INT TERM HUP
  fi
}

ensure_packages() {
  if ! command -v dpkg-query >/dev/null; then
    say 'this is not Debian, so its packages are yours to install: see setup/packages.txt'
    return 0
  fi
  missing=$(missing_packages)
  [ -n "$missing" ] || return 0
  if [ "$(id -u)" -ne 0 ]; then
    say "missing, and only root can install them: $missing"
    return 0
  fi
  say "installing Debian packages: $missing"
  install_packages "$missing"
  did="${did}Debian packages "
}

ensure_modules() {
  installed=node_modules/.package-lock.json
  if [ -e $installed ] && [ -z "$(find package-lock.json -newer $installed)" ]; then return 0; fi
  command -v npm >/dev/null || refuse npm-missing 'npm is not on the path' 'it comes with Node.js; on Debian: apt-get install npm'
  say 'installing npm packages'
  # No scripts: those of the dependencies compile native parts that labctl goes without; our own comes next.
  run_logged 'npm ci' 'is the registry within reach?' npm ci --include=dev --ignore-scripts --no-audit --no-fund
  touch $installed
  rm -rf dist
  did="${did}npm packages "
}

ensure_bundle() {
  bundle=dist/labctl.cjs
  if [ -e $bundle ] && [ -z "$(find src bin package.json -newer $bundle -type f)" ]; then return 0; fi
  run_logged 'node src/bundle.mjs' 'does `npm run check` pass?' node src/bundle.mjs
}

check_node
ensure_packages
ensure_modules
ensure_bundle

case $started in
*[!0-9]*) ;;
*)
  LABCTL_SETUP_MS=$(($(date +%s%3N) - started))
  export LABCTL_SETUP_MS
  ;;
esac
export LABCTL_SETUP_DID="$did"
# tsx keeps what it compiled in the temporary folder; the demo leaves nothing there that was not there before.
compiled=${TMPDIR:-/tmp}/tsx-$(id -u)
[ -e "$compiled" ] || export LABCTL_SETUP_TSX="$compiled"
[ $# -eq 0 ] || exec "$@"
