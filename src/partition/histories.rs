//! What a partition thread goes through, in any order, beside a naive account of it: records with
//! gaps, lanes at different positions, and writers that answer when and what they like.

use std::{
    collections::BTreeMap,
    sync::{atomic::AtomicBool, mpsc},
};

use proptest::{prelude::*, test_runner::TestRunner};

use super::*;
use crate::{
    batch::Layout,
    breaker::Breaker,
    config::FormatKind,
    intake::Intake,
    lane::{LaneKey, Loss},
    mailbox::mailbox,
    rejection::{Reason, Rejection},
    row::Row,
    sink::{Encoder, Group, Target, TargetId},
    watchdog::Watchdog,
};

const HISTORIES: u32 = 100_000;
const BATCH_ROWS: usize = 3;

#[derive(Clone, Debug)]
enum Step {
    /// The next record, so far behind the last; `kind` chooses what it holds.
    Push { gap: i64, kind: u8 },
    /// Closes what is open, as its age is over.
    Tick,
    /// The target finds out that it needs records, from the next batch on.
    Keep,
    /// A writer answers for the batch that the lane has on its way.
    Settle { lane: usize, outcome: Outcome },
}

fn step() -> impl Strategy<Value = Step> {
    let outcome = prop_oneof![
        40 => Just(Outcome::Durable),
        4 => Just(Outcome::Stale),
        1 => Just(Outcome::Lost(Loss::Fenced)),
        1 => Just(Outcome::Discarded),
    ];
    prop_oneof![
        6 => (0i64..4, 0u8..8).prop_map(|(gap, kind)| Step::Push { gap, kind }),
        1 => Just(Step::Tick),
        1 => Just(Step::Keep),
        4 => (0usize..3, outcome).prop_map(|(lane, outcome)| Step::Settle { lane, outcome }),
    ]
}

/// A target that may refuse rows, and keeps records when it has found that out.
#[derive(Default)]
struct Picky(AtomicBool);

impl Target for Picky {
    fn id(&self) -> TargetId {
        TargetId(0)
    }

    fn may_refuse(&self) -> bool {
        true
    }

    fn keeps_records(&self) -> bool {
        self.0.load(Relaxed)
    }

    fn encoder(&self, _selectors: &[Selector]) -> Result<Box<dyn Encoder>, Error> {
        Ok(Box::new(OffsetEncoder))
    }
}

/// Writes the offset, in one of two layouts; refuses one record of seven.
struct OffsetEncoder;

impl Encoder for OffsetEncoder {
    fn layout(&self, row: &Row<'_>) -> Layout {
        Layout(row.text().len() as u64 % 2)
    }

    fn encode(
        &mut self,
        record: &Record<'_>,
        _row: &Row<'_>,
        _layout: Layout,
        out: &mut Vec<u8>,
    ) -> Result<(), Rejection> {
        if record.offset % 7 == 0 {
            return Err(Rejection::record(Reason::WrongType, "no"));
        }
        out.extend_from_slice(&record.offset.to_be_bytes());
        Ok(())
    }
}

/// What one lane should have got.
#[derive(Debug)]
struct Account {
    /// Records that it took in, and whether as a row.
    taken: BTreeMap<i64, bool>,
    /// Where the next batch begins.
    begin: i64,
    durable: i64,
    written: u64,
    dead_lettered: u64,
}

struct History {
    partition: Partition,
    lanes: Vec<Arc<Lane>>,
    target: Arc<Picky>,
    accounts: Vec<Account>,
    queue: crossbeam_channel::Receiver<Flushed>,
    on_their_way: Vec<Option<Flushed>>,
    next: i64,
}

impl History {
    fn new(positions: &[i64], rereads: bool) -> Self {
        let (sender, acknowledgements) = mailbox();
        let (queue_sender, queue) = crossbeam_channel::bounded(positions.len());
        let group = Arc::new(Group { name: "g".to_owned(), cluster_id: "c".to_owned() });
        let lane = |(index, position): (usize, &i64)| {
            let target = Arc::from(index.to_string());
            let key = LaneKey { topic: Arc::from("t"), partition: 0, target };
            let (group, sender) = (Arc::clone(&group), sender.clone());
            Arc::new(Lane::new(key, group, None, index, *position, sender))
        };
        let lanes: Vec<Arc<Lane>> = positions.iter().enumerate().map(lane).collect();
        let memory = Arc::new(Memory::new(64 << 20, 1 << 20));
        let target = Arc::new(Picky::default());
        let feed = |lane: &Arc<Lane>| {
            let (queue, breaker) = (queue_sender.clone(), Breaker::new(100));
            let intake = Intake::new(&*target, None, &[]).unwrap();
            let (target, hold) = (Arc::clone(&target), memory.hold());
            LaneFeed::new(Arc::clone(lane), target, intake, queue, rereads, breaker, hold)
        };
        let account = |begin: &i64| {
            let (begin, durable) = (*begin, *begin);
            Account { taken: BTreeMap::new(), begin, durable, written: 0, dead_lettered: 0 }
        };
        let partition = Partition::new(PartitionParts {
            selectors: Vec::new(),
            decoder: Decoder::new(&FormatKind::Json, &[], 12),
            lanes: lanes.iter().map(feed).collect(),
            acknowledgements,
            stop: Arc::default(),
            shutdown: Shutdown::default(),
            memory: Arc::clone(&memory),
            spares: Arc::new(Spares::new(&memory)),
            policy: BatchPolicy { rows: BATCH_ROWS, bytes: 1 << 20, age: Some(Duration::ZERO) },
            clock: StageClock::default(),
            source_bytes: Arc::default(),
        });
        let accounts = positions.iter().map(account).collect();
        let on_their_way = positions.iter().map(|_| None).collect();
        let next = partition.position();
        Self { partition, lanes, target, accounts, queue, on_their_way, next }
    }

    fn run(&mut self, steps: &[Step], heart: &Heart) {
        for step in steps {
            if self.partition.must_stop() {
                break;
            }
            match *step {
                Step::Push { gap, kind } => self.push(gap, kind, heart),
                Step::Tick => self.partition.tick(heart),
                Step::Keep => self.target.0.store(true, Relaxed),
                Step::Settle { lane, outcome } => {
                    self.settle(lane, outcome);
                    if outcome == Outcome::Stale {
                        // It comes back to a thread that looks.
                        self.partition.tick(heart);
                    }
                }
            }
            self.receive();
            self.check();
        }
        self.finish(heart);
    }

    fn push(&mut self, gap: i64, kind: u8, heart: &Heart) {
        // With a batch on its way, the record that fills the next one would wait for ever.
        for lane in 0..self.lanes.len() {
            if self.partition.lanes[lane].open.records as usize >= BATCH_ROWS - 1 {
                self.settle(lane, Outcome::Durable);
            }
        }
        let offset = self.next + gap;
        self.next = offset + 1;
        let value: Option<&[u8]> = match kind {
            0 => None,
            1 => Some(b"{"),
            2 => Some(b"{\"too\":\"large\"}"),
            3 | 4 => Some(b"{ }"),
            _ => Some(b"{}"),
        };
        let is_row = kind > 2 && offset % 7 != 0;
        for account in
            self.accounts.iter_mut().filter(|account| account.durable.max(account.begin) <= offset)
        {
            account.taken.insert(offset, is_row);
        }
        self.partition.push(&record(offset, value), heart);
    }

    /// Takes what the partition has sent; a lane must not send before the last was answered.
    fn receive(&mut self) {
        while let Ok(flushed) = self.queue.try_recv() {
            let index = flushed.lane.index;
            let (account, batch) = (&mut self.accounts[index], &flushed.batch);
            assert_eq!(batch.begin, account.begin, "a hole or an overlap");
            let covered: Vec<(i64, bool)> =
                account.taken.range(batch.begin..batch.end).map(|(o, row)| (*o, *row)).collect();
            assert_eq!(Some(batch.end - 1), covered.last().map(|(offset, _)| *offset));
            assert_eq!(batch.records, covered.len() as u64);
            let rows: Vec<i64> = covered.iter().filter(|(_, row)| *row).map(|(o, _)| *o).collect();
            let refused: Vec<i64> =
                covered.iter().filter(|(_, row)| !row).map(|(o, _)| *o).collect();
            let mut found: Vec<i64> = batch
                .segments
                .iter()
                .flat_map(|segment| segment.bytes.as_chunks::<8>().0)
                .map(|bytes| i64::from_be_bytes(*bytes))
                .collect();
            found.sort_unstable();
            assert_eq!(found, rows);
            let letters: Vec<i64> = batch.dead_letters.iter().map(|letter| letter.offset).collect();
            assert_eq!(letters, refused);
            account.begin = batch.end;
            assert!(self.on_their_way[index].replace(flushed).is_none(), "two on their way");
        }
    }

    fn settle(&mut self, index: usize, outcome: Outcome) {
        let Some(flushed) = self.on_their_way.get_mut(index).and_then(Option::take) else { return };
        let account = &mut self.accounts[index];
        match outcome {
            Outcome::Durable => {
                account.durable = flushed.batch.end;
                account.written += flushed.batch.rows();
                account.dead_lettered += flushed.batch.dead_letters.len() as u64;
            }
            // Of another nobody could say what was in it: it must not come once more.
            Outcome::Stale if flushed.batch.is_kept() => account.begin = flushed.batch.begin,
            Outcome::Stale => {}
            Outcome::Discarded => flushed.lane.cancel(),
            Outcome::Lost(_) => {}
        }
        let lane = Arc::clone(&flushed.lane);
        lane.settle(flushed.batch, outcome);
    }

    fn check(&self) {
        for (lane, account) in self.lanes.iter().zip(&self.accounts) {
            assert_eq!(lane.durable(), account.durable);
            let counts = lane.counts();
            assert_eq!(counts.consumed, counts.written + counts.dead_lettered + counts.in_flight);
            let settled = (account.written, account.dead_lettered);
            assert_eq!((counts.written, counts.dead_lettered), settled);
        }
        let position = self.partition.position();
        let ends = self
            .accounts
            .iter()
            .map(|a| a.taken.keys().next_back().map_or(a.begin, |last| (last + 1).max(a.begin)));
        assert_eq!(Some(position), ends.min());
    }

    /// The writers answer for everything. Nothing is left where nobody took the lanes over; and a
    /// lane that was taken over sends nothing more.
    fn finish(&mut self, heart: &Heart) {
        let stopped = self.partition.must_stop();
        for _ in 0..2 {
            for lane in 0..self.lanes.len() {
                self.settle(lane, Outcome::Durable);
            }
            if !stopped {
                self.partition.tick(heart);
            }
            self.receive();
            self.check();
        }
        for lane in 0..self.lanes.len() {
            self.settle(lane, Outcome::Durable);
        }
        for (lane, account) in self.lanes.iter().zip(&self.accounts).filter(|_| !stopped) {
            let counts = lane.counts();
            assert_eq!((counts.in_flight, counts.consumed), (0, account.taken.len() as u64));
        }
    }
}

fn record(offset: i64, value: Option<&[u8]>) -> Record<'_> {
    Record { topic: "t", partition: 0, offset, timestamp_ms: None, key: None, value, headers: None }
}

#[test]
fn every_lane_gets_each_record_once_whatever_its_writers_answer() {
    let (done, wait) = mpsc::channel();
    let histories = move |heart: &Heart| {
        let positions = prop::collection::vec(0i64..6, 1..4);
        let steps = prop::collection::vec(step(), 1..40);
        let history = (positions, prop::bool::ANY, steps);
        let config = ProptestConfig { cases: HISTORIES, ..ProptestConfig::default() };
        let result = TestRunner::new(config).run(&history, |(positions, rereads, steps)| {
            History::new(&positions, rereads).run(&steps, heart);
            Ok(())
        });
        done.send(result.map_err(|error| error.to_string())).unwrap();
    };
    let thread = Watchdog::new(Shutdown::default()).spawn("histories", histories).unwrap();
    thread.join().unwrap();
    assert_eq!(wait.recv().unwrap(), Ok(()));
}
