#!/usr/bin/env bash
# Every static check that needs no build. `--tidy` adds clang-tidy over build/compile_commands.json.
set -euo pipefail
cd "$(dirname "$0")/../.."

failed=0
check() {
  local name=$1
  shift
  if "$@"; then
    echo "ok      $name"
  else
    echo "FAILED  $name"
    failed=1
  fi
}

formatted() {
  git ls-files -z '*.cpp' '*.hpp' | xargs -0 clang-format-14 --dry-run --Werror 2>&1 | head -20
  return "${PIPESTATUS[1]}"
}
shell_scripts() {
  git ls-files -z dev .ci/run '*.sh' | xargs -0 shellcheck -x --severity=warning
}
clean_of_machines() { # registry hosts and machine paths have no place in the repository
  ! git grep -nIE 'https?://[a-z0-9.-]*(debian|npmjs)[a-z0-9.-]*/|/work/main|[ "=:]/root/' -- . ':!tests/lint/run.sh'
}

check layers tests/lint/check_layers.py
check clang-format formatted
check shellcheck shell_scripts
check machine-free clean_of_machines
for script in tests/lint/check_*.py; do
  case "$script" in
    */check_layers.py | */check_openapi.py | */check_audit_schema.py) ;; # the last two need programs: ctest runs them
    *) check "$(basename "$script" .py)" /usr/bin/python3 "$script" ;;
  esac
done
if [[ "${1:-}" == --tidy ]]; then
  check clang-tidy run-clang-tidy-14 -quiet -p build '^.*/(src|operator|sidecar|cli)/.*\.cpp$'
fi
exit "$failed"
