# shellcheck shell=bash disable=SC2154  # what the callers set: dir, BIN, node_*, pod_subnet, cluster_domain
# The command lines and configurations of a node's programs, from Kubernetes 1.20 and containerd 1.6 to Kubernetes 1.36 and containerd 2:
# flags by what a program's --help lists, fields of configuration files by its version. Sourced by init.sh and by the tests.

# The minor version of a Kubernetes program: "Kubernetes v1.36.0" is 36.
minor_of() {
  local text
  text=$("$BIN/$1" --version) || return 1
  [[ $text =~ v1\.([0-9]+)\. ]] || { printf 'cannot read a version from "%s"\n' "$text" >&2 && return 1; }
  printf '%s\n' "${BASH_REMATCH[1]}"
}

# The number before the first point of `containerd --version`'s version.
containerd_major() {
  local text
  text=$(containerd --version) || return 1
  [[ $text =~ [[:space:]]v?([0-9]+)\.[0-9]+\. ]] || { printf 'cannot read a version from "%s"\n' "$text" >&2 && return 1; }
  printf '%s\n' "${BASH_REMATCH[1]}"
}

containerd_configuration() {
  local major bin_dirs='bin_dir = "/usr/lib/cni"'
  major=$(containerd_major) || return 1
  cat <<TEXT
version = $((major >= 2 ? 3 : 2))
root = "$dir/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.opt", "io.containerd.internal.v1.tracing"]
[grpc]
address = "/run/containerd/containerd.sock"
TEXT
  if ((major < 2)); then
    cat <<TEXT
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "localhost/pause:1"
restrict_oom_score_adj = true
disable_apparmor = true
[plugins."io.containerd.grpc.v1.cri".cni]
$bin_dirs
conf_dir = "/run/node/cni"
TEXT
    return
  fi
  # 2.1 has made a list of it.
  ! grep -q '\bbin_dirs\b' <<<"$(containerd config default)" || bin_dirs='bin_dirs = ["/usr/lib/cni"]'
  cat <<TEXT
[plugins."io.containerd.nri.v1.nri"]
disable = true
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "localhost/pause:1"
[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true
disable_apparmor = true
[plugins."io.containerd.cri.v1.runtime".cni]
$bin_dirs
conf_dir = "/run/node/cni"
TEXT
}

# What `ctr images import` is told besides: since containerd 2 the daemon imports, under names of its own, unless it is done locally.
import_options() { ! grep -q -- '--local' <<<"$(ctr images import --help 2>&1)" || echo --local; }

runtime_endpoint=unix:///run/containerd/containerd.sock

kubelet_configuration() { # $1: the cgroup of the node
  local minor
  minor=$(minor_of kubelet) || return 1
  cat <<TEXT
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $node_address
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: false}
  x509: {clientCAFile: $dir/cluster/pki/ca.crt}
authorization: {mode: AlwaysAllow} # for whoever has the API server's client certificate
cgroupDriver: cgroupfs
cgroupRoot: /$1
clusterDNS: [$node_address]
clusterDomain: $cluster_domain
resolvConf: /run/node/resolv.conf
failSwapOn: false
enforceNodeAllocatable: []
evictionHard: {}
imageGCHighThresholdPercent: 100 # images come from files: nothing could pull them again
syncFrequency: 5s
TEXT
  ((minor >= 26)) || echo 'featureGates: {DevicePlugins: false}' # from then on it is always on, and later unknown
  ((minor < 31)) || echo 'failCgroupV1: false'
  has_flag kubelet container-runtime-endpoint || echo "containerRuntimeEndpoint: $runtime_endpoint"
  has_flag kubelet volume-plugin-dir || echo "volumePluginDir: $dir/volume-plugins"
}

# Each of these sets `flags`.

kubelet_flags() {
  flags=(--kubeconfig="$dir/cluster/kubeconfig.kubelet" --config=/run/node/kubelet.yaml --root-dir="$dir/kubelet"
    --cert-dir="$dir/kubelet/pki" --hostname-override="$node_name" --node-ip="$node_address")
  ! has_flag kubelet container-runtime-endpoint || flags+=(--container-runtime-endpoint="$runtime_endpoint")
  ! has_flag kubelet volume-plugin-dir || flags+=(--volume-plugin-dir="$dir/volume-plugins")
  # Before 1.24 Docker was the default, and 1.27 has no other runtime to name.
  ! has_flag kubelet container-runtime || flags+=(--container-runtime=remote)
}

kube_scheduler_flags() {
  flags=(--kubeconfig="$dir/cluster/kubeconfig.kube-scheduler" --leader-elect=false --bind-address=127.0.0.1 --secure-port=0)
  ! has_flag kube-scheduler port || flags+=(--port=0) # until 1.23, the plain port
}

# shellcheck disable=SC2034  # `flags`, for the caller
kube_proxy_flags() {
  flags=(--kubeconfig="$dir/cluster/kubeconfig.kube-proxy" --proxy-mode=iptables --hostname-override="$node_name"
    --cluster-cidr="$pod_subnet" --conntrack-max-per-core=0 --conntrack-tcp-timeout-established=0 --conntrack-tcp-timeout-close-wait=0
    --healthz-bind-address=127.0.0.1:10256 --metrics-bind-address=127.0.0.1:10249)
}
