#!/usr/bin/env bash
# Starts a whole Kubernetes with one node that runs pods. See usage below and README.md.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source-path=SCRIPTDIR source=components.sh
. "$here/components.sh"

usage() {
  cat <<TEXT
usage: up.sh [--dir DIR]

Starts, in network, mount and process namespaces of their own: the control plane of tests/cluster, kube-scheduler,
kube-proxy, kubelet, containerd and a name server; with the images of image.sh. On a node that runs already: imports the
images again. Needs root. KUBEBUILDER_ASSETS with kubelet, kube-proxy and kube-scheduler beside the control plane: those programs, and
containerd, ctr and runc from there too if they are there (kubelet 1.36 wants containerd 2).
  --dir DIR        state folder (default: \${XDG_STATE_HOME:-~/.local/state}/signet/node); one node per folder
In DIR: cluster/kubeconfig (works inside the node's network: inside.sh), logs/, log/pods/.
TEXT
}

dir=$default_dir
while (($#)); do
  case $1 in
    --dir) [[ -n ${2:-} ]] || usage_error "--dir needs a folder" && dir=$2 && shift ;;
    -h | --help) usage && exit ;;
    *) usage_error "unknown argument '$1'" ;;
  esac
  shift
done
need_root up.sh
assets_with_kubelet
PATH=${KUBEBUILDER_ASSETS:+$KUBEBUILDER_ASSETS:}$PATH
need_programs containerd ctr runc iptables buildah mmdebstrap unshare nsenter ip openssl
[[ -x /usr/lib/cni/ptp && -x /usr/lib/cni/host-local ]] || die "not installed: containernetworking-plugins (./dev setup test)"
dir=$(realpath -m -- "$dir")
[[ $dir/ != /run/* && $dir/ != /var/run/* && $dir/ != /var/log/* && $dir/ != /var/lib/* ]] ||
  die "DIR cannot be in /run, /var/lib or /var/log: the node has its own"
unset KUBECONFIG

began=$SECONDS
BIN=$("$repo/tests/cluster/binaries.sh" --node)
KUBECTL=$("$repo/tests/cluster/clients.sh" kubectl)
images=$("$here/image.sh")
if [[ -d $dir && ! -f $dir/$marker && -n $(ls -A "$dir") ]]; then
  die "$dir is not empty and not a node of ours: name another folder with --dir"
fi
lock

give_up() {
  step "last lines of $dir/logs:"
  tail -qn 3 "$dir"/logs/*.log >&2 || true
  die "$1${2:+: $2}"
}

import_images() {
  local name file options
  mapfile -t options < <(import_options)
  while read -r name file; do
    in_node "$(type -P ctr)" --address /run/containerd/containerd.sock --namespace k8s.io images import "${options[@]}" "$file" >>"$dir/logs/import.log" 2>&1 ||
      give_up "cannot import $name ($file): see $dir/logs/import.log"
  done <<<"$images"
}

node_ready() {
  [[ ! -e $dir/run/failed ]] || give_up "the node ended" "$(<"$dir/run/failed")"
  [[ $(node_kubectl get node "$node_name" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}' 2>/dev/null) == True ]]
}

if running init.sh; then
  step "already running in $dir: importing the images"
  import_images
  node_ready || give_up "the node is not ready"
  exit
fi
[[ ! -e $dir/run ]] || "$here/down.sh" --dir "$dir" --keep # what was left of one that died

# Nothing stays running when the start fails or is interrupted; the logs stay.
undo() {
  local status=$?
  exec 9>&-
  "$here/down.sh" --dir "$dir" --keep || true
  exit "$status"
}
trap undo EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

rm -rf "$dir"/{run,logs,log,containerd,kubelet,cni}
mkdir -p "$dir"/{run,logs}
echo "$BIN" >"$dir/run/node.env"
mapfile -t folders < <(cgroup_folders)
mkdir -p "${folders[@]}"

step "starting $("$BIN/kubelet" --version) in $dir"
# As lib.sh's spawn, which starts programs of the control plane: the pid file is that of unshare, which stays.
# shellcheck disable=SC2016  # expanded by the inner shell
setsid --fork bash -c 'echo "$$" >"$0" && exec "$@"' "$dir/run/init.sh.pid" \
  unshare --net --mount --pid --fork --kill-child "$here/init.sh" "--dir=$dir/" </dev/null >>"$dir/logs/init.log" 2>&1 9>&-
within 60 test -e "$dir/run/containerd-up" || give_up "containerd does not start"
import_images &
importing=$!
in_network env -u KUBECONFIG "$repo/tests/cluster/up.sh" --dir "$dir/cluster" --advertise "$node_address" 9>&- >/dev/null ||
  give_up "the control plane does not start"
touch "$dir/run/control-plane-up"
wait "$importing" || give_up "the images cannot be imported"
touch "$dir/run/images-imported"
within 180 node_ready || give_up "the node does not get ready in 180 s"
trap - EXIT
step "ready ($((SECONDS - began)) s): $here/inside.sh --dir $dir kubectl get pods -A"
