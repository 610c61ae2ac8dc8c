//! A table that changes while it is written: columns for new fields, wider types, or what somebody
//! else has altered.
//!
//! Each state of the table is a target of its own, and a batch carries the number of the one that it
//! was encoded for; so rows for the old columns and for the new ones may be on their way at once.
//! Whoever needs a change first makes it, under the lock that all processes take, and the others find
//! it made.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError, TryLockError,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use deadpool_postgres::Object;

use super::{
    Shared, catalog, connect, ddl,
    late::Late,
    look,
    partitions::Partitions,
    sqlstate::{Fault, PgError},
    table::PgTarget,
};
use crate::{
    config,
    error::{Error, ErrorKind},
    failpoint::failpoint,
    lane::{Loss, Outcome},
    sink::{Adapted, Flushed, TargetId, Wish, WriteError},
    source::kafka::DeadLetterTopic,
};

/// ALTER TABLE waits for a lock that nobody else can pass meanwhile, so it waits briefly and comes
/// again. A type that needs the table to be rewritten keeps everybody out for that long.
const LIMITS_SQL: &str = "SET LOCAL lock_timeout = '1s'; SET LOCAL statement_timeout = '30s'";
/// More than all that the server may take by its own limits.
const CHANGE_MAX: Duration = Duration::from_secs(40);
/// How long a refusal counts: what stands in the way may be gone.
const REFUSAL_MAX: Duration = Duration::from_secs(60);
const REFUSALS_MAX: usize = 1000;
/// The refusal of any column, in place of a name that no column can have.
const FULL: &str = "";

const OWNER_SQL: &str = "\
    SELECT pg_has_role(relowner, 'USAGE'), current_user::text, pg_get_userbyid(relowner)::text \
    FROM pg_class WHERE oid = $1";

const COLUMNS_SQL: &str = "\
    SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute \
    WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped";

/// What the states of one table have in common.
pub(super) struct Lineage {
    pub(super) target: config::Target,
    /// Tells its mapping from others.
    pub(super) mapping: String,
    pub(super) topic: Option<Arc<DeadLetterTopic>>,
    pub(super) partitions: Option<Partitions>,
    pub(super) late: Late,
    /// Whether batches keep the records behind their rows. Not from the beginning, as most tables never refuse a row
    /// that was encoded for them, and to copy each record costs a tenth of all CPU.
    keeps_records: AtomicBool,
    /// Held while the table is being changed.
    newest: Mutex<TargetId>,
    /// Columns that this process has added.
    added: AtomicUsize,
    /// By field or column.
    refusals: Mutex<BTreeMap<String, (Instant, String)>>,
}

impl Lineage {
    pub(super) fn new(
        target: &config::Target,
        topic: Option<Arc<DeadLetterTopic>>,
        partitions: Option<Partitions>,
    ) -> Arc<Self> {
        // Rows for no partition, and batches that come back when the table is altered, are to be expected.
        // What was sent to a topic would be sent there once more.
        let keeps_records = partitions.is_some() || target.growth.alters() || topic.is_some();
        Arc::new(Self {
            target: target.clone(),
            mapping: target.mapping(),
            topic,
            partitions,
            late: Late::default(),
            keeps_records: AtomicBool::new(keeps_records),
            newest: Mutex::new(TargetId(0)),
            added: AtomicUsize::new(0),
            refusals: Mutex::default(),
        })
    }

    /// Whether the next batch is to keep the records behind its rows.
    pub(super) fn keeps_records(&self) -> bool {
        self.keeps_records.load(Relaxed)
    }

    /// Says that the records of a batch are needed. If they are not there, its lane has to be read again,
    /// and that is its outcome.
    pub(super) fn needs_records(&self, flushed: &mut Flushed) -> bool {
        self.keeps_records.store(true, Relaxed);
        let is_kept = flushed.batch.is_kept();
        if !is_kept {
            flushed.outcome = Some(Outcome::Lost(Loss::NotKept));
        }
        is_kept
    }

    pub(super) fn set_newest(&self, id: TargetId) {
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = id;
    }

    fn refusal(&self, name: &str) -> Option<String> {
        let refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, why) = refusals.get(name)?;
        (at.elapsed() < REFUSAL_MAX).then(|| why.clone())
    }

    fn refuse(&self, name: &str, why: &str) {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        if refusals.len() >= REFUSALS_MAX {
            refusals.clear();
        }
        refusals.insert(name.to_owned(), (Instant::now(), why.to_owned()));
    }

    /// Why the wish is not even tried.
    fn objection(&self, table: &catalog::Table, wish: &Wish) -> Option<String> {
        match wish {
            Wish::Present => None,
            Wish::Wider { column, .. } => self.refusal(column),
            Wish::Columns(columns) => {
                if let Some(why) = self.refusal(FULL) {
                    return Some(why);
                }
                let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
                names.iter().enumerate().find_map(|(place, name)| {
                    let before = names.iter().take(place);
                    let why = ddl::objection(table, &self.target, name)
                        .or_else(|| self.clash(before.copied(), name))
                        .or_else(|| self.refusal(name))?;
                    Some(format!("there will be none for `{name}`: {why}"))
                })
            }
        }
    }

    /// As if this process had done what is wished, for a plan; says why it would not.
    pub(super) fn rehearse(&self, table: &catalog::Table, wish: &Wish) -> Result<(), String> {
        if let Some(why) = self.objection(table, wish) {
            return Err(why);
        }
        let Wish::Columns(columns) = wish else { return Ok(()) };
        self.limit(columns).map_or(Ok(()), Err)?;
        self.added.fetch_add(columns.len(), Relaxed);
        Ok(())
    }

    /// Two new fields that would get columns which cannot be told apart.
    fn clash<'a>(&self, mut others: impl Iterator<Item = &'a str>, name: &str) -> Option<String> {
        let other = others.find(|other| ddl::is_alike(&self.target, other, name))?;
        Some(format!("it differs from the field `{other}` only by case or spelling"))
    }

    /// Why there are no columns for `missing`, by the limit of the configuration.
    fn limit(&self, missing: &[(String, &'static str)]) -> Option<String> {
        let (added, most) = (self.added.load(Relaxed), self.target.growth.max_added_columns);
        if added + missing.len() <= most {
            return None;
        }
        let why =
            format!("this process has added {added} columns, and max_added_columns is {most}");
        missing.iter().for_each(|(name, _)| self.refuse(name, &why));
        Some(why)
    }
}

/// What came of the attempt to change a table.
enum Change {
    /// It is as wished, by this process (with so many new columns) or by another.
    Made(usize),
    /// Postgres does not do it.
    Refused(PgError),
    /// The configuration does not want it.
    Unwanted(String),
}

impl PgTarget {
    /// See [`crate::sink::Target::objection`]. What takes the place of this state may think otherwise.
    pub(super) fn object(&self, wish: &Wish) -> Option<String> {
        let newest = *self.lineage.newest.try_lock().ok()?;
        (newest == self.id).then(|| self.lineage.objection(&self.table, wish)).flatten()
    }

    /// See [`crate::sink::Target::adapt`].
    pub(super) fn adapt_to(
        &self,
        wish: &Wish,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<Adapted, WriteError> {
        let (lineage, shared) = (&self.lineage, &self.shared);
        let mut newest = match lineage.newest.try_lock() {
            Ok(newest) => newest,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                let message = format!("{} is being changed", self.table.display());
                return Err(WriteError::Outage { class: "busy".to_owned(), message });
            }
        };
        if *newest != self.id
            && let Some(target) = shared.target(*newest)
        {
            return Ok(Adapted::To(target));
        }
        if let Some(why) = lineage.objection(&self.table, wish) {
            return Ok(Adapted::Refused(why));
        }
        let change = self
            .ask_changing(go_on, async |client| change(client, &self.table, wish, lineage).await)?;
        let added = match change {
            Change::Refused(error) => return Ok(Adapted::Refused(self.note(wish, &error))),
            Change::Unwanted(why) => return Ok(Adapted::Refused(why)),
            Change::Made(added) => added,
        };
        lineage.added.fetch_add(added, Relaxed);
        let name = self.table.config_name();
        let seen = self
            .ask_changing(go_on, async |client| look::look(client, &name, &lineage.target).await)?;
        let Some(seen) = seen.transpose()? else {
            let message = format!("the table {} is gone", self.table.display());
            return Err(Error::config(message).into());
        };
        if added == 0 && *wish != Wish::Present && seen.table.has_columns_of(&self.table) {
            let why = "the table is as it was, and does not become what is wished";
            return Ok(Adapted::Refused(why.to_owned()));
        }
        let opened = shared.open(seen, lineage)?;
        *newest = opened.id;
        Ok(Adapted::To(opened))
    }

    /// Keeps a refusal for a while, so that not every record asks again.
    pub(super) fn note(&self, wish: &Wish, error: &PgError) -> String {
        let why = format!("Postgres refuses: {} (SQLSTATE {})", error.message, error.code);
        let why = match (wish, error.code.as_str()) {
            (Wish::Wider { column, sql_type, .. }, "57014") => format!(
                "it takes longer than 30 s, for which nobody can use the table; run {} yourself",
                ddl::widen(&self.table, column, sql_type)
            ),
            _ => why,
        };
        match wish {
            Wish::Present => {}
            Wish::Wider { column, .. } => self.lineage.refuse(column, &why),
            // Too many columns: that goes for all of them.
            Wish::Columns(_) if error.code == "54011" => self.lineage.refuse(FULL, &why),
            Wish::Columns(columns) => {
                columns.iter().for_each(|(name, _)| self.lineage.refuse(name, &why));
            }
        }
        tracing::warn!("table {} stays as it is: {why}", self.table.display());
        why
    }

    fn ask_changing<T>(
        &self,
        go_on: &mut dyn FnMut() -> bool,
        question: impl AsyncFnOnce(&mut Object) -> Result<T, PgError>,
    ) -> Result<T, WriteError> {
        let Shared { pool, runtime, name, .. } = &*self.shared;
        let answer = runtime.block_on(connect::ask_while(pool, go_on, CHANGE_MAX, question));
        answer.map_err(|error| {
            let table = self.table.display();
            let PgError { fault, code, message, .. } = error;
            let text = format!("sink {name}, table {table}: {message} (SQLSTATE {code})");
            match fault {
                Fault::Outage => WriteError::Outage { class: code, message: text },
                Fault::Permission => WriteError::Halt(Error::new(ErrorKind::Permission, text)),
                Fault::Config | Fault::Row => WriteError::Halt(Error::config(text)),
            }
        })
    }
}

/// Changes the table if it is not yet as wished.
async fn change(
    client: &mut Object,
    table: &catalog::Table,
    wish: &Wish,
    lineage: &Lineage,
) -> Result<Change, PgError> {
    if *wish == Wish::Present {
        return Ok(Change::Made(0));
    }
    let failed = |error: tokio_postgres::Error| PgError::from_driver(&error);
    let transaction = client.transaction().await.map_err(failed)?;
    transaction.batch_execute(LIMITS_SQL).await.map_err(failed)?;
    transaction.batch_execute(ddl::LOCK_SQL).await.map_err(failed)?;
    let there = transaction.query(COLUMNS_SQL, &[&table.oid]).await.map_err(failed)?;
    let type_of = |name: &str| {
        let row = there.iter().find(|row| row.get::<_, &str>(0) == name)?;
        Some(row.get::<_, &str>(1))
    };
    let (sql, added) = match wish {
        Wish::Present => return Ok(Change::Made(0)),
        Wish::Columns(columns) => {
            let missing: Vec<_> =
                columns.iter().filter(|(name, _)| type_of(name).is_none()).cloned().collect();
            // Somebody else may have made a column for the same field in another spelling: the table is
            // looked at once more, and then takes the field, or has an objection.
            let mut names = there.iter().map(|row| row.get::<_, &str>(0));
            let is_there = names.any(|name| {
                missing.iter().any(|(field, _)| ddl::is_alike(&lineage.target, name, field))
            });
            if missing.is_empty() || is_there {
                return Ok(Change::Made(0));
            }
            if let Some(why) = lineage.limit(&missing) {
                return Ok(Change::Unwanted(why));
            }
            (ddl::add_columns(table, &missing), missing.len())
        }
        Wish::Wider { column, from, sql_type } => {
            // Wider than what it was might be narrower than what it is, and ALTER would round.
            if type_of(column) != Some(from.as_str()) {
                return Ok(Change::Made(0));
            }
            (ddl::widen(table, column, sql_type), 0)
        }
    };
    if let Err(error) = transaction.batch_execute(&sql).await {
        let error = failed(error);
        return match error.fault {
            // The table itself is gone.
            Fault::Config if error.code == "42P01" => Err(error),
            Fault::Config | Fault::Row => Ok(Change::Refused(error)),
            // It was not the lock that took too long: that has a limit of its own. A new column without a
            // default rewrites nothing, so there it is a server that is slow now.
            Fault::Outage if error.code == "57014" && matches!(wish, Wish::Wider { .. }) => {
                Ok(Change::Refused(error))
            }
            Fault::Outage | Fault::Permission => Err(error),
        };
    }
    failpoint!("table.changing");
    transaction.commit().await.map_err(failed)?;
    failpoint!("table.changed");
    tracing::info!("changed a table: {sql}");
    Ok(Change::Made(added))
}

/// Whether the role may alter the table, which only its owner may.
pub(super) async fn check_owner(
    client: &Object,
    table: &catalog::Table,
) -> Result<Result<(), Error>, PgError> {
    let row = client.query_one(OWNER_SQL, &[&table.oid]).await;
    let row = row.map_err(|error| PgError::from_driver(&error))?;
    if row.get(0) {
        return Ok(Ok(()));
    }
    let (user, owner): (String, String) = (row.get(1), row.get(2));
    let [user_quoted, owner_quoted] = [&user, &owner].map(|name| catalog::quote_identifier(name));
    Ok(Err(Error::new(
        ErrorKind::Permission,
        format!(
            "role {user} may not alter {}, which belongs to {owner}, as `add_column`, `widen` and \
             `partitions` want it; run GRANT {owner_quoted} TO \
             {user_quoted}, or ALTER TABLE {} OWNER TO {user_quoted}",
            table.display(),
            table.quoted()
        ),
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Matching, Target};

    fn table() -> catalog::Table {
        catalog::Table {
            oid: 0,
            schema: "public".to_owned(),
            name: "t".to_owned(),
            columns: Vec::new(),
            generated: BTreeMap::new(),
        }
    }

    fn columns(names: &[&str]) -> Vec<(String, &'static str)> {
        names.iter().map(|name| ((*name).to_owned(), "bigint")).collect()
    }

    #[test]
    fn new_fields_that_are_the_same_for_the_target_get_no_columns_of_their_own() {
        let exact = Target::example();
        let loose = Target { matching: Matching::Loose, ..exact.clone() };
        let objection = |target: &Target, names| {
            Lineage::new(target, None, None).objection(&table(), &Wish::Columns(columns(names)))
        };
        assert_eq!(objection(&exact, &["a", "userId", "user_id"]), None);
        let why = objection(&exact, &["Total", "total"]).unwrap_or_default();
        assert!(why.contains("`total`: it differs from the field `Total` only by case"), "{why}");
        let why = objection(&loose, &["a", "userId", "user_id"]).unwrap_or_default();
        assert!(why.contains("`user_id`: it differs from the field `userId`"), "{why}");
    }

    #[test]
    fn the_limit_counts_what_this_process_adds_and_nothing_that_is_there() {
        let lineage = Lineage::new(&Target::example(), None, None);
        lineage.added.store(99, Relaxed);
        assert_eq!(lineage.objection(&table(), &Wish::Columns(columns(&["a", "b"]))), None);
        assert_eq!(lineage.limit(&columns(&["a"])), None);
        let why = lineage.limit(&columns(&["a", "b"])).unwrap_or_default();
        assert!(why.contains("has added 99 columns, and max_added_columns is 100"), "{why}");
        assert!(lineage.objection(&table(), &Wish::Columns(columns(&["b"]))).is_some());
    }
}
