#!/usr/bin/env bash
# Tests the scripts of this folder with real clusters; takes about a minute. Exit code 0: all of it holds.
set -euo pipefail

if [[ ${1:-} == -h || ${1:-} == --help ]]; then
  echo "usage: selftest.sh   (no arguments; clusters go to a temporary folder and are gone at the end)"
  exit
fi

work=$(mktemp -d)
scripts=$work/repo/tests/cluster # a copy, beside a crds/ of our own
mkdir -p "$work"/repo/{tests,crds}
cp -r "$(dirname "${BASH_SOURCE[0]}")" "$scripts"
touch "$work/repo/crds/README" # not a CRD
cat >"$work/repo/crds/widgets.yaml" <<'TEXT'
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.selftest.invalid}
spec:
  group: selftest.invalid
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            x-kubernetes-validations: [{rule: "self.size > 0"}]
            properties: {size: {type: integer}}
TEXT
unset KUBECONFIG
checks=0 failures=0
a="$work/a b" # a folder's name may hold a space
b=$work/b

clean_up() {
  local status=$?
  "$scripts/down.sh" --dir "$a" 2>/dev/null || true
  "$scripts/down.sh" --dir "$b" 2>/dev/null || true
  "$scripts/down.sh" --dir "$work/c" 2>/dev/null || true
  ((status == 0 && failures == 0)) && rm -rf "$work" || echo "selftest: what is left is in $work" >&2
}
trap clean_up EXIT

# check WHAT COMMAND...: the command must succeed; its output is shown when it does not.
check() {
  local what=$1 output
  shift
  checks=$((checks + 1))
  if output=$("$@" 2>&1); then
    echo "ok   $what"
  else
    failures=$((failures + 1))
    printf 'FAIL %s\n%s\n' "$what" "$output"
  fi
}
# exits CODE COMMAND...
exits() {
  local want=$1 got=0
  shift
  "$@" || got=$?
  [[ $got == "$want" ]] || { echo "exit code $got, not $want" && return 1; }
}
# says TEXT COMMAND...: whatever the exit code is.
says() {
  local text=$1 output
  shift
  output=$("$@" 2>&1) || true
  [[ $output == *"$text"* ]] || { printf 'no "%s" in: %s\n' "$text" "$output" && return 1; }
}
# Sets `code`, here and not in a subshell, which has no children to wait for.
code_of() {
  code=0
  wait "$1" 2>/dev/null || code=$?
}
not() { ! "$@"; }

up() { "$scripts/up.sh" --dir "$1"; }
down() { "$scripts/down.sh" --dir "$1"; }
ctl() { "$scripts/ctl.sh" --dir "$1" "${@:2}"; }
k() { kubectl --kubeconfig "$1" --cache-dir "$work/cache" --request-timeout=5s "${@:2}"; }
# may USER VERB GROUP RESOURCE [SUBRESOURCE [NAMESPACE]] (the API, since `kubectl auth can-i` wants the CRDs to be there)
may() {
  printf '%s\n' 'apiVersion: authorization.k8s.io/v1' 'kind: SelfSubjectAccessReview' 'spec:' '  resourceAttributes:' \
    "    {verb: $2, group: '$3', resource: $4, subresource: '${5:-}', namespace: '${6:-}'}" |
    k "$a/kubeconfig.$1" create -f - -o 'jsonpath={.status.allowed}' | grep -x true
}
pid() { cat "$1/run/$2.pid"; }
alive() { kill -0 "$(pid "$1" "$2")"; }
server() { grep -o 'https://.*' "$1/kubeconfig"; }
kubectl() { "$kubectl" "$@"; }
kubectl=$("$scripts/clients.sh" kubectl)

# ---- help, wrong use, folders that are not ours ----
for script in binaries clients up down ctl; do
  check "$script.sh --help" says "usage: $script.sh" "$scripts/$script.sh" --help
  check "$script.sh refuses an unknown argument" exits 2 "$scripts/$script.sh" --nonsense
done
check "ctl.sh wants a command" exits 2 ctl "$a"
check "ctl.sh refuses another signal" exits 2 ctl "$a" stop-apiserver --signal HUP
check "ctl.sh without a cluster says what to do" says "up.sh --dir" ctl "$a" status
check "down.sh without a cluster has nothing to do" exits 0 down "$a"
mkdir "$work/foreign" && touch "$work/foreign/precious"
check "up.sh leaves a foreign folder alone" exits 1 up "$work/foreign"
check "down.sh leaves a foreign folder alone" exits 1 down "$work/foreign"
check "the foreign folder is whole" test "$(ls -A "$work/foreign")" = precious

# ---- package sources, both formats ----
codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
mkdir -p "$work"/etc/{apt.conf.d,sources.list.d}
cat >"$work/etc/sources.list" <<TEXT
deb [arch=amd64 signed-by=/k.gpg]  http://one.invalid/debian $codename contrib main # comment
deb http://vendor.invalid/apt cloud-$codename main
#deb http://off.invalid/debian $codename main
TEXT
cat >"$work/etc/sources.list.d/debian.sources" <<TEXT
Types: deb
URIs: http://two.invalid/debian
# comment
Suites: stable
 $codename-updates
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 -----END PGP PUBLIC KEY BLOCK-----

Enabled: no
Types: deb
URIs: http://off.invalid/debian
Suites: $codename
Components: main

Types: deb
URIs: http://vendor.invalid/linux
Suites: $codename
Components: stable
TEXT
echo "Dir::Etc \"$work/etc\";" >"$work/apt.conf"
sources() { APT_CONFIG=$work/apt.conf "$scripts/binaries.sh" --sources; }
check "sources: one-line entries, with their options" says "deb-src [arch=amd64 signed-by=/k.gpg]  http://one.invalid/debian $codename contrib main" sources
check "sources: deb822 stanzas" says $'Types: deb deb-src\nURIs: http://two.invalid/debian' sources
check "sources: deb822 stanzas, with their keys" says $' .\n -----END PGP' sources
check "sources: no other vendor's" not says vendor.invalid sources
check "sources: none that is off" not says off.invalid sources

# ---- two clusters side by side ----
"$scripts/up.sh" --dir "$a" >"$work/a.out" 2>&1 &
starting=$!
"$scripts/up.sh" --dir "$b" >"$work/b.out" 2>&1 &
code_of $!
check "the second of two clusters starts" test "$code" = 0
code_of "$starting"
check "the first of two clusters starts" test "$code" = 0
check "up.sh prints the export line" says "export KUBECONFIG=$(printf %q "$a/kubeconfig")" cat "$work/a.out"
check "their ports differ" test "$(server "$a")" != "$(server "$b")"
check "a is ready" exits 0 ctl "$a" status
check "b is ready" exits 0 ctl "$b" status
check "nothing is readable by others" test -z "$(find "$a" "$b" -perm /077 ! -path '*/kubectl-cache/*')" # kubectl's are 0660
listens_elsewhere() { ss -ltnpH | grep -E "pid=($(pid "$a" etcd)|$(pid "$a" kube-apiserver)|$(pid "$a" kube-controller-manager))," | grep -v ' 127\.0\.0\.1:'; }
check "nothing listens beyond loopback" not listens_elsewhere
etcd_without_key() { curl -sk "https://127.0.0.1:$(sed -n 's/ETCD_PORT=//p' "$a/cluster.env")/version"; }
check "etcd wants a certificate" not etcd_without_key
check "a second up.sh says so" says "already running" up "$a"

# ---- objects and users ----
widget() { printf '%s\n' 'apiVersion: selftest.invalid/v1' 'kind: Widget' "metadata: {name: $1}" 'spec: {size: 3}' | k "$a/kubeconfig" apply -f -; }
check "up.sh applies CRDs, with rules that this server does not know" says "1 of crds/" cat "$work/a.out"
check "... and waits for them: objects can be made" widget kept
check "... the other cluster has its own" not k "$b/kubeconfig" get widget kept
check "the operator writes status" may operator patch signet.dev signingrequests status
check "the operator reads policies" may operator watch signet.dev signingpolicies
check "the operator has leases in its namespace" may operator update coordination.k8s.io leases '' signet-system
check "... and in no other" not may operator update coordination.k8s.io leases '' default
check "the operator does not write requests" not may operator update signet.dev signingrequests
check "the operator does not read secrets" not may operator list '' secrets '' signet-system
check "alice may ask" may alice create signet.dev signingrequests '' default
check "mallory may ask" may mallory create signet.dev signingrequests '' default
check "mallory does not read policies" not may mallory list signet.dev signingpolicies
check "bob does not write status" not may bob patch signet.dev signingrequests status default
token_of_a_in_b() { k "$b/kubeconfig" --token "$(sed -n 's/^    token: //p' "$a/kubeconfig")" get namespaces; }
check "a token of one cluster is nothing in the other" not token_of_a_in_b
check "garbage is collected: a namespace can go" k "$b/kubeconfig" create namespace passing
check "... and is gone" k "$b/kubeconfig" delete namespace passing --timeout=20s --request-timeout=0

# ---- KUBECONFIG ----
external() { KUBECONFIG=$b/kubeconfig "$scripts/up.sh" --dir "$work/none"; }
check "KUBECONFIG: uses that cluster" says "using the cluster of KUBECONFIG" external
check "KUBECONFIG: makes none" not test -e "$work/none"
own() { KUBECONFIG=$a/kubeconfig "$scripts/up.sh" --dir "$a"; }
check "KUBECONFIG that names the folder's own cluster changes nothing" says "already running" own

# ---- KUBEBUILDER_ASSETS ----
mkdir "$work/assets"
ln -s "$("$scripts/binaries.sh")"/{etcd,kube-apiserver} "$work/assets/"
assets() { KUBEBUILDER_ASSETS=$work/assets "$scripts/up.sh" --dir "$work/c"; }
check "KUBEBUILDER_ASSETS without a controller manager" says "no kube-controller-manager in $work/assets" assets
check "... is ready" ctl "$work/c" status
check "... goes down" down "$work/c"
bad_assets() { KUBEBUILDER_ASSETS=$work/repo "$scripts/up.sh" --dir "$work/c"; }
check "KUBEBUILDER_ASSETS that is wrong is told" says "set it to an envtest folder" bad_assets

# ---- the API server goes and comes back ----
was=$(server "$a")
for signal in TERM KILL; do
  check "stop-apiserver, $signal" ctl "$a" stop-apiserver --signal "$signal"
  check "... no answer" not k "$a/kubeconfig" get --raw /readyz
  check "... status says so" exits 3 ctl "$a" status
  check "... twice is fine" ctl "$a" stop-apiserver --signal "$signal"
  check "start-apiserver" ctl "$a" start-apiserver
  check "... twice is fine" ctl "$a" start-apiserver
  check "... same port, same data" k "$a/kubeconfig" get widget kept
done
check "pause" ctl "$a" pause
check "... hangs" not k "$a/kubeconfig" get --raw /readyz --request-timeout=1s
check "... status says so" says "kube-apiserver paused" ctl "$a" status
check "resume" ctl "$a" resume
check "... answers" k "$a/kubeconfig" get widget kept
check "pause again" ctl "$a" pause
check "up.sh wakes it" up "$a"
check "the other cluster saw nothing of it" ctl "$b" status

# ---- kills ----
for name in etcd kube-apiserver kube-controller-manager; do kill -9 "$(pid "$a" "$name")"; done
check "after kill -9 of all three, up.sh starts them again" up "$a"
check "... same port" test "$(server "$a")" = "$was"
check "... same data" k "$a/kubeconfig" get widget kept

sleep 300 &
bystander=$!
ours=$(pid "$a" kube-controller-manager)
echo "$bystander" >"$a/run/kube-controller-manager.pid"
check "a reused process id is not ours" says "kube-controller-manager stopped" ctl "$a" status
check "down.sh" down "$a"
check "... spares the process that has it now" kill -0 "$bystander"
check "... removes the folder" not test -e "$a"
check "... and leaves the other cluster" ctl "$b" status
kill "$bystander" "$ours" # ours was hidden from down.sh above

# Killed at any instant: nothing that down.sh does not find, and up.sh gets on from there.
for delay in 0.2 0.6 0.9 1.5 3; do
  "$scripts/up.sh" --dir "$a" >/dev/null 2>&1 & # not a function, or $! would be a subshell
  victim=$!
  sleep "$delay"
  kill -9 "$victim"
  code_of "$victim"
  if [[ $delay == 0.9 || $delay == 3 ]]; then
    check "up.sh gets on after kill -9 at $delay s" up "$a"
  fi
  check "down.sh after kill -9 of up.sh at $delay s" down "$a"
  check "... leaves no process" not pgrep -f -- "=$a/"
done
"$scripts/up.sh" --dir "$a" >/dev/null 2>&1 &
victim=$!
sleep 2
kill -TERM "$victim"
code_of "$victim"
check "up.sh ends on TERM" test "$code" = 143
check "... and takes its daemons with it" not pgrep -f -- "=$a/"

check "down.sh for the other cluster" down "$b"
check "... leaves no process" not pgrep -f -- "=$b/"

echo "$checks checks, $failures failed"
((failures == 0))
