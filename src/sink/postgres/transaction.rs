//! One write set, one transaction: BEGIN, COPY, dead letters, checkpoints, COMMIT.
//!
//! Rests on these facts of Postgres and of the driver:
//! - A COPY on its own commits at Sync, after CommandComplete: the driver would report success for
//!   rows that a deferred constraint still rolls back. So: an explicit transaction, always.
//! - COMMIT in an aborted transaction answers ROLLBACK without an error, and the driver does not
//!   look. So the statement before COMMIT is one that fails in an aborted transaction: the
//!   check-and-set, or SELECT 1.
//! - The row lock of the check-and-set is taken last: a process that freezes inside its COPY holds
//!   no lock that the lane's next owner would wait for.

use bytes::Bytes;

use super::{
    merge::{self, Merge, Superseded},
    session::Session,
    sqlstate::PgError,
    table::PgTarget,
};
use crate::{
    batch::Layout,
    failpoint::failpoint,
    sink::Flushed,
    stage::{Stage, ThreadClock},
};

/// How far a transaction got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum End {
    #[default]
    Open,
    /// The check-and-set did not hit every lane.
    Unmatched,
    /// COMMIT was sent.
    Committing,
    /// COMMIT was answered.
    Committed,
}

pub(super) async fn transact(
    session: &mut Session,
    target: &PgTarget,
    batches: &mut [&mut Flushed],
    end: &mut End,
    clock: &ThreadClock,
) -> Result<(), PgError> {
    clock.enter(Stage::Copy);
    // What is known already does not keep a transaction open while Kafka takes its time.
    session.send_dead_letters(target, batches).await?;
    session.prepare_stage(target).await?;
    let layouts = layouts(batches);
    let deletes = layouts.contains(&Layout::DELETE);
    let superseded = match &target.merge {
        Some(merge) => merge.superseded(batches.iter().map(|flushed| &flushed.batch)),
        None => Superseded::default(),
    };
    let unique = target.merge.as_ref().is_some_and(Merge::makes_unique);
    for (number, flushed) in batches.iter_mut().enumerate() {
        flushed.batch.coalesced = superseded.in_batch(number);
    }
    let mut begin = Some(begin(target));
    for layout in layouts {
        copy_layout(session, target, layout, batches, &superseded, begin.take()).await?;
    }
    if let Some(begin) = begin {
        session.execute(begin).await?;
    }
    failpoint!("copy.done");
    session.merge(target, deletes, unique).await?;
    failpoint!("merge.done");
    finish(session, target, batches, end, clock).await
}

/// What begins a transaction of the target's.
pub(super) fn begin(target: &PgTarget) -> &'static str {
    if target.merge.is_some() { merge::BEGIN } else { "BEGIN" }
}

/// The end of every transaction: dead letters, checkpoints, COMMIT.
pub(super) async fn finish(
    session: &mut Session,
    target: &PgTarget,
    batches: &mut [&mut Flushed],
    end: &mut End,
    clock: &ThreadClock,
) -> Result<(), PgError> {
    clock.enter(Stage::Checkpoint);
    session.dead_letters(target, batches).await?;
    failpoint!("dead_letters.written");
    let advanced = session.advance(target, batches).await?;
    if !advanced {
        *end = End::Unmatched;
        return Ok(());
    }
    failpoint!("checkpoint.moved");
    *end = End::Committing;
    clock.enter(Stage::Commit);
    session.execute("COMMIT").await?;
    *end = End::Committed;
    failpoint!("commit.answered");
    Ok(())
}

/// The layouts that occur.
fn layouts(batches: &[&mut Flushed]) -> Vec<Layout> {
    let mut layouts: Vec<Layout> = Vec::new();
    let segments = batches.iter().flat_map(|flushed| &flushed.batch.segments);
    for segment in segments.filter(|segment| segment.rows > 0) {
        if !layouts.contains(&segment.layout) {
            layouts.push(segment.layout);
        }
    }
    layouts
}

/// Copies the rows of one layout of all batches, but those that others stand for. The driver wants to own what it sends, so the
/// buffers are lent to it and taken back afterwards.
async fn copy_layout(
    session: &mut Session,
    target: &PgTarget,
    layout: Layout,
    batches: &mut [&mut Flushed],
    superseded: &Superseded,
    begin: Option<&str>,
) -> Result<(), PgError> {
    let mut lent: Vec<(usize, usize, Bytes)> = Vec::new();
    let mut expected = 0;
    for (b, flushed) in batches.iter_mut().enumerate() {
        for (s, segment) in flushed.batch.segments.iter_mut().enumerate() {
            if segment.rows > 0 && segment.layout == layout {
                expected += u64::from(segment.rows);
                lent.push((b, s, Bytes::from(std::mem::take(&mut segment.bytes))));
            }
        }
    }
    let mut rest: Vec<Bytes> = Vec::with_capacity(lent.len());
    for (b, s, bytes) in &lent {
        let (ranges, left_out) = superseded.rest_of(*b, *s, bytes.len());
        rest.extend(ranges.into_iter().map(|range| bytes.slice(range)));
        expected -= left_out;
    }
    let copied = session.copy(target, layout, &rest, expected, begin).await;
    drop(rest);
    for (b, s, bytes) in lent {
        // No copy where the driver has let go of it.
        batches[b].batch.segments[s].bytes = Vec::from(bytes);
    }
    copied
}
