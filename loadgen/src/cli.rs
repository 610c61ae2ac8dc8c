//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use jiff::{SignedDuration, Timestamp};

use crate::fields::Fields;
use crate::limit::FindLimit;
use crate::load::Load;
use crate::partition::HotPartition;
use crate::profile::{Clock, Key, Profile};

/// Writes orders of an online shop to a Kafka topic and keeps a ledger of them.
///
/// The same seed and flags always give the same records in the same partitions, byte for byte
/// and for any number of threads, unless --now is given.
/// Without --count and --duration it runs until Ctrl-C, which ends it cleanly.
///
/// With --find-limit it looks for the highest rate that a running tidegate sustains: it starts at
/// --rate (10k), goes up by half while the lag does not grow, and then closes in. Each rate is held
/// for --hold, and the lag of each is waited for. The table goes to stderr, --json to stdout.
///
/// Exit codes: 0 all acknowledged, 64 wrong usage, 69 no broker or no tidegate reachable, 70 any
/// other failure.
#[derive(Debug, Parser)]
#[command(name = "loadgen", version, verbatim_doc_comment)]
pub struct Arguments {
    /// Brokers as host:port, separated by commas
    #[arg(long, default_value = "localhost:9092")]
    brokers: String,
    #[arg(long, default_value = "orders")]
    topic: String,
    /// Stop after so many records (suffixes k and M are understood)
    #[arg(long, value_parser = parse_count)]
    count: Option<u64>,
    /// Records a second, all partitions together; without it as fast as the broker takes them
    #[arg(long, value_parser = parse_rate)]
    rate: Option<f64>,
    /// Stop after so long, such as 30s or 5m
    #[arg(long, value_parser = parse_duration)]
    duration: Option<Duration>,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Partitions that a missing topic is created with; an existing topic keeps its own
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    partitions: u32,
    /// Replicas that a missing topic is created with
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    replication: u32,
    /// Pad `note` until a record has about so many bytes (about 190 without padding)
    #[arg(long, value_name = "BYTES")]
    size: Option<usize>,
    /// Which fields a record has
    #[arg(long, value_enum, default_value_t = Fields::Order)]
    fields: Fields,
    /// What a record's key is; tombstones always have the order id
    #[arg(long, value_enum, default_value_t = Key::Customer)]
    key: Key,
    /// How uneven customers order: exponent of a power law, 0 is even, 1 is like Zipf
    #[arg(long, default_value_t = 0.0, value_name = "EXPONENT")]
    key_skew: f64,
    /// Number of customers
    #[arg(long, default_value_t = 200_000)]
    customers: u64,
    /// Send this share of the keys to one partition, such as 3:0.5
    #[arg(long, value_name = "P:SHARE", value_parser = parse_hot_partition)]
    hot_partition: Option<HotPartition>,
    /// Share of records that repeat an earlier order id with its next status
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    updates: f64,
    /// Share of tombstones: key is the order id, the value is null
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    deletes: f64,
    /// Updates and tombstones choose from so many of the latest orders
    #[arg(long, default_value_t = 1_000_000, value_name = "ORDERS")]
    window: usize,
    /// Share of records that cannot become a row: not JSON, wrong type, number out of range,
    /// NUL in text, truncated, invalid UTF-8, in turn
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    poison: f64,
    /// Share of orders whose created_at lies in the past
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    late: f64,
    /// How far late orders lie in the past at most
    #[arg(long, default_value = "2h", value_parser = parse_duration, value_name = "DURATION")]
    late_by: Duration,
    /// Order id of the first order
    #[arg(long, default_value_t = 0)]
    start_id: i64,
    /// created_at of the first order; the next ones follow at --rate, or 1 ms apart
    #[arg(long, default_value = "2026-01-01T00:00:00Z", value_name = "INSTANT")]
    start_time: Timestamp,
    /// Stamp created_at with the real time; the bytes then differ from run to run
    #[arg(long, conflicts_with = "start_time")]
    now: bool,
    #[arg(long, default_value = "none", value_parser = ["none", "lz4", "zstd"])]
    compression: String,
    /// Producing threads; changes the speed, never the records
    #[arg(long)]
    threads: Option<u32>,
    /// Any property of librdkafka, such as linger.ms=5; may be given more than once
    #[arg(short = 'X', long = "property", value_name = "KEY=VALUE", value_parser = parse_property)]
    properties: Vec<(String, String)>,
    /// Print so many records to stdout, one a line, instead of sending any
    #[arg(long, value_name = "N", value_parser = parse_count,
          conflicts_with_all = ["count", "rate", "duration"])]
    pub dry_run: Option<u64>,
    /// Find the highest rate at which the lag of a running tidegate does not grow
    #[arg(long, conflicts_with_all = ["count", "duration", "dry_run", "ledger"])]
    find_limit: bool,
    /// Admin server of the tidegate that is asked for its lag; once for each instance
    #[arg(
        long,
        value_name = "URL",
        default_value = "http://127.0.0.1:9187",
        requires = "find_limit"
    )]
    status: Vec<String>,
    /// How long each rate is held
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_hold,
          requires = "find_limit")]
    hold: Duration,
    /// Draw latency and lag by rate into this file
    #[arg(long, value_name = "FILE", requires = "find_limit")]
    pub svg: Option<PathBuf>,
    /// Write what was produced to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub ledger: Option<PathBuf>,
    /// Show progress once a second even if stderr is not a terminal
    #[arg(long)]
    progress: bool,
    /// Print nothing but errors
    #[arg(long, conflicts_with = "progress")]
    pub quiet: bool,
    /// Print the final report to stdout as one line of JSON
    #[arg(long)]
    pub json: bool,
}

impl Arguments {
    /// The shape of the records.
    pub fn profile(&self) -> Profile {
        let step_us = self.rate.map_or(1000, |rate| (1e6 / rate) as u64);
        let start_ms = self.start_time.as_millisecond();
        Profile {
            seed: self.seed,
            partitions: self.partitions,
            start_id: self.start_id,
            customers: self.customers,
            key: self.key,
            key_skew: self.key_skew,
            hot_partition: self.hot_partition,
            updates: self.updates,
            deletes: self.deletes,
            poison: self.poison,
            window: self.window,
            late: self.late,
            late_by_ms: self.late_by.as_millis() as u64,
            size_bytes: self.size,
            fields: self.fields,
            clock: if self.now { Clock::Now } else { Clock::Fixed { start_ms, step_us } },
        }
    }

    /// The topic's name.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The search that the flags describe, if they ask for one.
    pub fn find_limit(&self) -> Option<FindLimit> {
        self.find_limit.then(|| FindLimit {
            load: self.load(false),
            status: self.status.clone(),
            start: self.rate.unwrap_or(10_000.0),
            hold: self.hold,
            show: !self.quiet,
        })
    }

    /// The run that the flags describe.
    pub fn load(&self, is_terminal: bool) -> Load {
        Load {
            brokers: self.brokers.clone(),
            topic: self.topic.clone(),
            profile: self.profile(),
            replication: self.replication,
            count: self.count,
            rate: self.rate,
            duration: self.duration,
            compression: self.compression.clone(),
            threads: self.threads,
            properties: self.properties.clone(),
            show_progress: !self.quiet && (self.progress || is_terminal),
        }
    }
}

fn parse_count(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not a count: write 1000000, 1_000_000, 1000k or 1M");
    let plain = text.replace('_', "");
    let (digits, factor) = match plain.strip_suffix(['k', 'K']) {
        Some(digits) => (digits, 1_000),
        None => plain.strip_suffix(['m', 'M']).map_or((plain.as_str(), 1), |d| (d, 1_000_000)),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(factor).ok_or_else(wrong)
}

fn parse_rate(text: &str) -> Result<f64, String> {
    let wrong = || format!("`{text}` is not a rate: write records a second, such as 50000 or 50k");
    let number = text.strip_suffix("/s").unwrap_or(text);
    let rate = match parse_count(number) {
        Ok(rate) => rate as f64,
        Err(_) => number.parse().map_err(|_| wrong())?,
    };
    if rate.is_finite() && rate >= 0.001 { Ok(rate) } else { Err(wrong()) }
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration: write a number and a unit, such as 30s");
    let duration: SignedDuration = text.parse().map_err(|_| wrong())?;
    let duration = Duration::try_from(duration).map_err(|_| wrong())?;
    if duration.as_millis() == 0 { Err(wrong()) } else { Ok(duration) }
}

fn parse_hold(text: &str) -> Result<Duration, String> {
    let hold = parse_duration(text)?;
    let is_enough = hold >= Duration::from_secs(1);
    is_enough.then_some(hold).ok_or_else(|| format!("`{text}` shows nothing: hold 1s or more"))
}

fn parse_hot_partition(text: &str) -> Result<HotPartition, String> {
    let wrong = || format!("`{text}` is not PARTITION:SHARE: write for example 3:0.5");
    let (partition, share) = text.split_once(':').ok_or_else(wrong)?;
    let partition = partition.parse().map_err(|_| wrong())?;
    Ok(HotPartition { partition, share: share.parse().map_err(|_| wrong())? })
}

fn parse_property(text: &str) -> Result<(String, String), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| format!("`{text}` is not KEY=VALUE: write for example linger.ms=5"))?;
    Ok((key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(flags: &[&str]) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(std::iter::once(&"loadgen").chain(flags))
    }

    #[test]
    fn the_flags_without_values_give_the_default_profile() {
        assert_eq!(parse(&[]).unwrap().profile(), Profile::default());
    }

    #[test]
    fn counts_and_rates_take_suffixes() {
        let arguments = parse(&["--count", "2M", "--rate", "50k/s"]).unwrap();
        assert_eq!((arguments.count, arguments.rate), (Some(2_000_000), Some(50_000.0)));
        assert_eq!(parse(&["--rate", "0.5"]).unwrap().rate, Some(0.5));
        for flags in [["--count", "many"], ["--count", "-1"], ["--rate", "0"], ["--rate", "inf"]] {
            assert!(parse(&flags).is_err(), "{flags:?}");
        }
    }

    #[test]
    fn orders_are_spaced_by_the_rate() {
        let profile = parse(&["--rate", "100"]).unwrap().profile();
        assert_eq!(profile.clock, Clock::Fixed { start_ms: 1_767_225_600_000, step_us: 10_000 });
    }

    #[test]
    fn a_search_starts_at_the_rate_and_has_no_end_of_its_own() {
        assert!(parse(&["--rate", "20k"]).unwrap().find_limit().is_none());
        let flags = ["--find-limit", "--rate", "20k", "--status", "a:1", "--status", "b:1"];
        let find = parse(&flags).unwrap().find_limit().unwrap();
        assert_eq!((find.start, find.status.len()), (20_000.0, 2));
        assert_eq!(find.hold, Duration::from_secs(10));
        for flags in [
            vec!["--hold", "5s"],
            vec!["--svg", "limit.svg"],
            vec!["--find-limit", "--count", "5"],
            vec!["--find-limit", "--hold", "500ms"],
        ] {
            assert!(parse(&flags).is_err(), "{flags:?}");
        }
    }

    #[test]
    fn durations_and_hot_partitions_are_parsed() {
        let flags = ["--duration", "30s", "--late-by", "2h", "--hot-partition", "3:0.5"];
        let arguments = parse(&flags).unwrap();
        assert_eq!(arguments.duration, Some(Duration::from_secs(30)));
        assert_eq!(arguments.late_by, Duration::from_secs(7200));
        let hot = HotPartition { partition: 3, share: 0.5 };
        assert_eq!(arguments.hot_partition, Some(hot));
        for flags in [["--duration", "soon"], ["--late-by", "-1s"], ["--hot-partition", "3"]] {
            assert!(parse(&flags).is_err(), "{flags:?}");
        }
    }
}
