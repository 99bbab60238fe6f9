#!/usr/bin/env bash
# Takes the API server of a test cluster away, and brings it back. See usage below and README.md.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
  cat <<TEXT
usage: ctl.sh COMMAND [--dir DIR] [--signal TERM|KILL]

  stop-apiserver    end the API server; connections are refused from then on. TERM (default) lets requests end, but a
                    watch would hold it for a minute: KILL follows after 5 s
  start-apiserver   start it again, same port, same data; returns when it is ready
  pause             SIGSTOP the API server: connections hang
  resume            SIGCONT it
  status            one line per process; exit code 0 when the cluster is ready, 3 when not
DIR as for up.sh. Exit codes: 0 done (also when there was nothing to do), 1 failed, 2 wrong use, 3 not ready.
TEXT
}

dir=$default_dir command='' signal=TERM
while (($#)); do
  case $1 in
    --dir) [[ -n ${2:-} ]] || usage_error "--dir needs a folder" && dir=$2 && shift ;;
    --dir=?*) dir=${1#--dir=} ;;
    --signal) [[ -n ${2:-} ]] || usage_error "--signal needs TERM or KILL" && signal=$2 && shift ;;
    --signal=*) signal=${1#--signal=} ;;
    -h | --help) usage && exit ;;
    stop-apiserver | start-apiserver | pause | resume | status) [[ -z $command ]] || usage_error "one command at a time" && command=$1 ;;
    *) usage_error "unknown argument '$1'" ;;
  esac
  shift
done
[[ -n $command ]] || usage_error "no command"
[[ $signal == TERM || $signal == KILL ]] || usage_error "--signal is TERM or KILL, not '$signal'"
dir=$(realpath -m -- "$dir")
exists || die "no cluster in $dir: start one with up.sh --dir $dir"
lock
load || die "the cluster in $dir was not made to the end: run up.sh --dir $dir"

# signal_apiserver SIGNAL
signal_apiserver() {
  local pid
  pid=$(pid_of kube-apiserver) || die "the API server is not running: ctl.sh start-apiserver --dir $dir"
  kill -s "$1" "$pid"
}

case $command in
  stop-apiserver)
    if end kube-apiserver "$signal" 5; then
      step "API server stopped"
    else
      step "API server stopped (killed after 5 s: watches held it)"
    fi
    ;;
  start-apiserver)
    running etcd || die "etcd is not running: up.sh --dir $dir starts it all"
    running kube-apiserver || start_apiserver
    wait_ready 60 || die "the API server did not get ready: see $dir/logs/kube-apiserver.log: $(tail -n 2 "$dir/logs/kube-apiserver.log")"
    step "API server ready: https://127.0.0.1:$APISERVER_PORT"
    ;;
  pause)
    signal_apiserver STOP
    step "API server paused"
    ;;
  resume)
    signal_apiserver CONT
    step "API server resumed"
    ;;
  status)
    for name in "${daemons[@]}"; do
      if pid=$(pid_of "$name"); then
        state=$(sed -n 's/^State:\t\(.\).*/\1/p' "/proc/$pid/status" 2>/dev/null || true)
        [[ $state == T ]] && state=paused || state=running
        printf '%s %s %s\n' "$name" "$state" "$pid"
      else
        printf '%s stopped\n' "$name"
      fi
    done
    apiserver_answers || exit 3
    ;;
esac
