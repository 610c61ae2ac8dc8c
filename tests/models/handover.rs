//! A partition goes to another owner while a batch is still with a writer.

use std::sync::Arc;

use loom::thread;

use crate::{
    database::{Database, batch, lane, receive},
    explore,
    lane::{Claim, Lane, Loss, Outcome},
    mailbox::mailbox,
};

const END: i64 = 5;

/// As a writer does: nothing of a closed lane is written.
fn write(lane: &Lane, database: &Database, end: i64) {
    let batch = batch(lane.durable()..end);
    let outcome =
        if lane.is_closed() { Outcome::Discarded } else { database.write(&batch, lane.claim) };
    lane.settle(batch, outcome);
}

/// The old owner's writer has a batch; its poller lets go without waiting for it, as past the
/// deadline of a drain. Gives what was committed, and what the new owner begins with.
fn hand_over(
    database: &Arc<Database>,
    claim: Option<Claim>,
    next: impl FnOnce(&Database, i64) -> (i64, Option<Claim>),
) {
    let (acknowledgements, answers) = mailbox();
    let old = Arc::new(lane(0, claim, acknowledgements));
    old.take_in(3);
    let writer = thread::spawn({
        let (old, database) = (Arc::clone(&old), Arc::clone(database));
        move || write(&old, &database, 3)
    });
    let committed = old.durable();
    let written = database.times_written(committed);
    assert!(written.iter().all(|times| *times > 0), "committed, but not there");
    old.cancel();
    let (position, claim) = next(database, committed);
    let (acknowledgements, _) = mailbox();
    let new = lane(position, claim, acknowledgements);
    new.take_in((END - position) as u64);
    write(&new, database, END);
    assert_eq!(new.durable(), END);
    writer.join().unwrap();
    let outcome = receive(&answers).outcome;
    assert_eq!(outcome == Outcome::Durable, old.durable() == 3);
    assert!(old.loss().is_none() || outcome == Outcome::Lost(Loss::Fenced));
    assert!(old.is_closed());
}

pub(crate) fn exactly_once() {
    explore(|| {
        let database = Arc::new(Database::new());
        let (_, claim) = database.claim();
        hand_over(&database, Some(claim), |database, committed| {
            let (position, claim) = database.claim();
            assert!(position >= committed, "Kafka is ahead of the checkpoint");
            (position, Some(claim))
        });
        assert_eq!(database.times_written(END), [1; END as usize]);
    });
}

pub(crate) fn at_least_once() {
    explore(|| {
        let database = Arc::new(Database::new());
        hand_over(&database, None, |_, committed| (committed, None));
        assert!(database.times_written(END).iter().all(|times| *times > 0), "lost");
    });
}
