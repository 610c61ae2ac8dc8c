//! What a search has found: as a table, as JSON, as a chart.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::status::Bottleneck;
use super::trend::Finding;
use crate::chart::{Chart, Curve};
use crate::digits::grouped;
use crate::error::LoadError;

/// One rate that was held. Rates are records or rows a second.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    pub asked_per_s: f64,
    pub produced_per_s: f64,
    /// Of the second half.
    pub rows_per_s: f64,
    /// At the end.
    pub lag_records: f64,
    /// In the second half; `None` where there was too little to see.
    pub lag_growth_per_s: Option<f64>,
    pub p50_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    pub bottleneck: Bottleneck,
    pub finding: Finding,
}

/// How a search went.
#[derive(Debug)]
pub struct LimitReport {
    pub topic: String,
    /// How long each rate was held.
    pub hold: Duration,
    pub steps: Vec<Step>,
    /// What limits a rate far above, where no step was behind for long enough to tell.
    pub(super) named: Option<Bottleneck>,
    /// How long the lag of the last step took to go.
    pub drain: Duration,
    /// It was told to end before it was done.
    pub interrupted: bool,
    /// What ended it before it was done.
    pub error: Option<LoadError>,
}

impl LimitReport {
    /// Stands above the steps.
    pub(super) const HEAD: &'static str = "   asked/s produced/s     rows/s        lag      \
        lag/s   p50 ms   p99 ms  lag        bottleneck";

    pub(super) fn new(topic: &str, hold: Duration) -> Self {
        Self {
            topic: topic.to_owned(),
            hold,
            steps: Vec::new(),
            named: None,
            drain: Duration::ZERO,
            interrupted: false,
            error: None,
        }
    }

    /// The fastest step whose lag did not grow; its `produced_per_s` is the limit.
    pub fn best(&self) -> Option<&Step> {
        let kept_up = |step: &&Step| matches!(step.finding, Finding::Sustained | Finding::Short);
        self.steps
            .iter()
            .filter(kept_up)
            .max_by(|a, b| a.produced_per_s.total_cmp(&b.produced_per_s))
    }

    /// The slowest step whose lag grew.
    pub fn exceeded(&self) -> Option<&Step> {
        self.steps
            .iter()
            .filter(|step| step.finding == Finding::Grows)
            .min_by(|a, b| a.asked_per_s.total_cmp(&b.asked_per_s))
    }

    /// What limits the rate, as the slowest step tells that was behind for long enough.
    pub fn bottleneck(&self) -> Option<&Bottleneck> {
        let exceeded = self.steps.iter().filter(|step| step.finding == Finding::Grows);
        let tells = exceeded.filter(|step| step.bottleneck.is_named());
        let nearest = tells.min_by(|a, b| a.asked_per_s.total_cmp(&b.asked_per_s));
        nearest.map(|step| &step.bottleneck).or(self.named.as_ref())
    }

    /// Whether the producer could do no more, so that the limit may be higher.
    fn is_short(&self) -> bool {
        self.exceeded().is_none()
            && self.steps.last().is_some_and(|step| step.finding == Finding::Short)
    }

    /// All of it; rates in records or rows a second.
    pub fn json(&self) -> Value {
        let best = self.best();
        json!({
            "topic": self.topic,
            "hold_seconds": self.hold.as_secs_f64(),
            "sustained_per_s": best.map(|step| step.produced_per_s),
            "p50_ms": best.and_then(|step| step.p50_ms),
            "p99_ms": best.and_then(|step| step.p99_ms),
            "exceeded_per_s": self.exceeded().map(|step| step.asked_per_s),
            "bottleneck": self.bottleneck(),
            "limited_by_loadgen": self.is_short(),
            "interrupted": self.interrupted,
            "error": self.error.as_ref().map(ToString::to_string),
            "steps": self.steps,
            "drain_seconds": self.drain.as_secs_f64(),
        })
    }

    /// Latencies and lag by rate, with the limit marked, as SVG.
    pub fn svg(&self) -> String {
        let mut steps: Vec<&Step> = self.steps.iter().collect();
        steps.sort_by(|a, b| a.produced_per_s.total_cmp(&b.produced_per_s));
        let points = |ms: fn(&Step) -> Option<f64>| {
            let point = |step: &&Step| Some((step.produced_per_s, ms(step)?));
            steps.iter().filter_map(point).collect()
        };
        // The time in which the records of the lag are produced.
        let lag_ms = |step: &Step| Some(1000.0 * step.lag_records / step.produced_per_s.max(1.0));
        Chart {
            title: &format!("Topic {}: latency and lag, ms, by records a second", self.topic),
            curves: &[
                Curve { name: "p50", colour: "#1f77b4", points: points(|step| step.p50_ms) },
                Curve { name: "p99", colour: "#d62728", points: points(|step| step.p99_ms) },
                Curve { name: "lag", colour: "#2ca02c", points: points(lag_ms) },
            ],
            limit: self.best().map(|step| step.produced_per_s),
        }
        .svg()
    }
}

/// A rate or a count of at least 0.
fn shown(value: f64) -> String {
    grouped(value.round() as u64)
}

/// One line of the table.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |value: Option<f64>| value.map_or("-".to_owned(), |ms| format!("{ms:.1}"));
        let growth = self.lag_growth_per_s.map_or("-".to_owned(), |growth| {
            format!("{}{}", if growth < 0.0 { "-" } else { "+" }, shown(growth.abs()))
        });
        write!(
            f,
            "{:>10} {:>10} {:>10} {:>10} {growth:>10} {:>8} {:>8}  {:<9}  {}",
            shown(self.asked_per_s),
            shown(self.produced_per_s),
            shown(self.rows_per_s),
            shown(self.lag_records),
            ms(self.p50_ms),
            ms(self.p99_ms),
            self.finding.as_str(),
            self.bottleneck.label(),
        )
    }
}

/// The result, in words.
impl fmt::Display for LimitReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ended = if self.interrupted || self.error.is_some() { " so far" } else { "" };
        match self.best() {
            Some(best) if self.is_short() => write!(
                f,
                "highest sustained rate{ended}: at least {} records a second; loadgen and its Kafka \
                 produced no more (try --threads, or another machine)",
                shown(best.produced_per_s)
            )?,
            Some(best) => write!(
                f,
                "highest sustained rate{ended}: {} records a second",
                shown(best.produced_per_s)
            )?,
            None => write!(f, "no sustained rate was found{ended}")?,
        }
        if let Some(step) = self.exceeded() {
            write!(f, "\nat {} a second the lag grew", shown(step.asked_per_s))?;
        }
        if let Some(Bottleneck { name, evidence, advice, .. }) = self.bottleneck() {
            write!(f, "\nbottleneck: {name} ({evidence})")?;
            if let Some(advice) = advice {
                write!(f, "\n{advice}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(asked_per_s: f64, produced_per_s: f64, finding: Finding) -> Step {
        Step {
            asked_per_s,
            produced_per_s,
            rows_per_s: produced_per_s,
            lag_records: 1_234.0,
            lag_growth_per_s: Some(-5.4),
            p50_ms: Some(3.0),
            p99_ms: None,
            bottleneck: Bottleneck { name: "Postgres".to_owned(), ..Bottleneck::default() },
            finding,
        }
    }

    fn report(steps: Vec<Step>) -> LimitReport {
        LimitReport { steps, ..LimitReport::new("a<b", Duration::from_secs(10)) }
    }

    #[test]
    fn the_limit_is_the_best_rate_below_what_was_too_much() {
        let report = report(vec![
            step(1e4, 1e4, Finding::Sustained),
            step(2e4, 2e4, Finding::Grows),
            step(1.5e4, 1.5e4, Finding::Unclear),
            step(1.2e4, 11_990.0, Finding::Sustained),
        ]);
        let text = report.to_string();
        assert!(
            text.contains("11,990 records a second\nat 20,000 a second the lag grew"),
            "{text}"
        );
        assert!(text.contains("Postgres"), "{text}");
        let json = report.json();
        assert_eq!(
            (&json["sustained_per_s"], &json["exceeded_per_s"]),
            (&json!(11_990.0), &json!(2e4))
        );
        assert_eq!(json["steps"][1]["finding"], "grows");
        assert!(report.svg().contains("Topic a&lt;b"));
    }

    #[test]
    fn a_producer_that_could_do_no_more_is_told_apart_from_a_limit() {
        let report =
            report(vec![step(1e4, 1e4, Finding::Sustained), step(2e4, 1.6e4, Finding::Short)]);
        assert!(report.to_string().contains("at least 16,000"), "{report}");
        assert_eq!(report.json()["limited_by_loadgen"], true);
    }

    #[test]
    fn a_line_has_its_figures_below_their_titles() {
        let line = step(12_345.0, 12_340.0, Finding::Grows).to_string();
        for (title, figure) in [("asked/s", "12,345"), ("lag/s", "-5"), ("p50 ms", "3.0")] {
            let ends = |text: &str, part: &str| text.find(part).unwrap() + part.len();
            assert_eq!(ends(&line, figure), ends(LimitReport::HEAD, title), "{title}\n{line}");
        }
    }
}
