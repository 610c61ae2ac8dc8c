//! `partitions`: the partitions of a table by time, made and removed by tidegate.

use std::time::Duration;

use super::{reader::Entry, table_name::is_identifier};

const AHEAD_MAX: usize = 1000;
const DAY: Duration = Duration::from_secs(86_400);
const BEHIND_DEFAULT: Duration = Duration::from_secs(30 * 86_400);
const YEARS_100: Duration = Duration::from_secs(36_525 * 86_400);

/// The partitions of a table by time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partitions {
    /// How much time a partition holds. Required.
    pub by: PartitionBy,
    /// The column. Required to make a missing table; else the table's own partition key.
    pub column: Option<String>,
    /// Partitions that are there before their time comes; a later time gets none. 1 to 1000;
    /// default: 3.
    pub ahead: usize,
    /// How far back a partition is made for a row. Up to `retention`; default: `retention`, or 30 days.
    pub behind: Duration,
    /// How long a partition stays attached. Default: for ever.
    pub retention: Option<Duration>,
    /// What becomes of a partition after that. Default: `"detach"`.
    pub expired: Expired,
}

/// How much time a partition holds, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartitionBy {
    /// `"hour"`
    Hour,
    /// `"day"`
    Day,
    /// `"week"`, from Monday on.
    Week,
    /// `"month"`
    Month,
}

/// What becomes of a partition that is older than `retention`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expired {
    /// `"detach"`: it stays as a table of its own.
    #[default]
    Detach,
    /// `"drop"`: it is detached, and then dropped.
    Drop,
}

const BY: [(&str, PartitionBy); 4] = [
    ("hour", PartitionBy::Hour),
    ("day", PartitionBy::Day),
    ("week", PartitionBy::Week),
    ("month", PartitionBy::Month),
];

const EXPIRED: [(&str, Expired); 2] = [("detach", Expired::Detach), ("drop", Expired::Drop)];

pub(super) fn read(entry: Entry<'_>) -> Option<Partitions> {
    if entry.node.entries().is_none() {
        entry.expected("a table such as `{ by = \"day\" }`");
        return None;
    }
    let mut table = entry.table()?;
    let by = table.require("by", "`hour`, `day`, `week` or `month`");
    let by = by.and_then(|entry| entry.choice(&BY));
    let column = table.take("column").map(|entry| {
        let expected = "the name of a timestamptz, timestamp or date column";
        entry.parsed(expected, |text| is_identifier(text).then(|| text.to_owned()))
    });
    let ahead = table.take("ahead").map_or(Some(3), |entry| entry.integer(1..=AHEAD_MAX));
    let retention = table.take("retention").map(|entry| entry.duration(DAY..=YEARS_100));
    let behind = table.take("behind");
    let expired = table.take("expired");
    if let (Some(entry), None) = (&expired, &retention) {
        entry.fail("without `retention` no partition expires; remove it");
    }
    let retention = match retention {
        Some(retention) => Some(retention?),
        None => None,
    };
    let behind = match &behind {
        Some(entry) => entry.duration(Duration::ZERO..=retention.unwrap_or(YEARS_100)),
        None => Some(retention.unwrap_or(BEHIND_DEFAULT)),
    };
    table.finish();
    Some(Partitions {
        by: by?,
        column: match column {
            Some(column) => Some(column?),
            None => None,
        },
        ahead: ahead?,
        behind: behind?,
        retention,
        expired: expired.and_then(|entry| entry.choice(&EXPIRED)).unwrap_or_default(),
    })
}
