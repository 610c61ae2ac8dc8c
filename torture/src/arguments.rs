//! The command line.

use std::path::PathBuf;

use clap::Parser;

use crate::plan::Order;

/// Runs tidegate against a private Kafka of three brokers and a private Postgres with a standby,
/// injects faults at random, and proves that nothing was lost and nothing doubled. Leaves nothing
/// behind but the report.
#[derive(Debug, Parser)]
#[command(name = "torture", version)]
pub(crate) struct Arguments {
    /// How long faults are injected.
    #[arg(long, default_value_t = 10.0, value_parser = positive)]
    pub(crate) minutes: f64,
    /// What decides the faults; a new one when there is none. The last lines tell it.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Exactly these faults and no others, in place of --minutes: kill=300,commit=100
    #[arg(long, value_delimiter = ',', value_name = "FAULT=N")]
    pub(crate) plan: Vec<Order>,
    /// Records a second.
    #[arg(long, default_value_t = 3000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: u32,
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(2..=20))]
    pub(crate) instances: u32,
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) partitions: u32,
    /// Where torture.json and the folder torture-logs go.
    #[arg(long, default_value = "target", value_name = "FOLDER")]
    pub(crate) output: PathBuf,
}

fn positive(text: &str) -> Result<f64, String> {
    let minutes = text.parse().ok().filter(|minutes: &f64| minutes.is_finite() && *minutes > 0.0);
    minutes.ok_or_else(|| "a number of minutes above 0".to_owned())
}
