//! The client's own figures: the few of its statistics that are shown.

use std::collections::BTreeMap;

use serde::Deserialize;

/// What librdkafka says of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClientFigures {
    /// Messages that were fetched and wait for their partition threads.
    pub queue_messages: u64,
    /// The bytes of these.
    pub queue_bytes: u64,
    /// Requests sent so far.
    pub requests: u64,
    /// Requests that got no answer in time so far.
    pub timeouts: u64,
    /// Average round trip of the last interval in seconds, by broker.
    pub round_trip_seconds: BTreeMap<String, f64>,
}

impl ClientFigures {
    /// Reads the client's statistics (STATISTICS.md of librdkafka); what is not shown is passed over.
    pub(super) fn read(json: &[u8]) -> serde_json::Result<Self> {
        let statistics: Statistics = serde_json::from_slice(json)?;
        let mut figures = Self { requests: statistics.tx, ..Self::default() };
        for topic in statistics.topics.values() {
            for partition in topic.partitions.values() {
                figures.queue_messages += partition.fetchq_cnt;
                figures.queue_bytes += partition.fetchq_size;
            }
        }
        for broker in statistics.brokers.values() {
            figures.timeouts += broker.req_timeouts;
            // Those without a number are addresses to begin with, and the coordinator once more.
            if broker.nodeid >= 0 && broker.rtt.cnt > 0 {
                let seconds = broker.rtt.avg as f64 / 1e6;
                figures.round_trip_seconds.insert(broker.nodename.clone(), seconds);
            }
        }
        Ok(figures)
    }
}

#[derive(Deserialize)]
struct Statistics {
    tx: u64,
    brokers: BTreeMap<String, Broker>,
    topics: BTreeMap<String, Topic>,
}

#[derive(Deserialize)]
struct Broker {
    nodename: String,
    nodeid: i64,
    req_timeouts: u64,
    rtt: RoundTrip,
}

/// In microseconds.
#[derive(Deserialize)]
struct RoundTrip {
    avg: i64,
    cnt: i64,
}

#[derive(Deserialize)]
struct Topic {
    partitions: BTreeMap<String, Partition>,
}

#[derive(Deserialize)]
struct Partition {
    fetchq_cnt: u64,
    fetchq_size: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_figures_are_taken_from_many() {
        let json = br#"{"name":"x","tx":7,"rx":6,"brokers":{
            "localhost:9092/bootstrap":{"nodename":"localhost:9092","nodeid":-1,"req_timeouts":1,
                "rtt":{"min":1,"avg":9,"cnt":3}},
            "localhost:9092/1":{"nodename":"localhost:9092","nodeid":1,"req_timeouts":2,
                "rtt":{"min":1,"avg":1500,"cnt":3}}},
            "topics":{"t":{"topic":"t","partitions":{
                "0":{"partition":0,"fetchq_cnt":5,"fetchq_size":500},
                "-1":{"partition":-1,"fetchq_cnt":0,"fetchq_size":0}}}}}"#;
        let figures = ClientFigures::read(json).unwrap();
        let round_trip_seconds = BTreeMap::from([("localhost:9092".to_owned(), 0.0015)]);
        let expected = ClientFigures {
            queue_messages: 5,
            queue_bytes: 500,
            requests: 7,
            timeouts: 3,
            round_trip_seconds,
        };
        assert_eq!(figures, expected);
    }
}
