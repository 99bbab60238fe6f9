#!/usr/bin/env bash
# Builds the images that the node's tests run. See usage below and README.md.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
umask 022 # a base made under 077 has a /bin/sh that only root can run

usage() {
  cat <<TEXT
usage: image.sh

Makes what is not yet there of these images, and prints "NAME FILE" for each (OCI archives):
  localhost/pause:1        a static C program: what holds a pod's namespaces
  localhost/workload:1     Debian with curl and openssl: what a pipeline runs in
  localhost/signet:test    the repository's Dockerfile, whole: compiled in the image, with this machine's ccache
They stand on docker.io/library/debian:bookworm-slim, made here with mmdebstrap from this machine's own Debian sources.
All of it is kept in \${SIGNET_CACHE:-\${XDG_CACHE_HOME:-~/.cache}/signet}/images by content: base, workload and compilers take
three minutes once, the first compilation ten, later ones what has changed. Archives that nobody asked for in a week are removed. Needs root.
TEXT
}

case ${1:-} in
  '') ;;
  -h | --help) usage && exit ;;
  *) usage_error "unknown argument '$1'" ;;
esac
need_root image.sh
need_programs buildah mmdebstrap gcc flock

cache=${SIGNET_CACHE:-${XDG_CACHE_HOME:-${HOME:?}/.cache}/signet}/images
mkdir -p "$cache"
work=$(mktemp -d "$cache/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# Its own storage: the images of whoever uses this machine are not touched.
builder() {
  timeout 2400 buildah --root "$cache/storage" --runroot "$cache/run" "$@" 9>&-
}

# quietly COMMAND...: what it says is shown when it fails.
quietly() {
  "$@" >"$work/log" 2>&1 </dev/null || {
    tail -n 30 "$work/log" >&2
    die "'${*:0:4}...' failed (above)"
  }
}

key() { sha256sum | cut -c1-16; }

# archive NAME KEY MAKER: the archive of image NAME, made by MAKER when there is none for KEY. Prints its line.
archive() {
  local name=$1 file began=$SECONDS
  file=$cache/$(basename "${name%%:*}")-$2.tar
  if [[ ! -s $file ]]; then
    "$3" "$name"
    quietly builder push "$name" "oci-archive:$work/out.tar:$name"
    mv "$work/out.tar" "$file"
    step "built $name in $((SECONDS - began)) s"
  fi
  touch "$file"
  echo "$name $file"
}

base=docker.io/library/debian:bookworm-slim
make_base() {
  local container proxy=() line
  while read -r line; do proxy+=(--aptopt="$line"); done < <(apt-config dump | grep -E '^Acquire::https?::[Pp]roxy ' || true)
  "$repo/tests/cluster/binaries.sh" --sources | sed -e 's/^deb-src/deb/' -e 's/^Types: .*/Types: deb/' >"$work/debian.sources"
  step "making the base image from Debian's packages"
  # Without what Debian's slim image has not either: documents and translations.
  quietly timeout 300 mmdebstrap --variant=minbase --mode=root "${proxy[@]}" --aptopt='Acquire::Retries "3"' --dpkgopt=path-exclude='/usr/share/doc/*' \
    --dpkgopt=path-exclude='/usr/share/man/*' --dpkgopt=path-exclude='/usr/share/info/*' --dpkgopt=path-exclude='/usr/share/locale/*' \
    bookworm "$work/base.tar" "$work/debian.sources"
  container=$(builder from scratch)
  quietly builder add "$container" "$work/base.tar" /
  quietly builder config --cmd bash "$container"
  quietly builder commit --rm "$container" "$base"
  rm "$work/base.tar"
}

make_pause() {
  mkdir "$work/pause"
  gcc -Os -static -s -o "$work/pause/pause" "$here/pause.c"
  printf 'FROM scratch\nCOPY pause /pause\nENTRYPOINT ["/pause"]\n' >"$work/pause/Dockerfile"
  quietly builder bud --isolation chroot --tag "$1" "$work/pause"
}

workload='RUN apt-get -o Acquire::Retries=3 update -qq && DEBIAN_FRONTEND=noninteractive apt-get -o Acquire::Retries=3 install -y -qq --no-install-recommends curl openssl && apt-get clean && rm -rf /var/lib/apt/lists/*'
make_workload() {
  mkdir "$work/workload"
  printf 'FROM %s\n%s\nUSER 1000:1000\n' "$base" "$workload" >"$work/workload/Dockerfile"
  quietly builder bud --isolation chroot --pull-never --tag "$1" "$work/workload"
}

make_signet() {
  local compiled
  compiled=$(ccache --get-config cache_dir)
  mkdir -p "$compiled"
  quietly builder bud --isolation chroot --pull-never --layers --volume "$compiled:/mnt" --file "$repo/Dockerfile" --tag "$1" "$repo"
}

# All that the Dockerfile can see.
sources() { (cd "$repo" && find .dockerignore Dockerfile CMakeLists.txt CMakePresets.json cmake src operator sidecar cli -type f -print0 | sort -z | xargs -0 sha256sum); }

exec 9>"$cache/lock"
flock -w 2400 9 || die "another image.sh has held $cache for 40 minutes"
base_key=$({ "$repo/tests/cluster/binaries.sh" --sources && declare -f make_base; } | key)
if [[ ! -e $cache/base-$base_key ]] || ! builder inspect --type image "$base" >/dev/null 2>&1; then
  make_base
  touch "$cache/base-$base_key"
fi
archive localhost/pause:1 "$(key <"$here/pause.c")" make_pause
archive localhost/workload:1 "$(echo "$base_key $workload" | key)" make_workload
archive localhost/signet:test "$( (sources && echo "$base_key") | key)" make_signet
find "$cache" -maxdepth 1 -name '*.tar' -mtime +7 -delete
