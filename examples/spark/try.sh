#!/usr/bin/env bash
# Tries orders_batch.py for real: a private Kafka and Postgres, tidegate, and Spark in its local mode. Spark
# sums the days of the topic while late orders come in; then the view must show what the plain aggregate
# shows, and its days must be those of Spark. Needs `make build`, Java 17 or later, Maven and python3-venv.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

here=examples/spark
cache=${TIDEGATE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tidegate}/spark
state=target/spark-stack
stack=(target/release/stack --state-dir "$state")
tidegate=target/release/tidegate
service=

die() { printf 'spark: %s\n' "$*" >&2; exit 1; }
say() { printf 'spark: %s\n' "$*"; }

install() {
    local sum
    sum=$(cat "$here/requirements.txt" "$here/pom.xml" | sha256sum | cut -d ' ' -f 1)
    [ "$(cat "$cache/sum" 2>/dev/null)" != "$sum" ] || return 0
    say "installing PySpark and its Kafka reader into $cache"
    rm -rf "$cache"
    mkdir -p "$cache"
    python3 -m venv "$cache/venv"
    "$cache/venv/bin/pip" install -q --disable-pip-version-check -r "$here/requirements.txt"
    mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies -DincludeScope=runtime \
        -DexcludeGroupIds=org.scala-lang,org.apache.hadoop,org.slf4j -DoutputDirectory="$cache/jars" || die "Maven failed; see above"
    echo "$sum" >"$cache/sum"
}

end() {
    [ -z "$service" ] || kill "$service" 2>/dev/null || true
    "${stack[@]}" down >/dev/null 2>&1 || true
}

sql() { psql --no-psqlrc --quiet --tuples-only --no-align "$DATABASE_URL" -c "$1"; }

await_rows() {
    for _ in $(seq 600); do
        [ "$(sql 'SELECT count(*) FROM orders_realtime' 2>/dev/null)" != "$1" ] || return 0
        kill -0 "$service" 2>/dev/null || die "tidegate ended"
        sleep 0.2
    done
    die "not $1 rows in time"
}

orders() {
    target/release/loadgen --brokers "$KAFKA_BROKERS" --count 100k --late 0.5 --late-by 240h \
        --seed "$1" --start-id "$2" >/dev/null 2>&1
}

install
trap end EXIT
"${stack[@]}" up --detach >/dev/null
set -a
# shellcheck disable=SC1091
. "$state/env"
set +a
"${stack[@]}" create-topic orders --partitions 4 >/dev/null
orders 1 0
"$tidegate" run --config examples/orders.toml --set admin.listen=127.0.0.1:0 2>"$state/tidegate.log" &
service=$!
await_rows 100000
"$tidegate" rollup create --config examples/orders.toml
# Late orders while Spark reads and sums.
orders 2 100000 &
late=$!
# Spark asks the first python3 for its home. /tmp may be small, and Spark's own log is long.
PATH=$cache/venv/bin:$PATH "$cache/venv/bin/spark-submit" --master 'local[2]' --jars "$(printf '%s,' "$cache"/jars/*.jar)" \
    --conf spark.sql.shuffle.partitions=4 --conf spark.ui.enabled=false \
    "$here/orders_batch.py" --tidegate "$tidegate" --config examples/orders.toml --to 2026-01-01 \
    2>"$state/spark.log" || { tail -n 40 "$state/spark.log" >&2; die "the job failed"; }
wait "$late"
await_rows 200000
days=$(sql 'SELECT count(DISTINCT bucket) FROM orders_batch_summary')
touched=$(sql 'SELECT count(DISTINCT bucket) FROM tidegate.rollup_touched')
plain="SELECT date_trunc('day', created_at, 'UTC'), status, count(*), sum(amount) FROM orders_realtime
       WHERE status <> 'removed' GROUP BY 1, 2"
view='SELECT bucket, status, orders, revenue FROM orders_summary'
differences="SELECT count(*) FROM (($view EXCEPT ALL $plain) UNION ALL ($plain EXCEPT ALL $view)) d"
differing=$(sql "$differences")
"$tidegate" rollup run --to 2026-01-01 --config examples/orders.toml
again=$(sql "$differences")
say "days=$days touched=$touched differing=$differing again=$again"
[ "$days" -ge 9 ] && [ "$differing" -eq 0 ] && [ "$again" -eq 0 ] || die "the view is not right"
