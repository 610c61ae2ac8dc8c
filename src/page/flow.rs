//! The way of the records as a picture: sources, partition threads, and for each sink its queue, its
//! writers and its tables; with the bottleneck marked.

use maud::{Markup, html};

use super::{bar, or_unknown};
use crate::{
    figure,
    snapshot::{LagState, Place, Share, Sink, Snapshot, Source},
};

pub(super) fn picture(seen: &Snapshot) -> Markup {
    html! {
        div.flow {
            div.stage {
                @for source in &seen.sources { (source_card(seen, source)) }
            }
            div.stage { (partition_card(seen)) }
            div.sinks {
                @for sink in &seen.sinks { (sink_row(seen, sink)) }
            }
        }
    }
}

fn source_card(seen: &Snapshot, source: &Source) -> Markup {
    let routes = seen.routes.iter().filter(|route| route.source == source.name);
    let state = match (source.state.as_str(), source.partitions) {
        ("running", Some(1)) => "1 partition".to_owned(),
        ("running", Some(count)) => format!("{count} partitions"),
        ("standby", _) => "on standby: others have all partitions".to_owned(),
        ("starting", _) => "waits for its assignment".to_owned(),
        (state, _) => state.to_owned(),
    };
    html! {
        article.card {
            h3 { span.kind { "Source" } (source.name) }
            p.figure { (state) }
            @if let Some(reason) = &source.reason { p.trouble { (reason) } }
            ul.names {
                @for route in routes {
                    li { (route.topics.join(", ")) span.quiet { " by " (route.name) } }
                }
            }
        }
    }
}

fn partition_card(seen: &Snapshot) -> Markup {
    let hot = match seen.bottleneck() {
        Place::Partition(stage) => Some(stage),
        _ => None,
    };
    let threads = seen.stages.partition.threads;
    html! {
        article.card.hot[hot.is_some()] {
            h3 { span.kind { "Partition threads" } (or_unknown(threads, figure::grouped)) " threads" (mark(hot)) }
            p.figure { (or_unknown(seen.rates.records_per_s, figure::short)) " records/s" }
            (shares_table(&seen.partition_shares(), hot))
        }
    }
}

fn sink_row(seen: &Snapshot, sink: &Sink) -> Markup {
    let hot = match seen.bottleneck() {
        Place::Writers(name, stage) if name == sink.name => Some(stage),
        _ => None,
    };
    let share = sink
        .queue_batches
        .zip(sink.queue_capacity_batches)
        .map(|(depth, capacity)| depth as f64 / capacity.max(1) as f64);
    html! {
        div.sink {
            article.card.queue {
                h3 { span.kind { "Queue" } (sink.name) }
                p.figure { (or_unknown(sink.queue_batches, figure::grouped)) span.quiet { " of " (or_unknown(sink.queue_capacity_batches, figure::grouped)) } }
                (bar(share, "wait"))
                p.quiet { "batches" }
            }
            article.card.hot[hot.is_some()] {
                h3 { span.kind { "Writers" } (or_unknown(sink.writers, figure::grouped)) " writers" (mark(hot)) }
                @if let Some(outage) = &sink.outage {
                    p.trouble { "away for " (figure::duration(outage.seconds)) ": " (outage.message) }
                }
                (shares_table(&seen.writer_shares(&sink.name), hot))
            }
            div.stage {
                @for (route, target) in seen.targets_of(&sink.name) {
                    article.card.target {
                        h3 { span.kind { "Target" } (target.table.as_deref().unwrap_or(&target.target)) span.quiet { " by " (route) } }
                        p.figure { (or_unknown(target.rows_per_s, figure::short)) " rows/s" }
                        p { "lag " (or_unknown(target.lag_records, figure::grouped)) " " (lag_state(target.lag_state)) }
                    }
                }
            }
        }
    }
}

/// The word that marks the bottleneck: colour alone does not tell.
fn mark(hot: Option<&str>) -> Markup {
    html! { @if hot.is_some() { span.mark { "bottleneck" } } }
}

/// Where the time of a group of threads goes; the hot stage is marked.
fn shares_table(shares: &[Share], hot: Option<&str>) -> Markup {
    let class = |name| match name {
        "poll" | "gather" => "idle",
        "send" | "connect" | "retry" => "wait",
        _ => "busy",
    };
    html! {
        table.shares {
            @for &(name, words, share) in shares {
                tr.hot[hot == Some(name)] {
                    th scope="row" { (words) }
                    td.number { (or_unknown(share, figure::percent)) }
                    td { (bar(share, class(name))) }
                }
            }
        }
    }
}

pub(super) fn lag_state(state: LagState) -> Markup {
    let class = match state {
        LagState::Unknown => "idle",
        LagState::Ok => "ok",
        LagState::Growing => "warn",
        LagState::Stalled | LagState::WillExceedRetention => "bad",
    };
    html! { span.lag.(class) { (state.sign()) " " (state.words()) } }
}
