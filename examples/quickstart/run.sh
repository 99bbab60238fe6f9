#!/usr/bin/env bash
# The README's first command, after the build: signs through a SigningRequest and the socket, and verifies with openssl.
# Usage: run.sh BIN_FOLDER STATE_FOLDER      (repeatable; delete STATE_FOLDER to start anew)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
bin=$(cd "$1" && pwd)
mkdir -p "$2"
state=$(cd "$2" && pwd)
cd "$state"
umask 077

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
fail() {
  echo "quickstart: $*" >&2
  exit 1
}
# shown COMMAND...: prints the command as a person would type it, then runs it.
shown() {
  printf '  $ %s\n' "${*//$state\//}"
  "$@" | sed 's/^/    /'
}
# field NAME FILE: a member of the status, also a PEM block.
field() {
  awk -v name="$1:" '
    $1 == name && $2 == "|" { match($0, /^ */); indent = RLENGTH; block = 1; next }
    block { match($0, /^ */); if (RLENGTH > indent) { print substr($0, indent + 3); next } exit }
    $1 == name { gsub(/"/, "", $2); print $2; exit }' "$2"
}

module=
for candidate in /usr/lib/softhsm/libsofthsm2.so /usr/lib/*/softhsm/libsofthsm2.so /usr/lib*/pkcs11/libsofthsm2.so; do
  if [[ -e $candidate ]]; then module=$candidate; fi
done
[[ -n $module ]] || fail "SoftHSM is not installed: run ./dev setup build"

say "1. A token in the HSM (SoftHSM here; your HSM's PKCS#11 module later)"
export SOFTHSM2_CONF=$state/softhsm2.conf
if [[ ! -s $state/pin ]]; then
  rm -rf tokens && mkdir -p tokens
  printf 'directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n' "$state/tokens" >"$SOFTHSM2_CONF"
  openssl rand -hex 8 >pin.new
  softhsm2-util --module "$module" --init-token --free --label signet-quickstart --pin "$(cat pin.new)" \
    --so-pin "$(openssl rand -hex 8)" >/dev/null
  mv pin.new pin
  echo "  made token 'signet-quickstart'; its PIN is in the file pin, which only the HSM workers read"
else
  echo "  token 'signet-quickstart' is there from an earlier run"
fi

say "2. A policy and a request, as files (on a cluster: kubectl apply)"
mkdir -p manifests
cp "$bin/signet" artifact
digest=$(sha256sum artifact | cut -d' ' -f1)
cp "$here/policy.yaml" manifests/policy.yaml
request=signet-${digest:0:12}
cat >"manifests/$request.yaml" <<T
apiVersion: signet.dev/v1alpha1
kind: SigningRequest
metadata:
  name: $request
  namespace: quickstart
spec:
  policyRef: {name: quickstart}
  digest: sha256:$digest
  artifact: {name: quickstart/signet}
  requester: {username: "system:serviceaccount:quickstart:builder"}
T
shown cat "manifests/$request.yaml"

say "3. The operator makes the key in the HSM, decides, records, signs, verifies, writes the status"
shown "$bin/signet-operator" --store "dir:$state/manifests" --once --pkcs11-module "$module" --pin-file "$state/pin" \
  --token signet-quickstart --audit "$state/operator.audit.jsonl" --log-level warn
status=manifests/$request.status.yaml
[[ -s $status ]] || fail "no status was written beside the request"
shown sed -n '/^status:/,$p' "$status"

say "4. Anyone can verify it with plain openssl"
field publicKey "$status" >request.pub.pem
field signature "$status" | base64 -d >request.sig
shown openssl dgst -sha256 -verify request.pub.pem -signature request.sig artifact

say "5. The same key through the socket that a pipeline pod would see"
rm -f sidecar.log
"$bin/signet-sidecar" --socket "$state/signet.sock" --policies "$state/manifests" --pkcs11-module "$module" \
  --pin-file "$state/pin" --token signet-quickstart --audit "$state/sidecar.audit.jsonl" \
  --subject system:serviceaccount:quickstart:builder 2>sidecar.log &
sidecar=$!
trap 'kill "$sidecar" 2>/dev/null || true' EXIT
echo '  $ signet-sidecar --socket signet.sock --policies manifests --subject system:serviceaccount:quickstart:builder ... &'
for _ in $(seq 100); do
  kill -0 "$sidecar" 2>/dev/null || { cat sidecar.log >&2; fail "the sidecar ended"; }
  if curl -fs --unix-socket signet.sock http://localhost/readyz >/dev/null 2>&1; then break; fi
  sleep 0.1 # polls, because another process gives no event to wait for
done
body="{\"policy\":\"quickstart\",\"digest\":\"sha256:$digest\",\"artifact\":{\"name\":\"quickstart/signet\"}}"
cat <<T
  \$ curl --unix-socket signet.sock http://localhost/v1/sign -H 'Content-Type: application/json' \\
         -d '$body'
T
curl -sS --fail-with-body --unix-socket signet.sock http://localhost/v1/sign -H 'Content-Type: application/json' -d "$body" >answer.json ||
  { cat answer.json >&2; fail "the socket refused"; }
sed 's/^/    /' answer.json && echo
sed -n 's/.*"signature": *"\([^"]*\)".*/\1/p' answer.json | base64 -d >socket.sig
curl -sS --fail --unix-socket signet.sock http://localhost/v1/keys/quickstart >socket.pub.pem
shown openssl dgst -sha256 -verify socket.pub.pem -signature socket.sig artifact
kill "$sidecar" && wait "$sidecar"
trap - EXIT

say "6. Both signatures are on record; edits, swaps and cuts would show"
shown "$bin/signet" audit verify operator.audit.jsonl
shown "$bin/signet" audit verify sidecar.audit.jsonl

say "That is Signet."
cat <<T
  The private key was generated inside the HSM and never left it. The PIN stayed in the HSM workers.
  All files of this run: $state
  Next: ./dev cluster up          the same on a real Kubernetes API server, with kubectl
        ./dev test                every test
        docs/                     how it works, how to run it, what it protects against
T
