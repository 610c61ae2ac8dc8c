//! A database with one checkpoint: what one transaction changes at once.

use std::{ops::Range, sync::Arc, time::Duration};

use tidegate::sink::Group;

use crate::{
    batch::Batch,
    lane::{Acknowledgement, Claim, Lane, LaneKey, Loss, Outcome},
    mailbox::{Receiver, Sender},
    sync::Mutex,
};

#[derive(Debug)]
pub(crate) struct Database(Mutex<Contents>);

#[derive(Debug)]
struct Contents {
    next_offset: i64,
    epoch: i64,
    rows: Vec<Range<i64>>,
}

impl Database {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Contents { next_offset: 0, epoch: 0, rows: Vec::new() }))
    }

    /// Rows and checkpoint in one transaction: only at the position and in the epoch of the claim.
    pub(crate) fn write(&self, batch: &Batch, claim: Option<Claim>) -> Outcome {
        let mut contents = self.0.lock().unwrap();
        if claim.is_some_and(|c| (contents.next_offset, contents.epoch) != (batch.begin, c.epoch)) {
            return Outcome::Lost(Loss::Fenced);
        }
        contents.next_offset = batch.end;
        contents.rows.push(batch.begin..batch.end);
        Outcome::Durable
    }

    /// A new owner: the next offset, and the right to write from there on.
    pub(crate) fn claim(&self) -> (i64, Claim) {
        let mut contents = self.0.lock().unwrap();
        contents.epoch += 1;
        (contents.next_offset, Claim { checkpoint_id: 1, epoch: contents.epoch })
    }

    /// How often each of the offsets below `end` was written.
    pub(crate) fn times_written(&self, end: i64) -> Vec<usize> {
        let contents = self.0.lock().unwrap();
        let times = |offset| contents.rows.iter().filter(|rows| rows.contains(&offset)).count();
        (0..end).map(times).collect()
    }
}

/// Waits for ever: a message that never comes is a deadlock, which loom reports.
pub(crate) fn receive<T>(from: &Receiver<T>) -> T {
    loop {
        if let Some(message) = from.recv_timeout(Duration::MAX) {
            return message;
        }
    }
}

pub(crate) fn lane(position: i64, claim: Option<Claim>, to: Sender<Acknowledgement>) -> Lane {
    let key = LaneKey { topic: Arc::from("t"), partition: 0, target: Arc::from("s") };
    let group = Arc::new(Group { name: "g".to_owned(), cluster_id: "c".to_owned() });
    Lane::new(key, group, claim, 0, position, to)
}

/// A batch of one row an offset.
pub(crate) fn batch(range: Range<i64>) -> Batch {
    let mut batch = Batch::new(range.start);
    batch.end = range.end;
    batch.records = (range.end - range.start) as u64;
    batch.segments[0].rows = batch.records as u32;
    batch
}
