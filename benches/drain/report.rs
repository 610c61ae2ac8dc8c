//! Medians over the rounds, the floors, and the file.

use std::{collections::BTreeMap, fmt, fs, thread};

use serde_json::json;

use crate::{
    common::{self, Result},
    copy::Copied,
    drain::Drained,
    raw::Consumed,
    variant::Variant,
};

/// Floors that every change has to keep.
const PEAK_RSS_MAX_MB: f64 = 192.0;
/// With fewer bytes, the start of the process is too much of the time to be compared with a bound that
/// knows none.
const BOUND_BYTES_MIN: u64 = 1_800_000_000;
/// Written by the guard of the instructions, see `benches/codec`.
const INSTRUCTIONS: &str = "target/bench/instructions.json";

/// All three measurements, one after the other.
pub(crate) struct Round {
    pub(crate) copy: Copied,
    pub(crate) raw: Consumed,
    pub(crate) drain: Drained,
}

pub(crate) struct Report {
    variant: &'static Variant,
    rows: u64,
    bytes: u64,
    rounds: Vec<Round>,
}

/// What a line of the table shows.
struct Measure {
    name: &'static str,
    decimals: usize,
    of: fn(&Round) -> f64,
}

const MEASURES: [Measure; 11] = [
    Measure { name: "psql from files, rows/s", decimals: 0, of: |r| r.copy.rows_per_s },
    Measure {
        name: "  Postgres, CPU s/M rows",
        decimals: 2,
        of: |r| r.copy.postgres_cpu_s_per_million,
    },
    Measure { name: "  with psql, CPU s/M rows", decimals: 2, of: |r| r.copy.cpu_s_per_million },
    Measure { name: "raw consume, records/s", decimals: 0, of: |r| r.raw.rows_per_s },
    Measure { name: "  with broker, CPU s/M", decimals: 2, of: |r| r.raw.cpu_s_per_million },
    Measure { name: "bound of both, rows/s", decimals: 0, of: Round::bound_rows_per_s },
    Measure { name: "tidegate, rows/s", decimals: 0, of: |r| r.drain.rows_per_s },
    Measure { name: "  from the first row", decimals: 0, of: |r| r.drain.rows_per_s_from_first },
    Measure { name: "  CPU s/M rows", decimals: 2, of: |r| r.drain.cpu_s_per_million },
    Measure {
        name: "  Postgres, CPU s/M rows",
        decimals: 2,
        of: |r| r.drain.postgres_cpu_s_per_million,
    },
    Measure { name: "  peak RSS, MB", decimals: 0, of: |r| r.drain.peak_rss_mb },
];

impl Round {
    /// What the cores could do if they did nothing but consume the records and copy the rows, all the
    /// time.
    fn bound_rows_per_s(&self) -> f64 {
        let cores = thread::available_parallelism().map_or(1, usize::from) as f64;
        cores / (self.raw.cpu_s_per_million + self.copy.cpu_s_per_million) * 1e6
    }
}

impl Report {
    /// For `rows` records with keys and values of `bytes` together.
    pub(crate) fn new(variant: &'static Variant, rows: u64, bytes: u64) -> Self {
        Self { variant, rows, bytes, rounds: Vec::new() }
    }

    pub(crate) fn add(&mut self, round: Round) {
        self.rounds.push(round);
    }

    fn median(&self, of: impl Fn(&Round) -> f64) -> f64 {
        common::median(self.rounds.iter().map(of))
    }

    /// One wrong row in any round is one too many, which a median would hide.
    fn sum(&self, of: impl Fn(&Drained) -> u64) -> u64 {
        self.rounds.iter().map(|round| of(&round.drain)).sum()
    }

    fn copy_ratio(&self) -> f64 {
        self.median(|r| r.drain.rows_per_s) / self.median(|r| r.copy.rows_per_s)
    }

    /// The rate of tidegate, start-up included, as a part of the bound.
    fn bound_ratio(&self) -> f64 {
        self.median(|r| r.drain.rows_per_s / r.bound_rows_per_s())
    }

    /// Of keys and values, before compression.
    fn mb_per_s(&self) -> f64 {
        let bytes_a_row = self.bytes as f64 / self.rows as f64;
        self.median(|r| r.drain.rows_per_s) * bytes_a_row / 1e6
    }

    /// The medians.
    pub(crate) fn json(&self) -> Result<serde_json::Value> {
        Ok(json!({
            "rows": self.rows,
            "bytes": self.bytes,
            "rounds": self.rounds.len(),
            "rows_per_s": self.median(|r| r.drain.rows_per_s),
            "mb_per_s": self.mb_per_s(),
            "rows_per_s_from_first_row": self.median(|r| r.drain.rows_per_s_from_first),
            "copy_files_rows_per_s": self.median(|r| r.copy.rows_per_s),
            "copy_ratio": self.copy_ratio(),
            "raw_consume_rows_per_s": self.median(|r| r.raw.rows_per_s),
            "bound_rows_per_s": self.median(Round::bound_rows_per_s),
            "bound_ratio": self.bound_ratio(),
            "instructions_per_record": instructions_per_record()?,
            "cpu_s_per_million_rows": self.median(|r| r.drain.cpu_s_per_million),
            "postgres_cpu_s_per_million_rows":
                self.median(|r| r.drain.postgres_cpu_s_per_million),
            "copy_files_postgres_cpu_s_per_million_rows":
                self.median(|r| r.copy.postgres_cpu_s_per_million),
            "peak_rss_mb": self.median(|r| r.drain.peak_rss_mb),
            "lost": self.sum(|drain| drain.lost),
            "duplicated": self.sum(|drain| drain.duplicated),
        }))
    }

    /// The floors that are not kept.
    pub(crate) fn missed(&self) -> Vec<String> {
        let Variant { copy_ratio_min, bound_ratio_min, cpu_max_s_per_million: cpu_max, .. } =
            self.variant;
        let ratio = self.copy_ratio();
        let bound_ratio = self.bound_ratio();
        let cpu = self.median(|r| r.drain.cpu_s_per_million);
        let rss = self.median(|r| r.drain.peak_rss_mb);
        let wrong = self.sum(|drain| drain.lost + drain.duplicated);
        let floors = [
            (
                ratio >= *copy_ratio_min,
                format!("{ratio:.2} times psql from files; at least {copy_ratio_min}"),
            ),
            (
                bound_ratio >= *bound_ratio_min || self.bytes < BOUND_BYTES_MIN,
                format!("{bound_ratio:.2} of the bound; at least {bound_ratio_min}"),
            ),
            (cpu <= *cpu_max, format!("{cpu:.2} s of CPU a million rows; at most {cpu_max}")),
            (rss <= PEAK_RSS_MAX_MB, format!("{rss:.0} MB resident; at most {PEAK_RSS_MAX_MB}")),
            (wrong == 0, format!("{wrong} rows lost or doubled; at most 0")),
        ];
        let name = self.variant.name;
        common::missed(floors.map(|(is_kept, text)| (is_kept, format!("{name}: {text}"))))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<26} {:>12}", "", "median")?;
        (1..=self.rounds.len()).try_for_each(|n| write!(f, " {:>12}", format!("round {n}")))?;
        writeln!(f)?;
        for Measure { name, decimals, of } in MEASURES {
            write!(f, "{name:<26} {:>12.decimals$}", self.median(of))?;
            self.rounds.iter().try_for_each(|round| write!(f, " {:>12.decimals$}", of(round)))?;
            writeln!(f)?;
        }
        writeln!(
            f,
            "{}: {:.0} MB/s, {:.2} times the rate of psql from files, {:.2} of the bound; lost={} duplicated={}",
            self.variant.name,
            self.mb_per_s(),
            self.copy_ratio(),
            self.bound_ratio(),
            self.sum(|drain| drain.lost),
            self.sum(|drain| drain.duplicated)
        )
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "COPY {:.0} rows/s, raw consume {:.0} records/s, tidegate {:.0} rows/s",
            self.copy.rows_per_s, self.raw.rows_per_s, self.drain.rows_per_s
        )
    }
}

/// What a record costs from JSON into the batch, by the step.
fn instructions_per_record() -> Result<BTreeMap<String, u64>> {
    let text = fs::read_to_string(INSTRUCTIONS).map_err(|error| {
        format!("{INSTRUCTIONS}: {error}; run cargo test --release --test instructions before")
    })?;
    Ok(serde_json::from_str(&text)?)
}
