//! Write sets in the JSON of OTLP, as of opentelemetry-proto 1.x (`ExportTraceServiceRequest`): ids in
//! hexadecimal digits, 64-bit numbers as texts. Names of attributes are those of OpenTelemetry's
//! conventions for messaging and for databases, and `tidegate.*` where these have none.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::{BatchSpan, Random, WriteSet};
use crate::{
    lane::Outcome,
    stage::{Stage, Step},
};

/// Of `SpanKind`.
const INTERNAL: u8 = 1;
const CLIENT: u8 = 3;
const CONSUMER: u8 = 5;
/// Of `StatusCode`.
const ERROR: u8 = 2;

/// A moment on both clocks, by which instants become times.
#[derive(Clone, Copy, Debug)]
pub(super) struct Anchor {
    instant: Instant,
    unix_ns: u128,
}

impl Anchor {
    pub(super) fn now() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { instant: Instant::now(), unix_ns: unix.as_nanos() }
    }

    fn text(self, at: Instant) -> String {
        let ago = self.instant.saturating_duration_since(at).as_nanos();
        let ahead = at.saturating_duration_since(self.instant).as_nanos();
        (self.unix_ns + ahead - ago).to_string()
    }
}

/// The body of one request.
pub(super) fn request(sets: &[WriteSet], random: &Random, anchor: Anchor) -> Value {
    let spans: Vec<Value> =
        sets.iter().flat_map(|set| Trace::new(random, anchor).of(set)).collect();
    let version = env!("CARGO_PKG_VERSION");
    json!({"resourceSpans": [{
        "resource": {"attributes": [
            text("service.name", "tidegate"),
            text("service.version", version),
            number("process.pid", std::process::id()),
        ]},
        "scopeSpans": [{"scope": {"name": "tidegate", "version": version}, "spans": spans}],
    }]})
}

/// The spans of one write set.
struct Trace<'a> {
    random: &'a Random,
    anchor: Anchor,
    id: String,
    spans: Vec<Value>,
}

/// A span as it is named and placed; what else it has is added to what this gives.
struct Span<'a> {
    parent: Option<&'a str>,
    name: &'a str,
    kind: u8,
    since: Instant,
    until: Instant,
    attributes: Vec<Value>,
    events: Vec<Value>,
    error: Option<String>,
}

impl<'a> Span<'a> {
    fn new(name: &'a str, since: Instant, until: Instant) -> Self {
        let (attributes, events) = (Vec::new(), Vec::new());
        Self { parent: None, name, kind: INTERNAL, since, until, attributes, events, error: None }
    }

    fn below(self, parent: &'a str) -> Self {
        Self { parent: Some(parent), ..self }
    }
}

impl<'a> Trace<'a> {
    fn new(random: &'a Random, anchor: Anchor) -> Self {
        let id = format!("{:016x}{:016x}", random.id(), random.id());
        Self { random, anchor, id, spans: Vec::new() }
    }

    fn of(mut self, set: &WriteSet) -> Vec<Value> {
        let begun = set.batches.iter().map(|batch| batch.opened_at).min();
        let topic = set.batches.first().map_or("", |batch| &batch.lane.key.topic);
        let target = set.batches.first().map_or("", |batch| &batch.lane.key.target);
        let sum = |of: fn(&BatchSpan) -> u64| set.batches.iter().map(of).sum::<u64>();
        let name = format!("process {topic}");
        let root = self.add(Span {
            kind: CONSUMER,
            attributes: vec![
                text("messaging.system", "kafka"),
                text("messaging.operation.name", "process"),
                text("messaging.operation.type", "process"),
                text("messaging.destination.name", topic),
                number("messaging.batch.message_count", sum(|batch| batch.records)),
                text("tidegate.target", target),
                number("tidegate.batches", set.batches.len() as u64),
            ],
            error: set.trouble(),
            ..Span::new(&name, begun.unwrap_or(set.gathered_at), set.ended_at)
        });
        for batch in &set.batches {
            self.add_batch(batch, &root, set);
        }
        let events = set.retries.iter().map(|retry| {
            let attributes =
                [text("exception.type", &retry.class), text("exception.message", &retry.message)];
            json!({"timeUnixNano": self.anchor.text(retry.at), "name": "exception",
                   "attributes": attributes})
        });
        let write = Span {
            attributes: vec![
                text("tidegate.sink", &set.sink),
                number("tidegate.rows", sum(|batch| batch.rows)),
                number("tidegate.bytes", sum(|batch| batch.bytes as u64)),
                number("tidegate.retries", set.retry_count),
            ],
            events: events.collect(),
            ..Span::new("write", set.gathered_at, set.ended_at)
        };
        let write = self.add(write.below(&root));
        for step in &set.steps {
            self.add(span_of(step).below(&write));
        }
        self.spans
    }

    fn add_batch(&mut self, batch: &BatchSpan, root: &str, set: &WriteSet) {
        let (settled_at, outcome) = match batch.settled {
            Some((at, outcome)) => (at, outcome),
            None => (set.ended_at, Outcome::Discarded),
        };
        let key = &batch.lane.key;
        let span = Span {
            attributes: vec![
                text("messaging.destination.name", &key.topic),
                text("messaging.destination.partition.id", &key.partition.to_string()),
                number("messaging.batch.message_count", batch.records),
                text("tidegate.target", &key.target),
                number("tidegate.offset.begin", batch.begin),
                number("tidegate.offset.end", batch.end),
                number("tidegate.rows", batch.rows),
                number("tidegate.bytes", batch.bytes as u64),
                text("tidegate.trigger", batch.trigger.as_str()),
                text("tidegate.outcome", &outcome_name(outcome)),
            ],
            ..Span::new("batch", batch.opened_at, settled_at)
        };
        let id = self.add(span.below(root));
        self.add(Span::new("fill", batch.opened_at, batch.sent_at).below(&id));
        self.add(Span::new("wait for a writer", batch.sent_at, set.gathered_at).below(&id));
    }

    /// Adds a span, and gives its id.
    fn add(&mut self, span: Span<'_>) -> String {
        let id = format!("{:016x}", self.random.id());
        let mut value = json!({
            "traceId": self.id, "spanId": id, "name": span.name, "kind": span.kind,
            "startTimeUnixNano": self.anchor.text(span.since),
            "endTimeUnixNano": self.anchor.text(span.until.max(span.since)),
            "attributes": span.attributes,
        });
        if let Some(parent) = span.parent {
            value["parentSpanId"] = json!(parent);
        }
        if !span.events.is_empty() {
            value["events"] = json!(span.events);
        }
        if let Some(message) = span.error {
            value["status"] = json!({"code": ERROR, "message": message});
        }
        self.spans.push(value);
        id
    }
}

impl WriteSet {
    /// What did not become durable, if anything.
    fn trouble(&self) -> Option<String> {
        let outcome = |batch: &BatchSpan| batch.settled.map(|(_, outcome)| outcome);
        let lost = self.batches.iter().filter_map(outcome).find(|o| *o != Outcome::Durable)?;
        Some(outcome_name(lost))
    }
}

fn span_of(step: &Step) -> Span<'static> {
    let name = match step.stage {
        Stage::Copy => "COPY",
        Stage::Commit => "COMMIT",
        stage => stage.as_str(),
    };
    let kind = if step.stage == Stage::Retry { INTERNAL } else { CLIENT };
    Span { kind, ..Span::new(name, step.since, step.until) }
}

fn outcome_name(outcome: Outcome) -> String {
    match outcome {
        Outcome::Durable => "durable".to_owned(),
        Outcome::Stale => "stale".to_owned(),
        Outcome::Discarded => "discarded".to_owned(),
        Outcome::Lost(loss) => loss.to_string(),
    }
}

fn text(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

fn number<T: ToString>(key: &str, value: T) -> Value {
    json!({"key": key, "value": {"intValue": value.to_string()}})
}
