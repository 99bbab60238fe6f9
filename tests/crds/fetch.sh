#!/usr/bin/env bash
# Fetches the CEL evaluator that package-lock.json names into the cache, once, and prints its folder.
# npm refuses a package that is not the one that was locked. CEL_EVALUATOR: a folder with node_modules to use instead.
set -euo pipefail
here=$(realpath "$(dirname "${BASH_SOURCE[0]}")")
if [[ -n ${CEL_EVALUATOR:-} ]]; then
  realpath "$CEL_EVALUATOR"
  exit
fi
die() {
  echo "fetch.sh: error: $*" >&2
  exit 1
}
cache=${SIGNET_CACHE:-${XDG_CACHE_HOME:-${HOME:?}/.cache}/signet}
lock_sum=$(sha256sum "$here/package-lock.json")
folder=$cache/cel-${lock_sum:0:16}
if [[ ! -d $folder ]]; then
  type -P npm >/dev/null || die "no npm to fetch a CEL evaluator with: install npm, or set CEL_EVALUATOR"
  mkdir -p "$cache"
  exec 9>"$folder.lock"
  flock -w 300 9 || die "another fetch.sh has held $folder.lock for 5 minutes"
  if [[ ! -d $folder ]]; then
    work=$(mktemp -d "$folder.work.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    cp "$here/package.json" "$here/package-lock.json" "$work/"
    (cd "$work" && timeout 300 npm ci --silent --ignore-scripts --no-audit --no-fund 9>&- </dev/null >&2) ||
      die "npm ci failed (above): set CEL_EVALUATOR to a folder with the packages of $here/package.json"
    mv "$work" "$folder"
  fi
fi
echo "$folder"
