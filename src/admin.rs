//! The admin server: /metrics, /livez, /readyz, /status.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
    routing::get,
};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::{Value, json};
use tokio::{net::TcpListener, runtime::Handle};

use crate::{
    error::Error,
    lane::Loss,
    metrics,
    status::{SourceState, Status},
    verdict,
};

#[derive(Clone)]
struct Admin {
    status: Arc<Status>,
    recorder: PrometheusHandle,
}

/// Starts to serve on `listen`; gives the address, which tells the port where 0 was asked for.
///
/// # Errors
/// When the address cannot be listened on.
pub fn serve(
    listen: SocketAddr,
    status: Arc<Status>,
    recorder: PrometheusHandle,
    runtime: &Handle,
) -> Result<SocketAddr, Error> {
    let refused = |error: std::io::Error| {
        Error::config(format!(
            "admin.listen: cannot listen on {listen}: {error}; choose another port"
        ))
    };
    let listener = runtime.block_on(TcpListener::bind(listen)).map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    let upkeep = recorder.clone();
    runtime.spawn(async move {
        // Histograms hold their samples until they are drained into their buckets.
        let mut interval = tokio::time::interval(std::time::Duration::from_secs(5));
        loop {
            interval.tick().await;
            upkeep.run_upkeep();
        }
    });
    let router = Router::new()
        .route("/metrics", get(show_metrics))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(show_ready))
        .route("/status", get(show_status))
        .with_state(Admin { status, recorder });
    runtime.spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!("the admin server ended: {error}");
        }
    });
    Ok(address)
}

async fn show_metrics(State(admin): State<Admin>) -> impl IntoResponse {
    let mut page = admin.recorder.render();
    page.push_str(&metrics::render_live(&admin.status));
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], page)
}

async fn show_ready(State(admin): State<Admin>) -> impl IntoResponse {
    let obstacles = admin.status.obstacles();
    if obstacles.is_empty() {
        return (StatusCode::OK, "ok\n".to_owned());
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("degraded: {}\n", obstacles.join("; ")))
}

async fn show_status(State(admin): State<Admin>) -> Json<Value> {
    Json(status_of(&admin.status))
}

fn status_of(status: &Status) -> Value {
    let latency = status.latency.read();
    let lag = status.lag();
    let verdict = verdict::judge(&status.partition_clock.read(), &status.writer_times(), lag);
    let sources: Vec<Value> = status
        .sources()
        .into_iter()
        .map(|(name, state)| match state {
            SourceState::Starting => json!({"name": name, "state": "starting"}),
            SourceState::Running { partitions: 0 } => json!({"name": name, "state": "standby"}),
            SourceState::Running { partitions } => {
                json!({"name": name, "state": "running", "partitions": partitions})
            }
            SourceState::Claiming { reason } => {
                json!({"name": name, "state": "claiming", "reason": reason})
            }
            SourceState::Finished => json!({"name": name, "state": "finished"}),
        })
        .collect();
    let sinks: Vec<Value> = status
        .sinks()
        .into_iter()
        .map(|(name, sink)| {
            let outage = sink.outage().map(|outage| {
                json!({"seconds": outage.since.elapsed().as_secs_f64(), "sqlstate": outage.class,
                       "message": outage.message})
            });
            json!({"name": name, "writers": sink.writers, "queue_batches": sink.queue_depth(),
                   "queue_capacity_batches": sink.queue_capacity(), "outage": outage})
        })
        .collect();
    let lanes: Vec<Value> = status
        .lanes()
        .iter()
        .map(|lane| {
            let counts = lane.counts();
            json!({
                "topic": &*lane.key.topic, "partition": lane.key.partition, "target": &*lane.key.target,
                "durable_offset": lane.durable(), "high_watermark": lane.high_watermark(),
                "lag_records": lane.lag(), "consumed": counts.consumed,
                "written": counts.written,
                "coalesced": counts.coalesced, "filtered": counts.filtered,
                "dead_lettered": counts.dead_lettered,
                "in_flight": counts.in_flight, "lost": lane.loss().map(Loss::as_str),
            })
        })
        .collect();
    let obstacles = status.obstacles();
    json!({
        "ready": obstacles.is_empty(), "obstacles": obstacles,
        "uptime_seconds": status.started.elapsed().as_secs_f64(), "lag_records": lag,
        "latency_ms": {"p50": latency.quantile_ms(0.5), "p95": latency.quantile_ms(0.95),
                       "p99": latency.quantile_ms(0.99)},
        "verdict": {"bottleneck": verdict.bottleneck.as_str(), "evidence": verdict.evidence},
        "memory": {"budget_bytes": status.memory.budget_bytes(),
                   "batch_max_bytes": status.memory.batch_bytes()},
        "sources": sources, "sinks": sinks, "lanes": lanes,
    })
}
