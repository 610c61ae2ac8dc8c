//! Every metric: its name, its help, and one function for each event that moves it.
//!
//! Events go through the `metrics` facade. What describes the present (lanes, queues, stages) is
//! rendered from [`Status`] when it is asked for: so a revoked partition's series vanish, and
//! seconds are counters with fractions, which the facade does not have.

use std::fmt::Write as _;

use metrics::{counter, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::{
    batch::Trigger,
    error::Error,
    lane::{Counts, Lane},
    latency::BOUNDS_MS,
    rejection::Reason,
    stage::{Stage, StageTimes},
    status::{SourceState, Status},
};

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
    BATCH_BYTES_MAX "tidegate_batch_max_bytes" "gauge" "" "Size at which a lane closes its batch: the budget's share at the present number of lanes.";
    CONSUMED "tidegate_records_consumed_total" "counter" "topic, partition, target" "Records taken in. Equals written + coalesced + filtered + dead-lettered + in flight.";
    WRITTEN "tidegate_rows_written_total" "counter" "topic, partition, target" "Rows that are durable in the target.";
    COALESCED "tidegate_rows_coalesced_total" "counter" "topic, partition, target" "Rows that a later row of the same key in the same batch stands for.";
    FILTERED "tidegate_records_filtered_total" "counter" "topic, partition, target" "Records that were passed over, as the route or the target wants it.";
    DEAD_LETTERED "tidegate_records_dead_lettered_total" "counter" "topic, partition, target" "Records that are durable as dead letters.";
    IN_FLIGHT "tidegate_records_in_flight" "gauge" "topic, partition, target" "Records in the open batch and in the one on its way.";
    DURABLE "tidegate_durable_offset" "gauge" "topic, partition, target" "Next offset that is not durable in the target.";
    HIGH_WATERMARK "tidegate_high_watermark" "gauge" "topic, partition, target" "End of the partition as the broker last told it.";
    LAG "tidegate_lag_records" "gauge" "topic, partition, target" "End of the partition minus durable offset.";
    LATENCY "tidegate_end_to_end_latency_seconds" "histogram" "" "Record timestamp to committed transaction, one observation a record.";
    PARTITION_STAGE "tidegate_partition_stage_seconds_total" "counter" "stage" "Time of the partition threads by stage; the rate is a number of threads.";
    WRITER_STAGE "tidegate_writer_stage_seconds_total" "counter" "sink, stage" "Time of the writers by stage; the rate is a number of writers.";
    QUEUE_DEPTH "tidegate_queue_batches" "gauge" "sink" "Batches that wait for a writer.";
    QUEUE_CAPACITY "tidegate_queue_capacity_batches" "gauge" "sink" "Batches that may wait for a writer.";
    WRITERS "tidegate_writers" "gauge" "sink" "Writer threads.";
    SINK_AWAY "tidegate_sink_outage_seconds" "gauge" "sink" "How long the sink has been away; 0 when it takes rows.";
    PARTITIONS "tidegate_partitions_assigned" "gauge" "source" "Partitions owned now.";
    BATCHES "tidegate_batches_total" "counter" "trigger" "Batches closed, by what closed them.";
    BATCH_ROWS "tidegate_batch_rows" "histogram" "" "Rows of a closed batch.";
    BATCH_BYTES "tidegate_batch_bytes" "histogram" "" "Encoded bytes of a closed batch.";
    WRITE_SECONDS "tidegate_write_seconds" "histogram" "sink" "Time to make a write set durable, from BEGIN to the reply to COMMIT.";
    DEAD_LETTERS "tidegate_dead_letters_total" "counter" "reason" "Records that could not become rows, by reason, when they are found.";
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
    KAFKA_ERRORS "tidegate_kafka_errors_total" "counter" "code" "Errors that the Kafka client reported.";
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
    Reason::ALL.iter().for_each(|r| counter!(DEAD_LETTERS, "reason" => r.as_str()).absolute(0));
    for kind in ["assign", "revoke", "lost"] {
        counter!(REBALANCES, "kind" => kind).absolute(0);
    }
    for outcome in ["ok", "failed"] {
        counter!(COMMITS, "outcome" => outcome).absolute(0);
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

pub(crate) fn dead_letter(reason: Reason) {
    counter!(DEAD_LETTERS, "reason" => reason.as_str()).increment(1);
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

pub(crate) fn kafka_error(code: &str) {
    counter!(KAFKA_ERRORS, "code" => code.to_owned()).increment(1);
}

/// The part of `/metrics` that describes the present.
pub fn render_live(status: &Status) -> String {
    let mut page = Page(String::with_capacity(4096));
    let (_, librdkafka) = rdkafka::util::get_rdkafka_version();
    page.head(BUILD_INFO);
    page.line(
        BUILD_INFO,
        &[("version", env!("CARGO_PKG_VERSION")), ("librdkafka", &librdkafka)],
        1.0,
    );
    page.single(READY, f64::from(u8::from(status.obstacles().is_empty())));
    page.single(MEMORY_BUDGET, status.memory.budget_bytes() as f64);
    page.single(BATCH_BYTES_MAX, status.memory.batch_bytes() as f64);
    render_lanes(&mut page, status);
    render_latency(&mut page, status);
    render_stages(&mut page, status);
    render_sinks(&mut page, status);
    page.head(PARTITIONS);
    for (source, state) in status.sources() {
        let count = if let SourceState::Running { partitions } = state { partitions } else { 0 };
        page.line(PARTITIONS, &[("source", &source)], count as f64);
    }
    page.0
}

fn render_lanes(page: &mut Page, status: &Status) {
    type Read = fn(&Lane, &Counts) -> Option<f64>;
    let series: [(&str, Read); 9] = [
        (CONSUMED, |_, counts| Some(counts.consumed as f64)),
        (WRITTEN, |_, counts| Some(counts.written as f64)),
        (COALESCED, |_, counts| Some(counts.coalesced as f64)),
        (FILTERED, |_, counts| Some(counts.filtered as f64)),
        (DEAD_LETTERED, |_, counts| Some(counts.dead_lettered as f64)),
        (IN_FLIGHT, |_, counts| Some(counts.in_flight as f64)),
        (DURABLE, |lane, _| Some(lane.durable() as f64)),
        (HIGH_WATERMARK, |lane, _| lane.high_watermark().map(|high| high as f64)),
        (LAG, |lane, _| lane.lag().map(|lag| lag as f64)),
    ];
    // One snapshot for the whole page: the sum of the counts holds on it.
    let lanes: Vec<_> = status.lanes().into_iter().map(|lane| (lane.counts(), lane)).collect();
    for (name, read) in series {
        page.head(name);
        for (counts, lane) in &lanes {
            let Some(value) = read(lane, counts) else { continue };
            let partition = lane.key.partition.to_string();
            let labels = [
                ("topic", &*lane.key.topic),
                ("partition", &partition),
                ("target", &*lane.key.target),
            ];
            page.line(name, &labels, value);
        }
    }
}

fn render_latency(page: &mut Page, status: &Status) {
    let latency = status.latency.read();
    page.head(LATENCY);
    let bucket = format!("{LATENCY}_bucket");
    let mut cumulative = 0;
    for (bound_ms, count) in BOUNDS_MS.iter().zip(latency.counts) {
        cumulative += count;
        let le = (*bound_ms as f64 / 1000.0).to_string();
        page.line(&bucket, &[("le", &le)], cumulative as f64);
    }
    page.line(&bucket, &[("le", "+Inf")], latency.total() as f64);
    page.line(&format!("{LATENCY}_sum"), &[], latency.sum_ms as f64 / 1000.0);
    page.line(&format!("{LATENCY}_count"), &[], latency.total() as f64);
}

fn render_stages(page: &mut Page, status: &Status) {
    let line = |page: &mut Page, name, sink: Option<&str>, times: &StageTimes, stages: &[Stage]| {
        for stage in stages {
            let mut labels = vec![("stage", stage.as_str())];
            labels.extend(sink.map(|sink| ("sink", sink)));
            page.line(name, &labels, times.seconds(*stage));
        }
    };
    let (partition_stages, writer_stages) = Stage::ALL.split_at(3);
    page.head(PARTITION_STAGE);
    line(page, PARTITION_STAGE, None, &status.partition_clock.read(), partition_stages);
    page.head(WRITER_STAGE);
    for (name, sink) in status.sinks() {
        line(page, WRITER_STAGE, Some(&name), &sink.clock.read(), writer_stages);
    }
}

fn render_sinks(page: &mut Page, status: &Status) {
    let sinks = status.sinks();
    type Read = fn(&crate::status::SinkStatus) -> f64;
    let series: [(&str, Read); 4] = [
        (QUEUE_DEPTH, |sink| sink.queue_depth() as f64),
        (QUEUE_CAPACITY, |sink| sink.queue_capacity() as f64),
        (WRITERS, |sink| sink.writers as f64),
        (SINK_AWAY, |sink| sink.outage().map_or(0.0, |o| o.since.elapsed().as_secs_f64())),
    ];
    for (name, read) in series {
        page.head(name);
        for (sink_name, sink) in &sinks {
            page.line(name, &[("sink", sink_name)], read(sink));
        }
    }
}

/// Prometheus' text format.
struct Page(String);

impl Page {
    fn head(&mut self, name: &str) {
        let Some(metric) = ALL.iter().find(|metric| metric.name == name) else { return };
        let _ = writeln!(self.0, "# HELP {name} {}\n# TYPE {name} {}", metric.help, metric.kind);
    }

    fn single(&mut self, name: &str, value: f64) {
        self.head(name);
        self.line(name, &[], value);
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.0.push_str(name);
        for (i, (label, text)) in labels.iter().enumerate() {
            self.0.push(if i == 0 { '{' } else { ',' });
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.0, "{label}=\"{text}\"");
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_conventions_of_prometheus() {
        for metric in ALL {
            assert!(metric.name.starts_with("tidegate_"), "{}", metric.name);
            assert_eq!(
                metric.kind == "counter",
                metric.name.ends_with("_total"),
                "{}",
                metric.name
            );
            assert!(metric.help.ends_with('.'), "{}", metric.name);
        }
    }

    #[test]
    fn labels_are_escaped() {
        let mut page = Page(String::new());
        page.line("x", &[("a", "q\"b\\c\nd")], 1.0);
        assert_eq!(page.0, "x{a=\"q\\\"b\\\\c\\nd\"} 1\n");
    }
}
