//! The status page: `/status` for people, as HTML that is made here and nowhere else.
//!
//! Without scripts it reloads itself. With them, `page.js` fetches the page again and swaps the parts that
//! are marked as live: what the reader has opened, scrolled to or selected stays. Every text goes through
//! the template's escaping; the policy of [`HEADERS`] lets nothing else run.

mod flow;
mod partitions;

use maud::{DOCTYPE, Markup, html};

use crate::{
    figure::{self, UNKNOWN},
    snapshot::{Incident, LagState, Place, Snapshot},
};

pub(crate) const STYLE: &str = include_str!("page.css");
pub(crate) const SCRIPT: &str = include_str!("page.js");
pub(crate) const ICON: &str = include_str!("icon.svg");

/// Of the page: only what this server itself serves, and no style or script inside of the HTML.
pub(crate) const HEADERS: [(&str, &str); 4] = [
    (
        "content-security-policy",
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cache-control", "no-store"),
];

/// Errors that are shown at once; of the others there may be a screen full.
const ERRORS_FIRST: usize = 5;

/// The whole page.
pub(crate) fn document(seen: &Snapshot) -> String {
    let (first, more) = seen.errors.split_at(seen.errors.len().min(ERRORS_FIRST));
    let version = seen.version.as_deref().unwrap_or(UNKNOWN);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (seen.state()) ": " (or_unknown(seen.rates.rows_per_s, figure::short)) " rows/s – tidegate" }
                link rel="icon" type="image/svg+xml" href="icon.svg";
                link rel="stylesheet" href="page.css";
                script src="page.js" defer {}
                noscript { meta http-equiv="refresh" content="5"; }
            }
            body {
                header {
                    h1 { img src="icon.svg" alt="" width="22" height="22"; "tidegate" }
                    p id="state" data-live role="status" { (state(seen)) }
                    p.about id="about" data-live { "version " (version) ", up " (figure::duration(seen.uptime_seconds)) }
                    nav aria-label="The same as data" {
                        a href="status" { "status" }
                        a href="metrics" { "metrics" }
                    }
                }
                p #stale role="alert" hidden {}
                main {
                    div id="obstacles" data-live { (obstacles(seen)) }
                    section.headline id="headline" data-live aria-label="Headline" { (headline(seen)) }
                    section.verdict id="verdict" data-live aria-label="Bottleneck" { (verdict(seen)) }
                    section aria-labelledby="flow-title" {
                        h2 #flow-title { "Flow" }
                        div id="flow" data-live { (flow::picture(seen)) }
                    }
                    section aria-labelledby="partitions-title" {
                        h2 #partitions-title { "Partitions" }
                        div id="partitions" data-live { (partitions::heat_map(seen)) }
                        details #partition-table {
                            summary { "All partitions as a table" }
                            div id="partition-rows" data-live { (partitions::table(seen)) }
                        }
                    }
                    div.columns {
                        section.wide aria-labelledby="errors-title" {
                            h2 #errors-title { "Last warnings and errors" }
                            div id="errors" data-live {
                                @if first.is_empty() { p.empty { "None since the start." } } @else { (errors(first)) }
                            }
                            details {
                                summary { "Those before" }
                                div id="more-errors" data-live { @if !more.is_empty() { (errors(more)) } }
                            }
                        }
                        section aria-labelledby="letters-title" {
                            h2 #letters-title { "Dead letters" }
                            div id="letters" data-live { (dead_letters(seen)) }
                        }
                        section aria-labelledby="memory-title" {
                            h2 #memory-title { "Memory" }
                            div id="memory" data-live { (memory(seen)) }
                        }
                    }
                }
            }
        }
    };
    page.into_string()
}

fn state(seen: &Snapshot) -> Markup {
    let (class, sign) = match seen.state() {
        "running" => ("ok", "●"),
        "standby" => ("idle", "○"),
        _ => ("bad", "▲"),
    };
    html! { span.state.(class) { span.sign aria-hidden="true" { (sign) } " " (seen.state()) } }
}

fn obstacles(seen: &Snapshot) -> Markup {
    html! {
        @if !seen.obstacles.is_empty() {
            ul.obstacles aria-label="What is in the way" {
                @for obstacle in &seen.obstacles { li { (obstacle) } }
            }
        }
    }
}

fn headline(seen: &Snapshot) -> Markup {
    let behind = match (seen.lag_records, seen.lag_seconds) {
        (Some(0), _) => "caught up".to_owned(),
        (_, Some(age)) => format!("{} old, {}", figure::duration(age), end_of_lag(seen)),
        _ => UNKNOWN.to_owned(),
    };
    let bytes = or_unknown(seen.rates.bytes_per_s, |rate| figure::bytes(rate as u64));
    let records = or_unknown(seen.rates.records_per_s, figure::short);
    html! {
        dl {
            (tile("Rows written", &or_unknown(seen.rates.rows_per_s, figure::short), "/s", &format!("{bytes}/s")))
            (tile("Records read", &records, "/s", &partitions(seen)))
            (tile("Lag", &or_unknown(seen.lag_records.map(|lag| lag as f64), figure::short), " records", &behind))
            (tile(
                "Latency, median",
                &or_unknown(seen.latency_ms.p50, figure::milliseconds),
                "",
                &format!("99% within {}", or_unknown(seen.latency_ms.p99, figure::milliseconds)),
            ))
        }
    }
}

fn end_of_lag(seen: &Snapshot) -> String {
    let worst = seen.lanes.iter().map(|lane| lane.lag_state).max();
    match seen.catch_up_seconds() {
        Some(left) => format!("caught up in {}", figure::duration(left)),
        None if worst > Some(LagState::Ok) => "no end in sight".to_owned(),
        None => "no estimate yet".to_owned(),
    }
}

fn partitions(seen: &Snapshot) -> String {
    match seen.sources.iter().filter_map(|source| source.partitions).sum() {
        1 => "1 partition".to_owned(),
        count => format!("{} partitions", figure::grouped(count)),
    }
}

fn tile(name: &str, value: &str, unit: &str, more: &str) -> Markup {
    html! { div { dt { (name) } dd.value { (value) span.unit { (unit) } } dd.more { (more) } } }
}

fn verdict(seen: &Snapshot) -> Markup {
    let verdict = &seen.verdict;
    let is_limited = seen.bottleneck() != Place::Nowhere;
    let bottleneck = verdict.bottleneck.as_deref().unwrap_or(UNKNOWN);
    html! {
        div.finding.limited[is_limited] {
            h2 { "Bottleneck" }
            p.name {
                strong { (bottleneck) }
                @if let Some(since) = verdict.since_seconds.filter(|_| is_limited) {
                    span.since { "for " (figure::duration(since)) }
                }
            }
            @if let Some(advice) = &verdict.advice { p.advice { (advice) } }
            @if let Some(evidence) = &verdict.evidence { p.evidence { (evidence) } }
        }
    }
}

fn errors(errors: &[Incident]) -> Markup {
    html! {
        table.errors {
            thead {
                tr {
                    th scope="col" { "Last" }
                    th scope="col" { "Where" }
                    th scope="col" { "What" }
                    th.number scope="col" { "Times" }
                }
            }
            tbody {
                @for error in errors {
                    tr {
                        td.when { (figure::duration(error.seconds_ago)) " ago" }
                        th scope="row" { (error.place) }
                        td.message { (error.message) }
                        td.number { (figure::grouped(error.count)) }
                    }
                }
            }
        }
    }
}

fn dead_letters(seen: &Snapshot) -> Markup {
    let letters = &seen.dead_letters;
    html! {
        @match letters.total {
            None => p.empty { (UNKNOWN) },
            Some(0) => p.empty { "None since the start." },
            Some(total) => {
                table.shares {
                    thead { tr { th scope="col" { "Reason" } th.number scope="col" { "Count" } td {} } }
                    tbody {
                        @for (reason, &count) in &letters.by_reason {
                            tr {
                                th scope="row" { (reason) }
                                td.number { (figure::grouped(count)) }
                                td { (bar(Some(count as f64 / total as f64), "wait")) }
                            }
                        }
                    }
                    tfoot { tr { th scope="row" { "All" } td.number { (figure::grouped(total)) } td {} } }
                }
                p.note { "See them with " code { "tidegate dlq ls" } "." }
            },
        }
    }
}

fn memory(seen: &Snapshot) -> Markup {
    let memory = &seen.memory;
    let bytes = |bytes: Option<u64>| or_unknown(bytes, figure::bytes);
    let share = memory
        .in_use_bytes
        .zip(memory.budget_bytes)
        .map(|(used, budget)| used as f64 / budget.max(1) as f64);
    html! {
        (bar(share, "busy"))
        dl.facts {
            div { dt { "Batches and fetch queues" } dd { (bytes(memory.in_use_bytes)) } }
            div { dt { "Budget" } dd { (bytes(memory.budget_bytes)) } }
            div { dt { "Whole process" } dd { (bytes(memory.resident_bytes)) } }
        }
    }
}

/// A bar that is filled to a share; the figure stands beside it as text.
fn bar(share: Option<f64>, class: &str) -> Markup {
    let width = (100.0 * share.unwrap_or(0.0).clamp(0.0, 1.0)).round();
    html! {
        svg.bar.(class) viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true" {
            rect width=(width) height="6" {}
        }
    }
}

fn or_unknown<T>(figure: Option<T>, text: impl FnOnce(T) -> String) -> String {
    figure.map_or_else(|| UNKNOWN.to_owned(), text)
}

#[cfg(test)]
mod tests;
