# shellcheck shell=bash
# The remote program, last part: one verb and its arguments. A verb whose part was not sent is an unknown verb.

# Loaded before it is known what for: the verb and its arguments are the first line after the program.
if [[ ${1-} == standby ]]; then
  declare -a WORDS=()
  IFS=$TAB read -r -a WORDS || exit 0
  set -- "${WORDS[@]}"
  STEP_US=${EPOCHREALTIME/./}
fi
case ${1-} in
  probe | read | contents | install-packages | remove-packages | list | manifests | occupied | verify | commit | confirm | revert | undo | recover | prune | apply | check | stage-begin | stage-drop | stage-from-generations | stage-secrets | forget)
    if declare -F "verb_${1//-/_}" >/dev/null; then
      "verb_${1//-/_}" "${@:2}"
    fi
    ;;
esac
problem unknown-verb "${1-}"
finish failed-unchanged 64
