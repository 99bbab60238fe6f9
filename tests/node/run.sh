#!/usr/bin/env bash
# Starts a node, runs its tests, ends it. See usage below and README.md.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
  cat <<TEXT
usage: run.sh --programs BIN [--dir DIR] [TEST...]

The tests of Signet in pods (test_pods.py and test_first_try.py, or those TESTs of them: test_pods.Tokens) on a node of their own, which is ended
after them; BIN has the programs for what a test runs outside of pods. In pods runs the image that the Dockerfile makes; logs of one that failed stay in DIR. A node that runs in DIR already is used and left running.
A node makes namespaces, mounts and cgroups: without root this runs itself through sudo.
TEXT
}

dir=$default_dir programs=''
while (($#)); do
  case $1 in
    --dir) [[ -n ${2:-} ]] || usage_error "--dir needs a folder" && dir=$2 && shift ;;
    --programs) [[ -n ${2:-} ]] || usage_error "--programs needs a folder" && programs=$2 && shift ;;
    -h | --help) usage && exit ;;
    -*) usage_error "unknown argument '$1'" ;;
    *) break ;;
  esac
  shift
done
[[ -n $programs ]] || usage_error "no --programs"
dir=$(realpath -m -- "$dir")
programs=$(realpath -m -- "$programs")
assets_with_kubelet
if [[ $(id -u) != 0 ]]; then
  cache=${SIGNET_CACHE:-${XDG_CACHE_HOME:-${HOME:?}/.cache}/signet} # what this user has built already
  keep=("SIGNET_CACHE=$cache")
  for name in KUBEBUILDER_ASSETS SIGNET_HELM SIGNET_KUBECTL; do
    [[ -z ${!name:-} ]] || keep+=("$name=${!name}")
  done
  exec sudo env "${keep[@]}" "$here/run.sh" --dir "$dir" --programs "$programs" "$@"
fi

(($#)) || set -- test_pods test_first_try
was_running=0
if exists && running init.sh; then was_running=1; fi
"$here/up.sh" --dir "$dir"
status=0
(cd "$here" && SIGNET_NODE_DIR=$dir SIGNET_BIN=$programs PYTHONDONTWRITEBYTECODE=1 \
  "$here/inside.sh" --dir "$dir" /usr/bin/python3 -m unittest -v "$@") || status=1
if ((!was_running)); then
  keep=()
  ((status == 0)) || keep=(--keep)
  "$here/down.sh" --dir "$dir" "${keep[@]}" || status=1
fi
exit "$status"
