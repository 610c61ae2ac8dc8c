//! The statements of one rollup, as texts.
//!
//! They rest on these facts of Postgres:
//! - `date_trunc(unit, t, zone)` may be *later* than `t` for days and longer, where a zone turns its
//!   clock back at midnight. So a row's bucket is always what `date_trunc` says of it, and a range of
//!   times that narrows the search is wider than the buckets by [`Rollup::slack`].
//! - `timestamptz + interval '1 day'` depends on the session's time zone; hours do not.
//! - A comparison with a sub-select is taken to hold for a third of the rows; a range that is closed on
//!   both sides, for one in 200, and then an index on the time column is used.

use crate::{
    config::{Bucket, Fold, Late, Rollup, TableName, fold},
    sink::postgres::catalog::{quote_identifier, quoted_name},
};

/// The first key of the advisory locks of source tables, whose second is the table's oid; the number
/// is "tide" in ASCII. Ingest takes it shared; who moves `closing` or `details_from`, exclusively.
pub(crate) const TABLE_LOCK: i32 = 1_953_064_037;
/// The first key of the locks of those who refresh, one a rollup.
pub(crate) const REFRESH_LOCK: i32 = TABLE_LOCK + 1;
/// The first key of the locks of those who add late rows to a summary, one a rollup.
pub(crate) const LATE_LOCK: i32 = TABLE_LOCK + 2;
/// Where ingest puts rows that are too late for their table.
pub(crate) const LATE_TABLE: &str = "pg_temp.tidegate_late";

/// What logs the buckets of rows that others change. It is told by its arguments what it watches: in a
/// snapshot that is older than the rollup, the table of rollups does not show it, and what it shows of
/// `closing` may be out of date; so all buckets are logged there. It runs with the rights of whoever
/// made it, as other writers have none in this schema.
pub(super) const TRIGGER_FUNCTIONS: &str = include_str!("triggers.sql");

/// The texts that the statements of a rollup are made of.
pub(super) struct Parts<'a> {
    rollup: &'a Rollup,
    details: String,
    batch: String,
    time: String,
    /// The bucket of a row.
    bucket: String,
    /// The name as a literal; it holds no quote.
    name: String,
}

impl Rollup {
    /// How long a bucket is, at most, but for the hour by which a clock is turned back.
    pub(super) fn span(&self) -> &'static str {
        match self.bucket {
            Bucket::Minute => "1 minute",
            Bucket::Hour => "1 hour",
            Bucket::Day => "24 hours",
            Bucket::Week => "168 hours",
            Bucket::Month => "744 hours",
        }
    }

    /// How far a row may lie outside of the span behind its bucket.
    pub(super) fn slack(&self) -> &'static str {
        match self.bucket {
            Bucket::Minute | Bucket::Hour => "0 hours",
            Bucket::Day | Bucket::Week | Bucket::Month => "24 hours",
        }
    }
}

impl<'a> Parts<'a> {
    pub(super) fn new(rollup: &'a Rollup) -> Self {
        let time = quote_identifier(&rollup.time_column);
        Self {
            details: quoted_name(&rollup.table),
            batch: quoted_name(&rollup.batch_table),
            bucket: format!(
                "date_trunc({}, {time}, {})",
                literal(rollup.bucket.as_str()),
                literal(&rollup.time_zone)
            ),
            name: literal(&rollup.name),
            time,
            rollup,
        }
    }

    /// The same, but for the detailed rows, which are those of another table; expressions may go on naming
    /// the rollup's own.
    pub(super) fn reading(mut self, other: &TableName) -> Self {
        let alias = quote_identifier(&self.rollup.table.name);
        self.details = format!("{} AS {alias}", quoted_name(other));
        self
    }

    /// The columns behind the bucket, by name.
    fn columns(&self) -> Vec<String> {
        let aggregates = self.rollup.aggregates.keys();
        self.rollup.group_by.iter().chain(aggregates).map(|name| quote_identifier(name)).collect()
    }

    /// The same, as they are computed; whatever ends in a comment ends with its line.
    fn values(&self) -> String {
        let groups = self.rollup.group_by.iter().map(|name| quote_identifier(name));
        let aggregate =
            |(name, sql): (&String, &String)| format!("({sql}\n) AS {}", quote_identifier(name));
        groups.chain(self.rollup.aggregates.iter().map(aggregate)).collect::<Vec<_>>().join(", ")
    }

    fn group_by(&self) -> String {
        let groups = self.rollup.group_by.iter().map(|name| quote_identifier(name));
        std::iter::once(self.bucket.clone()).chain(groups).collect::<Vec<_>>().join(", ")
    }

    /// The rows that count: those with a time that has a bucket. In the first and the last year of the
    /// calendar `date_trunc` may fail, so this stands before it.
    fn is_timed(&self) -> String {
        let time = &self.time;
        format!("{time} >= '4713-01-01 00:00+00 BC' AND {time} < '294276-01-01 00:00+00'")
    }

    fn filter(&self) -> String {
        let filter = self.rollup.filter.as_ref();
        filter.map_or_else(String::new, |sql| format!(" AND ({sql}\n)"))
    }

    /// The summary of all detailed rows, which the view must always equal.
    pub(super) fn plain(&self) -> String {
        let Self { details, bucket, .. } = self;
        let (values, filter, group_by) = (self.values(), self.filter(), self.group_by());
        format!(
            "SELECT {bucket} AS bucket, {values} FROM {details} WHERE {}{filter} GROUP BY {group_by}",
            self.is_timed()
        )
    }

    /// What it is, as one text to compare: a rollup is made anew to be another.
    pub(super) fn definition(&self) -> String {
        let (batch, view) = (&self.batch, quoted_name(&self.rollup.view));
        let inserts = if self.rollup.watch_inserts { ", inserts watched" } else { "" };
        let late = if self.rollup.late == Late::Merge { ", late rows merged" } else { "" };
        format!("{} -- into {batch}, shown by {view}{inserts}{late}", self.plain())
    }

    fn fact(&self, column: &str) -> String {
        format!("(SELECT r.{column} FROM tidegate.rollups r WHERE r.name = {})", self.name)
    }

    /// Buckets below the boundary from the batch table, unless they were touched; all others from the
    /// detailed rows. One statement has one snapshot, so each bucket comes from one side alone.
    pub(super) fn view(&self) -> String {
        let Self { rollup, details, batch, time, bucket, name } = self;
        let (span, slack) = (rollup.span(), rollup.slack());
        let (values, filter, group_by) = (self.values(), self.filter(), self.group_by());
        let kept: Vec<String> = self.columns().iter().map(|column| format!("b.{column}")).collect();
        let kept = kept.join(", ");
        let (boundary, details_from) = (self.fact("boundary"), self.fact("details_from"));
        format!(
            "CREATE VIEW {view} AS\n\
             SELECT b.bucket, {kept} FROM {batch} b\n\
             WHERE b.bucket < {boundary}\n  \
               AND NOT EXISTS (SELECT FROM tidegate.rollup_touched x WHERE x.rollup = {name} \
                 AND x.bucket = b.bucket AND x.bucket >= {details_from})\n\
             UNION ALL\n\
             SELECT {bucket}, {values} FROM {details}\n\
             WHERE {time} >= {boundary} - interval '{slack}' AND {is_timed}\n  \
               AND {bucket} >= {boundary}{filter}\n\
             GROUP BY {group_by}\n\
             UNION ALL\n\
             SELECT \"tidegate:touched\".bucket, \"tidegate:again\".* FROM (\
               SELECT DISTINCT x.bucket FROM tidegate.rollup_touched x WHERE x.rollup = {name} \
                 AND x.bucket < {boundary} AND x.bucket >= {details_from} OFFSET 0) \"tidegate:touched\"\n\
             CROSS JOIN LATERAL (SELECT {values} FROM {details}\n  \
               WHERE {time} >= \"tidegate:touched\".bucket - interval '{slack}' \
                 AND {time} < \"tidegate:touched\".bucket + interval '{span}' + interval '{slack}'\n    \
                 AND {is_timed} AND {bucket} = \"tidegate:touched\".bucket{filter}\n  \
               GROUP BY {group_by}) \"tidegate:again\"",
            view = quoted_name(&rollup.view),
            is_timed = self.is_timed(),
        )
    }

    /// The table of finished buckets, with the types that Postgres gives to the aggregates.
    pub(super) fn batch_table(&self) -> [String; 2] {
        let batch = &self.batch;
        [
            format!("CREATE TABLE {batch} AS {} WITH NO DATA", self.plain()),
            format!("CREATE INDEX ON {batch} (bucket)"),
        ]
    }

    /// What watches other writers. The transition tables have the rows as they were and are, after all
    /// triggers for rows; an upsert's updates are among them.
    pub(super) fn triggers(&self) -> Vec<String> {
        let Self { rollup, details, .. } = self;
        let arguments =
            [rollup.name.as_str(), &rollup.time_column, rollup.bucket.as_str(), &rollup.time_zone];
        let arguments = arguments.map(literal).join(", ");
        let old = "OLD TABLE AS tidegate_old";
        let new = "NEW TABLE AS tidegate_new";
        let watch = |operation: &str, tables: &str| {
            format!(
                "CREATE TRIGGER {} AFTER {operation} ON {details} REFERENCING {tables} \
                 FOR EACH STATEMENT EXECUTE FUNCTION tidegate.log_touched({arguments})",
                self.trigger(operation)
            )
        };
        let inserts = rollup.watch_inserts.then(|| watch("INSERT", new));
        let truncate = format!(
            "CREATE TRIGGER {} BEFORE TRUNCATE ON {details} FOR EACH STATEMENT \
             EXECUTE FUNCTION tidegate.refuse_truncate({})",
            self.trigger("TRUNCATE"),
            self.name
        );
        [watch("UPDATE", &format!("{old} {new}")), watch("DELETE", old), truncate]
            .into_iter()
            .chain(inserts)
            .collect()
    }

    fn trigger(&self, operation: &str) -> String {
        let operation = operation.to_lowercase();
        quote_identifier(&format!("tidegate_{}_{operation}", self.rollup.name))
    }

    /// The row of the bookkeeping. Nothing is logged while `closing` is at the beginning of time.
    pub(super) fn entry(&self) -> String {
        let Self { rollup, details, batch, name, .. } = self;
        let view = quoted_name(&rollup.view);
        let [details, batch, view] = [details, batch, &view].map(|relation| literal(relation));
        let texts = [rollup.time_column.as_str(), rollup.bucket.as_str(), &rollup.time_zone];
        let texts = texts.map(literal).join(", ");
        format!(
            "INSERT INTO tidegate.rollups (name, source_table, batch_table, view, time_column, \
             bucket, time_zone, watches_inserts, definition, late_sql) \
             VALUES ({name}, {details}::regclass, {batch}::regclass, {view}::regclass, {texts}, {}, {}, {})",
            rollup.watch_inserts,
            literal(&self.definition()),
            self.merge_late().map_or_else(|| "NULL".to_owned(), |sql| literal(&sql))
        )
    }

    /// Adds late rows to the summary, if they are to be: what they make of a group is merged with what is
    /// there of it. Under a lock, as two may bring the same new group.
    fn merge_late(&self) -> Option<String> {
        let Self { rollup, batch, bucket, .. } = self;
        if rollup.late == Late::DeadLetter {
            return None;
        }
        let (values, filter, group_by) = (self.values(), self.filter(), self.group_by());
        let merged = rollup.aggregates.iter().map(|(name, sql)| {
            let name = quote_identifier(name);
            let (known, new) = (format!("b.{name}"), format!("d.{name}"));
            Some(match fold(sql)? {
                Fold::Add => format!("{name} = coalesce({known} + {new}, {known}, {new})"),
                Fold::Least => format!("{name} = least({known}, {new})"),
                Fold::Greatest => format!("{name} = greatest({known}, {new})"),
            })
        });
        let merged = merged.collect::<Option<Vec<String>>>()?.join(", ");
        let is_same = |one: &str, other: &str| {
            let group = |name: &String| {
                let name = quote_identifier(name);
                format!(" AND {one}.{name} IS NOT DISTINCT FROM {other}.{name}")
            };
            let groups: String = rollup.group_by.iter().map(group).collect();
            format!("{one}.bucket = {other}.bucket{groups}")
        };
        let groups: String =
            rollup.group_by.iter().map(|name| format!(", b.{}", quote_identifier(name))).collect();
        let columns = self.columns().join(", ");
        Some(format!(
            "WITH d AS MATERIALIZED (SELECT {bucket} AS bucket, {values} FROM {LATE_TABLE} AS {alias} \
               WHERE {is_timed}{filter} GROUP BY {group_by}), \
             c AS (UPDATE {batch} b SET {merged} FROM d WHERE {is_in_both} RETURNING b.bucket{groups}) \
             INSERT INTO {batch} (bucket, {columns}) SELECT bucket, {columns} FROM d \
             WHERE NOT EXISTS (SELECT FROM c WHERE {is_merged})",
            alias = quote_identifier(&rollup.table.name),
            is_timed = self.is_timed(),
            is_in_both = is_same("b", "d"),
            is_merged = is_same("c", "d"),
        ))
    }

    /// Takes all of it away again, the view first: readers lock it before the table.
    pub(super) fn remove(&self) -> Vec<String> {
        let Self { rollup, details, batch, name, .. } = self;
        let mut statements = vec![format!("DROP VIEW IF EXISTS {}", quoted_name(&rollup.view))];
        statements.extend(["UPDATE", "DELETE", "TRUNCATE", "INSERT"].map(|operation| {
            format!("DROP TRIGGER IF EXISTS {} ON {details}", self.trigger(operation))
        }));
        statements.push(format!("DROP TABLE IF EXISTS {batch}"));
        statements.push(format!("DELETE FROM tidegate.rollup_touched WHERE rollup = {name}"));
        statements.push(format!("DELETE FROM tidegate.rollups WHERE name = {name}"));
        statements
    }

    /// The end of the next step: `$3` spans behind the first row from `$1` on, at most `$2`. Rows may be
    /// far apart, and no step is wasted on the time between.
    pub(super) fn step_end(&self) -> String {
        let Self { rollup, details, time, bucket, .. } = self;
        let (span, slack) = (rollup.span(), rollup.slack());
        let (unit, zone) = (literal(rollup.bucket.as_str()), literal(&rollup.time_zone));
        format!(
            "WITH asked AS (SELECT $1::text::timestamptz AS first, $2::text::timestamptz AS last), \
             found AS (SELECT {time} AS at FROM {details} \
               WHERE {time} >= (SELECT first FROM asked) - interval '{slack}' \
                 AND {time} < (SELECT last FROM asked) + interval '{slack}' \
                 AND {} AND {bucket} >= (SELECT first FROM asked) \
               ORDER BY {time} LIMIT 1) \
             SELECT coalesce(least(last, date_trunc({unit}, \
               at + $3::bigint * interval '{span}' + interval '{slack}', {zone})), last)::text \
             FROM asked LEFT JOIN found ON true",
            self.is_timed()
        )
    }

    /// Makes the buckets from `$1` up to `$2` anew: first what was there goes.
    pub(super) fn remake_range(&self) -> [String; 2] {
        let Self { rollup, details, batch, time, bucket, .. } = self;
        let (span, slack) = (rollup.span(), rollup.slack());
        let (values, filter, group_by) = (self.values(), self.filter(), self.group_by());
        let (first, end) = ("$1::text::timestamptz", "$2::text::timestamptz");
        let columns = self.columns().join(", ");
        [
            format!("DELETE FROM {batch} WHERE bucket >= {first} AND bucket < {end}"),
            format!(
                "INSERT INTO {batch} (bucket, {columns}) SELECT {bucket}, {values} FROM {details} \
                 WHERE {time} >= {first} - interval '{slack}' \
                   AND {time} < {end} + interval '{span}' + interval '{slack}' \
                   AND {} AND {bucket} >= {first} AND {bucket} < {end}{filter} GROUP BY {group_by}",
                self.is_timed()
            ),
        ]
    }

    /// Whether there are rows before `$1`. Those without a time stay.
    pub(super) fn has_before(&self) -> String {
        let Self { details, time, .. } = self;
        let is_timed = self.is_timed();
        format!(
            "SELECT EXISTS (SELECT FROM {details} WHERE {time} < $1::text::timestamptz AND {is_timed})"
        )
    }

    /// Deletes some rows before `$1`: few enough for a short transaction; and none that the rollup counts
    /// on, should another table have taken the place of the one that was let go of.
    pub(super) fn delete_before(&self) -> String {
        let Self { details, time, .. } = self;
        let (is_timed, details_from) = (self.is_timed(), self.fact("details_from"));
        format!(
            "DELETE FROM {details} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {details} \
             WHERE {time} < least($1::text::timestamptz, {details_from}) AND {is_timed} LIMIT 10000))"
        )
    }

    /// Logs the finished buckets from `$2` up to `$3` that have rows on either side.
    pub(super) fn log_range(&self) -> String {
        let Self { rollup, details, batch, time, bucket, .. } = self;
        let (span, slack) = (rollup.span(), rollup.slack());
        let (first, end) = ("$2::text::timestamptz", "$3::text::timestamptz");
        format!(
            "INSERT INTO tidegate.rollup_touched (rollup, bucket) \
             SELECT r.name, k.bucket FROM tidegate.rollups r CROSS JOIN ( \
               SELECT bucket FROM {batch} WHERE bucket >= {first} AND bucket < {end} \
               UNION SELECT {bucket} FROM {details} WHERE {time} >= {first} - interval '{slack}' \
                 AND {time} < {end} + interval '{span}' + interval '{slack}' AND {} \
                 AND {bucket} >= {first} AND {bucket} < {end}) k \
             WHERE r.name = $1 AND k.bucket < r.boundary AND k.bucket >= r.details_from",
            self.is_timed()
        )
    }

    /// Makes the buckets of a list, `$1`, anew.
    pub(super) fn remake_each(&self) -> [String; 2] {
        let Self { rollup, details, batch, time, bucket, .. } = self;
        let (span, slack) = (rollup.span(), rollup.slack());
        let (values, filter, group_by) = (self.values(), self.filter(), self.group_by());
        let columns = self.columns().join(", ");
        [
            format!("DELETE FROM {batch} WHERE bucket = ANY($1::text[]::timestamptz[])"),
            format!(
                "INSERT INTO {batch} (bucket, {columns}) \
                 SELECT \"tidegate:touched\".bucket, \"tidegate:again\".* \
                 FROM unnest($1::text[]::timestamptz[]) \"tidegate:touched\"(bucket) \
                 CROSS JOIN LATERAL (SELECT {values} FROM {details} \
                   WHERE {time} >= \"tidegate:touched\".bucket - interval '{slack}' \
                     AND {time} < \"tidegate:touched\".bucket + interval '{span}' + interval '{slack}' \
                     AND {} AND {bucket} = \"tidegate:touched\".bucket{filter} \
                   GROUP BY {group_by}) \"tidegate:again\"",
                self.is_timed()
            ),
        ]
    }
}

/// A text as SQL has it. With standard_conforming_strings, the default, a backslash is a backslash.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
