//! The partitions: one cell each, the colour for how far it is behind; and all of it as a table.

use maud::{Markup, html};

use super::{flow::lag_state, or_unknown};
use crate::{
    figure,
    snapshot::{LagState, Lane, Snapshot},
};

/// So many cells are large enough for their numbers.
const FEW: usize = 40;
/// Rows of the table; a browser has no joy in more.
const ROWS_MAX: usize = 500;
/// Bounds of the levels, in seconds; where they are not known, in records.
const SECONDS: [f64; 4] = [1.0, 10.0, 60.0, 600.0];
const RECORDS: [f64; 4] = [1e3, 1e5, 1e6, 1e7];

pub(super) fn heat_map(seen: &Snapshot) -> Markup {
    if seen.lanes.is_empty() {
        return html! { p.empty { (why_none(seen)) } };
    }
    html! {
        @for ((topic, target), lanes) in seen.groups() {
            div.group {
                h3 { (topic) span.arrow { " → " } (target) span.quiet { (summary(&lanes)) } }
                div.heat.few[lanes.len() <= FEW] role="img" aria-label={ (topic) " to " (target) ": " (summary(&lanes)) } {
                    @for lane in &lanes { (cell(lane, lanes.len() <= FEW)) }
                }
            }
        }
        p.legend aria-hidden="true" {
            "behind by"
            @for (level, words) in ["≤ 1 s", "≤ 10 s", "≤ 1 min", "≤ 10 min", "more"].iter().enumerate() {
                span { i.{ "l" (level) } {} " " (words) }
            }
            span { "↑ growing" } span { "= stalled" } span { "! will exceed retention" }
        }
    }
}

/// A member without partitions is not ill; say what it waits for.
fn why_none(seen: &Snapshot) -> &'static str {
    match seen.state() {
        "standby" => {
            "On standby: the other members of the group have all partitions. This one takes over when one of them ends."
        }
        "draining" => "Ending: the partitions have been given back.",
        _ => "No partitions yet: the group has not assigned any.",
    }
}

fn summary(lanes: &[&Lane]) -> String {
    let lag: u64 = lanes.iter().filter_map(|lane| lane.lag_records).sum();
    let partitions = if lanes.len() == 1 { "partition" } else { "partitions" };
    let mut text = format!("{} {partitions}, lag {}", lanes.len(), figure::grouped(lag));
    for state in [LagState::WillExceedRetention, LagState::Stalled, LagState::Growing] {
        let count = lanes.iter().filter(|lane| lane.lag_state == state).count();
        if count > 0 {
            text.push_str(&format!(", {count} {}", state.words()));
        }
    }
    text
}

fn cell(lane: &Lane, with_number: bool) -> Markup {
    let sign = if lane.lost.is_some() { "✕" } else { lane.lag_state.sign() };
    html! {
        i.{ "l" (level(lane)) } title=(tooltip(lane)) {
            @if with_number { (lane.partition) }
            (sign)
        }
    }
}

/// From 0, close, to 4, far behind; 5 is not known.
fn level(lane: &Lane) -> usize {
    let count = |bounds: [f64; 4], figure: f64| bounds.iter().filter(|b| figure > **b).count();
    match (lane.lag_records, lane.lag_seconds) {
        (Some(0), _) => 0,
        (_, Some(seconds)) => count(SECONDS, seconds),
        (Some(records), None) => count(RECORDS, records as f64),
        (None, None) => 5,
    }
}

fn tooltip(lane: &Lane) -> String {
    let mut text = format!(
        "partition {}: lag {} records",
        lane.partition,
        or_unknown(lane.lag_records, figure::grouped)
    );
    if let Some(seconds) = lane.lag_seconds {
        text.push_str(&format!(", {}", figure::duration(seconds)));
    }
    if let Some(seconds) = lane.catch_up_seconds.filter(|_| lane.lag_records != Some(0)) {
        text.push_str(&format!(", caught up in {}", figure::duration(seconds)));
    }
    text.push_str(&format!(", {}", lane.lost.as_deref().unwrap_or(lane.lag_state.words())));
    text
}

pub(super) fn table(seen: &Snapshot) -> Markup {
    let lanes = seen.worst_lanes();
    let one_target = seen
        .lanes
        .iter()
        .all(|lane| Some(&lane.target) == seen.lanes.first().map(|first| &first.target));
    html! {
        table.lanes {
            thead {
                tr {
                    th scope="col" { "Partition" }
                    @if !one_target { th scope="col" { "Target" } }
                    th.number scope="col" { "Lag" }
                    th.number scope="col" { "Behind" }
                    th.number scope="col" { "Caught up in" }
                    th scope="col" { "State" }
                    th.number.spare scope="col" { "Rows/s" }
                    th.number.spare scope="col" { "Durable offset" }
                }
            }
            tbody {
                @for lane in lanes.iter().take(ROWS_MAX) {
                    tr {
                        th scope="row" { (lane.topic) " " (lane.partition) }
                        @if !one_target { td { (lane.target) } }
                        td.number { (or_unknown(lane.lag_records, figure::grouped)) }
                        td.number { (or_unknown(lane.lag_seconds, figure::duration)) }
                        td.number { (or_unknown(lane.catch_up_seconds, figure::duration)) }
                        td {
                            @match &lane.lost {
                                Some(loss) => span.lag.bad { "✕ " (loss) },
                                None => (lag_state(lane.lag_state)),
                            }
                        }
                        td.number.spare { (or_unknown(lane.rows_per_s, figure::short)) }
                        td.number.spare { (or_unknown(lane.durable_offset, |offset| offset.to_string())) }
                    }
                }
            }
        }
        @if lanes.len() > ROWS_MAX {
            p.note { "The " (ROWS_MAX) " furthest behind of " (figure::grouped(lanes.len() as u64)) "; " a href="status" { "status" } " has them all." }
        }
    }
}
