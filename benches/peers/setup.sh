#!/usr/bin/env bash
# Builds the peers that `make bench-peers` runs, from package registries, into the cache folder. Each
# argument names one; does only what is missing, and knows by a checksum when its sources have changed.
set -euo pipefail

TELEGRAF_VERSION=v1.37.2
DEBEZIUM_JDBC_VERSION=3.6.0.Final
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${TIDEGATE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tidegate}

say() { printf 'peers: %s\n' "$*"; }
die() { printf 'peers: %s\n' "$*" >&2; exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }

install_package() {
    local root=()
    has apt-get || die "this is neither Debian nor Ubuntu; install $1 yourself, then run it again"
    if [ "$(id -u)" -ne 0 ]; then
        has sudo || die "needs root to install $1: run it as root, or install sudo"
        root=(sudo)
    fi
    say "installing $1"
    "${root[@]}" apt-get update -qq
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "$1" >/dev/null
}

# From 1.21 on, Go fetches the version that a module asks for by itself.
need_go() {
    has go || install_package golang-go
    local minor
    minor=$(GOTOOLCHAIN=local go env GOVERSION | sed -n 's/^go1\.\([0-9]*\).*/\1/p')
    [ "${minor:-0}" -ge 21 ] || die "$(go version) is too old; install Go 1.21 or later (https://go.dev/dl)"
}

need_maven() { has mvn || install_package maven; }

copy_jars() {
    mvn -q -B -f "$here/$1/pom.xml" dependency:copy-dependencies \
        -DincludeScope=runtime -DoutputDirectory="$2" || die "Maven could not download $1; see above"
}

version_in() { sed -n "s|.*<$2.version>\(.*\)</.*|\1|p" "$here/$1/pom.xml"; }

build_go() {
    need_go
    (cd "$here/go" && go build -trimpath -o "$1/drain" . &&
        go list -m -f '{{.Path}} {{.Version}}' github.com/twmb/franz-go github.com/jackc/pgx/v5 |
        sed 's|.*/||; s|^v5 v|pgx |; s|franz-go v|franz-go |' | paste -sd ',' | sed 's/,/ and /') >"$1/version"
}

build_python() {
    python3 -c 'import ensurepip' 2>/dev/null || install_package python3-venv
    # A venv knows its own path, so it is made where it stays.
    rm -rf "$cache/peers/venv"
    python3 -m venv "$cache/peers/venv"
    "$cache/peers/venv/bin/pip" install -q --disable-pip-version-check -r "$here/python/requirements.txt"
    sed 's/==/ /' "$here/python/requirements.txt" | paste -sd ',' | sed 's/,/ and /' >"$1/version"
}

# Telegraf's own way to a smaller binary: only the plug-ins that are named.
build_telegraf() {
    need_go
    local source
    source=$(cd / && go mod download -json "github.com/influxdata/telegraf@$TELEGRAF_VERSION" |
        sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
    (cd "$source" && go build -mod=readonly -o "$1/telegraf" \
        -tags custom,inputs.kafka_consumer,outputs.postgresql,parsers.json \
        -ldflags "-s -w -X github.com/influxdata/telegraf/internal.Version=${TELEGRAF_VERSION#v}" \
        ./cmd/telegraf)
    echo "Telegraf ${TELEGRAF_VERSION#v}" >"$1/version"
}

build_connect() {
    need_maven
    copy_jars connect "$1/worker"
    mvn -q -B dependency:copy -DoutputDirectory="$1" \
        -Dartifact="io.debezium:debezium-connector-jdbc:$DEBEZIUM_JDBC_VERSION:tar.gz:plugin" ||
        die "Maven could not download the JDBC sink; see above"
    mkdir "$1/plugins"
    tar -xzf "$1"/debezium-connector-jdbc-*.tar.gz -C "$1/plugins"
    rm "$1"/debezium-connector-jdbc-*.tar.gz
    echo "Debezium JDBC sink $DEBEZIUM_JDBC_VERSION on Kafka Connect $(version_in connect kafka)" >"$1/version"
}

build_flink() {
    need_maven
    has javac || install_package default-jdk-headless
    copy_jars flink "$1/lib"
    javac -cp "$1/lib/*" -d "$1/classes" "$here/flink/Drain.java"
    echo "Flink $(version_in flink flink), its JDBC connector $(version_in flink jdbc)" >"$1/version"
}

mkdir -p "$cache/peers"
for peer in "$@"; do
    declare -f "build_$peer" >/dev/null || die "there is no peer $peer"
    sum=$({ declare -f "build_$peer"; echo "$TELEGRAF_VERSION $DEBEZIUM_JDBC_VERSION"; cat "$here/$peer"/*; } |
        sha256sum | cut -d ' ' -f 1)
    if [ "$(cat "$cache/peers/$peer/sum" 2>/dev/null)" = "$sum" ]; then continue; fi
    say "building $peer in $cache/peers"
    unfinished=$(mktemp -d "$cache/peers/unfinished.XXXXXX")
    trap 'rm -rf "$unfinished"' EXIT
    "build_$peer" "$unfinished"
    echo "$sum" >"$unfinished/sum"
    rm -rf "${cache:?}/peers/$peer"
    mv -T "$unfinished" "$cache/peers/$peer"
done
say "everything is in place"
