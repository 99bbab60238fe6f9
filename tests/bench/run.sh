#!/usr/bin/env bash
# ./dev bench: run.sh BIN_FOLDER [--quick] [--no-cluster]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
bin=$(cd "$1" && pwd)
shift
SIGNET_BIN=$bin PYTHONPATH=$here/../e2e PYTHONDONTWRITEBYTECODE=1 exec /usr/bin/python3 "$here/bench.py" "$@"
