#!/usr/bin/env bash
# Runs a command in the node's network. See usage below and README.md.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
  cat <<TEXT
usage: inside.sh [--dir DIR] [--node] COMMAND...

Runs COMMAND where Services and pods of the node in DIR can be reached, with KUBECONFIG set (cluster-admin) and kubectl in
PATH. With --node: in its mount and process namespaces too, as containerd sees them:
  inside.sh --node ctr -n k8s.io containers list
Exit code: the command's. Needs root.
TEXT
}

dir=$default_dir whole=0
while (($#)); do
  case $1 in
    --dir) [[ -n ${2:-} ]] || usage_error "--dir needs a folder" && dir=$2 && shift ;;
    --node) whole=1 ;;
    -h | --help) usage && exit ;;
    --) shift && break ;;
    -*) usage_error "unknown argument '$1'" ;;
    *) break ;;
  esac
  shift
done
(($#)) || usage_error "no command"
need_root inside.sh
dir=$(realpath -m -- "$dir")
pid=$(init_pid) || die "no node runs in $dir: start one with up.sh --dir $dir"
BIN=$(<"$dir/run/node.env") # its ctr and runc, if it has them
KUBECTL=$("$repo/tests/cluster/clients.sh" kubectl)
export KUBECONFIG=$dir/cluster/kubeconfig PATH=${KUBECTL%/*}:${BIN:+$BIN:}$PATH
umask 022
namespaces=(--net="/proc/$pid/ns/net")
((whole == 0)) || namespaces+=(--mount="/proc/$pid/ns/mnt" --pid="/proc/$pid/ns/pid_for_children")
exec nsenter "${namespaces[@]}" -- "$@"
