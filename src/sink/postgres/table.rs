//! One target of the Postgres sink: a table, what feeds its columns, and its checkpoints.

use std::sync::Arc;

use super::{
    Shared, catalog, checkpoint,
    column::{Column, Feed},
    connect,
    encode::{EncoderError, RowEncoder},
    fit::PgEncoder,
    growth::Lineage,
    look::Seen,
    mapping::Mapping,
    merge::{Merge, MergeEncoder},
    sqlstate::{Fault, PgError},
};
use crate::{
    batch::Layout,
    config::OnTombstone,
    error::{Error, ErrorKind},
    lane::{Claim, LaneKey},
    record::Record,
    rejection::{Reason, Rejection},
    row::Row,
    selector::Selector,
    sink::{
        Adapted, Checkpoints, Claimant, Encoder, Found, OnDelete, Standing, Target, TargetId, Wish,
        WriteError,
    },
    source::kafka::DeadLetterTopic,
};

/// An opened table, as it was at one time.
pub(crate) struct PgTarget {
    pub(crate) id: TargetId,
    pub(crate) table: Arc<catalog::Table>,
    columns: Vec<Column>,
    selectors: Vec<Selector>,
    /// The one of them that gives the fields which no column takes.
    unknown: Option<Selector>,
    /// The columns' types as they were when the encoder was made.
    pub(super) types: String,
    layouts: RowEncoder,
    /// How rows get into the table, if not by a COPY into it.
    pub(super) merge: Option<Merge>,
    exactly_once: bool,
    pub(super) lineage: Arc<Lineage>,
    /// Where dead letters go, if not to the table.
    pub(super) dead_letter_topic: Option<Arc<DeadLetterTopic>>,
    pub(super) shared: Arc<Shared>,
}

impl PgTarget {
    pub(super) fn new(
        id: TargetId,
        seen: Seen,
        lineage: &Arc<Lineage>,
        shared: Arc<Shared>,
    ) -> Result<Self, Error> {
        let Seen { table, mapping, merge, types } = seen;
        let Mapping { columns, mut selectors } = mapping;
        let unknown = Mapping::unknown(&table, &lineage.target);
        selectors.extend(unknown.clone());
        let layouts = encoder(&table, columns.clone())?;
        let dead_letter_topic = lineage.topic.clone();
        let (table, lineage) = (Arc::new(table), Arc::clone(lineage));
        let exactly_once = lineage.target.delivery == crate::config::Delivery::ExactlyOnce;
        Ok(Self {
            id,
            table,
            columns,
            selectors,
            unknown,
            types,
            layouts,
            merge,
            exactly_once,
            lineage,
            dead_letter_topic,
            shared,
        })
    }

    /// The columns that it writes.
    pub(super) fn column_names(&self) -> Vec<&str> {
        self.columns.iter().map(|column| column.name.as_str()).collect()
    }

    /// What feeds which of them.
    pub(super) fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The columns of rows of one layout.
    pub(super) fn columns_for(&self, layout: Layout) -> impl Iterator<Item = &Column> {
        self.layouts.columns_for(layout)
    }

    /// The COPY for rows of one layout.
    pub(super) fn copy_sql(&self, layout: Layout) -> String {
        if let Some(merge) = &self.merge {
            return merge.copy_sql(layout, self.layouts.columns_for(layout));
        }
        let columns: Vec<String> = self
            .columns_for(layout)
            .map(|column| catalog::quote_identifier(&column.name))
            .collect();
        let table = self.table.quoted();
        format!("COPY {table} ({}) FROM STDIN (FORMAT binary)", columns.join(", "))
    }

    fn identity(&self) -> checkpoint::Identity<'_> {
        checkpoint::Identity { owner: &self.shared.owner, mapping: &self.lineage.mapping }
    }

    fn ask<T>(
        &self,
        question: impl AsyncFnOnce(&mut deadpool_postgres::Object) -> Result<T, PgError>,
    ) -> Result<T, WriteError> {
        let Shared { pool, shutdown, runtime, .. } = &*self.shared;
        let answer = runtime.block_on(connect::ask(pool, shutdown, question));
        answer.map_err(|error| {
            let text = format!(
                "sink {}, tidegate.checkpoints: {} (SQLSTATE {})",
                self.shared.name, error.message, error.code
            );
            match error.fault {
                Fault::Outage => WriteError::Outage { class: error.code, message: text },
                Fault::Permission => WriteError::Halt(Error::new(ErrorKind::Permission, text)),
                Fault::Config | Fault::Row => WriteError::Halt(Error::config(text)),
            }
        })
    }
}

fn encoder(table: &catalog::Table, columns: Vec<Column>) -> Result<RowEncoder, Error> {
    RowEncoder::new(columns).map_err(|error| unfit(table, &error))
}

fn unfit(table: &catalog::Table, error: &EncoderError) -> Error {
    Error::config(format!("table {}: {error}", table.display()))
}

impl Target for PgTarget {
    fn id(&self) -> TargetId {
        self.id
    }

    fn name(&self) -> String {
        self.table.display()
    }

    fn selectors(&self) -> Vec<Selector> {
        self.selectors.clone()
    }

    fn may_refuse(&self) -> bool {
        true
    }

    fn keeps_records(&self) -> bool {
        self.lineage.keeps_records()
    }

    fn encoder(&self, selectors: &[Selector]) -> Result<Box<dyn Encoder>, Error> {
        let mut columns = self.columns.clone();
        for column in &mut columns {
            if let Feed::Field(index) = &mut column.feed {
                // The route's rows hold what all its targets ask for.
                let place = selectors.iter().position(|known| *known == self.selectors[*index]);
                *index = place.ok_or_else(|| {
                    Error::software(format!("the route does not decode field {}", column.name))
                })?;
            }
        }
        let rows = AppendEncoder {
            rows: encoder(&self.table, columns.clone())?,
            on_tombstone: self.lineage.target.write.on_tombstone,
        };
        let rows: Box<dyn Encoder> = match &self.merge {
            None => Box::new(rows),
            Some(merge) => {
                let encoder = MergeEncoder::new(merge, &columns, rows);
                Box::new(encoder.map_err(|error| unfit(&self.table, &error))?)
            }
        };
        let growth = self.lineage.target.growth;
        if self.unknown.is_none() && !growth.alters() {
            return Ok(rows);
        }
        let unknown = self.unknown.as_ref();
        let unknown = unknown.and_then(|u| selectors.iter().position(|known| known == u));
        let table = Arc::clone(&self.table);
        Ok(Box::new(PgEncoder { rows, columns, table, growth, unknown }))
    }

    fn objection(&self, wish: &Wish) -> Option<String> {
        self.object(wish)
    }

    fn adapt(&self, wish: &Wish, go_on: &mut dyn FnMut() -> bool) -> Result<Adapted, WriteError> {
        self.adapt_to(wish, go_on)
    }

    fn checkpoints(&self) -> Option<&dyn Checkpoints> {
        self.exactly_once.then_some(self as &dyn Checkpoints)
    }
}

impl Checkpoints for PgTarget {
    fn claim(&self, claimant: Claimant<'_>, lanes: &[LaneKey]) -> Result<Vec<Found>, WriteError> {
        let identity = self.identity();
        self.ask(async |connection| checkpoint::claim(connection, claimant, identity, lanes).await)
    }

    fn create(
        &self,
        claimant: Claimant<'_>,
        lanes: &[(LaneKey, i64)],
    ) -> Result<Vec<Found>, WriteError> {
        let identity = self.identity();
        self.ask(async |connection| checkpoint::create(connection, claimant, identity, lanes).await)
    }

    fn read(&self, claims: &[Claim]) -> Result<Vec<Option<Standing>>, WriteError> {
        self.ask(async |connection| checkpoint::read(connection, claims).await)
    }
}

/// Rows as the table has them.
pub(super) struct AppendEncoder {
    rows: RowEncoder,
    on_tombstone: OnTombstone,
}

impl Encoder for AppendEncoder {
    fn on_delete(&self) -> OnDelete {
        match self.on_tombstone {
            OnTombstone::DeadLetter => OnDelete::DeadLetter,
            OnTombstone::Ignore => OnDelete::Ignore,
        }
    }

    fn layout(&self, row: &Row<'_>) -> Layout {
        self.rows.absent(row)
    }

    fn encode(
        &mut self,
        record: &Record<'_>,
        row: &Row<'_>,
        layout: Layout,
        out: &mut Vec<u8>,
    ) -> Result<(), Rejection> {
        if self.rows.columns_for(layout).next().is_none() {
            // COPY has no way to say "a row of defaults".
            let message = "the record has none of the table's fields";
            return Err(Rejection::record(Reason::MissingValue, message));
        }
        self.rows.encode(record, row, layout, out)
    }
}
