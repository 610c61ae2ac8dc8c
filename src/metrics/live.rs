//! The part of `/metrics` that describes the present: rendered from [`Status`] when it is asked for, so a
//! revoked partition's series vanish.

use std::{collections::BTreeMap, sync::Arc};

use super::{page::Page, *};
use crate::{
    lag::LagState,
    lane::unix_ms,
    latency::BOUNDS_MS,
    observation::{LaneReport, Observation},
    source::kafka::figures::ClientFigures,
    stage::{Stage, StageTimes},
    status::{SinkStatus, SourceState, Status},
    verdict::Bottleneck,
};

/// The part of `/metrics` that describes the present.
pub fn render_live(status: &Status) -> String {
    let mut page = Page(String::with_capacity(16 << 10));
    let (seen, clients) = (status.observation(), status.clients());
    let (_, librdkafka) = rdkafka::util::get_rdkafka_version();
    page.head(BUILD_INFO);
    page.line(
        BUILD_INFO,
        &[("version", env!("CARGO_PKG_VERSION")), ("librdkafka", &librdkafka)],
        1.0,
    );
    page.single(READY, f64::from(u8::from(status.obstacles().is_empty())));
    // One snapshot for the whole page: the sum of the counts holds on it.
    let lanes = LaneReport::all(status, &seen);
    render_memory(&mut page, status, &lanes, clients.values().map(|c| c.queue_bytes).sum());
    render_lanes(&mut page, &lanes);
    render_targets(&mut page, &lanes);
    render_latency(&mut page, status);
    render_stages(&mut page, status);
    render_bottleneck(&mut page, &seen);
    render_sinks(&mut page, status, &seen);
    render_sources(&mut page, status);
    render_clients(&mut page, &clients);
    page.head(DEAD_LETTERS);
    for (reason, count) in dead_letters() {
        page.line(DEAD_LETTERS, &[("reason", reason)], count as f64);
    }
    render_process(&mut page);
    page.0
}

/// Records that are nowhere.
fn unaccounted(row: &LaneReport) -> f64 {
    let counts = &row.standing.counts;
    counts.consumed as f64 - counts.settled() as f64 - counts.in_flight as f64
}

fn render_memory(page: &mut Page, status: &Status, lanes: &[LaneReport], fetched: u64) {
    page.single(MEMORY_BUDGET, status.memory.budget_bytes() as f64);
    page.single(BATCH_BYTES_MAX, status.memory.batch_bytes() as f64);
    page.head(MEMORY_IN_USE);
    let batches: usize = lanes.iter().map(|row| row.standing.held_bytes).sum();
    for (part, bytes) in [("batches", batches as u64), ("fetched", fetched)] {
        page.line(MEMORY_IN_USE, &[("part", part)], bytes as f64);
    }
}

fn render_lanes(page: &mut Page, lanes: &[LaneReport]) {
    type Read = fn(&LaneReport) -> Option<f64>;
    let series: [(&str, Read); 13] = [
        (CONSUMED, |row| Some(row.standing.counts.consumed as f64)),
        (WRITTEN, |row| Some(row.standing.counts.written as f64)),
        (COALESCED, |row| Some(row.standing.counts.coalesced as f64)),
        (FILTERED, |row| Some(row.standing.counts.filtered as f64)),
        (DEAD_LETTERED, |row| Some(row.standing.counts.dead_lettered as f64)),
        (IN_FLIGHT, |row| Some(row.standing.counts.in_flight as f64)),
        (DURABLE, |row| Some(row.standing.durable as f64)),
        (LOW_WATERMARK, |row| row.standing.low.map(|low| low as f64)),
        (HIGH_WATERMARK, |row| row.standing.high.map(|high| high as f64)),
        (LAG, |row| row.standing.lag().map(|lag| lag as f64)),
        (LAG_SECONDS, LaneReport::lag_seconds),
        (CATCH_UP, |row| row.view.outlook.catch_up_seconds),
        (PROGRESS, |row| row.standing.moved_at_ms.map(|ms| ms as f64 / 1000.0)),
    ];
    for (name, read) in series {
        page.head(name);
        for row in lanes {
            let Some(value) = read(row) else { continue };
            let partition = row.key.partition.to_string();
            let labels = [
                ("topic", &*row.key.topic),
                ("partition", &partition),
                ("target", &*row.key.target),
            ];
            page.line(name, &labels, value);
        }
    }
}

/// What is said of all partitions of a topic on their way to a target.
fn render_targets(page: &mut Page, lanes: &[LaneReport]) {
    let same =
        |a: &LaneReport, b: &LaneReport| a.key.topic == b.key.topic && a.key.target == b.key.target;
    let mut sorted: Vec<&LaneReport> = lanes.iter().collect();
    sorted.sort_by(|a, b| (&a.key.topic, &a.key.target).cmp(&(&b.key.topic, &b.key.target)));
    let ways: Vec<&[&LaneReport]> = sorted.chunk_by(|a, b| same(a, b)).collect();
    page.head(UNACCOUNTED);
    for way in &ways {
        let labels = [("topic", &*way[0].key.topic), ("target", &*way[0].key.target)];
        page.line(UNACCOUNTED, &labels, way.iter().map(|row| unaccounted(row)).sum());
    }
    page.head(LAG_STATE);
    for way in &ways {
        let worst = way.iter().map(|row| row.view.state()).max().unwrap_or_default();
        for state in LagState::ALL {
            let labels = [
                ("topic", &*way[0].key.topic),
                ("target", &*way[0].key.target),
                ("state", state.as_str()),
            ];
            page.line(LAG_STATE, &labels, f64::from(u8::from(state == worst)));
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
    page.head(PARTITION_STAGE);
    let partition = status.partition_clock.read();
    line(page, PARTITION_STAGE, None, &partition, &Stage::OF_PARTITION);
    page.head(WRITER_STAGE);
    for (name, sink) in status.sinks() {
        line(page, WRITER_STAGE, Some(&name), &sink.clock.read(), &Stage::OF_WRITER);
    }
}

fn render_bottleneck(page: &mut Page, seen: &Observation) {
    let named = seen.verdict.bottleneck;
    page.head(BOTTLENECK);
    for bottleneck in Bottleneck::ALL {
        let value = f64::from(u8::from(bottleneck == named));
        page.line(BOTTLENECK, &[("stage", bottleneck.stage())], value);
    }
    if let Some(since) = seen.since {
        let at = unix_ms() as f64 / 1000.0 - since.elapsed().as_secs_f64();
        page.single(BOTTLENECK_SINCE, at);
    }
}

fn render_sinks(page: &mut Page, status: &Status, seen: &Observation) {
    let sinks: Vec<(String, Arc<SinkStatus>)> = status.sinks();
    type Read = fn(&SinkStatus) -> f64;
    let series: [(&str, Read); 5] = [
        (BYTES_WRITTEN, |sink| sink.bytes() as f64),
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
    page.head(POOL);
    for (name, sink) in &seen.sinks {
        let Some(pool) = sink.connections else { continue };
        let states = [
            ("in_use", pool.in_use),
            ("idle", pool.idle),
            ("wanted", pool.wanted),
            ("max", pool.max),
        ];
        for (state, count) in states {
            page.line(POOL, &[("sink", name), ("state", state)], count as f64);
        }
    }
}

fn render_sources(page: &mut Page, status: &Status) {
    page.head(PARTITIONS);
    for (source, state) in status.sources() {
        let count = if let SourceState::Running { partitions } = state { partitions } else { 0 };
        page.line(PARTITIONS, &[("source", &source)], count as f64);
    }
    page.head(BYTES_CONSUMED);
    for (source, bytes) in status.consumed_bytes() {
        page.line(BYTES_CONSUMED, &[("source", &source)], bytes as f64);
    }
}

fn render_clients(page: &mut Page, clients: &BTreeMap<String, ClientFigures>) {
    type Read = fn(&ClientFigures) -> u64;
    let series: [(&str, Read); 4] = [
        (CLIENT_MESSAGES, |client| client.queue_messages),
        (CLIENT_BYTES, |client| client.queue_bytes),
        (CLIENT_REQUESTS, |client| client.requests),
        (CLIENT_TIMEOUTS, |client| client.timeouts),
    ];
    for (name, read) in series {
        page.head(name);
        for (source, client) in clients {
            page.line(name, &[("source", source)], read(client) as f64);
        }
    }
    page.head(CLIENT_ROUND_TRIP);
    for (source, client) in clients {
        for (broker, seconds) in &client.round_trip_seconds {
            page.line(CLIENT_ROUND_TRIP, &[("source", source), ("broker", broker)], *seconds);
        }
    }
}

fn render_process(page: &mut Page) {
    let Some(figures) = process::figures() else { return };
    page.single(CPU_SECONDS, figures.cpu_seconds);
    page.single(RESIDENT, figures.resident_bytes as f64);
    page.single(OPEN_FDS, figures.open_fds as f64);
    page.single(THREADS, figures.threads as f64);
    page.single(STARTED, figures.started_seconds);
}
