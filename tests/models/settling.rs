//! A writer settles batches while others look at the lane.

use std::sync::Arc;

use loom::{
    sync::atomic::{AtomicI64, Ordering::Relaxed},
    thread,
};

use crate::{
    database::{batch, lane, receive},
    explore,
    lane::{Counts, Lane, Loss, Outcome},
    mailbox::mailbox,
};

/// A sink that is ordered by nothing but what the lane orders.
struct Sink {
    lane: Lane,
    rows: AtomicI64,
}

impl Sink {
    fn new() -> Arc<Self> {
        let (acknowledgements, _) = mailbox();
        Arc::new(Self { lane: lane(0, None, acknowledgements), rows: AtomicI64::new(0) })
    }

    fn write(&self, end: i64) {
        self.rows.store(end, Relaxed);
        self.lane.settle(batch(self.lane.durable()..end), Outcome::Durable);
    }

    /// What may be committed: it must be in the sink.
    fn frontier(&self) -> i64 {
        let durable = self.lane.durable();
        assert!(self.rows.load(Relaxed) >= durable, "told before it was so");
        durable
    }
}

pub(crate) fn durable_is_in_the_sink() {
    explore(|| {
        let sink = Sink::new();
        sink.lane.take_in(5);
        let writer = thread::spawn({
            let sink = Arc::clone(&sink);
            move || {
                sink.write(3);
                sink.write(5);
            }
        });
        let first = sink.frontier();
        let second = sink.frontier();
        assert!(first <= second, "the frontier went back");
        writer.join().unwrap();
        assert_eq!(sink.frontier(), 5);
    });
}

pub(crate) fn least_of_two_lanes() {
    explore(|| {
        let sinks = [Sink::new(), Sink::new()];
        let writers = sinks.clone().map(|sink| {
            sink.lane.take_in(3);
            thread::spawn(move || sink.write(3))
        });
        // As `Owned::frontier` does for the targets of a route.
        let frontier = sinks.iter().map(|sink| sink.lane.durable()).min();
        for sink in &sinks {
            assert!(Some(sink.rows.load(Relaxed)) >= frontier, "not in every target");
        }
        for writer in writers {
            writer.join().unwrap();
        }
    });
}

pub(crate) fn counts_balance() {
    explore(|| {
        let (acknowledgements, _) = mailbox();
        let lane = Arc::new(lane(0, None, acknowledgements));
        // The partition thread publishes before it hands over, and goes on meanwhile.
        lane.take_in(3);
        let writer = thread::spawn({
            let lane = Arc::clone(&lane);
            move || lane.settle(batch(0..3), Outcome::Durable)
        });
        let taker = thread::spawn({
            let lane = Arc::clone(&lane);
            move || lane.take_in(2)
        });
        let durable = lane.durable();
        let counts = lane.counts();
        assert_balance(counts);
        assert!(counts.written >= durable as u64, "durable, but not counted");
        writer.join().unwrap();
        taker.join().unwrap();
        let expected = Counts { consumed: 5, written: 3, in_flight: 2, ..Counts::default() };
        assert_eq!(lane.counts(), expected);
    });
}

fn assert_balance(counts: Counts) {
    assert!(counts.in_flight <= counts.consumed, "more on its way than came: {counts:?}");
    let passed_over = counts.coalesced + counts.filtered;
    let settled = counts.written + passed_over + counts.dead_lettered;
    assert_eq!(counts.consumed, settled + counts.in_flight, "{counts:?}");
}

/// Closed once, a lane stays closed, and for the reason that came first.
pub(crate) fn closed_stays_closed() {
    explore(|| {
        let (acknowledgements, answers) = mailbox();
        let lane = Arc::new(lane(0, None, acknowledgements));
        let writer = thread::spawn({
            let lane = Arc::clone(&lane);
            move || lane.settle(batch(0..3), Outcome::Lost(Loss::Fenced))
        });
        let poller = thread::spawn({
            let lane = Arc::clone(&lane);
            move || lane.cancel()
        });
        let was_closed = lane.is_closed();
        let reason = lane.loss();
        assert!(!was_closed || lane.is_closed(), "opened again");
        assert!(reason.is_none() || lane.loss() == reason, "a fence was taken away");
        assert!(reason.is_none() || lane.is_closed());
        writer.join().unwrap();
        poller.join().unwrap();
        let outcome = receive(&answers).outcome;
        assert_eq!((outcome, lane.durable()), (Outcome::Lost(Loss::Fenced), 0));
        assert!(lane.is_closed());
        if was_closed {
            assert_eq!(lane.loss(), reason, "another reason");
        }
    });
}
