#!/usr/bin/env bash
# Ends what up.sh started. See usage below and README.md.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
  cat <<TEXT
usage: down.sh [--dir DIR]

Ends the processes of the cluster in DIR (default: \${XDG_STATE_HOME:-~/.local/state}/signet/cluster), and no others,
and removes DIR. A cluster that KUBECONFIG names is left as it is. Nothing there: nothing to do, exit code 0.
TEXT
}

dir=$default_dir
while (($#)); do
  case $1 in
    --dir) [[ -n ${2:-} ]] || usage_error "--dir needs a folder" && dir=$2 && shift ;;
    --dir=?*) dir=${1#--dir=} ;;
    -h | --help) usage && exit ;;
    *) usage_error "unknown argument '$1'" ;;
  esac
  shift
done
dir=$(realpath -m -- "$dir")

if ! exists; then
  [[ ! -d $dir || -z $(ls -A "$dir") ]] || die "$dir is not a cluster of ours: left as it is"
  step "nothing to do: no cluster in $dir"
  exit
fi
lock
# The data goes with the processes: nothing is gained by a slow, orderly end.
for name in kube-controller-manager kube-apiserver etcd; do
  end "$name" KILL 10
done
find "$dir" -mindepth 1 -maxdepth 1 ! -name "$marker" -exec rm -rf {} +
rm -f "$dir/$marker"
rmdir "$dir" 2>/dev/null || true # not when another up.sh makes the next one here already
step "removed $dir"
