#!/usr/bin/env bash
# Installs what the build, the demo, the tests and the benches need on Debian or Ubuntu, and
# downloads Kafka, Debezium, a schema registry and Prometheus. Does only what is missing, so it may run before everything
# else.
set -euo pipefail

KAFKA_VERSION=4.1.0
DEBEZIUM_VERSION=3.3.1.Final
REGISTRY_VERSION=3.0.9
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
pom=$here/../stack/kafka/pom.xml
cache=${TIDEGATE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tidegate}
jars=$cache/kafka-$KAFKA_VERSION
debezium=$cache/debezium-$DEBEZIUM_VERSION
registry=$cache/registry-$REGISTRY_VERSION
prometheus=$cache/prometheus

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }

has_java() {
    has java || return 1
    local version
    version=$(java -XX:TieredStopAtLevel=1 -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p')
    [ "${version:-0}" -ge 17 ]
}

has_postgres() {
    [ -n "${TIDEGATE_POSTGRES_BIN:-}" ] && return
    compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || { has postgres && has initdb; }
}

has_prometheus() {
    [ -d "$prometheus" ] || { has prometheus && has promtool; }
}

# The names under which tests/integration/support/browser.rs looks for it.
has_browser() {
    local name
    for name in chromium chromium-browser google-chrome-stable google-chrome; do
        if has "$name"; then return; fi
    done
    return 1
}

missing_packages() {
    local tool
    for tool in gcc g++ make cmake pkg-config perl curl; do
        has "$tool" || echo "$tool"
    done
    [ -e /etc/ssl/certs/ca-certificates.crt ] || echo ca-certificates
    has setpriv && has ipcrm || echo util-linux
    has find || echo findutils
    has pkill || echo procps
    has valgrind || echo valgrind
    # Ubuntu has it as a snap only, which does not work everywhere.
    has_browser || grep -qx 'ID=ubuntu' /etc/os-release || echo chromium
    has_java || echo openjdk-17-jre-headless
    { [ -d "$jars" ] && [ -d "$debezium" ] && [ -d "$registry" ]; } || has mvn || echo maven
    has_postgres || echo postgresql
    has psql || echo postgresql-client
}

# Makes `root` what has to stand before apt-get, and has it know what there is.
prepare_apt() {
    if ! has apt-get; then
        die "this is neither Debian nor Ubuntu; install these yourself, then run it again: $*" \
            "(Java 17 or later; Postgres 15 or later, its initdb and postgres on PATH or named by" \
            "TIDEGATE_POSTGRES_BIN; prometheus and promtool on PATH)"
    fi
    if [ "$(id -u)" -ne 0 ]; then
        has sudo || die "needs root to install $*: run it as root, or install sudo"
        root=(sudo)
    fi
    say "installing $*"
    "${root[@]}" apt-get update -qq
}

install_packages() {
    local packages=("$@") root=()
    prepare_apt "${packages[@]}"
    # Debian's package would start a server of its own on port 5432.
    if [[ " ${packages[*]} " == *" postgresql "* && ! -e /etc/postgresql-common/createcluster.conf ]]; then
        "${root[@]}" mkdir -p /etc/postgresql-common
        echo 'create_main_cluster = false' |
            "${root[@]}" tee /etc/postgresql-common/createcluster.conf >/dev/null
    fi
    # Distributions newer than Debian 12 have other versions of Java only.
    if [[ " ${packages[*]} " == *" openjdk-17-jre-headless "* ]] &&
        ! apt-cache show openjdk-17-jre-headless >/dev/null 2>&1; then
        packages=("${packages[@]/openjdk-17-jre-headless/default-jre-headless}")
    fi
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends \
        -o Dpkg::Options::=--force-confold "${packages[@]}" >/dev/null
}

install_rust() {
    if has cargo; then return; fi
    if [ -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ]; then
        say "cargo is installed but not on PATH; run: . ${CARGO_HOME:-$HOME/.cargo}/env"
        return
    fi
    say "installing Rust with rustup"
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y -q --profile minimal ||
        die "could not install Rust; install it from https://rustup.rs, then run it again"
    say "Rust is installed; put it on PATH with: . ${CARGO_HOME:-$HOME/.cargo}/env"
}

# A folder that gets its name when it is complete.
begin_download() {
    say "downloading $1 to $2"
    mkdir -p "$cache"
    unfinished=$(mktemp -d "$cache/unfinished.XXXXXX")
    trap 'rm -rf "$unfinished"' EXIT
}

end_download() {
    # Somebody else may have been faster.
    mv -T "$unfinished/jars" "$1" 2>/dev/null || [ -d "$1" ]
    rm -rf "$unfinished"
}

download_kafka() {
    if [ -d "$jars" ]; then return; fi
    begin_download "Kafka $KAFKA_VERSION" "$jars"
    mvn -q -B -f "$pom" dependency:copy-dependencies \
        -DincludeScope=runtime -DoutputDirectory="$unfinished/jars" ||
        die "Maven could not download Kafka; see above"
    end_download "$jars"
}

# Debezium's connector for Postgres, without what Kafka has already.
download_debezium() {
    if [ -d "$debezium" ]; then return; fi
    local jar
    begin_download "Debezium $DEBEZIUM_VERSION" "$debezium"
    mvn -q -B -f "$here/../stack/debezium/pom.xml" dependency:copy-dependencies \
        -DincludeScope=runtime -DoutputDirectory="$unfinished/jars" ||
        die "Maven could not download Debezium; see above"
    for jar in "$unfinished"/jars/*; do
        if [ -e "$jars/${jar##*/}" ]; then rm "$jar"; fi
    done
    end_download "$debezium"
}

# Apicurio's registry: the newest whose classes Java 17 reads.
download_registry() {
    if [ -d "$registry" ]; then return; fi
    begin_download "Apicurio Registry $REGISTRY_VERSION" "$registry"
    mvn -q -B dependency:copy \
        -Dartifact="io.apicurio:apicurio-registry-app:$REGISTRY_VERSION:tar.gz:all" \
        -DoutputDirectory="$unfinished" ||
        die "Maven could not download the registry; see above"
    mkdir "$unfinished/jars"
    tar -xzf "$unfinished"/apicurio-registry-app-*.tar.gz -C "$unfinished/jars"
    end_download "$registry"
}

# Unpacked and not installed: Debian's package would start a server of its own.
download_prometheus() {
    if has_prometheus; then return; fi
    local root=()
    prepare_apt prometheus
    begin_download Prometheus "$prometheus"
    # The user that apt would drop to cannot write here.
    (cd "$unfinished" && apt-get -qq -o APT::Sandbox::User=root download prometheus) ||
        die "could not download Prometheus; see above"
    dpkg-deb -x "$unfinished"/prometheus_*.deb "$unfinished/deb"
    mv "$unfinished/deb/usr/bin" "$unfinished/jars"
    end_download "$prometheus"
}

# An archive of the loaded classes halves the CPU time of every start of a broker, of which the tests
# make dozens. Java 17 writes it when a broker ends; without it everything works, but slower.
archive_classes() {
    local archive=$jars/classes.jsa folder port options broker
    if [ -e "$archive" ]; then return; fi
    say "preparing Kafka for quick starts"
    folder=$(mktemp -d)
    port=$((20000 + RANDOM % 10000))
    cat >"$folder/server.properties" <<END
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$((port + 1))
listeners=CLIENT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$((port + 1))
listener.security.protocol.map=CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=CLIENT
controller.listener.names=CONTROLLER
log.dirs=$folder/data
END
    cat >"$folder/log4j2.properties" <<END
rootLogger.level = info
rootLogger.appenderRefs = stdout
rootLogger.appenderRef.stdout.ref = stdout
appender.stdout.type = Console
appender.stdout.name = stdout
END
    options=(-XX:-UsePerfData -Xmx512m "-Djava.io.tmpdir=$folder"
        "-Dlog4j2.configurationFile=$folder/log4j2.properties" -cp "$jars/*")
    java "${options[@]}" kafka.tools.StorageTool format -t dGlkZWdhdGUtc3RhY2stMQ \
        -c "$folder/server.properties" >"$folder/log" 2>&1 || true
    java "-XX:ArchiveClassesAtExit=$folder/classes.jsa" "${options[@]}" kafka.Kafka \
        "$folder/server.properties" >>"$folder/log" 2>&1 &
    broker=$!
    for _ in {1..600}; do
        if grep -q 'Kafka Server started' "$folder/log" || ! kill -0 "$broker" 2>/dev/null; then
            break
        fi
        sleep 0.1
    done
    kill "$broker" 2>/dev/null || true
    wait "$broker" || true
    if [ -e "$folder/classes.jsa" ]; then
        # A rename is atomic only within one file system.
        cp "$folder/classes.jsa" "$archive.$$" && mv "$archive.$$" "$archive"
    else
        say "that failed, so Kafka will start more slowly; the end of its log:"
        tail -n 5 "$folder/log"
    fi
    rm -rf "$folder"
}

[ "$(uname -s)" = Linux ] ||
    die "only Linux is supported: Kafka and Postgres are supervised through /proc"

mapfile -t missing < <(missing_packages)
if [ "${#missing[@]}" -gt 0 ]; then
    install_packages "${missing[@]}"
fi
has_browser || say "install Google Chrome: without a browser the test of the status page fails"
install_rust
download_kafka
download_debezium
download_registry
download_prometheus
archive_classes
say "everything is in place"
