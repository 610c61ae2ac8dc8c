#!/usr/bin/env bash
# Checks docker-compose.yml without a Docker engine: against the published compose schema, and then
# for what no schema can tell (compose-references.py).
#
# The schema comes with check-jsonschema, from PyPI, and is cached; nothing is fetched twice. Before
# the file is judged, broken copies of it must be refused: a check that accepts everything fails.
set -euo pipefail

CHECK_JSONSCHEMA_VERSION=0.37.4
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${TIDEGATE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tidegate}
venv=$cache/check-jsonschema-$CHECK_JSONSCHEMA_VERSION
python=$venv/bin/python

die() { printf 'check-compose: %s\n' "$*" >&2; exit 1; }
has_venv() { python3 -c 'import ensurepip, venv' 2>/dev/null; }
is_installed() { "$python" -m check_jsonschema --version >/dev/null 2>&1; }

install_python() {
    local as_root=()
    command -v apt-get >/dev/null ||
        die "needs python3 with its venv module; install them, then run it again"
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || die "needs python3-venv: install it as root, then run it again"
        as_root=(sudo)
    fi
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends python3 python3-venv >/dev/null
}

install_checker() {
    mkdir -p "$cache"
    # Two runs at once would write to the same folder.
    exec 9>"$venv.lock"
    flock 9
    if is_installed; then return; fi
    has_venv || install_python
    # One that is there but does not work was interrupted, or belongs to a Python that is gone.
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$python" -m pip install --quiet --disable-pip-version-check --no-input \
        "check-jsonschema==$CHECK_JSONSCHEMA_VERSION" ||
        die "could not install check-jsonschema $CHECK_JSONSCHEMA_VERSION from PyPI; see above"
    is_installed || die "check-jsonschema $CHECK_JSONSCHEMA_VERSION does not start; remove $venv"
}

# Relative paths in the file at $1 are relative to the root, as a copy lies elsewhere.
check() {
    "$python" -m check_jsonschema --builtin-schema vendor.compose-spec "$1" &&
        "$python" "$root/scripts/compose-references.py" "$1" "$root"
}

# A copy that is broken by the sed script $1 must be refused with words that match $2.
must_refuse() {
    local broken=$scratch/docker-compose.yml answer
    sed "$1" "$root/docker-compose.yml" >"$broken"
    if cmp -s "$broken" "$root/docker-compose.yml"; then
        die "self-test: '$1' changes nothing in docker-compose.yml any more; adapt it"
    fi
    if answer=$(check "$broken" 2>&1); then
        die "self-test: a copy that is broken by '$1' passes"
    fi
    grep -Eq "$2" <<<"$answer" ||
        die "self-test: a copy that is broken by '$1' is refused, but not for $2: $answer"
    refused=$((refused + 1))
}

is_installed || install_checker
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

refused=0
must_refuse 's/^    healthcheck:/    healthchek:/' 'kafka: .healthchek.'
must_refuse 's/condition: service_healthy/condition: service_happy/' "'service_happy'"
must_refuse 's/^    read_only: true/    read_only: [true]/' 'read_only.*\[True\]'
must_refuse 's/^  postgres:/  postgress:/' 'depends_on.*no service `postgres`'
must_refuse 's/^  grafana-data:/  grafana:/' 'no volume `grafana-data`'
must_refuse 's/orders\.sql:/order.sql:/' 'deploy/compose/order\.sql'
must_refuse 's/target: loadgen/target: loader/' 'no stage `loader`'
must_refuse 's/127\.0\.0\.1:\${GRAFANA_PORT/${GRAFANA_PORT/' 'ports.*127\.0\.0\.1'
must_refuse 's/\${KAFKA_VERSION:-4\.1\.0}/${KAFKA_VERSION}/' 'KAFKA_VERSION'
echo "self-test: $refused broken copies of docker-compose.yml are refused"

check "$root/docker-compose.yml" >"$scratch/answer" 2>&1 || {
    cat "$scratch/answer" >&2
    die "docker-compose.yml is not valid; see above"
}
echo "docker-compose.yml: valid (compose schema from check-jsonschema $CHECK_JSONSCHEMA_VERSION)"
