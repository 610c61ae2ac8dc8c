//! `[[rollups]]`: summaries of a table by time.

use std::{collections::BTreeMap, time::Duration};

use jiff::tz::TimeZone;

use super::{
    Ends,
    error::suggestion,
    fold::fold,
    reader::{Entry, Table},
    route::Route,
    sink::Sink,
    table_name::{TableName, is_identifier},
    target::Target,
    write::WriteMode,
};

/// The triggers of a rollup are named after it, and Postgres cuts names at 63 bytes.
const NAME_MAX: usize = 40;
const DAY: Duration = Duration::from_secs(86_400);
const DELAY_DEFAULT: Duration = Duration::from_secs(5 * 60);
const EVERY_MIN: Duration = Duration::from_secs(1);

/// A summary of a table: aggregates for each bucket of time and each group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollup {
    /// `[a-z0-9_-]+`, at most 40 bytes, unique. Required.
    pub name: String,
    /// A Postgres sink. Required.
    pub sink: String,
    /// The detailed table. Required.
    pub table: TableName,
    /// Its `timestamptz` column that says when. Required.
    pub time_column: String,
    /// How much time a bucket holds. Required.
    pub bucket: Bucket,
    /// Whose clock buckets follow: a name of the IANA database. Required for days and longer; else
    /// `"UTC"` by default.
    pub time_zone: String,
    /// Columns of the table: each combination of their values is a group. Default: none.
    pub group_by: Vec<String>,
    /// A condition in SQL; rows for which it is not true do not count. Default: all count.
    pub filter: Option<String>,
    /// Columns of the summary, each with its aggregate in SQL. At least one.
    pub aggregates: BTreeMap<String, String>,
    /// The table that finished buckets are kept in. Required.
    pub batch_table: TableName,
    /// The view that merges it with the detailed rows. Required.
    pub view: TableName,
    /// How far the end of a refresh stays behind the present. 0 s to 36525 d; default: 5 min.
    pub delay: Duration,
    /// How often `tidegate run` refreshes it. At least 1 s; default: never.
    pub every: Option<Duration>,
    /// How long detailed rows stay once they are in the summary, if the table is not partitioned. At least
    /// 1 d; default: for ever.
    pub retention: Option<Duration>,
    /// Whether a trigger also watches what is inserted, by whomever. Default: false.
    pub watch_inserts: bool,
    /// What becomes of a row whose detailed rows are gone. Default: a dead letter.
    pub late: Late,
}

/// What becomes of a row that comes after the detailed rows of its time are gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Late {
    /// `"dead_letter"`
    #[default]
    DeadLetter,
    /// `"merge"`: it is added to the summary.
    Merge,
}

/// How much time a bucket holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bucket {
    /// `"minute"`
    Minute,
    /// `"hour"`
    Hour,
    /// `"day"`
    Day,
    /// `"week"`, from Monday on.
    Week,
    /// `"month"`
    Month,
}

impl Bucket {
    /// Its name, in the configuration and for `date_trunc`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }
}

const LATES: [(&str, Late); 2] = [("dead_letter", Late::DeadLetter), ("merge", Late::Merge)];

const BUCKETS: [(&str, Bucket); 5] = [
    ("minute", Bucket::Minute),
    ("hour", Bucket::Hour),
    ("day", Bucket::Day),
    ("week", Bucket::Week),
    ("month", Bucket::Month),
];

const TABLE_EXPECTED: &str = "`table` or `schema.table`";
const COLUMN_EXPECTED: &str = "the name of a column";

pub(super) fn read_all(root: &mut Table<'_>, ends: &Ends, routes: &[Route]) -> Option<Vec<Rollup>> {
    let Some(entry) = root.take("rollups") else { return Some(Vec::new()) };
    let mut known: Vec<Rollup> = Vec::new();
    let mut is_whole = true;
    for item in entry.items("one [[rollups]] or more") {
        match read(item.clone(), ends) {
            Some(rollup) => {
                check_distinct(&item, &rollup, &known);
                check_routes(&item, &rollup, routes);
                known.push(rollup);
            }
            None => is_whole = false,
        }
    }
    is_whole.then_some(known)
}

/// Two rollups must not write to one place.
fn check_distinct(item: &Entry<'_>, rollup: &Rollup, known: &[Rollup]) {
    for other in known {
        if other.name == rollup.name {
            item.fail(format!(
                "another rollup is named `{}`; expected a name of its own",
                other.name
            ));
        }
        let places = [&other.batch_table, &other.view];
        let is_taken = |place: &&TableName| other.sink == rollup.sink && places.contains(place);
        if let Some(place) = [&rollup.batch_table, &rollup.view].into_iter().find(is_taken) {
            let name = &other.name;
            item.fail(format!("rollup `{name}` makes `{place}`, too; expected a name of its own"));
        }
    }
    let Rollup { table, batch_table, view, .. } = rollup;
    if batch_table == view || batch_table == table || view == table {
        item.fail("`table`, `batch_table` and `view` must have three names");
    }
}

/// A row that is to be marked may have been removed by somebody else meanwhile; then the mark brings it
/// back, with a time that only Postgres knows. And a row that takes the place of one that is gone cannot
/// be added to what that one left in the summary.
fn check_routes(item: &Entry<'_>, rollup: &Rollup, routes: &[Route]) {
    let place = |table: &TableName| {
        (table.schema.clone().unwrap_or_else(|| "public".to_owned()), table.name.clone())
    };
    let writes = |target: &&Target| {
        target.sink == rollup.sink && target.table.as_ref().map(place) == Some(place(&rollup.table))
    };
    let writers = || routes.iter().flat_map(|route| &route.to).filter(writes);
    let mut marks = writers().filter(|target| target.write.soft_delete.is_some());
    if !rollup.watch_inserts && marks.next().is_some() {
        item.fail("a route writes to this table with soft_delete; expected watch_inserts = true");
    }
    let mut merges = writers().filter(|target| target.write.mode != WriteMode::Append);
    if rollup.late == Late::Merge && merges.next().is_some() {
        item.fail("a route writes to this table by key; expected late = \"dead_letter\"");
    }
}

fn read(entry: Entry<'_>, ends: &Ends) -> Option<Rollup> {
    let mut table = entry.table()?;
    let expected = "1 to 40 characters among a-z, 0-9, `_` and `-`";
    let name = table.require("name", expected);
    let is_name = |text: &str| super::is_name(text) && text.len() <= NAME_MAX;
    let name = name.and_then(|e| e.parsed(expected, |text| is_name(text).then(|| text.to_owned())));
    let sink = read_sink(&mut table, ends);
    let source = read_table(&mut table, "table");
    let time_column = table.require("time_column", COLUMN_EXPECTED).and_then(|e| read_column(&e));
    let bucket = table.require("bucket", "`minute`, `hour`, `day`, `week` or `month`");
    let bucket = bucket.and_then(|entry| entry.choice(&BUCKETS));
    let time_zone = read_time_zone(&mut table, bucket);
    let group_by = table.take("group_by").map_or(Some(Vec::new()), |entry| read_group_by(&entry));
    let filter = table.take("filter").map(|e| e.text("a condition in SQL such as \"amount > 0\""));
    let aggregates = read_aggregates(&mut table, group_by.as_deref().unwrap_or_default());
    let batch_table = read_table(&mut table, "batch_table");
    let view = read_table(&mut table, "view");
    let delay = table
        .take("delay")
        .map_or(Some(DELAY_DEFAULT), |entry| entry.duration(Duration::ZERO..=36_525 * DAY));
    let every = table.take("every").map(|entry| entry.duration(EVERY_MIN..=366 * DAY));
    let retention = table.take("retention").map(|entry| entry.duration(DAY..=36_525 * DAY));
    let watch_inserts = table.take("watch_inserts").map_or(Some(false), |entry| entry.boolean());
    let late = table.take("late").map_or(Some(Late::default()), |entry| {
        let late = entry.choice(&LATES)?;
        let is_foldable = late == Late::DeadLetter || check_folds(&entry, aggregates.as_ref()?);
        is_foldable.then_some(late)
    });
    table.finish();
    Some(Rollup {
        name: name?,
        sink: sink?,
        table: source?,
        time_column: time_column?,
        bucket: bucket?,
        time_zone: time_zone?,
        group_by: group_by?,
        filter: whole(filter)?,
        aggregates: aggregates?,
        batch_table: batch_table?,
        view: view?,
        delay: delay?,
        every: whole(every)?,
        retention: whole(retention)?,
        watch_inserts: watch_inserts?,
        late: late?,
    })
}

/// A row can be added to the summary if each aggregate is made of that of the row and what is there.
fn check_folds(entry: &Entry<'_>, aggregates: &BTreeMap<String, String>) -> bool {
    let other = aggregates.iter().find(|(_, sql)| fold(sql).is_none());
    if let Some((column, sql)) = other {
        entry.fail(format!(
            "no row can be added to `{column} = {sql}`; expected count, sum, min or max alone (an average \
             as sum and count), or late = \"dead_letter\""
        ));
    }
    other.is_none()
}

/// A key that may be absent, but not wrong.
fn whole<T>(read: Option<Option<T>>) -> Option<Option<T>> {
    match read {
        Some(None) => None,
        Some(value) => Some(value),
        None => Some(None),
    }
}

fn read_sink(table: &mut Table<'_>, ends: &Ends) -> Option<String> {
    let entry = table.require("sink", "the name of a postgres sink")?;
    let sink = entry.text("the name of a postgres sink")?;
    match ends.sinks.get(&sink) {
        Some(Some(Sink::Postgres(_)) | None) => {
            ends.used_sinks.borrow_mut().insert(sink.clone());
            return Some(sink);
        }
        Some(Some(_)) => entry.fail(format!("`{sink}` is no postgres sink, which a rollup needs")),
        None => {
            let names: Vec<&str> = ends.sinks.keys().map(String::as_str).collect();
            let (found, suggestion) = (entry.node.describe(), suggestion(&sink, "sink", &names));
            entry.fail(format!("no sink is named {found}{suggestion}"));
        }
    }
    None
}

fn read_table(table: &mut Table<'_>, key: &'static str) -> Option<TableName> {
    table.require(key, TABLE_EXPECTED)?.parsed(TABLE_EXPECTED, TableName::parse)
}

fn read_column(entry: &Entry<'_>) -> Option<String> {
    entry.parsed(COLUMN_EXPECTED, |text| is_identifier(text).then(|| text.to_owned()))
}

/// A day is not the same day everywhere; a minute nearly is.
fn read_time_zone(table: &mut Table<'_>, bucket: Option<Bucket>) -> Option<String> {
    let expected = "a time zone of the IANA database such as \"Europe/Berlin\" or \"UTC\"";
    let is_short = matches!(bucket, Some(Bucket::Minute | Bucket::Hour));
    let entry = match is_short {
        true => table.take("time_zone"),
        false => table.require("time_zone", expected),
    };
    match entry {
        Some(entry) => {
            entry.parsed(expected, |text| TimeZone::get(text).is_ok().then(|| text.to_owned()))
        }
        None => is_short.then(|| "UTC".to_owned()),
    }
}

fn read_group_by(entry: &Entry<'_>) -> Option<Vec<String>> {
    let mut columns = Vec::new();
    for item in entry.items("a list of columns such as [\"status\"]") {
        let column = read_column(&item)?;
        if columns.contains(&column) {
            item.fail(format!("`{column}` is in the list already; remove it"));
        }
        if column == "bucket" {
            item.fail("the summary has a column `bucket` already; group by another column");
        }
        columns.push(column);
    }
    Some(columns)
}

fn read_aggregates(table: &mut Table<'_>, groups: &[String]) -> Option<BTreeMap<String, String>> {
    let example = "`{ orders = \"count(*)\" }`";
    let entry = table.require("aggregates", &format!("aggregates in SQL such as {example}"))?;
    if entry.node.entries().is_none_or(BTreeMap::is_empty) {
        entry.expected(&format!("aggregates in SQL such as {example}"));
        return None;
    }
    let mut aggregates = BTreeMap::new();
    let mut is_whole = true;
    for (column, entry) in entry.table()?.all() {
        if !is_identifier(column) {
            entry.fail("no column can have this name; expected 1 to 63 bytes without quotes");
        }
        if column == "bucket" || groups.iter().any(|group| group == column) {
            entry.fail("the summary has a column of this name already; expected another");
        }
        match entry.text("an aggregate in SQL such as \"sum(amount)\"") {
            Some(sql) => drop(aggregates.insert(column.to_owned(), sql)),
            None => is_whole = false,
        }
    }
    is_whole.then_some(aggregates)
}
