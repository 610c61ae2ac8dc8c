//! The admin server: the status page, /metrics, /livez, /readyz, /status.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::Value;
use tokio::{net::TcpListener, runtime::Handle};

use crate::{error::Error, metrics, page, report::report, snapshot::Snapshot, status::Status};

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
    let asset =
        |kind: &'static str, text: &'static str| get(move || async move { as_page(kind, text) });
    let router = Router::new()
        .route("/", get(show_page))
        .route("/page.css", asset("text/css", page::STYLE))
        .route("/page.js", asset("text/javascript", page::SCRIPT))
        .route("/icon.svg", asset("image/svg+xml", page::ICON))
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

async fn show_page(State(admin): State<Admin>) -> Response {
    match serde_json::from_value::<Snapshot>(report(&admin.status)) {
        Ok(seen) => as_page("text/html", page::document(&seen)),
        Err(error) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("/status is not as it should be: {error}\n"),
        )
            .into_response(),
    }
}

fn as_page(kind: &'static str, text: impl IntoResponse) -> Response {
    let kind = [(CONTENT_TYPE, format!("{kind}; charset=utf-8"))];
    (page::HEADERS, kind, text).into_response()
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
    Json(report(&admin.status))
}
