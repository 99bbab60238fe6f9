#!/usr/bin/env bash
# Runs the libFuzzer programs one after another: run.sh BIN_FOLDER [SECONDS] [TARGET]
# New inputs stay in BIN_FOLDER/../corpus; a finding is written to BIN_FOLDER/../findings and fails the run.
set -euo pipefail
bin=${1:?usage: run.sh BIN_FOLDER [SECONDS] [TARGET]}
seconds=${2:-60}
only=${3:-}
here=$(cd "$(dirname "$0")" && pwd)
work=$(cd "$bin/.." && pwd)

failed=0
ran=0
for program in "$bin"/*_fuzz; do
  [[ -x $program ]] || continue
  name=$(basename "$program" _fuzz)
  [[ -z $only || $only == "$name" ]] || continue
  ran=$((ran + 1))
  mkdir -p "$work/corpus/$name" "$work/findings/$name"
  log=$work/corpus/$name.log
  if "$program" -max_total_time="$seconds" -max_len=8192 -timeout=5 -rss_limit_mb=1024 -print_final_stats=1 \
    -artifact_prefix="$work/findings/$name/" "$work/corpus/$name" "$here/corpus/$name" >"$log" 2>&1; then
    printf 'ok      %-14s %s executions\n' "$name" "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")"
  else
    printf 'FAILED  %-14s input in %s, log in %s\n' "$name" "$work/findings/$name" "$log"
    tail -n 15 "$log"
    failed=1
  fi
done
if ((ran == 0)); then
  echo "no fuzz target${only:+ named $only} in $bin" >&2
  exit 1
fi
exit "$failed"
