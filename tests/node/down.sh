#!/usr/bin/env bash
# Ends what up.sh started. See usage below and README.md.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
  cat <<TEXT
usage: down.sh [--dir DIR] [--keep]

Ends the node in DIR (default: \${XDG_STATE_HOME:-~/.local/state}/signet/node) with its pods, and nothing else, and removes
DIR. What it mounted goes with its namespaces. Nothing there: nothing to do, exit code 0.
  --keep   leaves DIR, for its logs
TEXT
}

dir=$default_dir keep=0
while (($#)); do
  case $1 in
    --dir) [[ -n ${2:-} ]] || usage_error "--dir needs a folder" && dir=$2 && shift ;;
    --keep) keep=1 ;;
    -h | --help) usage && exit ;;
    *) usage_error "unknown argument '$1'" ;;
  esac
  shift
done
dir=$(realpath -m -- "$dir")

if ! exists; then
  [[ ! -d $dir || -z $(ls -A "$dir") ]] || die "$dir is not a node of ours: left as it is"
  step "nothing to do: no node in $dir"
  exit
fi
need_root down.sh
[[ $keep == 1 ]] || lock # with --keep it is up.sh that holds it

# PID 1 of the node is the last of its processes to go: the kernel ends the others first.
first=''
if pid=$(init_pid); then first=$(cat "/proc/$pid/task/$pid/children"); fi
first=${first%% *}
end init.sh KILL 10 || true
[[ -z $first ]] || within 30 test ! -e "/proc/$first" || die "process $first (PID 1 of the node) does not end"
if [[ -d $dir/cluster ]]; then "$repo/tests/cluster/down.sh" --dir "$dir/cluster" 9>&- 2>/dev/null || die "the control plane in $dir/cluster does not end"; fi

# What somebody else's mount namespace has taken over while the node ran.
while read -r _ mount_point _; do
  [[ $mount_point != "$dir"/* ]] || umount -l "$mount_point" 2>/dev/null || true
done < <(tac /proc/mounts)
while read -r folder; do
  [[ ! -d $folder ]] || find "$folder" -depth -type d -exec rmdir {} + 2>/dev/null || true
done < <(cgroup_folders)

[[ $keep == 0 ]] || exit 0
find "$dir" -mindepth 1 -maxdepth 1 ! -name "$marker" -exec rm -rf --one-file-system {} +
rm -f "$dir/$marker"
rmdir "$dir" 2>/dev/null || true
step "removed $dir"
