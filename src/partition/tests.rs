use std::{sync::mpsc, thread::JoinHandle};

use super::*;
use crate::{
    breaker::Breaker,
    config::FormatKind,
    intake::Intake,
    lane::LaneKey,
    mailbox::mailbox,
    rejection::Reason,
    sink::{Group, null::NullSink},
    watchdog::Watchdog,
};

struct Fixture {
    partition: Partition,
    lanes: Vec<Arc<Lane>>,
    stop: Arc<Stop>,
    queue: crossbeam_channel::Receiver<Flushed>,
}

/// One lane for each position; batches close at two rows.
fn fixture(positions: &[i64], queue_capacity: usize) -> Fixture {
    let (sender, acknowledgements) = mailbox();
    let (queue_sender, queue) = crossbeam_channel::bounded(queue_capacity);
    let group = Arc::new(Group { name: "g".to_owned(), cluster_id: "c".to_owned() });
    let lane = |(index, position): (usize, &i64)| {
        let target = Arc::from(index.to_string());
        let key = LaneKey { topic: Arc::from("t"), partition: 0, target };
        let (group, sender) = (Arc::clone(&group), sender.clone());
        Arc::new(Lane::new(key, group, None, index, *position, sender))
    };
    let lanes: Vec<Arc<Lane>> = positions.iter().enumerate().map(lane).collect();
    let memory = Arc::new(Memory::new(64 << 20, 1 << 20));
    let feed = |lane: &Arc<Lane>| {
        let breaker = Breaker::new(50);
        let intake = Intake::new(&NullSink, None, &[]).unwrap();
        let (target, queue) = (Arc::new(NullSink), queue_sender.clone());
        let hold = memory.hold();
        LaneFeed::new(Arc::clone(lane), target, intake, queue, false, breaker, hold)
    };
    let (stop, spares) = (Arc::new(Stop::default()), Arc::new(Spares::new(&memory)));
    let partition = Partition::new(PartitionParts {
        selectors: Vec::new(),
        decoder: Decoder::new(&FormatKind::Json, &[], 100),
        lanes: lanes.iter().map(feed).collect(),
        acknowledgements,
        stop: Arc::clone(&stop),
        shutdown: Shutdown::default(),
        memory: Arc::clone(&memory),
        spares,
        policy: BatchPolicy { rows: 2, bytes: 1 << 20, age: Some(Duration::from_secs(60)) },
        clock: StageClock::default(),
        source_bytes: Arc::default(),
    });
    Fixture { partition, lanes, stop, queue }
}

fn record(offset: i64, value: &[u8]) -> Record<'_> {
    Record {
        topic: "t",
        partition: 0,
        offset,
        timestamp_ms: None,
        key: None,
        value: Some(value),
        headers: None,
    }
}

/// Runs `body` with the heart of a watched thread.
fn on_a_thread(body: impl FnOnce(&Heart) + Send + 'static) -> JoinHandle<()> {
    Watchdog::new(Shutdown::default()).spawn("test", body).unwrap()
}

#[test]
fn a_lane_that_is_further_than_the_others_takes_only_what_it_lacks() {
    let Fixture { mut partition, lanes, queue, .. } = fixture(&[10, 12], 8);
    assert_eq!(partition.position(), 10);
    on_a_thread(move |heart| {
        for offset in 10..14 {
            partition.push(&record(offset, b"{}"), heart);
            while let Ok(flushed) = queue.try_recv() {
                let lane = Arc::clone(&flushed.lane);
                lane.settle(flushed.batch, Outcome::Durable);
            }
        }
        partition.tick(heart);
    })
    .join()
    .unwrap();
    assert_eq!(lanes.iter().map(|lane| lane.durable()).collect::<Vec<_>>(), [14, 14]);
    assert_eq!(lanes.iter().map(|lane| lane.counts().written).collect::<Vec<_>>(), [4, 2]);
}

#[test]
fn a_record_that_is_too_large_is_put_aside_undecoded() {
    let Fixture { mut partition, queue, .. } = fixture(&[0], 8);
    let large = [b'x'; 101];
    on_a_thread(move |heart| {
        partition.push(&record(0, b"{}"), heart);
        partition.push(&record(1, &large), heart);
    })
    .join()
    .unwrap();
    let batch = queue.try_recv().unwrap().batch;
    assert_eq!((batch.rows(), batch.records), (1, 2));
    assert_eq!(batch.dead_letters[0].rejection.reason, Reason::TooLarge);
    assert_eq!(batch.dead_letters[0].value.as_ref().map(Vec::len), Some(101));
}

#[test]
fn a_full_queue_does_not_hold_up_an_order_to_stop() {
    // A rendezvous channel that nobody receives from is always full.
    let Fixture { mut partition, lanes, stop, queue } = fixture(&[0], 0);
    let (done, wait) = mpsc::channel();
    let thread = on_a_thread(move |heart| {
        partition.push(&record(0, b"{}"), heart);
        // Closes the batch, and blocks until the deadline.
        partition.push(&record(1, b"{}"), heart);
        let drained = partition.drain(heart);
        done.send((partition.must_stop(), drained)).unwrap();
    });
    stop.request(Trigger::Revoke, Instant::now() + Duration::from_millis(200));
    let (must_stop, drained) = wait.recv_timeout(Duration::from_secs(10)).unwrap();
    assert!(must_stop && !drained);
    assert!(lanes[0].is_closed(), "its next owner reads the batch again");
    assert_eq!(lanes[0].durable(), 0);
    thread.join().unwrap();
    drop(queue);
}
