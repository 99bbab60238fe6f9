#!/usr/bin/env bash
# PID 1 of a node: makes its network, and runs what a node runs. Started by up.sh in new namespaces, and by nobody else:
# what it mounts and what it starts is gone when it ends.
# init.sh --dir=DIR/
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
umask 022 # files that programs in pods read as somebody else

dir=${1#--dir=}
dir=${dir%/}
[[ $$ == 1 ]] || die "init.sh is for up.sh to start"
read -r BIN <"$dir/run/node.env"

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

cat >/run/node/containerd.toml <<TEXT
version = 2
root = "$dir/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.opt", "io.containerd.internal.v1.tracing"]
[grpc]
address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "localhost/pause:1"
restrict_oom_score_adj = true
disable_apparmor = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "/run/node/cni"
TEXT
mkdir /run/node/cni
# Point to point, not a bridge: every packet is routed, so Services work without bridge netfilter.
cat >/run/node/cni/10-signet.conflist <<TEXT
{"cniVersion": "0.4.0", "name": "signet", "plugins": [{"type": "ptp", "ipam": {"type": "host-local", "dataDir": "$dir/cni",
  "ranges": [[{"subnet": "$pod_subnet"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
TEXT
: >/run/node/resolv.conf # the machine's name servers are out of reach, and no test's business
cat >/run/node/kubelet.yaml <<TEXT
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $node_address
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: false}
  x509: {clientCAFile: $dir/cluster/pki/ca.crt}
authorization: {mode: AlwaysAllow} # for whoever has the API server's client certificate
cgroupDriver: cgroupfs
cgroupRoot: /$(cgroup_of)
clusterDNS: [$node_address]
clusterDomain: $cluster_domain
resolvConf: /run/node/resolv.conf
failSwapOn: false
enforceNodeAllocatable: []
evictionHard: {}
imageGCHighThresholdPercent: 100 # images come from files: nothing could pull them again
featureGates: {DevicePlugins: false}
syncFrequency: 5s
TEXT

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

start kube-proxy "$BIN/kube-proxy" --kubeconfig="$dir/cluster/kubeconfig.kube-proxy" --proxy-mode=iptables --hostname-override="$node_name" \
  --cluster-cidr="$pod_subnet" --conntrack-max-per-core=0 --conntrack-tcp-timeout-established=0 --conntrack-tcp-timeout-close-wait=0 \
  --healthz-bind-address=127.0.0.1:10256 --metrics-bind-address=127.0.0.1:10249
start kube-scheduler "$BIN/kube-scheduler" --kubeconfig="$dir/cluster/kubeconfig.kube-scheduler" --leader-elect=false \
  --bind-address=127.0.0.1 --port=0 --secure-port=0
start dns python3 -B "$here/dns.py" --address "$node_address" --domain "$cluster_domain" --kubeconfig "$dir/cluster/kubeconfig"
until [[ -e $dir/run/images-imported ]]; do sleep 0.05; done
start kubelet "$BIN/kubelet" --kubeconfig="$dir/cluster/kubeconfig.kubelet" --config=/run/node/kubelet.yaml --root-dir="$dir/kubelet" \
  --cert-dir="$dir/kubelet/pki" --volume-plugin-dir="$dir/volume-plugins" --container-runtime=remote \
  --container-runtime-endpoint=unix:///run/containerd/containerd.sock --hostname-override="$node_name" --node-ip="$node_address"

# PID 1 also reaps what pods leave. One of ours that ends takes the node with it: half a node helps nobody.
while :; do
  ended='' status=0
  wait -n -p ended || status=$?
  [[ -z $ended || -z ${names[$ended]:-} ]] || fail "${names[$ended]} ended with $status"
done
