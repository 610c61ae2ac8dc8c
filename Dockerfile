# syntax=docker/dockerfile:1

# Targets: `tidegate` (the default, as the last one) and `loadgen`. Needs BuildKit, for the cache
# mounts.
ARG RUST_VERSION=1.95.0
ARG DEBIAN_RELEASE=bookworm

FROM rust:${RUST_VERSION}-${DEBIAN_RELEASE} AS builder
# librdkafka and OpenSSL are built from source: CMake for the one, Perl and make for the other.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends cmake g++ make perl pkg-config \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# The cache holds the compiled dependencies from one build to the next, librdkafka among them, which
# takes minutes. It is not a part of the image, so the binaries are copied out of it. One cache for
# each platform, because build scripts leave native code under target/release.
#
# Cargo tells changed sources by their times, and COPY keeps the times of the host: sources that are
# older than the cache, from another clone or branch, would pass for built. Hence the touch.
#
# Line numbers of backtraces are four fifths of a binary; the names of the functions stay.
ARG DEBIAN_RELEASE
ARG TARGETARCH
RUN --mount=type=cache,id=tidegate-registry,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,id=tidegate-target-${DEBIAN_RELEASE}-${TARGETARCH},target=/src/target,sharing=locked \
    find . -path ./target -prune -o -type f -exec touch {} + \
    && cargo build --release --locked --package tidegate --package loadgen --bins \
    && install -D -m 0755 -t /out target/release/tidegate target/release/loadgen \
    && strip --strip-debug /out/*

# The same Debian as the builder's: a binary runs with the glibc that it was linked with, or a newer.
FROM debian:${DEBIAN_RELEASE}-slim AS runtime
# Certificates for Kafka over TLS, and the one library beside libc that the binaries load.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates zlib1g \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 65532 nonroot \
    && useradd --uid 65532 --gid 65532 --no-create-home --home-dir /nonexistent \
        --shell /usr/sbin/nologin nonroot
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"
WORKDIR /
# By number: Kubernetes' runAsNonRoot cannot tell from a name.
USER 65532:65532
STOPSIGNAL SIGTERM

FROM runtime AS loadgen
LABEL org.opencontainers.image.title="loadgen" \
      org.opencontainers.image.description="Writes deterministic order records to Kafka and keeps a ledger of them"
COPY --from=builder /out/loadgen /usr/local/bin/loadgen
# A library that this image lacks fails the build, not the first start.
RUN ["loadgen", "--version"]
ENTRYPOINT ["loadgen"]

FROM runtime AS tidegate
LABEL org.opencontainers.image.title="tidegate" \
      org.opencontainers.image.description="Kafka into Postgres: fast, exactly once, and able to say where the time goes"
COPY --from=builder /out/tidegate /usr/local/bin/tidegate
RUN ["tidegate", "--version"]
EXPOSE 9187
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["tidegate", "healthcheck", "--address", "127.0.0.1:9187"]
ENTRYPOINT ["tidegate"]
CMD ["run", "--config", "/etc/tidegate/tidegate.toml"]
