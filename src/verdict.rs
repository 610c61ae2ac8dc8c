//! Which stage is the bottleneck, what shows it, and what to do about it.
//!
//! Pure: it is told what was measured in an interval.

use std::fmt::{self, Write as _};

use crate::stage::{Stage, StageTimes};

/// The stage that limits the rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bottleneck {
    /// Nothing is: every record is taken as it comes.
    #[default]
    None,
    /// Kafka delivers slower than the records could be taken.
    Kafka,
    /// The schema registry does not answer, and records wait for it.
    Registry,
    /// The partition threads are busy decoding and encoding.
    Decode,
    /// All writers are busy, and no step of theirs stands out.
    Writers,
    /// The writers wait for a connection.
    Connect,
    /// The writers wait for Postgres to take rows (indexes, triggers).
    Copy,
    /// Postgres waits for a lock of somebody else's.
    Lock,
    /// The writers wait for dead letters and the checkpoint.
    Checkpoint,
    /// The writers wait for COMMIT (the disk, a standby).
    Commit,
    /// Postgres waits for rows that are on their way.
    Network,
    /// The sink is away, or refuses for now.
    SinkAway,
}

impl Bottleneck {
    /// Every one, in the order of the path of a record.
    pub const ALL: [Self; 12] = [
        Self::None,
        Self::Kafka,
        Self::Registry,
        Self::Decode,
        Self::Writers,
        Self::Connect,
        Self::Network,
        Self::Copy,
        Self::Lock,
        Self::Checkpoint,
        Self::Commit,
        Self::SinkAway,
    ];

    /// The name of the stage in `/status` and in metrics.
    pub fn stage(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Kafka => "kafka",
            Self::Registry => "registry",
            Self::Decode => "decode",
            Self::Writers => "writers",
            Self::Connect => "connect",
            Self::Copy => "copy",
            Self::Lock => "lock",
            Self::Checkpoint => "checkpoint",
            Self::Commit => "commit",
            Self::Network => "network",
            Self::SinkAway => "sink_away",
        }
    }

    /// The same, in words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Kafka => "waiting for Kafka",
            Self::Registry => "waiting for the schema registry",
            Self::Decode => "decode-bound",
            Self::Writers => "writer-bound",
            Self::Connect => "waiting for connections",
            Self::Copy => "Postgres-bound (COPY: rows, indexes, triggers)",
            Self::Lock => "Postgres-bound (a lock)",
            Self::Checkpoint => "Postgres-bound (checkpoint, dead letters)",
            Self::Commit => "Postgres-bound (COMMIT: fsync)",
            Self::Network => "network-bound (the way to Postgres)",
            Self::SinkAway => "sink away",
        }
    }

    /// What to do, in one sentence.
    pub fn advice(self) -> &'static str {
        match self {
            Self::None => "Nothing to do.",
            Self::Kafka => {
                "See whether the brokers are up, and how busy they and the way to them are; if they \
                 are idle, spread the topic over more partitions."
            }
            Self::Registry => "Bring the schema registry back, or look at the way to it.",
            Self::Decode => {
                "Give tidegate more CPU, spread the topic over more partitions, or start another \
                 instance."
            }
            Self::Writers => {
                "Raise the sink's `writers`, or bring tidegate nearer to Postgres: round trips add up."
            }
            Self::Connect => {
                "Look at max_connections, at the pooler, and at how long a log-in takes."
            }
            Self::Copy => {
                "Look at the table's indexes and triggers and at Postgres' CPU and disk; fewer \
                 indexes or a partitioned table help most."
            }
            Self::Lock => "End the session that holds the lock, or wait for it.",
            Self::Checkpoint => {
                "Look for dead letters, for rollups of the table, and for bloat of \
                 tidegate.checkpoints."
            }
            Self::Commit => {
                "Look at the disk of pg_wal and at synchronous_standby_names; larger batches \
                 (`batch.age`) need fewer commits."
            }
            Self::Network => "Look at the bandwidth between tidegate and Postgres.",
            Self::SinkAway => "Bring the sink back: the evidence says what it answers.",
        }
    }
}

/// The bottleneck of one interval, with the evidence.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// The stage.
    pub bottleneck: Bottleneck,
    /// What shows it.
    pub evidence: String,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.bottleneck.as_str(), self.evidence)
    }
}

/// What was measured in one interval.
#[derive(Clone, Debug, Default)]
pub struct Interval {
    /// Times of the partition threads.
    pub partition: StageTimes,
    /// The sinks.
    pub sinks: Vec<SinkInterval>,
    /// Whether more is waiting in Kafka than what comes as it is written, all the time. Of a source whose
    /// end is not known, true.
    pub is_behind: bool,
    /// Whoever does not answer, and what is known of that.
    pub silent: Option<(Bottleneck, String)>,
}

/// What was measured of one sink in one interval.
#[derive(Clone, Debug, Default)]
pub struct SinkInterval {
    /// Its name.
    pub name: String,
    /// Times of its writers.
    pub times: StageTimes,
    /// Why it takes nothing: a SQLSTATE or the like, and what it said.
    pub outage: Option<(String, String)>,
    /// What its connections wait for, if it was asked.
    pub waits: Option<Waits>,
}

/// What the connections of a sink waited for, over some looks at them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    /// Connections that were at work, summed over the looks, as all that follows.
    pub working: u32,
    /// Of these: waited for a lock.
    pub lock: u32,
    /// Of these: waited for the write-ahead log or a standby.
    pub log: u32,
    /// Of these: were in a COPY, and waited for rows.
    pub rows: u32,
    /// Of these: waited between two statements, for the next to come.
    pub idle: u32,
    /// Who holds the locks.
    pub holders: Vec<String>,
}

/// Partition threads that are blocked for less than this share of their time have their writers
/// keep up.
const BLOCKED_SHARE: f64 = 0.25;
/// Partition threads that wait for records for more than this share are not the limit.
const IDLE_SHARE: f64 = 0.5;
/// A step that takes more than this share of the writers' busy time is what they wait for.
const DOMINANT_SHARE: f64 = 0.6;
/// What more than this share of the connections waits for, is what the writers wait for.
const WAITING_SHARE: f64 = 0.5;
/// Waited for a lock for as long as the session allows.
const LOCK_NOT_AVAILABLE: &str = "55P03";

/// Judges one interval.
pub fn judge(interval: &Interval) -> Verdict {
    let away = interval.sinks.iter().find_map(|sink| Some((sink, sink.outage.as_ref()?)));
    if let Some((sink, (class, message))) = away {
        return judge_outage(sink, class, message);
    }
    if let Some((bottleneck, evidence)) = interval.silent.clone() {
        return Verdict { bottleneck, evidence };
    }
    let Interval { partition, .. } = interval;
    let busiest = interval.sinks.iter().max_by(|a, b| busy(&a.times).total_cmp(&busy(&b.times)));
    let mut evidence = format!(
        "partition threads: {:.0}% waiting, {:.0}% busy, {:.0}% blocked",
        100.0 * partition.share(Stage::Poll),
        100.0 * partition.share(Stage::Encode),
        100.0 * partition.share(Stage::Send),
    );
    if let Some(sink) = busiest {
        show_writers(&mut evidence, sink, interval.sinks.len() > 1);
    }
    let is_idle = partition.total() == 0.0 || partition.share(Stage::Poll) > IDLE_SHARE;
    let bottleneck = match busiest {
        _ if !interval.is_behind => Bottleneck::None,
        Some(sink) if partition.share(Stage::Send) > BLOCKED_SHARE => judge_writers(sink),
        _ if is_idle => Bottleneck::Kafka,
        _ => Bottleneck::Decode,
    };
    if bottleneck == Bottleneck::Lock {
        let holders = busiest.and_then(|sink| sink.waits.as_ref()).map(|waits| &waits.holders);
        show_holders(&mut evidence, holders);
    }
    Verdict { bottleneck, evidence }
}

fn judge_outage(sink: &SinkInterval, class: &str, message: &str) -> Verdict {
    let mut evidence = message.to_owned();
    let is_lock = class == LOCK_NOT_AVAILABLE;
    if is_lock {
        show_holders(&mut evidence, sink.waits.as_ref().map(|waits| &waits.holders));
    }
    let bottleneck = if is_lock { Bottleneck::Lock } else { Bottleneck::SinkAway };
    Verdict { bottleneck, evidence }
}

/// What the writers of a sink spend their time on that holds the partition threads back.
fn judge_writers(sink: &SinkInterval) -> Bottleneck {
    let of_busy = |stage| sink.times.seconds(stage) / busy(&sink.times).max(f64::MIN_POSITIVE);
    let waits = sink.waits.clone().unwrap_or_default();
    let is_waited_for = |count: u32| f64::from(count) > WAITING_SHARE * f64::from(waits.working);
    if of_busy(Stage::Retry) > WAITING_SHARE {
        Bottleneck::SinkAway
    } else if is_waited_for(waits.lock) {
        Bottleneck::Lock
    } else if is_waited_for(waits.idle) {
        Bottleneck::Writers
    } else if of_busy(Stage::Connect) > DOMINANT_SHARE {
        Bottleneck::Connect
    } else if of_busy(Stage::Commit) > DOMINANT_SHARE {
        Bottleneck::Commit
    } else if of_busy(Stage::Checkpoint) > DOMINANT_SHARE {
        Bottleneck::Checkpoint
    } else if of_busy(Stage::Copy) > DOMINANT_SHARE {
        if is_waited_for(waits.rows) { Bottleneck::Network } else { Bottleneck::Copy }
    } else {
        Bottleneck::Writers
    }
}

fn busy(writers: &StageTimes) -> f64 {
    writers.total() - writers.seconds(Stage::Gather)
}

/// Writing into a `String` cannot fail.
fn show_writers(evidence: &mut String, sink: &SinkInterval, named: bool) {
    let of_busy = |stage| 100.0 * sink.times.seconds(stage) / busy(&sink.times).max(f64::EPSILON);
    let name = if named { format!(" of {}", sink.name) } else { String::new() };
    let _ = write!(
        evidence,
        "; writers{name}: {:.0}% busy, of it COPY {:.0}%, checkpoint {:.0}%, COMMIT {:.0}%",
        100.0 * busy(&sink.times) / sink.times.total().max(f64::EPSILON),
        of_busy(Stage::Copy),
        of_busy(Stage::Checkpoint),
        of_busy(Stage::Commit),
    );
    let Some(waits) = sink.waits.as_ref().filter(|waits| waits.working > 0) else { return };
    let share = |count: u32| 100.0 * f64::from(count) / f64::from(waits.working);
    let _ = write!(
        evidence,
        "; Postgres: of tidegate's connections at work {:.0}% wait for a lock, {:.0}% for the log, \
         {:.0}% for rows, {:.0}% for the next statement",
        share(waits.lock),
        share(waits.log),
        share(waits.rows),
        share(waits.idle),
    );
}

fn show_holders(evidence: &mut String, holders: Option<&Vec<String>>) {
    if let Some(holders) = holders.filter(|holders| !holders.is_empty()) {
        let _ = write!(evidence, "; held by {}", holders.join(", "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(poll: f64, encode: f64, send: f64) -> StageTimes {
        StageTimes::default()
            .with(Stage::Poll, poll)
            .with(Stage::Encode, encode)
            .with(Stage::Send, send)
    }

    fn sink(copy: f64, checkpoint: f64, commit: f64) -> SinkInterval {
        let times = StageTimes::default()
            .with(Stage::Gather, 1.0)
            .with(Stage::Copy, copy)
            .with(Stage::Checkpoint, checkpoint)
            .with(Stage::Commit, commit);
        SinkInterval { name: "serving".to_owned(), times, ..SinkInterval::default() }
    }

    fn waiting(sink: SinkInterval, lock: u32, rows: u32) -> SinkInterval {
        let holders = vec!["4711 (psql)".to_owned()];
        let waits = Waits { working: 10, lock, rows, holders, ..Waits::default() };
        SinkInterval { waits: Some(waits), ..sink }
    }

    fn judged(partition: StageTimes, sink: SinkInterval, is_behind: bool) -> Verdict {
        judge(&Interval { partition, sinks: vec![sink], is_behind, silent: None })
    }

    #[test]
    fn each_cause_gets_its_name() {
        let (idle, busy, blocked) =
            (partition(9.0, 1.0, 0.0), partition(1.0, 9.0, 0.0), partition(1.0, 3.0, 6.0));
        let even = || sink(5.0, 2.0, 3.0);
        let connecting = SinkInterval { times: even().times.with(Stage::Connect, 20.0), ..even() };
        let waits = Some(Waits { working: 10, idle: 8, ..Waits::default() });
        let round_trips = SinkInterval { waits, ..sink(9.0, 0.0, 1.0) };
        let outage = |class: &str| SinkInterval {
            outage: Some((class.to_owned(), "is away".to_owned())),
            ..even()
        };
        let cases = [
            (idle, even(), false, Bottleneck::None),
            (blocked, even(), false, Bottleneck::None),
            (idle, even(), true, Bottleneck::Kafka),
            (busy, even(), true, Bottleneck::Decode),
            (blocked, even(), true, Bottleneck::Writers),
            (blocked, round_trips, true, Bottleneck::Writers),
            (blocked, connecting, true, Bottleneck::Connect),
            (blocked, sink(9.0, 0.0, 1.0), true, Bottleneck::Copy),
            (blocked, waiting(sink(9.0, 0.0, 1.0), 0, 9), true, Bottleneck::Network),
            (blocked, waiting(sink(9.0, 0.0, 1.0), 8, 1), true, Bottleneck::Lock),
            (blocked, sink(1.0, 9.0, 1.0), true, Bottleneck::Checkpoint),
            (blocked, sink(1.0, 0.0, 9.0), true, Bottleneck::Commit),
            (blocked, waiting(sink(1.0, 0.0, 9.0), 0, 1), true, Bottleneck::Commit),
            (blocked, outage("57P03"), true, Bottleneck::SinkAway),
            (blocked, outage(LOCK_NOT_AVAILABLE), true, Bottleneck::Lock),
            (idle, outage("57P03"), false, Bottleneck::SinkAway),
        ];
        for (partition, sink, is_behind, expected) in cases {
            let verdict = judged(partition, sink, is_behind);
            assert_eq!(verdict.bottleneck, expected, "{verdict}");
        }
    }

    #[test]
    fn the_busiest_sink_is_the_one_that_is_judged() {
        let [lazy, slow] = [("lazy", sink(1.0, 0.0, 0.0)), ("slow", sink(1.0, 0.0, 9.0))];
        let sinks = [lazy, slow].map(|(name, sink)| SinkInterval { name: name.to_owned(), ..sink });
        let partition = partition(1.0, 1.0, 8.0);
        let interval = Interval { partition, sinks: sinks.to_vec(), is_behind: true, silent: None };
        let verdict = judge(&interval);
        assert_eq!(verdict.bottleneck, Bottleneck::Commit, "{verdict}");
        assert!(verdict.evidence.contains("writers of slow: 91% busy"), "{verdict}");
    }

    #[test]
    fn a_lock_names_its_holder_and_who_is_silent_is_named() {
        let held = waiting(sink(9.0, 0.0, 1.0), 8, 1);
        let verdict = judged(partition(1.0, 3.0, 6.0), held, true);
        assert!(verdict.evidence.ends_with("held by 4711 (psql)"), "{verdict}");
        let silent = Some((Bottleneck::Registry, "registry main: away".to_owned()));
        let verdict = judge(&Interval { silent, ..Interval::default() });
        assert_eq!(verdict.bottleneck, Bottleneck::Registry);
    }
}
