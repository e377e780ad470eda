# shellcheck shell=bash
# The remote program's part for secrets: what arrives on standard input is encrypted for this machine alone, and only
# that is staged. Must not put a secret into a variable, an argument, an environment or a file.

SYSTEMD_CREDS=${LABCTL_SYSTEMD_CREDS:-systemd-creds}
CREDENTIALS=lib/credstore.encrypted

# stage-secrets SESSION: standard input has, for each credential, a line "NAME TAB LENGTH" and so many bytes of base64
# with a newline behind them. The host's key is made where it is missing (systemd-creds(1), `encrypt`).
verb_stage_secrets() {
  local session=${1-} name size line='' last='' folder count=0
  if ! valid_session "$session" || [[ ! -d $STATE/stage/$session/tree ]]; then
    problem no-stage "$session"
    finish failed-unchanged 1
  fi
  if ! command -v "$SYSTEMD_CREDS" >/dev/null; then
    problem no-systemd-creds
    finish failed-unchanged 1
  fi
  folder=$STATE/stage/$session/tree/$CREDENTIALS
  umask 077
  if ! mkdir -p -- "$folder" 2>/dev/null; then
    problem not-writable "$folder"
    finish failed-unchanged 1
  fi
  # A builtin reads a pipe byte by byte, so that the next reader finds all that follows.
  while IFS=$TAB read -r name size; do
    [[ -n $name ]] || continue
    if [[ ! $name =~ ^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$ ]] || ! valid_number "$size"; then
      problem bad-operation "credential $name"
      finish failed-unchanged 1
    fi
    head -c "$size" | base64 -d 2>/dev/null |
      "$SYSTEMD_CREDS" encrypt --with-key=host --name="$name" - - >"$folder/$name" 2>"$STATE/stage/$session/errors"
    if [[ ${PIPESTATUS[*]} != '0 0 0' || ! -s $folder/$name ]]; then
      while IFS= read -r line || [[ -n $line ]]; do [[ -z $line ]] || last=$line; done <"$STATE/stage/$session/errors"
      rm -f -- "$folder/$name"
      problem secret-refused "$name: ${last:-it did not arrive whole}"
      finish failed-unchanged 1
    fi
    ((count += 1))
  done
  step stage-secrets "$count credentials"
  finish ok 0
}
