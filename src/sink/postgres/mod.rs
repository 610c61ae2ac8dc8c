//! The Postgres sink: micro-batches by binary COPY, with their checkpoint in one transaction.

pub mod catalog;
mod checkpoint;
pub mod column;
pub mod connect;
pub mod ddl;
pub mod dead_letters;
pub mod encode;
mod fit;
mod flush;
mod growth;
mod inspect;
mod late;
mod look;
pub mod mapping;
mod merge;
mod partitions;
pub(crate) mod preview;
mod row_fault;
mod session;
pub mod sqlstate;
mod table;
mod tend;
mod touched;
pub(crate) mod trace;
mod transaction;
mod type_tree;
pub(crate) mod versions;
mod waits;

use std::{
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool},
    time::{Duration, Instant},
};

use deadpool_postgres::{Object, Pool};
use tokio::runtime::Handle;

pub(crate) use self::{connect::POOL_EXTRA, inspect::StoredPosition};
use self::{
    flush::PostgresWriter,
    growth::Lineage,
    look::Seen,
    mapping::Mapping,
    partitions::Partitions,
    sqlstate::{Fault, PgError},
    table::PgTarget,
};
use super::{Connections, Sink, Target, TargetId, Writer};
use crate::{
    config::{self, Delivery, OnMissingTable, TableName},
    error::{Error, ErrorKind},
    shape::Shape,
    shutdown::Shutdown,
    source::kafka::DeadLetterTopic,
    stage::ThreadClock,
    status::SinkStatus,
    watchdog::Heart,
};

const START_PAUSE: Duration = Duration::from_millis(500);
/// The bound of what is long by its nature, as the first refresh of a rollup.
const WORK_MAX: Duration = Duration::from_secs(7 * 86_400);

/// What the targets and writers of one sink share.
pub(crate) struct Shared {
    name: String,
    /// Who claims: shown in the checkpoints for people, not compared.
    owner: String,
    pool: Pool,
    runtime: Handle,
    shutdown: Shutdown,
    targets: Mutex<Vec<Arc<PgTarget>>>,
    /// Whether somebody looks at what the connections wait for.
    looking: AtomicBool,
}

impl Shared {
    fn target(&self, id: TargetId) -> Option<Arc<PgTarget>> {
        self.targets.lock().unwrap_or_else(PoisonError::into_inner).get(id.0).cloned()
    }

    /// A target for the table as it was seen.
    fn open(self: &Arc<Self>, seen: Seen, lineage: &Arc<Lineage>) -> Result<Arc<PgTarget>, Error> {
        let mut targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        let id = TargetId(targets.len());
        let opened = Arc::new(PgTarget::new(id, seen, lineage, Arc::clone(self))?);
        targets.push(Arc::clone(&opened));
        Ok(opened)
    }
}

/// A database that rows go to.
pub struct PostgresSink {
    shared: Arc<Shared>,
    writers: usize,
    patience: Duration,
    /// Those that are refreshed while it runs.
    rollups: Vec<config::Rollup>,
}

impl PostgresSink {
    /// A sink; connects when its first target is opened, and waits for so long for a database that
    /// is not there.
    ///
    /// # Errors
    /// When the URL or the certificates cannot be used.
    pub fn new(
        name: &str,
        config: &config::PostgresSink,
        runtime: Handle,
        shutdown: Shutdown,
        patience: Duration,
    ) -> Result<Self, Error> {
        let pool = connect::pool(config.url.expose(), config.ca_file.as_deref(), config.writers)
            .map_err(|error| Error::new(error.kind, format!("sinks.{name}: {error}")))?;
        let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "localhost".to_owned());
        let shared = Shared {
            name: name.to_owned(),
            owner: format!("{host}/{}", std::process::id()),
            pool,
            runtime,
            shutdown,
            targets: Mutex::default(),
            looking: AtomicBool::new(false),
        };
        let (shared, rollups) = (Arc::new(shared), Vec::new());
        Ok(Self { shared, writers: config.writers, patience, rollups })
    }

    /// Refreshes those of `rollups` that have a schedule, while it runs.
    pub(crate) fn with_rollups(mut self, rollups: impl Iterator<Item = config::Rollup>) -> Self {
        self.rollups.extend(rollups.filter(|rollup| rollup.every.is_some()));
        self
    }

    /// Makes the schema of the bookkeeping, where it is missing.
    pub(crate) fn ensure_schema(&self) -> Result<(), Error> {
        self.ask(async |client| checkpoint::ensure_schema(client).await)
    }

    /// Does what may take long, on a connection of its own; not tried again. The inner error is not one
    /// of the database.
    pub(crate) fn work<T>(
        &self,
        work: impl AsyncFnOnce(&mut Object) -> Result<Result<T, Error>, PgError>,
    ) -> Result<T, Error> {
        let Shared { name, pool, shutdown, runtime, .. } = &*self.shared;
        let mut go_on = || !shutdown.is_requested();
        let done = runtime.block_on(connect::ask_while(pool, &mut go_on, WORK_MAX, work));
        done.map_err(|error| {
            let told = error.to_error(name);
            if error.code.starts_with("40") || error.code == "55P03" {
                return Error::new(ErrorKind::Temporary, format!("{told}; try again"));
            }
            told
        })?
    }

    /// Asks, and asks again while the database is away, for as long as a start may wait.
    fn ask<T>(
        &self,
        mut question: impl AsyncFnMut(&mut Object) -> Result<T, PgError>,
    ) -> Result<T, Error> {
        let name = &self.shared.name;
        let deadline = Instant::now() + self.patience;
        let mut warned = false;
        loop {
            let Shared { pool, shutdown, runtime, .. } = &*self.shared;
            let answer = runtime.block_on(connect::ask(pool, shutdown, &mut question));
            let error = match answer {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let told = error.to_error(name);
            match error.fault {
                Fault::Outage if Instant::now() < deadline => {
                    if !warned {
                        tracing::warn!("{told}; waiting for the database");
                        warned = true;
                    }
                    if self.shared.shutdown.sleep(START_PAUSE) {
                        return Err(Error::new(
                            ErrorKind::Temporary,
                            "stopped while waiting for the database",
                        ));
                    }
                }
                Fault::Outage => {
                    return Err(Error::unavailable(format!(
                        "{told}; is the url right, and is Postgres up?"
                    )));
                }
                Fault::Permission | Fault::Row | Fault::Config => return Err(told),
            }
        }
    }

    /// Reads the table as the catalog has it now.
    ///
    /// # Errors
    /// When the database cannot be asked, or the table cannot be written.
    pub fn table(&self, name: &TableName) -> Result<Option<catalog::Table>, Error> {
        self.ask(async |client| catalog::read(client, name).await)?.transpose()
    }

    /// Whether rows can be written into `table` as `target` says, as far as the catalog tells; and how
    /// many columns are fed from how many fields.
    ///
    /// # Errors
    /// When they cannot, or the database cannot be asked.
    pub fn check(&self, table: &catalog::Table, target: &config::Target) -> Result<Mapping, Error> {
        let seen = self.ask(async |client| look::see(client, table.clone(), target).await)??;
        Ok(seen.mapping)
    }

    fn look(&self, name: &TableName, target: &config::Target) -> Result<Option<Seen>, Error> {
        self.ask(async |client| look::look(client, name, target).await)?.transpose()
    }

    fn create_table(
        &self,
        target: &config::Target,
        shape: &mut dyn FnMut() -> Result<Shape, Error>,
    ) -> Result<(), Error> {
        let sql = ddl::plan(target, &shape()?)?.join("\n");
        tracing::info!("creating a missing table from what the records show:\n{sql}");
        self.ask(async |client| {
            let failed = |error: tokio_postgres::Error| PgError::from_driver(&error);
            let transaction = client.transaction().await.map_err(failed)?;
            transaction.batch_execute(ddl::LOCK_SQL).await.map_err(failed)?;
            transaction.batch_execute(&sql).await.map_err(failed)?;
            transaction.commit().await.map_err(failed)
        })
    }

    /// Whether the role may change the table as the target wants it; gives the partitions to look after.
    pub(crate) fn check_changes(
        &self,
        table: &catalog::Table,
        target: &config::Target,
    ) -> Result<Option<Partitions>, Error> {
        if target.growth.alters() || target.partitions.is_some() {
            self.ask(async |client| growth::check_owner(client, table).await)??;
        }
        let Some(config) = &target.partitions else { return Ok(None) };
        self.ask(async |client| Partitions::open(client, table, config).await)?.map(Some)
    }

    /// The error for a table that is not there, with the likely one.
    pub(crate) fn missing(&self, table: &TableName) -> Error {
        let shown = catalog::quoted_name(table);
        let sql = "SELECT array_agg(c.oid::regclass::text ORDER BY 1) FROM pg_class c \
                   JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p') \
                   AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'tidegate')";
        let known: Vec<String> = self
            .ask(async |client| {
                let row = client.query_one(sql, &[]).await;
                let row = row.map_err(|error| PgError::from_driver(&error))?;
                Ok(row.get::<_, Option<Vec<String>>>(0).unwrap_or_default())
            })
            .unwrap_or_default();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let hint = catalog::nearest(&table.name, &known)
            .map_or_else(String::new, |near| format!(" Did you mean `{near}`?"));
        Error::config(format!(
            "sink {}: there is no table {shown}.{hint} Create it, or set on_missing_table = \
             \"create\" to have it made from what the records show",
            self.shared.name
        ))
    }
}

impl Sink for PostgresSink {
    fn open(
        &self,
        target: &config::Target,
        shape: &mut dyn FnMut() -> Result<Shape, Error>,
        topic: Option<Arc<DeadLetterTopic>>,
    ) -> Result<Arc<dyn Target>, Error> {
        let Some(name) = &target.table else {
            return Err(Error::config(format!("sink {} needs a table", self.shared.name)));
        };
        let seen = match self.look(name, target)? {
            Some(seen) => seen,
            None if target.on_missing_table == OnMissingTable::Create => {
                self.create_table(target, shape)?;
                self.look(name, target)?.ok_or_else(|| self.missing(name))?
            }
            None => return Err(self.missing(name)),
        };
        let table = &seen.table;
        // Dead letters are kept in both modes, checkpoints in one.
        self.ask(async |client| checkpoint::ensure_schema(client).await)?;
        self.ask(async |client| dead_letters::ensure_headers(client).await)?;
        let partitions = self.check_changes(table, target)?;
        if let Some(columns) = seen.mapping.read_by_postgres() {
            let table = table.display();
            tracing::info!("table {table}: staged as text, as they have no encoder: {columns}");
        }
        if target.delivery == Delivery::AtLeastOnce {
            tracing::info!("table {}: at least once; a crash may double rows", table.display());
        }
        let lineage = Lineage::new(target, topic, partitions);
        let opened = self.shared.open(seen, &lineage)?;
        lineage.set_newest(opened.id);
        Ok(opened)
    }

    fn writers(&self) -> usize {
        self.writers
    }

    fn is_tended(&self) -> bool {
        let targets = self.shared.targets.lock().unwrap_or_else(PoisonError::into_inner);
        let mut partitions = targets.iter().filter_map(|target| target.lineage.partitions.as_ref());
        !self.rollups.is_empty() || partitions.any(Partitions::expires)
    }

    fn tend(&self, heart: &Heart) {
        tend::run(&self.shared, &self.rollups, heart);
    }

    fn writer(&self, clock: Arc<ThreadClock>) -> Box<dyn Writer> {
        Box::new(PostgresWriter::new(Arc::clone(&self.shared), clock))
    }

    fn connections(&self) -> Option<Connections> {
        let pool = self.shared.pool.status();
        let in_use = pool.size.saturating_sub(pool.available);
        let (idle, wanted) = (pool.available, pool.waiting);
        Some(Connections { in_use, idle, wanted, max: pool.max_size })
    }

    fn look(&self, status: &Arc<SinkStatus>) {
        waits::look(&self.shared, status);
    }
}
