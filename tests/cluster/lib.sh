# shellcheck shell=bash disable=SC2034,SC2154  # what the callers use, and what they set
# Shared by the scripts of this folder: sourced, never run.
# The caller sets `dir` (the state folder, canonical) before it calls anything that touches a cluster.

umask 077 # keys and tokens live below the state folder

repo=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../..")
default_dir=${XDG_STATE_HOME:-${HOME:?}/.local/state}/signet/cluster
marker=.signet-cluster # says that a folder is ours to remove; also the lock
daemons=(etcd kube-apiserver kube-controller-manager)

# Steps go to stderr, so that stdout carries results only.
step() { printf 'cluster: %s\n' "$*" >&2; }
die() {
  printf 'cluster: error: %s\n' "$*" >&2
  exit 1
}
usage_error() {
  printf 'cluster: error: %s (see --help)\n' "$*" >&2
  exit 2
}

# within SECONDS COMMAND...: polls the command until it succeeds; fails at the deadline.
within() {
  local deadline=$((${EPOCHREALTIME/[.,]/} + $1 * 1000000))
  shift
  until "$@"; do
    ((${EPOCHREALTIME/[.,]/} < deadline)) || return 1
    sleep 0.1
  done
}

# ---- the state folder ----

exists() { [[ -f $dir/$marker ]]; }

# Holds the state folder until this script ends. down.sh removes the lock file with the folder, so a waiter looks
# whether what it got is still there.
lock() {
  local tries
  for tries in 1 2 3 4 5; do
    mkdir -p "$dir"
    exec 9>>"$dir/$marker"
    flock -w 300 9 || die "another script has held $dir for 5 minutes (try $tries): see 'fuser $dir/$marker'"
    [[ $dir/$marker -ef /proc/self/fd/9 ]] && return
  done
  die "$dir keeps disappearing: is something else removing it?"
}

# Reads DIR/cluster.env into the variables it names, without running it.
load() {
  local key value
  [[ -f $dir/cluster.env ]] || return 1
  while IFS='=' read -r key value; do
    case $key in
      BIN | KUBECTL | ETCD_PORT | APISERVER_PORT | ADVERTISE) printf -v "$key" '%s' "$value" ;;
    esac
  done <"$dir/cluster.env"
}

# kubectl as cluster-admin of this cluster, whatever KUBECONFIG says.
admin() {
  "${KUBECTL:?}" --kubeconfig "$dir/kubeconfig" --cache-dir "$dir/kubectl-cache" --request-timeout=10s "$@"
}

# ---- processes ----

# The command line of process $1, words apart by spaces; fails when it has ended. A process that is inside exec, or that
# dies thread by thread and still holds its port, shows an empty one: neither has ended, so that is waited out.
command_line() {
  local argv tasks deadline=$((${EPOCHREALTIME/[.,]/} + 5000000))
  while { mapfile -d '' -t argv <"/proc/$1/cmdline"; } 2>/dev/null; do
    ((${#argv[@]} == 0)) || { printf '%s' "${argv[*]}" && return; }
    tasks=(/proc/"$1"/task/*)
    { ((${#tasks[@]} > 1)) || ! grep -qs '^State:.Z' "/proc/$1/status"; } || return 1
    ((${EPOCHREALTIME/[.,]/} < deadline)) || return 1 # a thread of the kernel has none either
    sleep 0.01
  done
  return 1
}

# Prints the process id of daemon $1 when the process in its pid file is alive and ours. Process ids are reused, so
# the program's name and this cluster's folder must both be in the command line.
pid_of() {
  local pid words
  { read -r pid <"$dir/run/$1.pid"; } 2>/dev/null || return 1
  [[ $pid =~ ^[1-9][0-9]*$ ]] || return 1
  words=$(command_line "$pid") || return 1
  [[ $words == *"/$1 "*"=$dir/"* ]] || return 1
  printf '%s\n' "$pid"
}
running() { pid_of "$1" >/dev/null; }
gone() { ! running "$1"; }

# spawn NAME ARGUMENTS...: the daemon writes its own pid file before it becomes itself, so that no kill of this script
# can leave a process that nothing knows of. Its start is not waited for.
spawn() {
  local pid_file=$dir/run/$1.pid
  rm -f "$pid_file"
  # shellcheck disable=SC2016  # expanded by the inner shell
  setsid --fork bash -c 'echo "$$" >"$0" && exec "$@"' "$pid_file" "$BIN/$1" "${@:2}" \
    </dev/null >>"$dir/logs/$1.log" 2>&1 9>&-
  within 5 test -s "$pid_file" || die "cannot start $1: see $dir/logs/$1.log"
}

# end NAME SIGNAL SECONDS: signals the daemon if it is ours and waits; KILL after the deadline. 1: it had to be killed.
end() {
  local pid
  pid=$(pid_of "$1") || return 0
  kill -s "$2" "$pid" 2>/dev/null || true
  kill -s CONT "$pid" 2>/dev/null || true # a paused process acts on nothing but KILL
  within "$3" gone "$1" && return 0
  kill -s KILL "$pid" 2>/dev/null || true
  within 10 gone "$1" || die "process $pid ($1) does not end"
  return 1
}

# ---- the daemons' command lines ----

# has_flag NAME FLAG: flags come and go between Kubernetes 1.20 and 1.36, and a program refuses one that it does not know.
has_flag() { grep -qE -- "^ +--$2([ =]|\$)" <<<"$("$BIN/$1" --help 2>&1)"; }

start_etcd() {
  local tls=(--cert-file="$dir/pki/etcd.crt" --key-file="$dir/pki/etcd.key" --trusted-ca-file="$dir/pki/etcd.crt" --client-cert-auth
    --peer-cert-file="$dir/pki/etcd.crt" --peer-key-file="$dir/pki/etcd.key" --peer-trusted-ca-file="$dir/pki/etcd.crt" --peer-client-cert-auth)
  spawn etcd --data-dir="$dir/etcd" "${tls[@]}" --heartbeat-interval=10 --election-timeout=100 \
    --listen-client-urls="https://127.0.0.1:$ETCD_PORT" --advertise-client-urls="https://127.0.0.1:$ETCD_PORT" \
    --listen-peer-urls=https://127.0.0.1:0
}

start_apiserver() {
  local reach=(--bind-address=127.0.0.1 --advertise-address=127.0.0.1 --endpoint-reconciler-type=none --authorization-mode=RBAC)
  # For a node: pods come by the address, kubelet is held to what is its own, and logs and exec go to it.
  [[ -z ${ADVERTISE:-} ]] || reach=(--bind-address=0.0.0.0 --advertise-address="$ADVERTISE" "--authorization-mode=Node,RBAC"
    --enable-admission-plugins=NodeRestriction --kubelet-preferred-address-types=InternalIP
    --kubelet-client-certificate="$dir/pki/kubelet-client.crt" --kubelet-client-key="$dir/pki/kubelet-client.key")
  spawn kube-apiserver "${reach[@]}" --secure-port="$APISERVER_PORT" \
    --etcd-servers="https://127.0.0.1:$ETCD_PORT" \
    --etcd-cafile="$dir/pki/etcd.crt" --etcd-certfile="$dir/pki/etcd.crt" --etcd-keyfile="$dir/pki/etcd.key" \
    --cert-dir="$dir/pki" --tls-cert-file="$dir/pki/apiserver.crt" --tls-private-key-file="$dir/pki/apiserver.key" \
    --client-ca-file="$dir/pki/ca.crt" --token-auth-file="$dir/pki/tokens.csv" \
    --service-account-issuer=https://kubernetes.default.svc --service-account-key-file="$dir/pki/sa.pub" \
    --service-account-signing-key-file="$dir/pki/sa.key" --service-cluster-ip-range=10.96.0.0/16 --allow-privileged=true
}

start_controller_manager() {
  local old=()
  # Until 1.23 there was a second, plain port, on by default and the same for everyone.
  ! has_flag kube-controller-manager port || old+=(--port=0)
  ! has_flag kube-controller-manager flex-volume-plugin-dir || old+=(--flex-volume-plugin-dir=/dev/null/none)
  spawn kube-controller-manager --kubeconfig="$dir/kubeconfig.kube-controller-manager" --use-service-account-credentials \
    --leader-elect=false --kube-api-qps=500 --kube-api-burst=500 --bind-address=127.0.0.1 --secure-port=0 "${old[@]}" \
    --service-account-private-key-file="$dir/pki/sa.key" --root-ca-file="$dir/pki/ca.crt" \
    --cluster-signing-cert-file="$dir/pki/ca.crt" --cluster-signing-key-file="$dir/pki/ca.key"
}

apiserver_answers() { [[ $(admin get --raw /readyz --request-timeout=2s 2>/dev/null) == ok ]]; }

# Ready, or dead: both end the wait.
apiserver_settled() { gone etcd || gone kube-apiserver || apiserver_answers; }

# wait_ready SECONDS: 0 ready; 1 a process died or the time is over.
wait_ready() { within "$1" apiserver_settled && running etcd && running kube-apiserver && apiserver_answers; }
