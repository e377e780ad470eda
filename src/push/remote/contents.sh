# shellcheck shell=bash
# The remote program, part 3b: the verb `contents`: what really stands at paths of the tree, for a diff that is shown.
# Must not change anything, and must not send what others on the machine may not read.

# contents LIMIT TOTAL: standard input lists "show|sum TAB K TAB PATH": the live path if K is 0, else what generation K
# replaced there. Answers, in no certain order, `stat K PATH KIND MODE OWNER GROUP SIZE` for what there is, KIND being
# file, dir, link or other; `link K PATH TARGET`; for a file that shall be shown and may be, with at most LIMIT bytes and
# TOTAL for all of them, `file K PATH LENGTH` and bytes; for any other `sum K PATH SHA256`.
verb_contents() {
  local limit=${1-} total=${2-} line mode n path root
  local -a list=() shown=() summed=()
  if ! valid_number "$limit" || ! valid_number "$total"; then
    problem bad-operation "contents $limit $total"
    finish failed-unchanged 1
  fi
  mapfile -t list
  local -A wanted=()
  for line in "${list[@]}"; do
    mode=${line%%"$TAB"*} path=${line#*"$TAB"*"$TAB"}
    n=${line#*"$TAB"} n=${n%%"$TAB"*}
    if ! valid_number "$n" || ! valid_path "$path" || [[ $mode != show && $mode != sum ]]; then
      problem bad-operation "$line"
      finish failed-unchanged 1
    fi
    through_link "$path" && continue
    # shellcheck disable=SC2153 # the tree's root
    root=$ROOT
    ((n == 0)) || root=$STATE/generations/$n/replaced
    shown+=("$root/$path")
    wanted[$root/$path]=$mode$TAB$n$TAB$path
  done
  while IFS= read -r -d '' line; do
    contents_of "${line%%"$TAB"*}" "${line#*"$TAB"}"
  done < <(batch stat --printf '%f %a %U %G %s\t%n\0' -- "${shown[@]}" 2>/dev/null)
  while IFS= read -r -d '' line; do
    path=${line#*  }
    printf 'sum\t%s\t%s\n' "${wanted[$path]#*"$TAB"}" "${line%% *}"
  done < <(batch sha256sum --zero -- "${summed[@]}" 2>/dev/null)
  finish ok 0
}

# contents_of "HEX MODE OWNER GROUP SIZE" FULL-PATH: one path of verb_contents, whose variables it uses.
contents_of() {
  local full=$2 key=${wanted[$2]} text kind=other
  local -a words=()
  read -r -a words <<<"$1"
  case $((16#${words[0]} & 8#170000)) in
    $((8#100000))) kind='file' ;;
    $((8#040000))) kind='dir' ;;
    $((8#120000))) kind='link' ;;
  esac
  printf 'stat\t%s\t%s\t%s\t%s\t%s\t%s\n' "${key#*"$TAB"}" "$kind" "${words[@]:1}"
  if [[ $kind == link ]]; then
    clean "$(readlink -n -- "$full")"
    printf 'link\t%s\t%s\n' "${key#*"$TAB"}" "$REPLY"
  elif [[ $kind == file ]]; then
    # Files with a NUL are no text, which `read` tells without a process.
    if [[ $key != show* ]] || ((words[4] > limit || words[4] > total || !(8#${words[1]} & 4))) ||
      IFS= read -r -d '' text <"$full"; then
      summed+=("$full")
    else
      total=$((total - ${#text}))
      printf 'file\t%s\t%d\n%s\n' "${key#*"$TAB"}" "${#text}" "$text"
    fi
  fi
}
