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
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use deadpool_postgres::Object;

use super::{
    Shared, catalog, connect, ddl, look,
    partitions::Partitions,
    sqlstate::{Fault, PgError},
    table::PgTarget,
};
use crate::{
    config,
    error::{Error, ErrorKind},
    failpoint::failpoint,
    sink::{Adapted, TargetId, Wish, WriteError},
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
    pub(super) topic: Option<Arc<DeadLetterTopic>>,
    pub(super) partitions: Option<Partitions>,
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
        Arc::new(Self {
            target: target.clone(),
            topic,
            partitions,
            newest: Mutex::new(TargetId(0)),
            added: AtomicUsize::new(0),
            refusals: Mutex::default(),
        })
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
                let own = columns.iter().find_map(|(name, _)| {
                    let why = ddl::objection(table, name).or_else(|| self.refusal(name))?;
                    Some(format!("there will be none for `{name}`: {why}"))
                });
                let most = self.target.growth.max_added_columns;
                own.or_else(|| {
                    (self.added.load(Relaxed) + columns.len() > most).then(|| {
                        format!(
                            "this process has added {} columns, and max_added_columns is {most}",
                            self.added.load(Relaxed)
                        )
                    })
                })
            }
        }
    }
}

/// What came of the attempt to change a table.
enum Change {
    /// It is as wished, by this process (with so many new columns) or by another.
    Made(usize),
    /// Postgres does not do it.
    Refused(PgError),
}

impl PgTarget {
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
        let change =
            self.ask_changing(go_on, async |client| change(client, &self.table, wish).await)?;
        match change {
            Change::Refused(error) => return Ok(Adapted::Refused(self.note(wish, &error))),
            Change::Made(added) => lineage.added.fetch_add(added, Relaxed),
        };
        let name = self.table.config_name();
        let seen = self
            .ask_changing(go_on, async |client| look::look(client, &name, &lineage.target).await)?;
        let Some(seen) = seen.transpose()? else {
            let message = format!("the table {} is gone", self.table.display());
            return Err(Error::config(message).into());
        };
        let opened = shared.open(seen, lineage)?;
        *newest = opened.id;
        Ok(Adapted::To(opened))
    }

    /// Keeps a refusal for a while, so that not every record asks again.
    fn note(&self, wish: &Wish, error: &PgError) -> String {
        let why = format!("Postgres refuses: {} (SQLSTATE {})", error.message, error.code);
        let why = match (wish, error.code.as_str()) {
            (Wish::Wider { column, sql_type }, "57014") => format!(
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
            if missing.is_empty() {
                return Ok(Change::Made(0));
            }
            (ddl::add_columns(table, &missing), missing.len())
        }
        Wish::Wider { column, sql_type } => {
            let known = table.columns.iter().find(|known| known.name == *column);
            if type_of(column) != known.map(|known| known.type_name.as_str()) {
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
            // It was not the lock that took too long: that has a limit of its own.
            Fault::Outage if error.code == "57014" => Ok(Change::Refused(error)),
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
