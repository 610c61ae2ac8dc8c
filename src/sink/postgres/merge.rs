//! Rows that do not go to their table at once: they are copied into a staging table of the session,
//! and merged from there in the same transaction. This is how a row takes the place of the one that
//! has its key, or removes it, and how Postgres reads the values whose type has no encoder.
//!
//! Rests on these facts of Postgres:
//! - `INSERT ... ON CONFLICT DO UPDATE` cannot meet a row twice in one command (21000), so the last
//!   row of each key is chosen first, by the equality of the key's own type: `1.0` and `1.00` are one
//!   numeric, and have different bytes.
//! - It handles the rows in the order in which they come, and waits for a row that another
//!   transaction has changed. All merges go through the keys in the same order, once, so no two wait
//!   for each other. Rows to be deleted are locked in this same pass.
//! - A sub-select with FOR UPDATE is not merged into the query around it, and is run for each row of
//!   what it is joined to by LATERAL.

mod encoder;
mod facts;
mod reduce;
mod sql;

pub(super) use encoder::{MergeEncoder, order};
pub(crate) use facts::Facts;
pub(super) use reduce::Superseded;

use std::collections::BTreeMap;

use super::{
    catalog::{Table, quote_identifier},
    column::{Column, ColumnType},
};
use crate::{
    batch::{Batch, Layout},
    config::{Write, WriteMode},
    error::Error,
};

/// What stands at the beginning of each transaction that merges. One batch is sorted in memory; its
/// bound is the client's patience and not the session's statement_timeout, which is there for
/// questions.
pub(super) const BEGIN: &str = "BEGIN; SET LOCAL work_mem = '64MB'; SET LOCAL jit = off; SET LOCAL statement_timeout = '15min'";

/// The staging table's columns that are no columns of the table. No field can have such a name by
/// accident, as a column of the table may not have it.
const ORDER: &str = "\"tidegate:order\"";
const DELETED: &str = "\"tidegate:deleted\"";

/// How the rows of one target are merged into its table.
#[derive(Clone, Debug)]
pub(crate) struct Merge {
    /// The staging table.
    stage: String,
    /// Makes it anew.
    stage_sql: String,
    /// Columns that name a row, in the order of their unique index.
    key: Vec<String>,
    version: Option<String>,
    deletes: Deletes,
    /// Whether two keys that Postgres holds for one have the same bytes, so that the writer can tell
    /// them apart.
    is_canonical: bool,
    sql: sql::Statements,
}

/// What a delete does.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Deletes {
    /// There are none.
    No,
    /// It removes the row.
    Remove,
    /// It marks the row.
    Mark {
        column: String,
        /// Else a point in time.
        is_flag: bool,
    },
}

impl Merge {
    /// How to write into `table`, whose `columns` are fed; those of the key come first from now on.
    ///
    /// # Errors
    /// When the configured columns do not make a key, or the role may not do what it takes.
    pub(super) fn new(
        table: &Table,
        write: &Write,
        facts: &Facts,
        columns: &mut Vec<Column>,
    ) -> Result<Self, Error> {
        let shown = table.display();
        let failed = |text: String| Error::config(format!("table {shown}: {text}"));
        let key = facts.key(table, &write.key)?;
        let deletes = match (&write.soft_delete, write.mode) {
            (Some(column), _) => {
                let is_flag = facts.is_flag(table, column)?;
                columns.retain(|fed| fed.name != *column);
                Deletes::Mark { column: column.clone(), is_flag }
            }
            (None, WriteMode::Mirror) => Deletes::Remove,
            (None, _) => Deletes::No,
        };
        for name in key.iter().chain(&write.version) {
            if !columns.iter().any(|column| column.name == *name) {
                return Err(failed(format!(
                    "nothing feeds column `{name}`, which the merge needs; is it there, and not skipped?"
                )));
            }
        }
        if let Some(version) = write.version.as_ref().filter(|version| key.contains(version)) {
            return Err(failed(format!(
                "version `{version}` is a part of the key, and cannot change"
            )));
        }
        // The key stands first in each encoded row, and must always be there.
        let place = |column: &Column| key.iter().position(|name| *name == column.name);
        columns.sort_by_key(|column| place(column).unwrap_or(key.len()));
        for column in columns.iter_mut().take(key.len()) {
            (column.not_null, column.has_default) = (true, false);
        }
        if columns.iter().filter(|column| column.has_default).count() > 63 {
            return Err(failed("more than 63 columns have a default; skip some".to_owned()));
        }
        let is_compared =
            |name: &String| key.contains(name) || write.version.as_ref() == Some(name);
        let unread = columns.iter().find(|c| is_compared(&c.name) && !c.column_type.has_encoder());
        if let Some(column) = unread {
            return Err(failed(format!(
                "column `{}` has a type without an encoder, which can be neither key nor version",
                column.name
            )));
        }
        facts.check_privileges(table, deletes != Deletes::No && write.soft_delete.is_none())?;
        Ok(Self::made(table, facts, columns, key, write.version.clone(), deletes))
    }

    /// How to append to `table`, some of whose `columns` have a type without an encoder: those are
    /// staged as texts, and Postgres reads them.
    ///
    /// # Errors
    /// When the role may not do what it takes.
    pub(super) fn append(table: &Table, facts: &Facts, columns: &[Column]) -> Result<Self, Error> {
        facts.check_staging()?;
        Ok(Self::made(table, facts, columns, Vec::new(), None, Deletes::No))
    }

    fn made(
        table: &Table,
        facts: &Facts,
        columns: &[Column],
        key: Vec<String>,
        version: Option<String>,
        deletes: Deletes,
    ) -> Self {
        let stage = format!("pg_temp.tidegate_stage_{}", table.oid);
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        let cast = |column: &Column| match &column.column_type {
            ColumnType::Unknown(name) => Some((column.name.clone(), name.to_string())),
            _ => None,
        };
        let casts: BTreeMap<String, String> = columns.iter().filter_map(cast).collect();
        let casts = casts.iter().map(|(name, cast)| (name.as_str(), cast.as_str())).collect();
        let stage_sql = facts.stage_sql(&stage, columns, &deletes);
        let parts = sql::Parts {
            table: &table.quoted(),
            stage: &stage,
            columns: &names,
            casts: &casts,
            key: &key,
            version: version.as_deref(),
            deletes: &deletes,
        };
        let sql = parts.statements();
        let is_canonical = facts.is_canonical(&key);
        Self { stage, stage_sql, key, version, deletes, is_canonical, sql }
    }

    /// Whether each row that is staged is one more row of the table.
    pub(super) fn appends(&self) -> bool {
        self.key.is_empty()
    }

    /// The rows of a write set that need not be sent. Where versions decide, that is not for their
    /// order to say.
    pub(super) fn superseded<'a>(
        &self,
        batches: impl Iterator<Item = &'a Batch> + Clone,
    ) -> Superseded {
        match self.version {
            None if !self.appends() => Superseded::find(batches, self.key.len()),
            _ => Superseded::default(),
        }
    }

    /// The staging table's name.
    pub(super) fn stage(&self) -> &str {
        &self.stage
    }

    /// Makes the staging table, also where there was one with other columns.
    pub(super) fn stage_sql(&self) -> &str {
        &self.stage_sql
    }

    /// Empties the staging table before the end of the transaction.
    pub(super) fn clear_sql(&self) -> String {
        format!("DELETE FROM {}", self.stage)
    }

    /// The COPY for rows of one layout. `columns` are those that the layout carries, without the
    /// merge's own.
    pub(super) fn copy_sql<'a>(
        &self,
        layout: Layout,
        columns: impl Iterator<Item = &'a Column>,
    ) -> String {
        let quoted = |name: &String| quote_identifier(name);
        let mut names: Vec<String> = match layout {
            Layout::DELETE => {
                let mark = match &self.deletes {
                    Deletes::Mark { column, .. } => Some(column),
                    Deletes::No | Deletes::Remove => None,
                };
                self.key.iter().chain(&self.version).chain(mark).map(quoted).collect()
            }
            _ => columns.map(|column| quoted(&column.name)).collect(),
        };
        if layout == Layout::DELETE {
            names.push(DELETED.to_owned());
        }
        names.push(ORDER.to_owned());
        format!("COPY {} ({}) FROM STDIN (FORMAT binary)", self.stage, names.join(", "))
    }

    /// Whether the rows that [`Self::superseded`] has left have keys that Postgres tells apart.
    pub(super) fn makes_unique(&self) -> bool {
        self.is_canonical && self.version.is_none()
    }

    /// Merges rows of which none deletes, and no two have one key if they are `unique`. Worth preparing:
    /// there is but one way to run it.
    pub(super) fn put_sql(&self, unique: bool) -> &str {
        if unique { &self.sql.put_unique } else { &self.sql.put }
    }

    /// Merges rows of which some delete, in one simple query: planned each time, as the best way to
    /// find the rows depends on how large the table has become.
    pub(super) fn change_sql(&self) -> &str {
        &self.sql.change
    }
}
