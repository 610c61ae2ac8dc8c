//! Where rows go.
//!
//! A sink opens the targets of the routes before the first record, and gives each writer thread of
//! its pool a [`Writer`]. To add a sink: one module that implements [`Sink`], and one line in
//! `Engine::sink`.

pub mod handler;
pub mod ndjson;
pub mod null;
pub mod postgres;

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use crate::{
    batch::{Batch, Layout},
    error::Error,
    lane::{Claim, Lane, LaneKey, Outcome},
    record::Record,
    rejection::Rejection,
    row::Row,
    selector::Selector,
    shape::Shape,
    source::kafka::DeadLetterTopic,
    stage::ThreadClock,
    status::SinkStatus,
    watchdog::Heart,
};

/// A sink's number for one of its targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetId(pub usize);

/// A batch on its way, with the lane that it belongs to.
#[derive(Debug)]
pub struct Flushed {
    /// Whose it is.
    pub lane: Arc<Lane>,
    /// What its rows were encoded for.
    pub target: TargetId,
    /// The rows.
    pub batch: Batch,
    /// When it was closed: since then it waits for a writer.
    pub sent_at: Instant,
    /// Set by the writer.
    pub outcome: Option<Outcome>,
}

/// Why a write set is not durable.
#[derive(Debug)]
pub enum WriteError {
    /// The sink cannot take anything now, whatever the rows are: to be tried again, for ever.
    Outage {
        /// A bounded label: the SQLSTATE, or what failed.
        class: String,
        /// For a person.
        message: String,
    },
    /// Trying again cannot help: stop without committing.
    Halt(Error),
}

/// A pool of connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connections {
    /// In use now.
    pub in_use: usize,
    /// Open, and free.
    pub idle: usize,
    /// Those who wait for one.
    pub wanted: usize,
    /// How many there may be.
    pub max: usize,
}

/// What a target would have to become to take a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// What it is by now: it was changed by somebody else since it was opened.
    Present,
    /// Columns for fields that it does not know, each with a type in SQL.
    Columns(Vec<(String, &'static str)>),
    /// Another type, in SQL, for a column.
    Wider {
        /// The column.
        column: String,
        /// The type that it has now: of any other, the wish says nothing.
        from: String,
        /// The type.
        sql_type: String,
    },
}

/// What became of a wish.
pub enum Adapted {
    /// The target that takes the place of the one that was asked.
    To(Arc<dyn Target>),
    /// It stays as it is, and why.
    Refused(String),
}

impl From<Error> for WriteError {
    fn from(error: Error) -> Self {
        Self::Halt(error)
    }
}

/// A system that takes rows.
pub trait Sink: Send + Sync + 'static {
    /// Prepares a target of a route, before the first record. `shape` tells what the records of
    /// the route look like, for a target that must be made; it may block until there are some.
    /// `dead_letters` is where records go that cannot become rows, if not into the sink.
    ///
    /// # Errors
    /// When the target cannot be written: names it and the way out.
    fn open(
        &self,
        target: &crate::config::Target,
        shape: &mut dyn FnMut() -> Result<Shape, Error>,
        dead_letters: Option<Arc<DeadLetterTopic>>,
    ) -> Result<Arc<dyn Target>, Error>;

    /// How many writer threads to run.
    fn writers(&self) -> usize {
        1
    }

    /// Whether there is work to do beside the rows, now that the targets are open.
    fn is_tended(&self) -> bool {
        false
    }

    /// Does that work, on a thread of its own, until the end is asked for.
    fn tend(&self, _heart: &Heart) {}

    /// A writer for one thread of the pool, which tells `clock` what it does. It is in [`Stage::Copy`](crate::stage::Stage::Copy) when a
    /// write begins.
    fn writer(&self, clock: Arc<ThreadClock>) -> Box<dyn Writer>;

    /// Its connections, if it has any.
    fn connections(&self) -> Option<Connections> {
        None
    }

    /// Finds out what its connections wait for, and tells `status`. Never blocks: the answer comes later.
    fn look(&self, _status: &Arc<SinkStatus>) {}
}

/// One opened target: a table, say.
pub trait Target: Send + Sync {
    /// The sink's number for it.
    fn id(&self) -> TargetId;

    /// The name in metrics and logs, behind the sink's: the table. Empty if the sink has just one.
    fn name(&self) -> String {
        String::new()
    }

    /// What it asks of each record.
    fn selectors(&self) -> Vec<Selector> {
        Vec::new()
    }

    /// Whether it may refuse a row after it was encoded: the records are then kept until their
    /// rows are durable, or read again.
    fn may_refuse(&self) -> bool {
        false
    }

    /// Whether they are to be kept even where they can be read again. Asked for each batch. Where they are
    /// needed and were not kept, the lane is lost ([`Loss::NotKept`](crate::lane::Loss::NotKept)), and from then on the answer is yes.
    fn keeps_records(&self) -> bool {
        self.may_refuse()
    }

    /// An encoder for one lane. `selectors` are what the route's rows hold, in order.
    fn encoder(&self, selectors: &[Selector]) -> Result<Box<dyn Encoder>, Error>;

    /// Why it would not become what a record wishes, as far as that is known without asking anybody.
    fn objection(&self, _wish: &Wish) -> Option<String> {
        None
    }

    /// Becomes what a record wishes, for every lane and every process. To be tried again after an
    /// outage. `go_on` is asked now and then whether anybody still waits for the answer.
    ///
    /// # Errors
    /// See [`WriteError`].
    fn adapt(&self, _wish: &Wish, _go_on: &mut dyn FnMut() -> bool) -> Result<Adapted, WriteError> {
        Ok(Adapted::Refused("this target never changes".to_owned()))
    }

    /// The checkpoints, if this target keeps the position of its lanes itself (exactly-once).
    fn checkpoints(&self) -> Option<&dyn Checkpoints> {
        None
    }
}

/// Turns rows into the bytes that the sink's writer sends. A sink that has no use for them, because
/// it drops the rows or works on the records that the batch has kept, takes everything as it is.
pub trait Encoder: Send {
    /// What a record does that deletes.
    fn on_delete(&self) -> OnDelete {
        OnDelete::DeadLetter
    }

    /// The set of columns that this row carries; rows of one layout travel together.
    fn layout(&self, _row: &Row<'_>) -> Layout {
        Layout::default()
    }

    /// Appends one row to `out`, and nothing if it is refused.
    ///
    /// # Errors
    /// When the row does not fit the target: names column, value and what was expected.
    fn encode(
        &mut self,
        _record: &Record<'_>,
        _row: &Row<'_>,
        _layout: Layout,
        _out: &mut Vec<u8>,
    ) -> Result<(), Rejection> {
        Ok(())
    }

    /// What the target would have to become to take a row that was refused for this reason; `None`
    /// if it stays as it is.
    fn wish(&self, _row: &Row<'_>, _rejection: &Rejection) -> Option<Wish> {
        None
    }
}

/// What becomes of a record that deletes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDelete {
    /// It is encoded, as every other.
    Take,
    /// It becomes a dead letter.
    DeadLetter,
    /// It is passed over.
    Ignore,
}

/// Makes write sets durable; one for each writer thread.
pub trait Writer: Send {
    /// Writes the batches of one target and sets the outcome of each. On an error, the batches
    /// whose outcome is set are settled all the same; the others may be handed in again.
    ///
    /// # Errors
    /// See [`WriteError`].
    fn write(
        &mut self,
        target: TargetId,
        batches: &mut [Flushed],
        heart: &Heart,
    ) -> Result<(), WriteError>;
}

/// How a claim stands to the claims before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// Of a source whose readers know no order: the latest claim counts.
    Latest,
    /// Of a member in this generation of its group: a member of a later one has precedence. So a
    /// process that was frozen before its claim cannot take the lane from its new owner.
    Generation(i32),
    /// As `Generation`, where the group itself has confirmed the member: it counts its generations
    /// anew, and what a former group has left behind has no precedence.
    Confirmed(i32),
}

/// The ids of topics by name, as far as there are any: a topic that was made anew has another one.
pub type TopicIds = BTreeMap<Arc<str>, String>;

/// Who claims, and what.
#[derive(Clone, Copy, Debug)]
pub struct Claimant<'a> {
    /// In whose name.
    pub group: &'a Group,
    /// With what precedence.
    pub rank: Rank,
    /// The topics that it reads; a checkpoint that has no id of its topic yet takes it from here.
    pub topic_ids: &'a TopicIds,
}

/// Where a lane stands in the sink, and the right to move it on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// The next offset to write.
    pub next_offset: i64,
    /// The right to do so.
    pub claim: Claim,
    /// The topic that the offset is of.
    pub topic_id: Option<String>,
}

/// What a claim has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The lane is the claimant's: from here on, no earlier owner can advance it.
    Claimed(Claimed),
    /// It has no checkpoint yet.
    Missing,
    /// A member of a later generation has claimed it.
    Outranked,
}

/// Positions that are kept in the sink, in the transaction of the rows.
pub trait Checkpoints: Send + Sync {
    /// Claims the lanes; one entry for each, in order.
    ///
    /// # Errors
    /// When the sink cannot be reached (to be tried again) or refuses.
    fn claim(&self, claimant: Claimant<'_>, lanes: &[LaneKey]) -> Result<Vec<Found>, WriteError>;

    /// Makes and claims the checkpoint of lanes that have none, at the given offsets. Claims those
    /// that somebody else has made meanwhile; none is `Missing`.
    ///
    /// # Errors
    /// As for `claim`.
    fn create(
        &self,
        claimant: Claimant<'_>,
        lanes: &[(LaneKey, i64)],
    ) -> Result<Vec<Found>, WriteError>;

    /// Where the checkpoints stand now, and under which epoch; `None` for one that is gone.
    ///
    /// # Errors
    /// As for `claim`.
    fn read(&self, claims: &[Claim]) -> Result<Vec<Option<Standing>>, WriteError>;
}

/// What a checkpoint says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The next offset to write.
    pub next_offset: i64,
    /// The number of its latest claim.
    pub epoch: i64,
}

/// In whose name a lane is claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The consumer group, or the name of a source without groups.
    pub name: String,
    /// Kafka's cluster id: offsets mean nothing in another cluster.
    pub cluster_id: String,
}
