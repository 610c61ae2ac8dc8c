//! Which stage is the bottleneck, and what shows it.

use std::fmt;

use crate::stage::{Stage, StageTimes};

/// The stage that limits the rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bottleneck {
    /// Nothing is: every record is taken as it comes.
    None,
    /// Kafka delivers slower than the records could be taken.
    Kafka,
    /// The partition threads are busy decoding and encoding.
    Decode,
    /// All writers are busy, and their work is spread.
    Writers,
    /// The writers wait for Postgres to take rows (indexes, triggers, locks).
    PostgresCopy,
    /// The writers wait for COMMIT (the disk).
    PostgresCommit,
    /// The sink is away, or refuses for now.
    SinkAway,
}

impl Bottleneck {
    /// The name in `/status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Kafka => "waiting for Kafka",
            Self::Decode => "decode-bound",
            Self::Writers => "writer-bound",
            Self::PostgresCopy => "Postgres-bound (COPY: rows, indexes, locks)",
            Self::PostgresCommit => "Postgres-bound (COMMIT: fsync)",
            Self::SinkAway => "sink away",
        }
    }
}

/// The bottleneck of one interval, with the evidence.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The stage.
    pub bottleneck: Bottleneck,
    /// Shares of time that show it.
    pub evidence: String,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.bottleneck.as_str(), self.evidence)
    }
}

/// Partition threads that are blocked for less than this share of their time have their writers
/// keep up.
const BLOCKED_SHARE: f64 = 0.25;
/// Partition threads that wait for records for more than this share are not the limit.
const IDLE_SHARE: f64 = 0.5;
/// A step that takes more than this share of the writers' busy time is what they wait for.
const DOMINANT_SHARE: f64 = 0.6;

/// Judges one interval. `partition` and `writer` are the threads' times in it, `lag` the records
/// behind at its end.
pub fn judge(partition: &StageTimes, writer: &StageTimes, lag: u64) -> Verdict {
    let share =
        |stage: Stage, of: f64| if of > 0.0 { 100.0 * partition.seconds(stage) / of } else { 0.0 };
    let partition_total: f64 =
        [Stage::Poll, Stage::Encode, Stage::Send].iter().map(|s| partition.seconds(*s)).sum();
    let (poll, encode, send) = (
        share(Stage::Poll, partition_total),
        share(Stage::Encode, partition_total),
        share(Stage::Send, partition_total),
    );
    let writer_busy = [Stage::Connect, Stage::Copy, Stage::Checkpoint, Stage::Commit, Stage::Retry];
    let busy: f64 = writer_busy.iter().map(|s| writer.seconds(*s)).sum();
    let writer_total = busy + writer.seconds(Stage::Gather);
    let of_busy = |stage| if busy > 0.0 { writer.seconds(stage) / busy } else { 0.0 };
    let evidence = format!(
        "partition threads: {poll:.0}% waiting, {encode:.0}% busy, {send:.0}% blocked; writers: \
         {:.0}% busy, of it COPY {:.0}%, COMMIT {:.0}%",
        if writer_total > 0.0 { 100.0 * busy / writer_total } else { 0.0 },
        100.0 * of_busy(Stage::Copy),
        100.0 * of_busy(Stage::Commit),
    );
    let bottleneck = if of_busy(Stage::Retry) > 0.5 {
        Bottleneck::SinkAway
    } else if send > 100.0 * BLOCKED_SHARE {
        if of_busy(Stage::Commit) > DOMINANT_SHARE {
            Bottleneck::PostgresCommit
        } else if of_busy(Stage::Copy) > DOMINANT_SHARE {
            Bottleneck::PostgresCopy
        } else {
            Bottleneck::Writers
        }
    } else if poll > 100.0 * IDLE_SHARE || partition_total == 0.0 {
        if lag == 0 { Bottleneck::None } else { Bottleneck::Kafka }
    } else {
        Bottleneck::Decode
    };
    Verdict { bottleneck, evidence }
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

    fn writer(gather: f64, copy: f64, commit: f64, retry: f64) -> StageTimes {
        StageTimes::default()
            .with(Stage::Gather, gather)
            .with(Stage::Copy, copy)
            .with(Stage::Commit, commit)
            .with(Stage::Retry, retry)
    }

    #[test]
    fn each_cause_gets_its_name() {
        let cases = [
            (partition(9.0, 1.0, 0.0), writer(9.0, 0.5, 0.5, 0.0), 0, Bottleneck::None),
            (partition(9.0, 1.0, 0.0), writer(9.0, 0.5, 0.5, 0.0), 500, Bottleneck::Kafka),
            (partition(1.0, 9.0, 0.0), writer(5.0, 4.0, 1.0, 0.0), 500, Bottleneck::Decode),
            (partition(1.0, 3.0, 6.0), writer(0.0, 9.0, 1.0, 0.0), 500, Bottleneck::PostgresCopy),
            (partition(1.0, 3.0, 6.0), writer(0.0, 1.0, 9.0, 0.0), 500, Bottleneck::PostgresCommit),
            (partition(1.0, 3.0, 6.0), writer(0.0, 5.0, 5.0, 0.0), 500, Bottleneck::Writers),
            (partition(1.0, 0.0, 9.0), writer(0.0, 0.1, 0.0, 9.0), 500, Bottleneck::SinkAway),
        ];
        for (partition, writer, lag, expected) in cases {
            let verdict = judge(&partition, &writer, lag);
            assert_eq!(verdict.bottleneck, expected, "{verdict}");
        }
    }
}
