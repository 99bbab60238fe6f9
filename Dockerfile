# One image for the three programs: /usr/bin/signet-operator, /usr/bin/signet-sidecar, /usr/bin/signet. docs/image.md.
#
#   docker build -t signet .                                   (BuildKit, or buildah bud)
#   buildah bud --volume FOLDER:/mnt -t signet .                keeps what is compiled in FOLDER, for the next time
#
# No shell, package manager or writable file is needed at run time, and none of the programs starts one. There is no tini: operator and
# sidecar are proper as PID 1. They handle SIGTERM and SIGINT themselves, reap every process that they start (workers, which die with them
# and start none), and a probe run by kubelet is not their child.
ARG BASE_IMAGE=docker.io/library/debian:bookworm-slim

# ---- what every image has at run time ----------------------------------------------------------------------------------------
FROM ${BASE_IMAGE} AS runtime-base
# softhsm2 brings the module of devHsm; its tool is for people who look into a token. tzdata: the windows of policies have time zones.
RUN set -e; export DEBIAN_FRONTEND=noninteractive; \
    apt-get update -qq; \
    apt-get install -y -qq --no-install-recommends ca-certificates libabsl20220623 libbrotli1 libcpprest2.10 libfmt9 \
      libprometheus-cpp-core1.0 libseccomp2 libspdlog1.10 libssl3 libstdc++6 libyaml-cpp0.7 softhsm2 tzdata zlib1g; \
    rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/* /var/log/apt /var/log/dpkg.log \
      /usr/share/doc /usr/share/man /usr/share/locale /usr/share/info; \
    groupadd --gid 65532 signet; \
    useradd --uid 65532 --gid 65532 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin signet; \
    install -d -o 65532 -g 65532 -m 0700 /var/lib/signet; \
    install -d -o 65532 -g 65532 -m 0755 /run/signet; \
    find / -xdev -perm /6000 -type f -exec chmod a-s {} +
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG SOURCE=https://example.org/signet
LABEL org.opencontainers.image.title="signet" \
      org.opencontainers.image.description="Code signing inside Kubernetes with keys that never leave an HSM" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.documentation="${SOURCE}/docs/image.md" \
      org.opencontainers.image.base.name="docker.io/library/debian:bookworm-slim"
# A number, so that kubelet can check runAsNonRoot without reading /etc/passwd.
USER 65532:65532
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
WORKDIR /
STOPSIGNAL SIGTERM
CMD ["/usr/bin/signet", "--help"]

# ---- compile -----------------------------------------------------------------------------------------------------------------
FROM ${BASE_IMAGE} AS build
# PACKAGES_BUILD of tests/support/dev_lib.sh, without what only tests and people need.
RUN set -e; export DEBIAN_FRONTEND=noninteractive; \
    apt-get update -qq; \
    apt-get install -y -qq --no-install-recommends g++ cmake ninja-build pkg-config ccache libcpprest-dev libboost-dev libssl-dev \
      libyaml-cpp-dev libseccomp-dev libp11-kit-dev prometheus-cpp-dev libspdlog-dev libfmt-dev libcli11-dev nlohmann-json3-dev libexpected-dev \
      libabsl-dev tzdata
WORKDIR /src
COPY CMakeLists.txt CMakePresets.json ./
COPY cmake cmake
COPY src src
COPY operator operator
COPY sidecar sidecar
COPY cli cli
ARG JOBS=
# /mnt (no folder of its own, which would stay in the image): where ccache keeps what it compiles.
RUN export CCACHE_DIR=/mnt; \
    cmake --preset release >/dev/null \
    && ninja -C build ${JOBS:+-j${JOBS}} signet-operator signet-sidecar signet

# ---- the image, and the default target -----------------------------------------------------------------------------------------
FROM runtime-base AS runtime
COPY --from=build --chown=0:0 --chmod=0755 /src/build/bin/signet-operator /src/build/bin/signet-sidecar /src/build/bin/signet /usr/bin/
