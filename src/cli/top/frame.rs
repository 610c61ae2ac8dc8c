//! What `tidegate top` shows: lines of text, as wide and as many as there is room for.

use std::time::Duration;

use crate::{
    cli::{printable, table},
    error::Error,
    figure::{self, UNKNOWN},
    snapshot::{Place, Share, Snapshot},
};

const BAR_WIDTH: usize = 10;
/// Warnings that a small screen shows.
const ERRORS_SHOWN: usize = 3;
/// Lines that are left for the lanes, however small the screen is.
const LANES_MIN: usize = 3;
const KEYS: &str = "q ends";

/// How a line stands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Plain,
    Bold,
    Quiet,
    /// The bottleneck.
    Hot,
    Bad,
}

impl Style {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Bold => "\x1b[1m",
            Self::Quiet => "\x1b[2m",
            Self::Hot => "\x1b[1;33m",
            Self::Bad => "\x1b[31m",
        }
    }
}

/// The room for one picture.
pub(super) struct Frame<'a> {
    url: &'a str,
    /// Columns and lines; without them it is for a file, and as long as it is, without colours.
    size: Option<(usize, usize)>,
}

/// Lines, each wrapped or cut to the width.
struct Lines {
    width: usize,
    lines: Vec<(Style, String)>,
}

impl<'a> Frame<'a> {
    pub(super) fn of(url: &'a str, size: (usize, usize)) -> Self {
        Self { url, size: Some(size) }
    }

    /// Everything there is.
    pub(super) fn whole(url: &'a str) -> Self {
        Self { url, size: None }
    }

    /// The picture; `trouble` tells why it is old, and how old.
    pub(super) fn draw(&self, seen: &Snapshot, trouble: Option<(Duration, &Error)>) -> String {
        let (width, height) = self.size.unwrap_or((usize::MAX, usize::MAX));
        let mut lines = Lines { width, lines: Vec::new() };
        self.head(seen, &mut lines);
        if let Some((old, error)) = trouble {
            let old = figure::duration(old.as_secs_f64());
            lines.wrapped(Style::Bad, "", &format!("no answer for {old}: {error}"));
        }
        verdict(seen, &mut lines);
        flow(seen, &mut lines);
        let room = height.saturating_sub(lines.lines.len());
        let shown = if self.size.is_some() { ERRORS_SHOWN } else { usize::MAX };
        let errors = errors(seen, width, shown.min(room.saturating_sub(LANES_MIN + 2)));
        lanes(seen, &mut lines, room.saturating_sub(errors.len() + 1));
        lines.lines.extend(errors);
        if self.size.is_some() {
            lines.lines.truncate(height.saturating_sub(1));
            lines.cut(Style::Quiet, KEYS);
        }
        lines.text(self.size.is_some() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()))
    }

    fn head(&self, seen: &Snapshot, lines: &mut Lines) {
        let version = seen.version.as_deref().unwrap_or(UNKNOWN);
        let (state, up) = (seen.state(), figure::duration(seen.uptime_seconds));
        let style = if matches!(state, "running" | "standby") { Style::Bold } else { Style::Bad };
        lines.cut(style, &format!("tidegate {version}  {state}  up {up}  {}", self.url));
        for obstacle in &seen.obstacles {
            lines.wrapped(Style::Bad, "", obstacle);
        }
        let lag = match (seen.lag_records, seen.lag_seconds, seen.catch_up_seconds()) {
            (None, ..) => UNKNOWN.to_owned(),
            (Some(0), ..) => "0 records".to_owned(),
            (Some(lag), age, left) => format!(
                "{} records, {} old, caught up in {}",
                figure::grouped(lag),
                known(age, figure::duration),
                known(left, figure::duration)
            ),
        };
        let memory = &seen.memory;
        lines.wrapped(
            Style::Plain,
            "",
            &format!(
                "{} rows/s  {}/s  lag {lag}  latency p50 {} p99 {}  memory {} of {}",
                known(seen.rates.rows_per_s, figure::short),
                known(seen.rates.bytes_per_s, |rate| figure::bytes(rate as u64)),
                known(seen.latency_ms.p50, figure::milliseconds),
                known(seen.latency_ms.p99, figure::milliseconds),
                known(memory.in_use_bytes, figure::bytes),
                known(memory.budget_bytes, figure::bytes),
            ),
        );
        let letters = seen.dead_letters.by_reason.iter();
        let letters: Vec<String> = letters
            .map(|(reason, count)| format!("{reason} {}", figure::grouped(*count)))
            .collect();
        if !letters.is_empty() {
            lines.wrapped(Style::Plain, "", &format!("dead letters: {}", letters.join(", ")));
        }
        lines.cut(Style::Plain, "");
    }
}

fn verdict(seen: &Snapshot, lines: &mut Lines) {
    let verdict = &seen.verdict;
    let is_limited = seen.bottleneck() != Place::Nowhere;
    let since = verdict.since_seconds.filter(|_| is_limited);
    let since = since.map_or_else(String::new, |s| format!(", for {}", figure::duration(s)));
    let bottleneck = verdict.bottleneck.as_deref().unwrap_or(UNKNOWN);
    let style = if is_limited { Style::Hot } else { Style::Bold };
    lines.wrapped(style, "", &format!("Bottleneck: {bottleneck}{since}"));
    for text in [&verdict.advice, &verdict.evidence].into_iter().flatten() {
        lines.wrapped(Style::Plain, "  ", text);
    }
    lines.cut(Style::Plain, "");
}

/// Sources, partition threads, and each sink with its targets, in the order of a record's path.
fn flow(seen: &Snapshot, lines: &mut Lines) {
    for source in &seen.sources {
        let partitions =
            source.partitions.map_or_else(String::new, |count| format!(", {count} partitions"));
        let reason = source.reason.as_ref().map_or_else(String::new, |why| format!(": {why}"));
        let text = format!("Source {}: {}{partitions}{reason}", source.name, source.state);
        lines.wrapped(Style::Plain, "", &text);
    }
    let threads = known(seen.stages.partition.threads, |count| count.to_string());
    let hot = seen.bottleneck();
    let partition = format!("Partition threads ({threads})");
    shares(lines, &partition, &seen.partition_shares(), matches!(hot, Place::Partition(_)));
    for sink in &seen.sinks {
        let writers = known(sink.writers, figure::grouped);
        let queue = known(sink.queue_batches, figure::grouped);
        let capacity = known(sink.queue_capacity_batches, figure::grouped);
        let name = format!("Sink {}: queue {queue} of {capacity}; writers ({writers})", sink.name);
        let is_hot = matches!(hot, Place::Writers(name, _) if name == sink.name);
        shares(lines, &name, &seen.writer_shares(&sink.name), is_hot);
        if let Some(outage) = &sink.outage {
            let away = figure::duration(outage.seconds);
            lines.wrapped(Style::Bad, "  ", &format!("away for {away}: {}", outage.message));
        }
        for (route, target) in seen.targets_of(&sink.name) {
            let text = format!(
                "{} by {route}: {} rows/s, lag {}, {}",
                target.table.as_deref().unwrap_or(&target.target),
                known(target.rows_per_s, figure::short),
                known(target.lag_records, figure::grouped),
                target.lag_state.words(),
            );
            lines.wrapped(Style::Plain, "  ", &text);
        }
    }
    lines.cut(Style::Plain, "");
}

/// Where the time of a group of threads goes; what takes none of it is left out.
fn shares(lines: &mut Lines, name: &str, shares: &[Share], is_hot: bool) {
    let mark = if is_hot { "  << bottleneck" } else { "" };
    lines.cut(if is_hot { Style::Hot } else { Style::Plain }, &format!("{name}{mark}"));
    let taken = shares.iter().filter_map(|&(_, words, share)| Some((words, share?)));
    let items = taken.filter(|(_, share)| *share >= 0.005).map(|(words, share)| {
        let full = (share.clamp(0.0, 1.0) * BAR_WIDTH as f64).round() as usize;
        let bar = format!("{}{}", "#".repeat(full), ".".repeat(BAR_WIDTH - full));
        format!("{words} {bar} {}", figure::percent(share))
    });
    lines.items("  ", items);
}

/// The lanes, those first that need to be looked at first, in so many lines.
fn lanes(seen: &Snapshot, lines: &mut Lines, room: usize) {
    let lanes = seen.worst_lanes();
    if lanes.is_empty() {
        lines.cut(Style::Quiet, "No partitions: the group has not assigned any.");
        return;
    }
    // One line is the head, and one tells what is not shown.
    let shown = if lanes.len() < room { lanes.len() } else { room.saturating_sub(2) };
    let rows = lanes.iter().take(shown).map(|lane| {
        [
            lane.topic.clone(),
            lane.partition.to_string(),
            lane.target.clone(),
            known(lane.lag_records, figure::grouped),
            known(lane.lag_seconds, figure::duration),
            known(lane.catch_up_seconds, figure::duration),
            known(lane.rows_per_s, figure::short),
            lane.lost.clone().unwrap_or_else(|| lane.lag_state.words().to_owned()),
        ]
    });
    let head = ["TOPIC", "PARTITION", "TARGET", "LAG", "BEHIND", "CATCH-UP", "ROWS/S", "STATE"];
    for (index, line) in table(&head, rows).lines().enumerate() {
        lines.cut(if index == 0 { Style::Bold } else { Style::Plain }, line);
    }
    if shown < lanes.len() {
        lines.cut(Style::Quiet, &format!("and {} more, less far behind", lanes.len() - shown));
    }
}

fn errors(seen: &Snapshot, width: usize, most: usize) -> Vec<(Style, String)> {
    let mut lines = Lines { width, lines: Vec::new() };
    if most > 0 && !seen.errors.is_empty() {
        lines.cut(Style::Plain, "");
    }
    for error in seen.errors.iter().take(most) {
        let ago = figure::duration(error.seconds_ago);
        let times =
            if error.count > 1 { format!(" ({} times)", error.count) } else { String::new() };
        let text = format!("{ago} ago{times}, {}: {}", error.place, error.message);
        lines.cut(Style::Bad, &text);
    }
    lines.lines
}

impl Lines {
    /// One line, whatever does not fit is left out.
    fn cut(&mut self, style: Style, text: &str) {
        let line = printable(text).chars().take(self.width).collect();
        self.lines.push((style, line));
    }

    /// As many lines as it takes, all of them behind `indent`.
    fn wrapped(&mut self, style: Style, indent: &str, text: &str) {
        self.fill(style, indent, " ", text.split(' ').map(str::to_owned));
    }

    /// Items, as many in a line as fit.
    fn items(&mut self, indent: &str, items: impl Iterator<Item = String>) {
        self.fill(Style::Plain, indent, "   ", items);
    }

    fn fill(&mut self, style: Style, indent: &str, gap: &str, items: impl Iterator<Item = String>) {
        let mut line = String::new();
        for item in items {
            let item = printable(&item);
            let needed = [&line, gap, &item].iter().map(|part| part.chars().count()).sum::<usize>();
            if line.is_empty() {
                line = format!("{indent}{item}");
            } else if needed <= self.width {
                line = format!("{line}{gap}{item}");
            } else {
                self.cut(style, &line);
                line = format!("{indent}{item}");
            }
        }
        if !line.is_empty() {
            self.cut(style, &line);
        }
    }

    fn text(&self, in_colour: bool) -> String {
        let line = |(style, line): &(Style, String)| match style.code() {
            code if in_colour && !code.is_empty() => format!("{code}{line}\x1b[0m\n"),
            _ => format!("{line}\n"),
        };
        self.lines.iter().map(line).collect()
    }
}

fn known<T>(figure: Option<T>, text: impl FnOnce(T) -> String) -> String {
    figure.map_or_else(|| UNKNOWN.to_owned(), text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn busy(lanes: i32) -> Snapshot {
        let lane = |partition| {
            json!({"topic": "a-topic-with-a-name-that-is-rather-long", "partition": partition,
                   "target": "serving.public.orders", "lag_records": 7, "lag_state": "growing"})
        };
        serde_json::from_value(json!({
            "version": "0.1.0", "state": "degraded", "obstacles": ["sink serving is\u{1b}[2J away"],
            "verdict": {"stage": "copy", "bottleneck": "Postgres-bound", "since_seconds": 9.0,
                        "advice": "Look at the table's indexes and triggers. ".repeat(4)},
            "stages": {"writers": [{"sink": "serving", "copy": 0.9, "commit": 0.001}]},
            "sinks": [{"name": "serving", "writers": 2}],
            "lanes": (0..lanes).map(lane).collect::<Vec<_>>(),
            "errors": [{"seconds_ago": 3.0, "where": "sink serving", "message": "away", "count": 4}],
        }))
        .unwrap()
    }

    #[test]
    fn it_fits_on_any_screen() {
        for (width, height) in [(40, 12), (80, 24), (200, 60), (1, 1)] {
            for lanes in [0, 1, 500] {
                let drawn = Frame::of("http://x", (width, height)).draw(&busy(lanes), None);
                assert!(drawn.lines().count() <= height, "{width}x{height}: {drawn}");
                for line in drawn.lines() {
                    let shown = line.trim_end_matches("\x1b[0m").chars();
                    let escape = if line.starts_with('\x1b') { 7 } else { 0 };
                    assert!(shown.count() <= width + escape, "{width}x{height}: {line}");
                }
            }
        }
    }

    #[test]
    fn a_file_gets_everything_and_no_orders_to_a_terminal() {
        let drawn = Frame::whole("http://x").draw(&busy(300), None);
        assert!(!drawn.contains('\x1b'), "{drawn}");
        assert_eq!(drawn.matches("serving.public.orders").count(), 300);
        for text in [
            "Bottleneck: Postgres-bound, for 9 s",
            "writers (2)  << bottleneck",
            "COPY #########. 90%",
            "3 s ago (4 times), sink serving: away",
            "No partitions",
        ] {
            assert_eq!(drawn.contains(text), text != "No partitions", "{text}: {drawn}");
        }
        assert!(!drawn.contains("COMMIT"), "what takes no time is left out: {drawn}");
        assert!(Frame::whole("http://x").draw(&busy(0), None).contains("No partitions"));
    }

    #[test]
    fn an_answer_that_is_old_is_shown_as_such() {
        let error = Error::unavailable("no tidegate answers");
        let trouble = Some((Duration::from_secs(7), &error));
        let drawn = Frame::of("http://x", (80, 24)).draw(&busy(3), trouble);
        assert!(drawn.contains("no answer for 7 s: no tidegate answers"), "{drawn}");
        let wide = Frame::of("http://x", (120, 24)).draw(&busy(300), None);
        assert!(wide.contains("more, less far behind") && wide.contains("q ends"), "{wide}");
    }
}
