#!/usr/bin/env bash
# Draws docs/images/flamegraph.svg: where the CPU time of a drain of ROWS orders goes, by `perf record`
# of tidegate alone, against a Kafka and a Postgres of its own.
set -euo pipefail

INFERNO_VERSION=0.12.8
SECONDS_MAX=300
cd "$(dirname "${BASH_SOURCE[0]}")/.."
rows=${ROWS:-10000000}
bin=target/release
work=target/flamegraph
tools=${TIDEGATE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tidegate}/inferno-$INFERNO_VERSION
perf=

die() { printf 'flamegraph: %s\n' "$*" >&2; exit 1; }
stack() { "$bin/stack" --state-dir "$work/stack" "$@"; }
end() {
    if [ -n "$perf" ]; then pkill -TERM -P "$perf" || true; fi
    stack down >/dev/null || true
}

[[ $rows =~ ^[1-9][0-9]*$ ]] || die "ROWS=$rows: a number such as 10000000"
command -v perf >/dev/null || die "perf is missing; apt-get install linux-perf"
[ -x "$tools/bin/inferno-flamegraph" ] ||
    cargo install -q inferno --version "$INFERNO_VERSION" --locked --root "$tools"

mkdir -p "$work" docs/images
stack up --detach --postgres-setting shared_buffers=2GB --postgres-setting max_wal_size=16GB
trap end EXIT
set -a; . "$work/stack/env"; set +a
stack create-topic orders --partitions 6
"$bin/loadgen" --brokers "$KAFKA_BROKERS" --count "$rows" --partitions 6 --ledger "$work/ledger.json"
psql -q "$DATABASE_URL" -c 'CREATE TABLE orders (order_id bigint, customer_id bigint, status text,
    amount numeric(12,2), currency text, item_count int, express boolean, created_at timestamptz, note text)'

# The C library and the system's have no frame pointers, so stacks are copied and unwound afterwards.
KAFKA_GROUP=flamegraph perf record -q -F 997 --call-graph dwarf,8192 -o "$work/perf.data" \
    "$bin/tidegate" run --config benches/drain/tidegate.toml 2>"$work/tidegate.log" &
perf=$!
# It makes the table of its checkpoints itself, which is missing at first.
all="SELECT coalesce(sum(next_offset), 0) >= $rows FROM tidegate.checkpoints"
deadline=$((SECONDS + SECONDS_MAX))
until [ "$(psql "$DATABASE_URL" -Atqc "$all" 2>"$work/psql.log")" = t ]; do
    kill -0 "$perf" 2>/dev/null || die "tidegate ended: $(tail -n 3 "$work/tidegate.log")"
    [ "$SECONDS" -lt "$deadline" ] || die "not done in $SECONDS_MAX s: $(tail -n 3 "$work/psql.log" "$work/tidegate.log")"
    sleep 0.1
done
pkill -TERM -P "$perf" || die "tidegate ended: $(tail -n 3 "$work/tidegate.log")"
wait "$perf" || die "perf record failed"
perf=

# Threads of one kind are one column; what every thread begins with says nothing.
perf script -i "$work/perf.data" --no-inline 2>"$work/perf.log" |
    "$tools/bin/inferno-collapse-perf" |
    sed -E -e 's/^part-[^; ]*/partition threads/; s/^write-[^; ]*/writers/; s/^fetch-[^; ]*/fetch/' \
        -e ':next; s/;(clone3|start_thread|<std::sys::thread::[^;]*::thread_start|core::ops::function::FnOnce::call_once[^; ]*|std::sys::backtrace::__rust_begin_short_backtrace|entry_SYSCALL_64_after_hwframe|do_syscall_64)(;| )/\2/; t next' \
        -e 's/tidegate:://g' >"$work/folded"
"$tools/bin/inferno-flamegraph" --title "tidegate, $rows orders" --deterministic \
    --truncate-text-right --minwidth 0.3 "$work/folded" >"$work/flamegraph.svg"
mv "$work/flamegraph.svg" docs/images/flamegraph.svg
echo 'flamegraph: docs/images/flamegraph.svg'
