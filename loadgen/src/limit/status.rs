//! Asks the running tidegates how far they are.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use ureq::Agent;

use crate::error::LoadError;

/// For one answer.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// The instances of one deployment, by the addresses of their admin servers.
#[derive(Debug)]
pub(crate) struct Instances {
    agent: Agent,
    urls: Vec<String>,
    topic: String,
    partitions: usize,
}

/// The stage that a tidegate names as the limit.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
pub struct Bottleneck {
    /// Its short name; older ones tell none.
    pub stage: Option<String>,
    #[serde(rename(deserialize = "bottleneck"))]
    pub name: String,
    pub evidence: String,
    pub advice: Option<String>,
}

/// Where a topic's records are, over all instances; of several targets, the one that is furthest behind.
#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshot {
    /// Sum of the offsets up to which the partitions are durable.
    pub(crate) durable: i64,
    /// Records behind; `None` while some end is not known.
    pub(crate) lag: Option<u64>,
    /// Rows in all targets, since the partitions were assigned.
    pub(crate) written: u64,
    /// Of the slowest instance.
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
    pub(crate) bottleneck: Bottleneck,
}

/// What a snapshot lacks.
#[derive(Debug)]
pub(crate) enum Gap {
    /// An instance does not answer, or not as a tidegate.
    Away { url: String, reason: String },
    /// No instance that was asked has these partitions now.
    Unread { partitions: usize },
}

#[derive(Deserialize)]
struct Page {
    lag_records: u64,
    lanes: Vec<Lane>,
    latency_ms: LatencyMs,
    verdict: Bottleneck,
}

#[derive(Deserialize)]
struct LatencyMs {
    p50: Option<f64>,
    p99: Option<f64>,
}

#[derive(Deserialize)]
struct Lane {
    topic: String,
    target: String,
    durable_offset: i64,
    lag_records: Option<u64>,
    written: u64,
}

/// The lanes of one target.
#[derive(Default)]
struct Target {
    lanes: usize,
    durable: i64,
    lag: Option<u64>,
}

impl Instances {
    /// `addresses` as `host:port` or URLs; the partitions are those of `topic`.
    pub(crate) fn new(addresses: &[String], topic: &str, partitions: usize) -> Self {
        let config = Agent::config_builder().timeout_global(Some(ANSWER_MAX)).proxy(None);
        let urls = addresses.iter().map(|address| url_of(address)).collect();
        Self { agent: config.build().into(), urls, topic: topic.to_owned(), partitions }
    }

    /// What the instances say now.
    pub(crate) fn ask(&self) -> Result<Snapshot, Gap> {
        let pages = self.urls.iter().map(|url| self.page(url)).collect::<Result<Vec<_>, _>>()?;
        self.sum_up(&pages)
    }

    fn page(&self, url: &str) -> Result<Page, Gap> {
        let away = |reason: String| Gap::Away { url: url.to_owned(), reason };
        let mut answer = self.agent.get(url).call().map_err(|error| away(error.to_string()))?;
        let body = answer.body_mut().read_to_vec().map_err(|error| away(error.to_string()))?;
        serde_json::from_slice(&body)
            .map_err(|error| away(format!("not the status of a tidegate: {error}")))
    }

    fn sum_up(&self, pages: &[Page]) -> Result<Snapshot, Gap> {
        let mut targets: BTreeMap<&str, Target> = BTreeMap::new();
        let mut snapshot = Snapshot::default();
        let lanes = pages.iter().flat_map(|page| &page.lanes);
        for lane in lanes.filter(|lane| lane.topic == self.topic) {
            let first = Target { lag: Some(0), ..Target::default() };
            let target = targets.entry(&lane.target).or_insert(first);
            target.lanes += 1;
            target.durable += lane.durable_offset;
            target.lag = target.lag.zip(lane.lag_records).map(|(sum, lag)| sum + lag);
            snapshot.written += lane.written;
        }
        let fewest = targets.values().map(|target| target.lanes).min().unwrap_or(0);
        if fewest < self.partitions {
            return Err(Gap::Unread { partitions: self.partitions - fewest });
        }
        snapshot.durable = targets.values().map(|target| target.durable).min().unwrap_or(0);
        let lags = targets.values().map(|target| target.lag);
        snapshot.lag = lags.reduce(|most, lag| most.zip(lag).map(|(a, b)| a.max(b))).flatten();
        let slowest = |of: fn(&LatencyMs) -> Option<f64>| {
            pages.iter().filter_map(|page| of(&page.latency_ms)).reduce(f64::max)
        };
        snapshot.p50_ms = slowest(|latency| latency.p50);
        snapshot.p99_ms = slowest(|latency| latency.p99);
        if let Some(page) = pages.iter().max_by_key(|page| page.lag_records) {
            snapshot.bottleneck = page.verdict.clone();
        }
        Ok(snapshot)
    }
}

impl Bottleneck {
    /// Whether it is one.
    pub(crate) fn is_named(&self) -> bool {
        self.label() != "none"
    }

    /// The short name if there is one.
    pub fn label(&self) -> &str {
        self.stage.as_deref().unwrap_or(&self.name)
    }
}

impl Gap {
    pub(crate) fn into_error(self, topic: &str) -> LoadError {
        match self {
            Gap::Away { url, reason } => LoadError::Status { url, reason },
            Gap::Unread { partitions } => LoadError::Unread { topic: topic.to_owned(), partitions },
        }
    }
}

fn url_of(address: &str) -> String {
    let url = match address.split_once("://") {
        Some(_) => address.to_owned(),
        None => format!("http://{address}"),
    };
    let host = url.find("://").map_or(0, |at| at + 3);
    if url[host..].trim_end_matches('/').contains('/') {
        return url;
    }
    format!("{}/status", url.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn page(lanes: &[(&str, &str, i64, Option<u64>)]) -> Page {
        let lanes: Vec<_> = lanes
            .iter()
            .map(|(topic, target, durable, lag)| {
                json!({"topic": topic, "partition": 0, "target": target, "written": 5,
                       "durable_offset": durable, "lag_records": lag})
            })
            .collect();
        let page = json!({
            "lag_records": 3, "lanes": lanes, "latency_ms": {"p50": 4.0, "p99": null},
            "verdict": {"bottleneck": "decode-bound", "evidence": "busy"}
        });
        serde_json::from_value(page).unwrap()
    }

    #[test]
    fn an_address_becomes_the_url_of_the_status() {
        for (address, url) in [
            ("db1:9187", "http://db1:9187/status"),
            ("http://db1:9187/", "http://db1:9187/status"),
            ("http://db1:9187/tidegate/status", "http://db1:9187/tidegate/status"),
        ] {
            assert_eq!(url_of(address), url);
        }
    }

    #[test]
    fn instances_add_up_and_the_slowest_target_counts() {
        let instances = Instances::new(&[], "orders", 2);
        let lanes = |offset| {
            [
                ("orders", "a", offset, Some(1)),
                ("orders", "b", offset - 5, Some(6)),
                ("others", "a", 1_000, Some(1_000)),
            ]
        };
        let snapshot = instances.sum_up(&[page(&lanes(10)), page(&lanes(20))]).unwrap();
        assert_eq!((snapshot.durable, snapshot.lag, snapshot.written), (20, Some(12), 20));
        assert_eq!((snapshot.p50_ms, snapshot.p99_ms), (Some(4.0), None));
        assert_eq!(snapshot.bottleneck.label(), "decode-bound");
    }

    #[test]
    fn partitions_that_nobody_reads_are_no_lag_of_zero() {
        let instances = Instances::new(&[], "orders", 2);
        let alone = [page(&[("orders", "a", 10, Some(0))])];
        assert!(matches!(instances.sum_up(&alone), Err(Gap::Unread { partitions: 1 })));
        let unknown = page(&[("orders", "a", 10, Some(0)), ("orders", "a", 10, None)]);
        assert_eq!(instances.sum_up(&[unknown]).unwrap().lag, None);
    }
}
