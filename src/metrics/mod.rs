//! Every metric: its name, its help, and one function for each event that moves it.
//!
//! Events go through the `metrics` facade. What describes the present (lanes, queues, stages) is
//! rendered from [`Status`](crate::status::Status) when it is asked for: so a revoked partition's series
//! vanish, and seconds are counters with fractions, which the facade does not have.

mod live;
mod page;
pub(crate) mod process;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use metrics::{counter, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

pub use self::live::render_live;
use crate::{batch::Trigger, error::Error, rejection::Reason};

/// One metric as it is exported.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Full name.
    pub name: &'static str,
    /// Prometheus type.
    pub kind: &'static str,
    /// Label names.
    pub labels: &'static str,
    /// Help text.
    pub help: &'static str,
}

macro_rules! metrics_table {
    ($($constant:ident $name:literal $kind:literal $labels:literal $help:literal;)*) => {
        $(const $constant: &str = $name;)*
        /// Every metric that `/metrics` may show.
        pub const ALL: &[Metric] = &[
            $(Metric { name: $name, kind: $kind, labels: $labels, help: $help },)*
        ];
    };
}

metrics_table! {
    BUILD_INFO "tidegate_build_info" "gauge" "version, librdkafka" "1; the labels tell the versions.";
    READY "tidegate_ready" "gauge" "" "1 if every source has its assignment and every sink takes rows.";
    MEMORY_BUDGET "tidegate_memory_budget_bytes" "gauge" "" "The memory budget.";
    MEMORY_IN_USE "tidegate_memory_in_use_bytes" "gauge" "part" "Of the budget, what is in use: batches; fetched: and not read yet, as of the last 5 s.";
    BATCH_BYTES_MAX "tidegate_batch_max_bytes" "gauge" "" "Size at which a lane closes its batch: the budget's share at the present number of lanes.";
    CONSUMED "tidegate_records_consumed_total" "counter" "topic, partition, target" "Records taken in. Equals written + coalesced + filtered + dead-lettered + in flight.";
    WRITTEN "tidegate_rows_written_total" "counter" "topic, partition, target" "Rows that are durable in the target.";
    COALESCED "tidegate_rows_coalesced_total" "counter" "topic, partition, target" "Rows that a later row of the same key in the same batch stands for.";
    FILTERED "tidegate_records_filtered_total" "counter" "topic, partition, target" "Records that were passed over, as the route or the target wants it.";
    DEAD_LETTERED "tidegate_records_dead_lettered_total" "counter" "topic, partition, target" "Records that are durable as dead letters.";
    UNACCOUNTED "tidegate_unaccounted_records" "gauge" "topic, target" "Consumed - written - coalesced - filtered - dead-lettered - in flight: always 0, or records are lost.";
    IN_FLIGHT "tidegate_records_in_flight" "gauge" "topic, partition, target" "Records in the open batch and in the one on its way.";
    DURABLE "tidegate_durable_offset" "gauge" "topic, partition, target" "Next offset that is not durable in the target.";
    PROGRESS "tidegate_partition_progress_timestamp_seconds" "gauge" "topic, partition, target" "When a batch last became durable, as Unix time; absent before the first.";
    LOW_WATERMARK "tidegate_low_watermark" "gauge" "topic, partition, target" "Beginning of the partition as the broker last told it, every 5 s.";
    HIGH_WATERMARK "tidegate_high_watermark" "gauge" "topic, partition, target" "End of the partition as the broker last told it.";
    LAG "tidegate_lag_records" "gauge" "topic, partition, target" "End of the partition minus durable offset; what lies between and is no record (marks of transactions, records of aborted ones), or was removed by retention, is not counted.";
    LAG_SECONDS "tidegate_lag_seconds" "gauge" "topic, partition, target" "Age of the oldest record that is not durable, by its timestamp; before it is fetched: of the last durable one, or since when there is a lag. 0 without a lag.";
    CATCH_UP "tidegate_catch_up_seconds" "gauge" "topic, partition, target" "When the lag is gone at the pace of the last 60 s; absent where it does not shrink or is not known.";
    LAG_STATE "tidegate_lag_state" "gauge" "topic, target, state" "1 for the worst state of its partitions. Over 60 s: growing: all of the last third above the first, and not falling; stalled: nothing durable for 30 s; will_exceed_retention: retention removes faster than records become durable and is there within an hour, or was; unknown: seen for less than 5 s.";
    LATENCY "tidegate_end_to_end_latency_seconds" "histogram" "" "Record timestamp to committed transaction, one observation a record.";
    PARTITION_STAGE "tidegate_partition_stage_seconds_total" "counter" "stage" "Time of the partition threads by stage; the rate is a number of threads.";
    WRITER_STAGE "tidegate_writer_stage_seconds_total" "counter" "sink, stage" "Time of the writers by stage; the rate is a number of writers.";
    BOTTLENECK "tidegate_bottleneck" "gauge" "stage" "1 for the stage that limits the rate in the last 5 s (none: nothing does), 0 for the others.";
    BOTTLENECK_SINCE "tidegate_bottleneck_since_timestamp_seconds" "gauge" "" "Since when it has been this stage, as Unix time.";
    BYTES_CONSUMED "tidegate_bytes_consumed_total" "counter" "source" "Bytes of keys and payloads taken in.";
    BYTES_WRITTEN "tidegate_bytes_written_total" "counter" "sink" "Bytes of encoded rows that are durable.";
    QUEUE_DEPTH "tidegate_queue_batches" "gauge" "sink" "Batches that wait for a writer.";
    QUEUE_CAPACITY "tidegate_queue_capacity_batches" "gauge" "sink" "Batches that may wait for a writer.";
    WRITERS "tidegate_writers" "gauge" "sink" "Writer threads.";
    SINK_AWAY "tidegate_sink_outage_seconds" "gauge" "sink" "How long the sink has been away; 0 when it takes rows.";
    POOL "tidegate_pool_connections" "gauge" "sink, state" "Connections: in_use, idle; wanted: those who wait for one; max: how many there may be.";
    PARTITIONS "tidegate_partitions_assigned" "gauge" "source" "Partitions owned now.";
    BATCHES "tidegate_batches_total" "counter" "trigger" "Batches closed, by what closed them.";
    BATCH_ROWS "tidegate_batch_rows" "histogram" "" "Rows of a closed batch.";
    BATCH_BYTES "tidegate_batch_bytes" "histogram" "" "Encoded bytes of a closed batch.";
    WRITE_SECONDS "tidegate_write_seconds" "histogram" "sink" "Time to make a write set durable, from BEGIN to the reply to COMMIT.";
    DEAD_LETTERS "tidegate_dead_letters_total" "counter" "reason" "Records that could not become rows, by reason, when they are found: again where they are read again.";
    RETRIES "tidegate_write_retries_total" "counter" "sink, sqlstate" "Write sets to be tried again after an outage, by SQLSTATE.";
    REBALANCES "tidegate_rebalances_total" "counter" "kind" "Assignments, revocations and losses of partitions.";
    COMMITS "tidegate_offset_commits_total" "counter" "outcome" "Kafka offset commits, as handed to the client.";
    CLAIMS "tidegate_claims_total" "counter" "outcome" "Lanes claimed in the sink; outranked: a member of a later generation of the group had the lane.";
    FENCED "tidegate_fenced_total" "counter" "" "Batches that were not written because another owner had claimed the lane.";
    REGRESSED "tidegate_sink_regressed_total" "counter" "" "Lanes read again because the sink had gone back in time: a fail-over to a standby that lagged, a restore.";
    IN_DOUBT "tidegate_commits_in_doubt_total" "counter" "outcome" "Batches whose COMMIT got no answer, by what had become of them; unknown: at-least-once, written again.";
    TARGET_CHANGES "tidegate_target_changes_total" "counter" "" "Encoders made anew, because a table got a column or another type; one for each lane.";
    ROLLUP_BOUNDARY "tidegate_rollup_boundary_timestamp_seconds" "gauge" "rollup" "Up to when a rollup with a schedule is finished, as Unix time, as of its last turn.";
    ROLLUP_TOUCHED "tidegate_rollup_touched_buckets" "gauge" "rollup" "Finished buckets that its view reads from the detailed rows, as of its last turn.";
    ROLLUP_REFRESHES "tidegate_rollup_refreshes_total" "counter" "rollup, outcome" "Turns of a rollup; busy: another process was at it.";
    TRACES "tidegate_traces_total" "counter" "outcome" "Write sets told to the collector (`[tracing]`), or dropped because it was away or slow.";
    KAFKA_ERRORS "tidegate_kafka_errors_total" "counter" "code" "Errors that the Kafka client reported.";
    CLIENT_MESSAGES "tidegate_client_queue_messages" "gauge" "source" "Records that were fetched and are not read yet, as of the last 5 s.";
    CLIENT_BYTES "tidegate_client_queue_bytes" "gauge" "source" "The bytes of these.";
    CLIENT_REQUESTS "tidegate_client_requests_total" "counter" "source" "Requests sent to the brokers.";
    CLIENT_TIMEOUTS "tidegate_client_request_timeouts_total" "counter" "source" "Requests that got no answer in time.";
    CLIENT_ROUND_TRIP "tidegate_client_round_trip_seconds" "gauge" "source, broker" "Average time from a request of librdkafka's to its answer, over 5 s.";
    CPU_SECONDS "process_cpu_seconds_total" "counter" "" "Processor time of the process.";
    RESIDENT "process_resident_memory_bytes" "gauge" "" "Resident memory of the process.";
    OPEN_FDS "process_open_fds" "gauge" "" "Open file descriptors of the process.";
    THREADS "process_threads" "gauge" "" "Threads of the process.";
    STARTED "process_start_time_seconds" "gauge" "" "When the process was started, as Unix time.";
}

/// Installs the recorder; once in a process.
///
/// # Errors
/// When another recorder is installed already.
pub fn install() -> Result<PrometheusHandle, Error> {
    let rows = [1.0, 10.0, 100.0, 500.0, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5];
    let bytes = [1e3, 1e4, 1e5, 2.5e5, 5e5, 1e6, 2e6, 4e6, 8e6, 1.6e7];
    let seconds =
        [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
    let failed = |error| Error::software(format!("cannot set up the metrics: {error}"));
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full(BATCH_ROWS.to_owned()), &rows)
        .and_then(|b| b.set_buckets_for_metric(Matcher::Full(BATCH_BYTES.to_owned()), &bytes))
        .and_then(|b| b.set_buckets_for_metric(Matcher::Full(WRITE_SECONDS.to_owned()), &seconds))
        .map_err(failed)?;
    let handle = builder.install_recorder().map_err(failed)?;
    for metric in ALL {
        match metric.kind {
            "counter" => metrics::describe_counter!(metric.name, metric.help),
            "histogram" => metrics::describe_histogram!(metric.name, metric.help),
            _ => metrics::describe_gauge!(metric.name, metric.help),
        }
    }
    // A counter that appears with its first event makes rate() miss that event.
    Trigger::ALL.iter().for_each(|t| counter!(BATCHES, "trigger" => t.as_str()).absolute(0));
    for kind in ["assign", "revoke", "lost"] {
        counter!(REBALANCES, "kind" => kind).absolute(0);
    }
    for outcome in ["ok", "failed"] {
        counter!(COMMITS, "outcome" => outcome).absolute(0);
    }
    for outcome in ["sent", "dropped"] {
        counter!(TRACES, "outcome" => outcome).absolute(0);
    }
    for outcome in ["claimed", "outranked"] {
        counter!(CLAIMS, "outcome" => outcome).absolute(0);
    }
    for outcome in DOUBTS {
        counter!(IN_DOUBT, "outcome" => outcome).absolute(0);
    }
    counter!(FENCED).absolute(0);
    counter!(REGRESSED).absolute(0);
    counter!(TARGET_CHANGES).absolute(0);
    Ok(handle)
}

pub(crate) fn batch_closed(trigger: Trigger, rows: u64, bytes: usize) {
    counter!(BATCHES, "trigger" => trigger.as_str()).increment(1);
    histogram!(BATCH_ROWS).record(rows as f64);
    histogram!(BATCH_BYTES).record(bytes as f64);
}

pub(crate) fn batch_written(sink: &str, took: std::time::Duration) {
    histogram!(WRITE_SECONDS, "sink" => sink.to_owned()).record(took);
}

/// By reason, in the order of [`Reason::ALL`]; `/status` reads them, too.
static DEAD_LETTERS_FOUND: [AtomicU64; Reason::ALL.len()] =
    [const { AtomicU64::new(0) }; Reason::ALL.len()];

pub(crate) fn dead_letter(reason: Reason) {
    DEAD_LETTERS_FOUND[reason as usize].fetch_add(1, Relaxed);
}

/// Dead letters that were found so far, by reason.
pub(crate) fn dead_letters() -> impl Iterator<Item = (&'static str, u64)> {
    let counts = DEAD_LETTERS_FOUND.iter().map(|count| count.load(Relaxed));
    Reason::ALL.iter().map(|reason| reason.as_str()).zip(counts)
}

pub(crate) fn retry(sink: &str, sqlstate: &str) {
    counter!(RETRIES, "sink" => sink.to_owned(), "sqlstate" => sqlstate.to_owned()).increment(1);
}

pub(crate) fn rebalance(kind: &'static str) {
    counter!(REBALANCES, "kind" => kind).increment(1);
}

pub(crate) fn offset_commit(ok: bool) {
    counter!(COMMITS, "outcome" => if ok { "ok" } else { "failed" }).increment(1);
}

pub(crate) fn claimed(lanes: usize) {
    counter!(CLAIMS, "outcome" => "claimed").increment(lanes as u64);
}

pub(crate) fn outranked(lanes: usize) {
    counter!(CLAIMS, "outcome" => "outranked").increment(lanes as u64);
}

pub(crate) fn fenced() {
    counter!(FENCED).increment(1);
}

pub(crate) fn regressed(lanes: usize) {
    counter!(REGRESSED).increment(lanes as u64);
}

pub(crate) fn adapted() {
    counter!(TARGET_CHANGES).increment(1);
}

pub(crate) fn rollup_refreshed(rollup: &str, outcome: &'static str) {
    counter!(ROLLUP_REFRESHES, "rollup" => rollup.to_owned(), "outcome" => outcome).increment(1);
}

pub(crate) fn rollup_stands(rollup: &str, boundary: Option<i64>, touched: i64) {
    if let Some(boundary) = boundary {
        gauge!(ROLLUP_BOUNDARY, "rollup" => rollup.to_owned()).set(boundary as f64);
    }
    gauge!(ROLLUP_TOUCHED, "rollup" => rollup.to_owned()).set(touched as f64);
}

/// What may have become of a batch in doubt.
const DOUBTS: [&str; 5] = ["committed", "not_committed", "fenced", "regressed", "unknown"];

pub(crate) fn in_doubt(outcome: &'static str, batches: usize) {
    counter!(IN_DOUBT, "outcome" => outcome).increment(batches as u64);
}

pub(crate) fn traces(outcome: &'static str, write_sets: u64) {
    counter!(TRACES, "outcome" => outcome).increment(write_sets);
}

pub(crate) fn kafka_error(code: &str) {
    counter!(KAFKA_ERRORS, "code" => code.to_owned()).increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_conventions_of_prometheus() {
        for metric in ALL {
            let prefixes = ["tidegate_", "process_"];
            assert!(prefixes.iter().any(|p| metric.name.starts_with(p)), "{}", metric.name);
            assert_eq!(
                metric.kind == "counter",
                metric.name.ends_with("_total"),
                "{}",
                metric.name
            );
            assert!(metric.help.ends_with('.'), "{}", metric.name);
        }
    }
}
