# shellcheck shell=bash
# The remote program, part 9: a small change set that comes on standard input before the operations of a commit.
# Fills a stage and nothing else; must not know what is in it.

# Set: files of the stage have the modes of the commit's operations already, and belong to root.
UNPACKED=''

# receive_parcel SESSION BYTES SHA256: a tar archive of that length, `manifest.json` and `tree/PATH`s. False and a
# problem unless every byte of it arrived, was written and was unpacked.
receive_parcel() {
  local stage=$STATE/stage/$1 sum='' said
  if ! valid_number "$2" || [[ ! $3 =~ ^[0-9a-f]{64}$ ]]; then
    problem bad-operation "commit $1 $2 $3"
    return 1
  fi
  begin_stage "$1" || return 1
  # What went wrong is kept in memory: a full disk has no room for it.
  if ! said=$({ head -c "$2" >"$stage/parcel"; } 2>&1); then
    problem parcel-failed "$said"
    return 1
  fi
  at parcel-received || return 1
  # Of what stands on the disk now: a connection that was cut shows here, and so does a disk that lies.
  read -r sum _ < <(sha256sum <"$stage/parcel")
  if [[ $sum != "$3" ]]; then
    problem parcel-damaged "$(stat -c %s -- "$stage/parcel") of $2 bytes"
    return 1
  fi
  # As rsync does it: modes are kept, times and owners are not; the commit sets owners.
  if ! said=$(TAR_OPTIONS='' tar --extract --preserve-permissions --touch --no-same-owner --file="$stage/parcel" \
    --directory="$stage" 2>&1); then
    problem parcel-failed "${said%%$'\n'*}"
    return 1
  fi
  # A folder can give its own group to what comes into it: /usr/local is root:staff with that bit on older Debians.
  [[ ! -G $stage/tree ]] || UNPACKED=1
  at parcel-unpacked
}
