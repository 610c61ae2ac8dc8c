//! What the run came to: a table for people, the same as JSON for programs.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use checker::Proof;
use serde_json::{Value, json};

use crate::{audit::Damage, error::Error, fleet::Facts, kind::Kind};

/// One kind of fault.
#[derive(Clone, Debug, Default)]
struct Row {
    times: u64,
    damage: Damage,
    recovered: Vec<Duration>,
}

#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) seed: u64,
    pub(crate) seconds: f64,
    /// The bound for each recovery.
    pub(crate) recover_max: Duration,
    rows: BTreeMap<Kind, Row>,
}

/// What is known at the end.
pub(crate) struct Ending<'a> {
    pub(crate) facts: &'a Facts,
    /// Nothing where not even the proof could be made.
    pub(crate) proof: Option<&'a Proof>,
    pub(crate) findings: &'a [String],
}

impl Report {
    pub(crate) fn new(seed: u64, recover_max: Duration) -> Self {
        Self { seed, seconds: 0.0, recover_max, rows: BTreeMap::new() }
    }

    /// Faults that overlapped share what came of them.
    pub(crate) fn add(&mut self, kinds: &[Kind], damage: Damage, recovered: Option<Duration>) {
        for kind in kinds {
            let row = self.rows.entry(*kind).or_default();
            row.times += 1;
            row.damage.lost += damage.lost;
            row.damage.duplicated += damage.duplicated;
            row.recovered.extend(recovered);
        }
    }

    pub(crate) fn faults(&self) -> u64 {
        self.rows.values().map(|row| row.times).sum()
    }

    pub(crate) fn print(&self, ending: &Ending<'_>) {
        println!(
            "{:<34} {:>6} {:>6} {:>11} {:>16} {:>9}",
            "fault", "times", "lost", "duplicated", "longest recovery", "median"
        );
        for (kind, row) in &self.rows {
            println!(
                "{:<34} {:>6} {:>6} {:>11} {:>14} s {:>7} s",
                kind.meaning(),
                row.times,
                row.damage.lost,
                row.damage.duplicated,
                seconds(row.longest()),
                seconds(row.median()),
            );
        }
        let facts = ending.facts;
        println!(
            "torture: {} looks at the balance of the lanes, longest stop {} s, at most {} MiB a tidegate",
            facts.samples,
            seconds(Some(facts.longest_stop)),
            facts.peak_memory_bytes >> 20
        );
        if !facts.restarts.is_empty() {
            let ends: Vec<String> =
                facts.restarts.iter().map(|(code, times)| format!("{code} ({times}x)")).collect();
            println!("torture: ended by themselves and were started again: {}", ends.join(", "));
        }
    }

    /// The last line.
    pub(crate) fn conclusion(&self, proof: Option<&Proof>) -> String {
        let number = |of: fn(&Proof) -> u64| {
            proof.map_or_else(|| "unknown".to_owned(), |proof| of(proof).to_string())
        };
        format!(
            "torture: faults={} lost={} duplicated={}",
            self.faults(),
            number(Proof::lost),
            number(Proof::duplicated)
        )
    }

    pub(crate) fn write(&self, path: &Path, ending: &Ending<'_>) -> Result<(), Error> {
        let text = format!("{:#}\n", self.json(ending));
        fs::write(path, text).map_err(Error::io("write", path))
    }

    fn json(&self, ending: &Ending<'_>) -> Value {
        let kinds: Vec<Value> = self
            .rows
            .iter()
            .map(|(kind, row)| {
                json!({
                    "fault": kind.name(), "times": row.times, "lost": row.damage.lost,
                    "duplicated": row.damage.duplicated,
                    "longest_recovery_s": row.longest().map(|time| time.as_secs_f64()),
                    "median_recovery_s": row.median().map(|time| time.as_secs_f64()),
                })
            })
            .collect();
        let (proof, facts) = (ending.proof, ending.facts);
        json!({
            "seed": self.seed, "seconds": self.seconds,
            "recovery_max_s": self.recover_max.as_secs_f64(),
            "faults": self.faults(), "kinds": kinds,
            "produced": proof.map(Proof::produced), "written": proof.map(Proof::written),
            "dead_lettered": proof.map(Proof::dead_lettered),
            "lost": proof.map(Proof::lost), "duplicated": proof.map(Proof::duplicated),
            "exact": proof.map(Proof::is_exact),
            "restarts": facts.restarts, "longest_stop_s": facts.longest_stop.as_secs_f64(),
            "peak_memory_bytes": facts.peak_memory_bytes, "balance_samples": facts.samples,
            "findings": ending.findings,
        })
    }
}

impl Row {
    fn longest(&self) -> Option<Duration> {
        self.recovered.iter().max().copied()
    }

    fn median(&self) -> Option<Duration> {
        let mut sorted = self.recovered.clone();
        sorted.sort();
        sorted.get(sorted.len().checked_sub(1)? / 2).copied()
    }
}

fn seconds(time: Option<Duration>) -> String {
    time.map_or_else(|| "-".to_owned(), |time| format!("{:.1}", time.as_secs_f64()))
}
