//! A revocation that has time: what is in flight is finished, and then committed.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use loom::thread;
use tidegate::{batch::Trigger, frontier::Frontier};

use crate::{
    batch::Batch,
    database::{Database, batch, lane, receive},
    explore,
    lane::{Acknowledgement, Lane, Outcome},
    mailbox::{Receiver, Sender, mailbox},
    stop::Stop,
};

/// The partition thread, as far as it shares something.
struct Feed {
    lane: Arc<Lane>,
    frontier: Frontier,
    queue: Sender<Batch>,
    acknowledgements: Receiver<Acknowledgement>,
}

impl Feed {
    fn flush(&mut self, end: i64) {
        self.wait_until_settled();
        let range = self.frontier.next()..end;
        self.lane.take_in((range.end - range.start) as u64);
        self.frontier.depart(range.clone()).unwrap();
        self.queue.send(batch(range));
    }

    fn wait_until_settled(&mut self) {
        while self.frontier.is_pending() {
            if receive(&self.acknowledgements).outcome == Outcome::Durable {
                self.frontier.arrive();
            }
        }
    }
}

pub(crate) fn drained_is_committed() {
    explore(|| {
        let database = Arc::new(Database::new());
        let (_, claim) = database.claim();
        let (sender, acknowledgements) = mailbox();
        let (queue, batches) = mailbox::<Batch>();
        let lane = Arc::new(lane(0, Some(claim), sender));
        let writer = thread::spawn({
            let (lane, database) = (Arc::clone(&lane), Arc::clone(&database));
            move || {
                for _ in 0..2 {
                    let batch = receive(&batches);
                    let outcome = database.write(&batch, lane.claim);
                    lane.settle(batch, outcome);
                }
            }
        });
        let stop = Arc::new(Stop::default());
        let frontier = Frontier::new(0);
        let mut feed = Feed { lane: Arc::clone(&lane), frontier, queue, acknowledgements };
        let partition = thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                feed.flush(3);
                while !stop.is_requested() {
                    thread::yield_now();
                }
                assert!(stop.order().is_some());
                feed.flush(5);
                feed.wait_until_settled();
                feed.frontier.next()
            }
        });
        stop.request(Trigger::Revoke, Instant::now() + Duration::from_secs(10));
        let end = partition.join().unwrap();
        // As `Poller::revoke`: joined, committed, let go.
        assert_eq!((end, lane.durable()), (5, 5), "drained, but not told");
        assert_eq!(lane.counts().in_flight, 0);
        lane.cancel();
        writer.join().unwrap();
        assert_eq!(database.times_written(5), [1; 5]);
    });
}
