#!/usr/bin/env bash
# Finds or builds the programs of a control plane. See usage below and README.md.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# What is built from source, and what a node needs besides.
components=(kube-apiserver kube-controller-manager)
node_components=(kubelet kube-proxy kube-scheduler)
version=1.20.2
recipe=2 # one more whenever the same source is built in another way: what older ways made is not taken from a cache
go_version=1.19

usage() {
  cat <<TEXT
usage: binaries.sh [--node | --sources]

Prints the folder that holds etcd, ${components[*]}; with --node,
the one that also holds ${node_components[*]} (a minute more to build, in the same go); with --sources,
the package sources that a build would use. First that has them:
  KUBEBUILDER_ASSETS   an envtest folder (kube-controller-manager may be absent; with --node nothing may)
  the cache            \${SIGNET_CACHE:-\${XDG_CACHE_HOME:-~/.cache}/signet}/kubernetes-$version-$recipe
  a build              Kubernetes $version from Debian 12's source package, into the cache: about 5 minutes on
                       2 cores, once. Needs apt and this machine's Debian mirror, 5 GB of disk for the time of
                       the build, and no root: packages are unpacked there, nothing is installed.
kubectl and Helm: clients.sh.
TEXT
}

want=folder
while (($#)); do
  case $1 in
    --node) components+=("${node_components[@]}") ;;
    --sources) want=sources ;;
    -h | --help) usage && exit ;;
    *) usage_error "unknown argument '$1'" ;;
  esac
  shift
done

cache_root=${SIGNET_CACHE:-${XDG_CACHE_HOME:-${HOME:?}/.cache}/signet}
cache=$cache_root/kubernetes-$version-$recipe
stage=$cache.building
log=$cache.log

# ---- what is there ----

works() { [[ -x $1 ]] && "$1" --version >/dev/null 2>&1; }

# Prints what a build has to make, one word per line.
missing() {
  local name
  for name in etcd "${components[@]}"; do
    [[ -x $cache/$name ]] || echo "$name"
  done
}

# ---- Debian, without touching the system's apt ----

# The machine's own entries for its own release, as they are written, for binary and source packages. Other vendors'
# entries stay out: they have no say in this, and often no source packages. $1: the folder they are written to.
debian_sources() {
  local codename file etc_apt
  eval "$(apt-config shell etc_apt Dir::Etc/d)"
  # shellcheck source=/dev/null
  codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
  for file in "$etc_apt"/sources.list "$etc_apt"/sources.list.d/*.list; do
    [[ -f $file ]] || continue
    awk -v codename="$codename" '
      $1 != "deb" { next }
      {
        bare = $0
        sub(/#.*/, "", bare)
        sub(/\[[^]]*\]/, "", bare) # options
        n = split(bare, word, /[ \t]+/)
        if (word[3] !~ "^" codename "(-updates|-security|/updates)?$") next
        for (i = 4; i <= n; i++) if (word[i] == "main") { print; sub(/^[ \t]*deb/, "deb-src"); print; next }
      }' "$file"
  done >"$1/debian.list"
  for file in "$etc_apt"/sources.list.d/*.sources; do
    [[ -f $file ]] || continue
    # A stanza ends at an empty line; comments may stand between its fields.
    awk -v codename="$codename" '
      function flush(   i, n, word, ours, main) {
        n = split(suites, word, /[ \t]+/)
        for (i = 1; i <= n; i++) if (word[i] ~ "^" codename "(-updates|-security|/updates)?$") ours = 1
        n = split(components, word, /[ \t]+/)
        for (i = 1; i <= n; i++) if (word[i] == "main") main = 1
        if (ours && main && types ~ /(^|[ \t])deb([ \t]|$)/ && !off) printf "Types: deb deb-src\n%s\n", text
        text = suites = components = types = off = ""
      }
      /^[ \t]*$/ { flush(); next }
      /^#/ { next }
      {
        field = ""
        if ($0 !~ /^[ \t]/) { field = tolower(substr($0, 1, index($0, ":") - 1)); value = substr($0, index($0, ":") + 1) }
        else value = $0
        if (field != "") last = field
        if (last == "suites") suites = suites " " value
        if (last == "components") components = components " " value
        if (last == "types") { types = types " " value; next }
        if (last == "enabled" && tolower(value) ~ /no|false|0|off|disable/) off = 1
        text = text $0 "\n"
      }
      END { flush() }' "$file"
  done >"$1/debian.sources"
  [[ -s $1/debian.list || -s $1/debian.sources ]]
}

# An apt of our own: the machine's settings (proxies and the like) without its hooks and its folders.
setup_apt() {
  local apt=$stage/apt
  mkdir -p "$apt"/{sources,lists/partial,cache/archives/partial,parts}
  : >"$apt/status"
  debian_sources "$apt/sources" || die "found no entry for this machine's own Debian release in apt's sources: $elsewhere"
  {
    apt-config dump | grep -Ev '^(Dir|DPkg|APT::Update|APT::NeverAutoRemove|APT::Default-Release|Acquire::Languages)\b'
    cat <<TEXT
Dir::Etc::main "/dev/null";
Dir::Etc::parts "$apt/parts";
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "$apt/sources";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "$apt/parts";
Dir::State::lists "$apt/lists";
Dir::State::status "$apt/status";
Dir::Cache "$apt/cache";
Acquire::Languages "none";
Acquire::Retries "3";
APT::Sandbox::User "root";
TEXT
  } >"$apt/apt.conf"
  export APT_CONFIG=$apt/apt.conf
  logged apt-get -q update
}

# unpack PACKAGE...: the packages' files, below $stage/root.
unpack() {
  local deb
  mkdir -p "$stage/debs" "$stage/root"
  (cd "$stage/debs" && logged apt-get -q download "$@")
  for deb in "$stage"/debs/*.deb; do
    dpkg-deb -x "$deb" "$stage/root"
    rm "$deb"
  done
}

# ---- building ----

elsewhere="set KUBEBUILDER_ASSETS to a folder with etcd and kube-apiserver, or KUBECONFIG to a running cluster"

# In the background, so that a signal to this script is acted on at once.
logged() {
  "$@" >>"$log" 2>&1 </dev/null &
  child=$!
  wait "$child" || {
    tail -n 20 "$log" >&2
    die "'${*:0:3}...' failed; the whole log is in $log"
  }
  child=
}

# Without the file that this makes, kube-apiserver does not compile; Debian's package makes it at build time as well.
generate_openapi() {
  local packages
  packages=$(grep -rlF '+k8s:openapi-gen=' --include='*.go' pkg staging/src/k8s.io |
    grep -Ev '(_test\.go$|/(testdata|_examples|generators)/|/code-generator/|/sample-)' |
    xargs -n1 dirname | sort -u |
    sed -e 's|^staging/src/|k8s.io/kubernetes/vendor/|' -e 's|^pkg/|k8s.io/kubernetes/pkg/|' | paste -sd,)
  logged go build -o "$stage/openapi-gen" ./vendor/k8s.io/kube-openapi/cmd/openapi-gen
  mkdir -p pkg/generated/openapi
  logged "$stage/openapi-gen" -i "$packages" -O zz_generated.openapi -p k8s.io/kubernetes/pkg/generated/openapi \
    -h vendor/k8s.io/code-generator/hack/boilerplate.go.txt -r "$stage/openapi.violations"
}

fetch_source() {
  local offered
  offered=$(apt-cache showsrc kubernetes 2>/dev/null | sed -n 's/^Version: //p' | grep -F "$version" | sort -V | tail -n1) ||
    die "this machine's Debian has no source package of Kubernetes $version: $elsewhere"
  mkdir -p "$stage/source" "$tree"
  (cd "$stage/source" && logged apt-get -q source --download-only "kubernetes=$offered")
  tar -xf "$stage"/source/*.orig.tar.* --strip-components=1 -C "$tree"
  rm -r "$stage/source"
  # The vendored reflect2 is older than Go 1.18 and breaks on its maps: every POST of a CRD would panic.
  rm -r "$tree/vendor/github.com/modern-go/reflect2"
  cp -rL "$stage/root/usr/share/gocode/src/github.com/modern-go/reflect2" "$tree/vendor/github.com/modern-go/"
}

# Nothing of an interrupted build stays. (The compilers of a killed `go build` may write on for a moment.)
clean_up() {
  local status=$?
  [[ -z $child ]] || kill "$child" 2>/dev/null || true
  wait
  rm -rf "$stage" 2>/dev/null || { sleep 2 && rm -rf "$stage"; }
  exit "$status"
}

# build NAME...: each of them appears in the cache whole, or not at all.
build() {
  local name packages=() sources=() began=$SECONDS flags='-s -w' package
  for name; do
    case $name in
      etcd) packages+=(etcd-server) ;;
      *) sources+=("$name") ;;
    esac
  done
  ((${#sources[@]} == 0)) || packages+=("golang-$go_version-go" "golang-$go_version-src" golang-github-modern-go-reflect2-dev)

  type -P apt-get dpkg-deb >/dev/null || die "this machine has no apt: $elsewhere"
  rm -rf "$stage" # left by a build that was killed
  mkdir -p "$stage/out" "$cache"
  : >"$log"
  child=
  trap clean_up EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP

  step "fetching Debian's packages: ${packages[*]}"
  setup_apt
  unpack "${packages[@]}"
  if [[ " $* " == *" etcd "* ]]; then
    works "$stage/root/usr/bin/etcd" || die "Debian's etcd does not run here"
    mv "$stage/root/usr/bin/etcd" "$cache/"
  fi

  if ((${#sources[@]})); then
    export GOROOT=$stage/root/usr/lib/go-$go_version GOPATH=$stage/go GOCACHE=$stage/go-cache GOTMPDIR=$stage/tmp
    export GO111MODULE=off CGO_ENABLED=0 GOFLAGS='' GOENV=off PATH=$stage/root/usr/lib/go-$go_version/bin:$PATH
    local tree=$GOPATH/src/k8s.io/kubernetes
    mkdir -p "$GOTMPDIR"
    step "fetching the source of Kubernetes $version"
    fetch_source
    step "building ${sources[*]} (about 6 minutes on 2 cores; log: $log)"
    # What programs say of themselves with --version, and what the API server says at /version.
    for package in component-base/version client-go/pkg/version; do
      package=k8s.io/kubernetes/vendor/k8s.io/$package
      flags+=" -X $package.gitVersion=v$version -X $package.gitMajor=${version%%.*} -X $package.gitMinor=20"
    done
    cd "$tree"
    generate_openapi
    for name in "${sources[@]}"; do
      logged nice go build -trimpath -o "$stage/out/$name" -ldflags "$flags" "./cmd/$name"
      [[ $("$stage/out/$name" --version) == "Kubernetes v$version" ]] || die "the $name just built does not say it is v$version"
      mv "$stage/out/$name" "$cache/" # at once: an interrupted build goes on from here
    done
    cd /
  fi
  rm "$log"
  step "made ${*} in $((SECONDS - began)) s: $cache"
}

# ---- main ----

if [[ -n ${KUBEBUILDER_ASSETS:-} && $want == folder ]]; then
  needed=(etcd kube-apiserver)
  if ((${#components[@]} > 2)); then
    needed=(etcd "${components[@]}")
    node_hint=" with ${node_components[*]} too"
  fi
  for name in "${needed[@]}"; do
    works "$KUBEBUILDER_ASSETS/$name" || die "KUBEBUILDER_ASSETS is set, but $KUBEBUILDER_ASSETS/$name does not run: set it to an envtest folder${node_hint:-}, or unset it"
  done
  realpath -s "$KUBEBUILDER_ASSETS"
  exit
fi

if [[ $want == sources ]]; then
  type -P apt-config >/dev/null || die "this machine has no apt: $elsewhere"
  stage=$(mktemp -d)
  trap 'rm -r "$stage"' EXIT
  debian_sources "$stage" || die "found none for this machine's own Debian release: $elsewhere"
  cat "$stage"/debian.{list,sources}
  exit
fi

if [[ -n $(missing) ]]; then
  mkdir -p "$cache_root"
  exec 9>"$cache.lock"
  flock -n 9 || {
    step "waiting for another build in $cache_root"
    flock 9
  }
  mapfile -t names < <(missing) # again: the one we waited for may have made them
  ((${#names[@]} == 0)) || build "${names[@]}"
fi
echo "$cache"
