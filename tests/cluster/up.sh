#!/usr/bin/env bash
# Starts a control plane for tests and demos. See usage below and README.md.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
  cat <<TEXT
usage: up.sh [--dir DIR] [--advertise ADDRESS]

Starts etcd, kube-apiserver and kube-controller-manager on free ports of 127.0.0.1, applies the repository's CRDs and
rbac.yaml, and prints the line that points kubectl at it. On a cluster that is up already: applies them again; on one
that is partly down: starts what is missing, on the same ports.
  --dir DIR     state folder (default: \${XDG_STATE_HOME:-~/.local/state}/signet/cluster); one cluster per folder
  --advertise ADDRESS   an address of this network namespace at which pods reach the API server, which then listens on all
                addresses; with users for the programs of a node named "node", and without CRDs and rbac.yaml
                (tests/node/up.sh needs it: what is installed there is the chart's)
In DIR: kubeconfig (cluster-admin), kubeconfig.operator (the operator's service account), kubeconfig.alice, .bob and
.mallory (may create SigningRequests), logs/.
KUBECONFIG set: uses that cluster, starts nothing, applies CRDs and RBAC there.
TEXT
}

dir=$default_dir advertise='' ADVERTISE=''
while (($#)); do
  case $1 in
    --dir) [[ -n ${2:-} ]] || usage_error "--dir needs a folder" && dir=$2 && shift ;;
    --dir=?*) dir=${1#--dir=} ;;
    --advertise) [[ -n ${2:-} ]] || usage_error "--advertise needs an address" && advertise=$2 && shift ;;
    -h | --help) usage && exit ;;
    *) usage_error "unknown argument '$1'" ;;
  esac
  shift
done
dir=$(realpath -m -- "$dir")
binaries=$(dirname "${BASH_SOURCE[0]}")/binaries.sh clients=$(dirname "${BASH_SOURCE[0]}")/clients.sh

# ---- objects ----

apply_objects() {
  [[ -z $ADVERTISE ]] || return 0
  local crds=() validate=() wait=() minor
  mapfile -t crds < <(grep -lsx 'kind: CustomResourceDefinition' "$repo"/crds/*.yaml || true)
  minor=$(admin get --raw /version | sed -n 's/.*"minor": *"\([0-9]*\).*/\1/p') ||
    die "the API server does not answer (above)"
  # Servers before 1.25 do not know x-kubernetes-validations, and drop them; kubectl would refuse the whole file.
  ((${minor:-0} >= 25)) || validate=(--validate=false)
  admin apply "${validate[@]}" -f "$(dirname "${BASH_SOURCE[0]}")/rbac.yaml" "${crds[@]/#/--filename=}" >/dev/null ||
    die "kubectl apply failed (above)"
  if ((${#crds[@]})); then
    wait=(wait --for=condition=Established --timeout=30s --request-timeout=0)
    admin "${wait[@]}" "${crds[@]/#/--filename=}" >/dev/null || die "the CRDs were not established in 30 s: $KUBECTL describe crd"
  fi
  step "applied rbac.yaml and ${#crds[@]} of crds/"
}

# ---- a cluster that is there ----

if [[ -n ${KUBECONFIG:-} && $(realpath -m -- "$KUBECONFIG") != "$dir/kubeconfig" ]]; then
  # kubectl would go to localhost:8080 without a word. (A list of files is left to kubectl.)
  [[ $KUBECONFIG == *:* || -r $KUBECONFIG ]] || die "KUBECONFIG=$KUBECONFIG cannot be read: unset it to start a cluster here"
  KUBECTL=$("$clients" kubectl)
  admin() { "$KUBECTL" --request-timeout=30s "$@"; }
  step "using the cluster of KUBECONFIG=$KUBECONFIG (unset it to start one)"
  apply_objects
  printf 'export KUBECONFIG=%q\n' "$KUBECONFIG"
  exit
fi

# ---- making one ----

# Ports below the range that outgoing connections take theirs from. Another process may still be faster: see below.
free_port() {
  local port
  while :; do
    port=$((20000 + RANDOM % 12000))
    [[ $port != "${1:-}" ]] && ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break
  done
  echo "$port"
}

make_keys() {
  local ec=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365) loopback=DNS:localhost,IP:127.0.0.1
  local service=IP:10.96.0.1,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local
  {
    openssl req -x509 "${ec[@]}" -subj /CN=signet-test-ca -keyout ca.key -out ca.crt \
      -addext keyUsage=critical,keyCertSign,cRLSign
    openssl req -x509 "${ec[@]}" -CA ca.crt -CAkey ca.key -subj /CN=kube-apiserver -keyout apiserver.key -out apiserver.crt \
      -addext basicConstraints=critical,CA:FALSE -addext extendedKeyUsage=serverAuth \
      -addext "subjectAltName=$loopback,$service${advertise:+,IP:$advertise}"
    openssl req -x509 "${ec[@]}" -CA ca.crt -CAkey ca.key -subj /CN=kube-apiserver-kubelet-client -keyout kubelet-client.key \
      -out kubelet-client.crt -addext basicConstraints=critical,CA:FALSE -addext extendedKeyUsage=clientAuth
    # etcd and its one client share a certificate that trusts nothing but itself.
    openssl req -x509 "${ec[@]}" -subj /CN=etcd -keyout etcd.key -out etcd.crt \
      -addext extendedKeyUsage=serverAuth,clientAuth -addext "subjectAltName=$loopback"
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out sa.key
    openssl pkey -in sa.key -pubout -out sa.pub
  } >openssl.log 2>&1 || die "openssl failed (3.0 or later is needed): see $PWD/openssl.log"
}

# user FILE NAME GROUPS [NAMESPACE]: a token for the API server and the kubeconfig that holds it.
user() {
  local token
  token=$(openssl rand -hex 32)
  printf '%s,%s,%s,"%s"\n' "$token" "$2" "uid-$2" "$3" >>"$dir/pki/tokens.csv"
  cat >"$dir/$1" <<TEXT
apiVersion: v1
kind: Config
current-context: signet
clusters:
- name: signet
  cluster:
    server: https://127.0.0.1:$APISERVER_PORT
    certificate-authority-data: $(base64 -w0 "$dir/pki/ca.crt")
contexts:
- name: signet
  context:
    cluster: signet
    user: $2
    namespace: ${4:-default}
users:
- name: $2
  user:
    token: $token
TEXT
}

make_cluster() {
  rm -rf "$dir"/{pki,run,logs,etcd,cluster.env}
  mkdir -p "$dir"/{pki,run,logs}
  (cd "$dir/pki" && make_keys)
  ETCD_PORT=$(free_port)
  APISERVER_PORT=$(free_port "$ETCD_PORT")
  user kubeconfig admin system:masters
  user kubeconfig.kube-controller-manager system:kube-controller-manager ''
  user kubeconfig.operator system:serviceaccount:signet-system:signet-operator \
    system:serviceaccounts,system:serviceaccounts:signet-system signet-system
  user kubeconfig.alice alice signet-test-users,release-engineers
  user kubeconfig.bob bob signet-test-users,release-managers
  user kubeconfig.mallory mallory signet-test-users
  ADVERTISE=$advertise
  if [[ -n $advertise ]]; then
    user kubeconfig.kubelet system:node:node system:nodes
    user kubeconfig.kube-proxy system:kube-proxy ''
    user kubeconfig.kube-scheduler system:kube-scheduler ''
  fi
  printf '%s=%s\n' BIN "$BIN" KUBECTL "$KUBECTL" ETCD_PORT "$ETCD_PORT" APISERVER_PORT "$APISERVER_PORT" ADVERTISE "$ADVERTISE" >"$dir/cluster.env.new"
  mv "$dir/cluster.env.new" "$dir/cluster.env" # last: a cluster without it is made from the start
}

# ---- starting it ----

start_missing() {
  local name pid
  for name in "${daemons[@]}"; do
    pid=$(pid_of "$name") && kill -s CONT "$pid" # paused by ctl.sh
  done
  running etcd || start_etcd
  running kube-apiserver || start_apiserver
  wait_ready 60
}

has_controllers() { [[ -x $BIN/kube-controller-manager ]]; }

port_taken() { grep -qs 'address already in use' "$dir/logs/etcd.log" "$dir/logs/kube-apiserver.log"; }

end_all() {
  local name
  for name in "${daemons[@]}"; do end "$name" KILL 0 || true; done
}

undo() {
  local status=$?
  end_all
  exit "$status"
}

give_up() {
  local name
  for name in etcd kube-apiserver; do
    running "$name" || step "last lines of $dir/logs/$name.log:"
    running "$name" || tail -n 5 "$dir/logs/$name.log" >&2
  done
  die "$1"
}

controllers_settled() {
  gone kube-controller-manager || admin get serviceaccount default --namespace default >/dev/null 2>&1
}

began=${EPOCHREALTIME/[.,]/}
BIN=$("$binaries")
KUBECTL=$("$clients" kubectl)
if [[ -d $dir && ! -f $dir/$marker && -n $(ls -A "$dir") ]]; then
  die "$dir is not empty and not a cluster of ours: name another folder with --dir"
fi
lock
if load && [[ -x $BIN/kube-apiserver && -x $KUBECTL ]]; then
  if running etcd && running kube-apiserver && { ! has_controllers || running kube-controller-manager; } && apiserver_answers; then
    step "already running: https://127.0.0.1:$APISERVER_PORT"
  else
    step "starting what is not running in $dir"
    start_missing || give_up "cannot start this cluster again on its ports $ETCD_PORT and $APISERVER_PORT: down.sh --dir $dir, then up.sh"
  fi
else
  # Nothing stays running when the first start fails or is interrupted; the logs stay.
  trap undo EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  for try in 1 2 3; do
    make_cluster
    step "starting $("$BIN/kube-apiserver" --version) in $dir"
    start_missing && break
    { [[ $try != 3 ]] && port_taken; } || give_up "the control plane did not get ready in 60 s"
    step "another process took a port first: trying others"
    end_all
  done
fi

# Only now: it gives up on an API server that is not ready within 10 s.
! has_controllers || running kube-controller-manager || start_controller_manager
apply_objects
if has_controllers; then
  { within 30 controllers_settled && running kube-controller-manager; } ||
    die "kube-controller-manager does not work: see $dir/logs/kube-controller-manager.log"
else
  step "no kube-controller-manager in $BIN: no garbage collection, no service accounts by default"
fi
trap - EXIT
took=$(((${EPOCHREALTIME/[.,]/} - began) / 100000))
step "ready: https://127.0.0.1:$APISERVER_PORT ($((took / 10)).$((took % 10)) s)"
printf 'export KUBECONFIG=%q\n' "$dir/kubeconfig"
