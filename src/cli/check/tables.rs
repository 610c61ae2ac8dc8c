//! What the catalog tells of a target's table beside its columns.

use super::findings::{Finding, Subject};
use crate::{
    config::{Delivery, Target, WriteMode},
    error::ErrorKind,
    sink::postgres::{
        PostgresSink,
        catalog::{Table, quote_identifier},
    },
};

/// With more, each row costs more for its indexes than for itself.
const INDEXES_MANY: usize = 5;

/// A table that is there.
pub(super) struct Look<'a> {
    pub(super) sink: &'a PostgresSink,
    pub(super) table: &'a Table,
    pub(super) target: &'a Target,
    pub(super) subject: Subject,
}

impl Look<'_> {
    /// Every probe of a table, one after the other.
    pub(super) fn all(&self) -> Vec<Finding> {
        let probes = [Self::triggers, Self::rules, Self::indexes, Self::partitions, Self::locks];
        probes.iter().flat_map(|probe| probe(self)).collect()
    }

    /// The first column of a query about the table.
    fn names(&self, sql: &str) -> Result<Vec<String>, Finding> {
        let oid = self.table.oid;
        let names = self.sink.inspect(async |client| {
            let rows = client.query(sql, &[&oid]).await?;
            Ok(rows.iter().map(|row| row.get(0)).collect())
        });
        names.map_err(|error| self.subject.error(&error))
    }

    fn judged(
        &self,
        names: Result<Vec<String>, Finding>,
        judge: impl FnOnce(&[String]) -> Vec<Finding>,
    ) -> Vec<Finding> {
        names.map_or_else(|finding| vec![finding], |names| judge(&names))
    }

    fn triggers(&self) -> Vec<Finding> {
        // Those of rollups are tidegate's own.
        let own = self.names(
            "SELECT t.tgname::text FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid \
             WHERE t.tgrelid = $1 AND NOT t.tgisinternal AND t.tgenabled <> 'D' \
               AND p.pronamespace <> coalesce(to_regnamespace('tidegate')::oid, 0) ORDER BY 1",
        );
        let keys = self.names(
            "SELECT conname::text FROM pg_constraint WHERE conrelid = $1 AND contype = 'f' ORDER BY 1",
        );
        let triggers = self.judged(own, |names| {
            let hint = |_| {
                self.subject.hint(
                    format!("triggers run for what is written: {}", names.join(", ")),
                    "they cost time in each transaction; a row that one of them refuses becomes a dead letter",
                )
            };
            names.first().map(hint).into_iter().collect()
        });
        let foreign_keys = self.judged(keys, |names| {
            let hint = |_| {
                self.subject.hint(
                    format!("each row is looked up for foreign keys: {}", names.join(", ")),
                    "a row whose partner is not there becomes a dead letter: write what it refers to first",
                )
            };
            names.first().map(hint).into_iter().collect()
        });
        [triggers, foreign_keys].concat()
    }

    fn rules(&self) -> Vec<Finding> {
        let rules =
            self.names("SELECT rulename::text FROM pg_rewrite WHERE ev_class = $1 ORDER BY 1");
        self.judged(rules, |names| {
            let warn = |_| {
                self.subject.warn(
                    format!("rules of the table are passed by, as COPY does: {}", names.join(", ")),
                    "make triggers of them",
                )
            };
            names.first().map(warn).into_iter().collect()
        })
    }

    fn indexes(&self) -> Vec<Finding> {
        let all = self.names(
            "SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = $1 ORDER BY 1",
        );
        let unique = self.names(
            "SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = $1 AND indisunique ORDER BY 1",
        );
        let many = self.judged(all, |names| {
            if names.len() < INDEXES_MANY {
                return Vec::new();
            }
            vec![self.subject.hint(
                format!("{} indexes: each row goes into all of them", names.len()),
                "drop those that nothing uses (pg_stat_user_indexes.idx_scan = 0)",
            )]
        });
        let doubled = self.target.delivery == Delivery::AtLeastOnce
            && self.target.write.mode == WriteMode::Append;
        let refused = self.judged(unique, |names| {
            if !doubled || names.is_empty() {
                return Vec::new();
            }
            vec![self.subject.warn(
                format!(
                    "at least once into a table with unique indexes ({}): what is written again after a \
                     crash is refused and becomes dead letters",
                    names.join(", ")
                ),
                "use delivery = \"exactly-once\", or write = \"upsert\"",
            )]
        });
        [many, refused].concat()
    }

    /// A partitioned table whose partitions nobody makes.
    fn partitions(&self) -> Vec<Finding> {
        if self.target.partitions.is_some() {
            return Vec::new();
        }
        let oid = self.table.oid;
        let read = self.sink.inspect(async |client| {
            let Some(key) = client.query_opt(PARTITION_KEY_SQL, &[&oid]).await? else {
                return Ok(None);
            };
            let [count, defaults]: [i64; 2] = [key.get(2), key.get(3)];
            let by_time: Option<(String, String)> = key.get::<_, Option<String>>(0).zip(key.get(1));
            let mut covers_now = None;
            if let Some((column, type_name)) =
                by_time.as_ref().filter(|_| count > 0 && defaults == 0)
            {
                let bounds: String = client.query_one(BOUNDS_SQL, &[&oid]).await?.get(0);
                let column = quote_identifier(column);
                let sql =
                    format!("SELECT {bounds} FROM (SELECT now()::{type_name} AS {column}) AS row");
                covers_now = Some(client.query_one(&sql, &[]).await?.get::<_, bool>(0));
            }
            Ok(Some((count, by_time, covers_now)))
        });
        match read {
            Err(error) => vec![self.subject.error(&error)],
            Ok(None) => Vec::new(),
            Ok(Some((0, ..))) => vec![self.subject.fail(
                ErrorKind::Config,
                "partitioned, and there is no partition: every row would be refused",
                "make some, or let `partitions` make them (by time)",
            )],
            Ok(Some((_, Some((column, _)), Some(false)))) => vec![self.subject.warn(
                format!("partitioned by {column}, and no partition takes a row of now"),
                "make one, or a default partition, or let `partitions` make them",
            )],
            Ok(Some(_)) => Vec::new(),
        }
    }

    fn locks(&self) -> Vec<Finding> {
        let locks = self.names(
            "SELECT format('%s by process %s', mode, pid) FROM pg_locks \
             WHERE locktype = 'relation' AND relation = $1 AND granted \
               AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
               AND mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')",
        );
        self.judged(locks, |held| {
            let warn = |_| {
                self.subject.warn(
                    format!("locked against writers now: {}", held.join(", ")),
                    "SELECT * FROM pg_stat_activity WHERE pid = ... shows who it is; \
                     pg_terminate_backend ends it",
                )
            };
            held.first().map(warn).into_iter().collect()
        })
    }
}

/// The column and its type if the table is partitioned by range of one point in time; how many
/// partitions there are, and how many of them are a default. No row for a table without partitions.
const PARTITION_KEY_SQL: &str = "\
    SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), \
           (SELECT count(*) FROM pg_inherits WHERE inhparent = p.partrelid), \
           (SELECT count(*) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
            WHERE i.inhparent = p.partrelid AND pg_get_expr(c.relpartbound, c.oid) = 'DEFAULT') \
    FROM pg_partitioned_table p \
    LEFT JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0] \
        AND p.partstrat = 'r' AND p.partnatts = 1 \
        AND a.atttypid IN ('timestamptz'::regtype, 'timestamp'::regtype, 'date'::regtype) \
    WHERE p.partrelid = $1";

/// A condition that is true of what some partition takes.
const BOUNDS_SQL: &str = "\
    SELECT string_agg('(' || coalesce(pg_get_partition_constraintdef(inhrelid), 'true') || ')', ' OR ') \
    FROM pg_inherits WHERE inhparent = $1";
