//! `/status`: all that is known of an engine, as JSON.

use serde_json::{Map, Value, json};

use crate::{
    incidents,
    lag::LagState,
    lane::{Loss, Standing},
    metrics::{self, process},
    observation::{LaneReport, Observation, Shares},
    stage::Stage,
    status::{RouteStatus, SourceState, Status},
};

/// Everything that `/status` shows.
pub(crate) fn report(status: &Status) -> Value {
    let seen = status.observation();
    let lanes = LaneReport::all(status, &seen);
    let obstacles = status.obstacles();
    let latency = |quantile| seen.latency.quantile_ms(quantile);
    json!({
        "version": env!("CARGO_PKG_VERSION"), "state": status.state(),
        "ready": obstacles.is_empty(), "obstacles": obstacles,
        "uptime_seconds": status.started.elapsed().as_secs_f64(),
        "lag_records": lanes.iter().filter_map(|row| row.standing.lag()).sum::<u64>(),
        "lag_seconds": lanes.iter().filter_map(LaneReport::lag_seconds).max_by(f64::total_cmp),
        "interval_seconds": seen.seconds,
        "rates": {"records_per_s": seen.records_per_s, "rows_per_s": seen.rows_per_s,
                  "bytes_per_s": seen.bytes_per_s},
        "latency_ms": {"p50": latency(0.5), "p95": latency(0.95), "p99": latency(0.99)},
        "verdict": verdict(&seen), "stages": stages(&seen), "memory": memory(status, &lanes),
        "routes": status.routes().iter().map(|route| route_of(route, &lanes)).collect::<Vec<_>>(),
        "sources": sources(status), "sinks": sinks(status, &seen),
        "lanes": lanes.iter().map(lane).collect::<Vec<_>>(),
        "errors": errors(), "dead_letters": dead_letters(),
    })
}

fn verdict(seen: &Observation) -> Value {
    let bottleneck = seen.verdict.bottleneck;
    json!({
        "stage": bottleneck.stage(), "bottleneck": bottleneck.as_str(),
        "evidence": seen.verdict.evidence, "advice": bottleneck.advice(),
        "since_seconds": seen.since.map_or(0.0, |since| since.elapsed().as_secs_f64()),
    })
}

fn stages(seen: &Observation) -> Value {
    let shares = |shares: &Shares, stages: &[Stage]| -> Map<String, Value> {
        let share = |stage: &Stage| (stage.as_str().to_owned(), json!(shares.times.share(*stage)));
        let mut shown: Map<String, Value> = stages.iter().map(share).collect();
        shown.insert("threads".to_owned(), json!(shares.threads));
        shown
    };
    let writers = seen.sinks.iter().map(|(name, sink)| {
        let mut shown = shares(&sink.writers, &Stage::OF_WRITER);
        shown.insert("sink".to_owned(), json!(name));
        Value::Object(shown)
    });
    json!({
        "partition": shares(&seen.partition, &Stage::OF_PARTITION),
        "writers": writers.collect::<Vec<_>>(),
    })
}

fn memory(status: &Status, lanes: &[LaneReport]) -> Value {
    let batches: usize = lanes.iter().map(|row| row.standing.held_bytes).sum();
    let fetched: u64 = status.clients().values().map(|client| client.queue_bytes).sum();
    json!({
        "budget_bytes": status.memory.budget_bytes(), "batch_max_bytes": status.memory.batch_bytes(),
        "in_use_bytes": batches as u64 + fetched,
        "resident_bytes": process::figures().map(|figures| figures.resident_bytes),
    })
}

fn sources(status: &Status) -> Vec<Value> {
    let show = |(name, state)| match state {
        SourceState::Starting => json!({"name": name, "state": "starting"}),
        SourceState::Running { partitions: 0 } => json!({"name": name, "state": "standby"}),
        SourceState::Running { partitions } => {
            json!({"name": name, "state": "running", "partitions": partitions})
        }
        SourceState::Claiming { reason, .. } => {
            json!({"name": name, "state": "claiming", "reason": reason})
        }
        SourceState::Finished => json!({"name": name, "state": "finished"}),
    };
    status.sources().into_iter().map(show).collect()
}

fn sinks(status: &Status, seen: &Observation) -> Vec<Value> {
    let show = |(name, sink): (String, std::sync::Arc<crate::status::SinkStatus>)| {
        let outage = sink.outage().map(|outage| {
            json!({"seconds": outage.since.elapsed().as_secs_f64(), "sqlstate": outage.class,
                   "message": outage.message})
        });
        let connections = seen.sinks.get(&name).and_then(|sink| sink.connections).map(|pool| {
            json!({"in_use": pool.in_use, "idle": pool.idle, "wanted": pool.wanted,
                   "max": pool.max})
        });
        json!({"name": name, "writers": sink.writers, "queue_batches": sink.queue_depth(),
               "queue_capacity_batches": sink.queue_capacity(), "outage": outage,
               "connections": connections})
    };
    status.sinks().into_iter().map(show).collect()
}

fn lane(row: &LaneReport) -> Value {
    let Standing { counts, .. } = &row.standing;
    json!({
        "topic": &*row.key.topic, "partition": row.key.partition, "target": &*row.key.target,
        "durable_offset": row.standing.durable, "high_watermark": row.standing.high,
        "low_watermark": row.standing.low, "expired_offsets": row.standing.expired(),
        "lag_records": row.standing.lag(), "lag_seconds": row.lag_seconds(),
        "lag_state": row.view.state().as_str(),
        "catch_up_seconds": row.view.outlook.catch_up_seconds,
        "rows_per_s": row.view.rows_per_s, "consumed": counts.consumed,
        "written": counts.written, "coalesced": counts.coalesced, "filtered": counts.filtered,
        "dead_lettered": counts.dead_lettered, "in_flight": counts.in_flight,
        "lost": row.loss.map(Loss::as_str),
    })
}

fn route_of(route: &RouteStatus, lanes: &[LaneReport]) -> Value {
    let targets = route.targets.iter().map(|target| {
        let is_own = |row: &&LaneReport| {
            row.key.target == target.name && route.topics.iter().any(|t| **t == *row.key.topic)
        };
        let own: Vec<&LaneReport> = lanes.iter().filter(is_own).collect();
        let worst = own.iter().map(|row| row.view.state()).max().unwrap_or(LagState::Unknown);
        json!({
            "target": &*target.name, "sink": target.sink, "table": target.table,
            "rows_per_s": own.iter().map(|row| row.view.rows_per_s).sum::<f64>(),
            "lag_records": own.iter().filter_map(|row| row.standing.lag()).sum::<u64>(),
            "lag_state": worst.as_str(),
        })
    });
    json!({
        "name": route.name, "source": route.source, "topics": route.topics,
        "targets": targets.collect::<Vec<_>>(),
    })
}

fn errors() -> Vec<Value> {
    let show = |incident: incidents::Incident| {
        json!({"seconds_ago": incident.last.elapsed().as_secs_f64(), "where": incident.place,
               "message": incident.message, "count": incident.count})
    };
    incidents::recent().into_iter().map(show).collect()
}

fn dead_letters() -> Value {
    let by_reason: Vec<(&str, u64)> =
        metrics::dead_letters().filter(|(_, count)| *count > 0).collect();
    let total: u64 = by_reason.iter().map(|(_, count)| count).sum();
    let by_reason: Map<String, Value> =
        by_reason.into_iter().map(|(reason, count)| (reason.to_owned(), json!(count))).collect();
    json!({"total": total, "by_reason": by_reason})
}
