//! Medians over the rounds: the file, the table and the page.

use loadgen::grouped;
use serde::Serialize;
use serde_json::json;

use crate::{
    chart::{self, Bar},
    common,
};

/// The one that the others are compared with.
pub(crate) const OURS: &str = "tidegate";

/// One drain of the topic.
#[derive(Clone, Serialize)]
pub(crate) struct Run {
    pub(crate) name: &'static str,
    pub(crate) round: u64,
    pub(crate) rows: u64,
    /// From the first rows that could be seen to the last.
    pub(crate) rows_per_s: f64,
    /// From the start of the process.
    pub(crate) rows_per_s_with_start: f64,
    /// Its own, start-up included.
    pub(crate) cpu_s_per_million_rows: f64,
    pub(crate) postgres_cpu_s_per_million_rows: f64,
    pub(crate) peak_rss_mb: f64,
    /// Whether it was too slow for the whole topic.
    pub(crate) stopped: bool,
    pub(crate) lost: u64,
    pub(crate) duplicated: u64,
    /// Equal for equal rows.
    pub(crate) fingerprint: String,
}

/// Who was measured.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) how: &'static str,
    pub(crate) version: String,
    /// When it is stopped.
    pub(crate) limit_s: u64,
}

/// What was measured, and where.
pub(crate) struct Setting {
    pub(crate) rows: u64,
    pub(crate) rounds: u64,
    pub(crate) partitions: u32,
    pub(crate) columns: &'static str,
    /// A line each.
    pub(crate) machine: Vec<String>,
}

pub(crate) struct Report {
    contenders: Vec<Contender>,
    setting: Setting,
    runs: Vec<Run>,
}

impl Report {
    pub(crate) fn new(contenders: Vec<Contender>, setting: Setting) -> Self {
        Self { contenders, setting, runs: Vec::new() }
    }

    pub(crate) fn add(&mut self, run: Run) {
        self.runs.push(run);
    }

    /// Every run, in the order of time.
    pub(crate) fn json(&self) -> serde_json::Value {
        json!(self.runs)
    }

    /// One wrong row in any run is one too many.
    pub(crate) fn is_exact(&self) -> bool {
        self.runs_of(OURS).all(|run| run.lost + run.duplicated == 0 && !run.stopped)
    }

    /// Of those that wrote all rows, who has a value in any of them that ours does not have.
    fn with_other_values(&self) -> Vec<&Contender> {
        let ours = self.runs_of(OURS).next().map(|run| &run.fingerprint);
        let is_other = |run: &Run| !run.stopped && Some(&run.fingerprint) != ours;
        self.contenders.iter().filter(|one| self.runs_of(one.name).any(is_other)).collect()
    }

    pub(crate) fn chart(&self) -> String {
        let bars: Vec<Bar> =
            self.fastest_first().into_iter().map(|contender| self.bar(contender)).collect();
        chart::draw("Rows a second from Kafka into Postgres, median of all rounds", &bars)
    }

    fn bar(&self, contender: &Contender) -> Bar {
        Bar {
            title: contender.title.to_owned(),
            value: self.median(contender.name, |run| run.rows_per_s),
            rounds: self.runs_of(contender.name).map(|run| run.rows_per_s).collect(),
            is_ours: contender.name == OURS,
        }
    }

    /// The medians, in Markdown.
    pub(crate) fn table(&self) -> String {
        let mut text = "| | rows/s | with start-up | tidegate is faster by | CPU s/M rows | Postgres CPU s/M rows | \
            peak RSS, MB | lost | doubled |\n|---|---|---|---|---|---|---|---|---|\n"
            .to_owned();
        let ours = self.median(OURS, |run| run.rows_per_s);
        for contender in self.fastest_first() {
            let name = contender.name;
            let rate = self.median(name, |run| run.rows_per_s);
            let is_stopped = self.runs_of(name).any(|run| run.stopped);
            let sum = |of: fn(&Run) -> u64| self.runs_of(name).map(of).sum::<u64>();
            text.push_str(&format!(
                "| {}{} | {} | {} | {:.1} | {:.2} | {:.2} | {:.0} | {} | {} |\n",
                contender.title,
                if is_stopped { " *" } else { "" },
                grouped(rate.round() as u64),
                grouped(self.median(name, |run| run.rows_per_s_with_start).round() as u64),
                ours / rate,
                self.median(name, |run| run.cpu_s_per_million_rows),
                self.median(name, |run| run.postgres_cpu_s_per_million_rows),
                self.median(name, |run| run.peak_rss_mb),
                if is_stopped { "–".to_owned() } else { sum(|run| run.lost).to_string() },
                sum(|run| run.duplicated),
            ));
        }
        text
    }

    /// The page that `make bench-peers` writes.
    pub(crate) fn markdown(&self) -> String {
        let Setting { rows, rounds, partitions, columns, machine } = &self.setting;
        let mut text = format!(
            "# tidegate beside others\n\n\
             Written by `make bench-peers ROWS={rows} ROUNDS={rounds}`; every run is in \
             `target/bench/peers.json`.\n\n\
             ![Rows a second](peers.svg)\n\n{}\n",
            self.table()
        );
        for contender in self
            .contenders
            .iter()
            .filter(|contender| self.runs_of(contender.name).any(|run| run.stopped))
        {
            text.push_str(&format!(
                "\\* {}: too slow for the whole topic, so stopped {} s after its first row; the figures are \
                 those of the rows that it wrote until then.\n\n",
                contender.title,
                contender.limit_s
            ));
        }
        for contender in self.with_other_values() {
            text.push_str(&format!(
                "{}: some values are not those that tidegate writes.\n\n",
                contender.title
            ));
        }
        text.push_str(&format!(
            "## What was measured\n\n\
             {} orders of about 190 bytes of JSON in a topic of {partitions} partitions, not compressed, from the \
             first record on, into an empty table without an index:\n`{columns}`.\n\n\
             Kafka, Postgres and the consumer share one machine, one consumer at a time; tidegate drains the \
             topic before each run of another, so its medians are over {} runs and theirs over {rounds}. \
             Rows/s counts from the first growth of the table that is seen to the last (it is looked at every \
             10 ms); \"with start-up\" from the start of the process. CPU is that of the consumer's processes, start-up \
             included. After every run the rows, the distinct ids and the sum of the amounts are compared with what \
             was produced, and all values by a sum of hashes with those of tidegate.\n\n",
            grouped(*rows),
            self.runs_of(OURS).count(),
        ));
        text.push_str("## Who, and how\n\n");
        for Contender { title, version, how, .. } in &self.contenders {
            text.push_str(&format!("- **{title}** ({version}): {how}.\n"));
        }
        text.push_str("\nTheir configurations are in `benches/peers`.\n\n## The machine\n\n");
        machine.iter().for_each(|line| text.push_str(&format!("- {line}\n")));
        text
    }

    fn fastest_first(&self) -> Vec<&Contender> {
        let mut contenders: Vec<&Contender> = self.contenders.iter().collect();
        let rate = |contender: &Contender| self.median(contender.name, |run| run.rows_per_s);
        contenders.sort_by(|a, b| rate(b).total_cmp(&rate(a)));
        contenders
    }

    fn runs_of(&self, name: &str) -> impl Iterator<Item = &Run> {
        self.runs.iter().filter(move |run| run.name == name)
    }

    fn median(&self, name: &str, of: fn(&Run) -> f64) -> f64 {
        common::median(self.runs_of(name).map(of))
    }
}
