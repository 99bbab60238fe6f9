# shellcheck shell=bash disable=SC2034,SC2154  # what the callers use, and what they set
# Shared by the scripts of this folder: sourced, never run. State folder, locks and pid files are those of tests/cluster.
# The caller sets `dir` (the node's state folder, canonical) before it calls anything that touches a node.

# shellcheck source-path=SCRIPTDIR source=../cluster/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../cluster/lib.sh"

default_dir=${XDG_STATE_HOME:-${HOME:?}/.local/state}/signet/node
marker=.signet-node
here=$repo/tests/node

# Everything of the cluster is in its own network namespace, so the addresses can be the same for every node.
node_name=node
node_address=10.98.0.1
pod_subnet=10.97.0.0/24
cluster_domain=cluster.local

step() { printf 'node: %s\n' "$*" >&2; }
die() {
  printf 'node: error: %s\n' "$*" >&2
  exit 1
}
usage_error() {
  printf 'node: error: %s (see --help)\n' "$*" >&2
  exit 2
}

need_root() {
  [[ $(id -u) == 0 ]] || die "$1 needs root: it makes namespaces, mounts and cgroups. (sudo $1 ..., or leave the tests of the node out: ctest -LE node)"
}

need_programs() {
  local program missing=()
  for program; do
    type -P "$program" >/dev/null || missing+=("$program")
  done
  ((${#missing[@]} == 0)) || die "not installed: ${missing[*]} (./dev setup test)"
}

# KUBEBUILDER_ASSETS is for a node when kubelet is in it: an envtest folder has none.
assets_with_kubelet() {
  [[ -n ${KUBEBUILDER_ASSETS:-} ]] || return 0
  [[ ! -x $KUBEBUILDER_ASSETS/kubelet ]] || { KUBEBUILDER_ASSETS=$(realpath -s -- "$KUBEBUILDER_ASSETS") && export KUBEBUILDER_ASSETS && return; }
  step "KUBEBUILDER_ASSETS has no kubelet: the node takes Kubernetes from the cache"
  unset KUBEBUILDER_ASSETS
}

# A cgroup of the node's own, by its folder, so that two nodes on one machine do not meet.
cgroup_of() { printf 'signet-node-%s' "$(printf '%s' "$dir" | sha256sum | cut -c1-12)"; }

cgroup_folders() {
  local folder
  for folder in /sys/fs/cgroup/*/ /sys/fs/cgroup/; do
    [[ ! -e $folder/cgroup.procs ]] || printf '%s%s\n' "$folder" "$(cgroup_of)"
  done
}

# The node's namespaces are those of the process that unshare(1) became: it is in the new network and mount namespaces
# itself, and its child is PID 1 of the new PID namespace.
init_pid() { pid_of init.sh; }

in_network() {
  local pid
  pid=$(init_pid) || die "no node runs in $dir: start one with up.sh --dir $dir"
  nsenter --target "$pid" --net -- "$@"
}

in_node() {
  local pid
  pid=$(init_pid) || die "no node runs in $dir: start one with up.sh --dir $dir"
  nsenter --net="/proc/$pid/ns/net" --mount="/proc/$pid/ns/mnt" --pid="/proc/$pid/ns/pid_for_children" -- "$@"
}

# kubectl as cluster-admin, in the node's network.
node_kubectl() {
  in_network "$KUBECTL" --kubeconfig "$dir/cluster/kubeconfig" --cache-dir "$dir/cluster/kubectl-cache" --request-timeout=10s "$@"
}
