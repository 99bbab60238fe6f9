#!/usr/bin/env bash
# PID 1 of a node: makes its network, and runs what a node runs. Started by up.sh in new namespaces, and by nobody else:
# what it mounts and what it starts is gone when it ends.
# init.sh --dir=DIR/
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source-path=SCRIPTDIR source=components.sh
. "$here/components.sh"
umask 022 # files that programs in pods read as somebody else

dir=${1#--dir=}
dir=${dir%/}
[[ $$ == 1 ]] || die "init.sh is for up.sh to start"
read -r BIN <"$dir/run/node.env"
PATH=$BIN:$PATH # a containerd and a runc beside kubelet go before the machine's
flags=()

fail() {
  printf '%s\n' "$*" >"$dir/run/failed"
  exit 1
}

# ---- the machine, as the node sees it ----

mount -t proc proc /proc
mount -t tmpfs -o mode=0755 tmpfs /run # sockets of containerd and of its shims, network namespaces of pods
mount -t tmpfs -o mode=0755 tmpfs /var/lib # CNI's memory of its results
mkdir -p /run/node "$dir"/{log,containerd,kubelet,cni,volume-plugins,proc}
mount -t tmpfs -o mode=0700 tmpfs "$dir/containerd" # some thousand files that live for minutes: half a gigabyte
mount --bind "$dir/log" /var/log # kubelet writes to /var/log/pods, wherever its folder is
# kubelet sets these for the whole machine. It may set copies.
for setting in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys kernel/keys/root_maxbytes; do
  [[ -e /proc/sys/$setting ]] || continue
  copy=$dir/proc/${setting//\//.}
  cat "/proc/sys/$setting" >"$copy"
  mount --bind "$copy" "/proc/sys/$setting"
done

ip link set lo up
ip link add node0 type bridge # not every kernel has dummy devices
ip address add "$node_address/32" dev node0
ip link set node0 up
ip route add default dev node0 # Service addresses need a route before they are translated; nothing is behind it
echo 1 >/proc/sys/net/ipv4/ip_forward

# ---- what runs ----

containerd_configuration >/run/node/containerd.toml || fail "no configuration for containerd: see $dir/logs/init.log"
mkdir /run/node/cni
# Point to point, not a bridge: every packet is routed, so Services work without bridge netfilter.
cat >/run/node/cni/10-signet.conflist <<TEXT
{"cniVersion": "0.4.0", "name": "signet", "plugins": [{"type": "ptp", "ipam": {"type": "host-local", "dataDir": "$dir/cni",
  "ranges": [[{"subnet": "$pod_subnet"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
TEXT
: >/run/node/resolv.conf # the machine's name servers are out of reach, and no test's business
kubelet_configuration "$(cgroup_of)" >/run/node/kubelet.yaml || fail "no configuration for kubelet: see $dir/logs/init.log"

# start NAME COMMAND...: its output goes to DIR/logs.
declare -A names=()
start() {
  local name=$1
  shift
  "$@" </dev/null >>"$dir/logs/$name.log" 2>&1 &
  names[$!]=$name
}

start containerd containerd --config /run/node/containerd.toml
until [[ -S /run/containerd/containerd.sock ]]; do sleep 0.05; done
touch "$dir/run/containerd-up" # up.sh imports the images
until [[ -e $dir/run/control-plane-up ]]; do sleep 0.05; done

kube_proxy_flags && start kube-proxy "$BIN/kube-proxy" "${flags[@]}"
kube_scheduler_flags && start kube-scheduler "$BIN/kube-scheduler" "${flags[@]}"
start dns python3 -B "$here/dns.py" --address "$node_address" --domain "$cluster_domain" --kubeconfig "$dir/cluster/kubeconfig"
until [[ -e $dir/run/images-imported ]]; do sleep 0.05; done
kubelet_flags && start kubelet "$BIN/kubelet" "${flags[@]}"

# PID 1 also reaps what pods leave. One of ours that ends takes the node with it: half a node helps nobody.
while :; do
  ended='' status=0
  wait -n -p ended || status=$?
  [[ -z $ended || -z ${names[$ended]:-} ]] || fail "${names[$ended]} ended with $status"
done
