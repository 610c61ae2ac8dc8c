//! Spans of write sets (`[tracing]`), at a collector that is a real socket.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use serde_json::Value;
use stack::StopMode;

use crate::support::{LIMIT, World, eventually, fragile_postgres, load, orders_profile};

/// Takes OTLP over HTTP, and gives each request's body.
struct Collector {
    port: u16,
    bodies: Receiver<Value>,
}

/// One span, of those that are asked about.
#[derive(Clone, Debug)]
struct Span {
    id: String,
    parent: Option<String>,
    trace: String,
    name: String,
    since_ns: u64,
    until_ns: u64,
    attributes: BTreeMap<String, String>,
    events: Vec<Value>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, bodies) = channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = BufReader::new(stream.unwrap());
                // As many requests as the client sends over it.
                while let Some(body) = read_request(&mut stream) {
                    if sender.send(body).is_err() {
                        return;
                    }
                    let answer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\
                        Content-Length: 2\r\n\r\n{}";
                    stream.get_mut().write_all(answer.as_bytes()).unwrap();
                }
            }
        });
        Self { port, bodies }
    }

    /// The spans of the next requests, until there is a trace of which `wanted` is true.
    fn trace(&self, wanted: impl Fn(&[Span]) -> bool) -> Vec<Span> {
        let mut traces: BTreeMap<String, Vec<Span>> = BTreeMap::new();
        loop {
            let body = self.bodies.recv_timeout(LIMIT).unwrap();
            let resource = &body["resourceSpans"][0]["resource"]["attributes"][0];
            assert_eq!(resource["value"]["stringValue"], "tidegate", "{body}");
            for span in body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap() {
                let span = Span::read(span);
                traces.entry(span.trace.clone()).or_default().push(span);
            }
            if let Some(spans) = traces.values().find(|spans| wanted(spans)) {
                return spans.clone();
            }
        }
    }
}

/// The body of a request to `/v1/traces`; `None` at the end.
fn read_request(stream: &mut BufReader<std::net::TcpStream>) -> Option<Value> {
    let (mut line, mut length) = (String::new(), 0);
    if stream.read_line(&mut line).ok()? == 0 {
        return None;
    }
    assert!(line.starts_with("POST /v1/traces HTTP/1.1"), "{line}");
    while line != "\r\n" {
        line.clear();
        stream.read_line(&mut line).unwrap();
        let lower = line.to_lowercase();
        if let Some(text) = lower.strip_prefix("content-length:") {
            length = text.trim().parse().unwrap();
        }
        assert!(!lower.starts_with("content-type:") || lower.contains("application/json"));
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    Some(serde_json::from_slice(&body).unwrap())
}

impl Span {
    /// Reads a span, which must be as the format has it.
    fn read(span: &Value) -> Self {
        let text = |key: &str| span[key].as_str().map(str::to_owned);
        let nanos = |key: &str| text(key).unwrap().parse::<u64>().unwrap();
        let is_hex = |text: &str, length| {
            text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        let attributes = span["attributes"].as_array().unwrap().iter().map(|attribute| {
            let value = attribute["value"].as_object().unwrap().values().next().unwrap();
            let key = attribute["key"].as_str().unwrap().to_owned();
            (key, value.as_str().unwrap().to_owned())
        });
        let read = Self {
            id: text("spanId").unwrap(),
            parent: text("parentSpanId"),
            trace: text("traceId").unwrap(),
            name: text("name").unwrap(),
            since_ns: nanos("startTimeUnixNano"),
            until_ns: nanos("endTimeUnixNano"),
            attributes: attributes.collect(),
            events: span["events"].as_array().cloned().unwrap_or_default(),
        };
        assert!(is_hex(&read.id, 16) && is_hex(&read.trace, 32), "{span}");
        assert!(read.until_ns >= read.since_ns, "{span}");
        read
    }

    fn ms(&self) -> f64 {
        (self.until_ns - self.since_ns) as f64 / 1e6
    }
}

fn only<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let found: Vec<&Span> = spans.iter().filter(|span| span.name == name).collect();
    assert_eq!(found.len(), 1, "{name} in {spans:#?}");
    found[0]
}

/// All spans are of one tree, and none reaches out of the one above it.
fn assert_nested(spans: &[Span]) {
    for span in spans {
        let Some(parent) = &span.parent else {
            assert!(span.name.starts_with("process "), "{span:?}");
            continue;
        };
        let parent = spans.iter().find(|other| other.id == *parent).unwrap();
        let is_inside = span.since_ns >= parent.since_ns && span.until_ns <= parent.until_ns;
        assert!(is_inside, "{span:#?} in {parent:#?}");
    }
    assert_eq!(spans.iter().filter(|span| span.parent.is_none()).count(), 1, "{spans:#?}");
}

#[test]
fn a_write_set_is_a_trace_whose_times_add_up() {
    let world = World::new("spans", 1);
    let collector = Collector::start();
    let otlp = format!("tracing.otlp=http://127.0.0.1:{}/", collector.port);
    // COPY is made to take long enough to be seen.
    world
        .sql
        .execute(
            "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql \
             AS 'BEGIN PERFORM pg_sleep(0.2); RETURN NULL; END'; \
             CREATE TRIGGER dawdle AFTER INSERT ON orders EXECUTE FUNCTION dawdle()",
        )
        .unwrap();
    let tidegate = world.run_orders(&[&otlp, "tracing.sample=1"]);
    let ledger = load(&world, orders_profile(1), 2_000);
    let begins = |span: &Span| span.attributes.get("tidegate.offset.begin").cloned();
    let spans =
        collector.trace(|spans| spans.iter().any(|span| begins(span).as_deref() == Some("0")));
    assert_nested(&spans);
    let (root, batch) = (only(&spans, "process spans"), only(&spans, "batch"));
    assert_eq!(root.attributes["messaging.system"], "kafka");
    assert_eq!(batch.attributes["messaging.destination.name"], "spans");
    assert_eq!(batch.attributes["messaging.destination.partition.id"], "0");
    assert_eq!(batch.attributes["tidegate.target"], "serving.public.orders");
    assert_eq!(batch.attributes["tidegate.outcome"], "durable");
    let number = |key: &str| batch.attributes[key].parse::<u64>().unwrap();
    let records = number("messaging.batch.message_count");
    assert!(records > 0 && number("tidegate.offset.end") >= records, "{batch:#?}");
    assert!(number("tidegate.rows") <= records && number("tidegate.bytes") > 0, "{batch:#?}");
    // Filled, waited for a writer, written: that is the batch, from its first record on.
    let parts = ["fill", "wait for a writer", "write"].map(|name| only(&spans, name).ms());
    assert!((parts.iter().sum::<f64>() - batch.ms()).abs() < 50.0, "{spans:#?}");
    // And the steps are the write.
    let spent = |name: &str| {
        let steps = spans.iter().filter(|span| span.name == name);
        steps.map(Span::ms).reduce(|sum, ms| sum + ms).unwrap()
    };
    let steps: f64 = ["connect", "COPY", "checkpoint", "COMMIT"].map(spent).iter().sum();
    let write = only(&spans, "write");
    assert!(steps <= write.ms() + 0.001 && write.ms() - steps < 100.0, "{spans:#?}");
    assert!(spent("COPY") >= 200.0, "{spans:#?}");
    world.await_checkpoints(&ledger, "serving.public.orders");
    tidegate.stop();
    world.assert_exact(&ledger, 1);
}

#[test]
fn what_was_tried_again_is_told_whatever_the_share() {
    let postgres = fragile_postgres();
    let world = World::on_fragile(&postgres, "spans_again", 1);
    let collector = Collector::start();
    let otlp = format!("tracing.otlp=http://127.0.0.1:{}", collector.port);
    let mut tidegate = world.run_orders(&[&otlp, "tracing.sample=0"]);
    load(&world, orders_profile(1), 100);
    eventually("rows", || if world.count_orders() > 0 { Ok(()) } else { Err(String::new()) });
    postgres.stop(StopMode::Fast).unwrap();
    load(&world, orders_profile(2), 100);
    tidegate.await_degraded("sink serving is away");
    postgres.start_again().unwrap();
    let spans = collector.trace(|spans| spans.iter().any(|span| span.name == "retry"));
    assert_nested(&spans);
    let write = only(&spans, "write");
    assert_ne!(write.attributes["tidegate.retries"], "0");
    let error = &write.events[0];
    assert_eq!(error["name"], "exception");
    assert!(error["attributes"].to_string().contains("exception.type"), "{error}");
    tidegate.stop();
}

#[test]
fn a_collector_that_is_away_slows_nothing_down_and_is_said_once() {
    let world = World::new("spans_away", 1);
    // It takes connections, and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let otlp = format!("tracing.otlp=http://127.0.0.1:{port}");
    let sets = [otlp.as_str(), "tracing.sample=1", "batch.rows=10"];
    let mut tidegate = world.run_orders(&sets);
    let ledger = load(&world, orders_profile(1), 20_000);
    world.await_checkpoints(&ledger, "serving.public.orders");
    tidegate.await_log("takes no spans");
    drop(silent);
    let dropped = tidegate.metric_with("tidegate_traces_total", "outcome=\"dropped\"");
    assert!(dropped > 0.0, "{dropped}");
    let exit = tidegate.stop();
    assert_eq!(exit.log.matches("takes no spans").count(), 1, "{}", exit.log);
    assert!(exit.took < Duration::from_secs(5), "{:?}", exit.took);
    world.assert_exact(&ledger, 1);
}
