//! Targets that change while rows for what they were are still on their way.

use std::sync::{Mutex, PoisonError};

use super::*;
use crate::{
    breaker::Breaker,
    config::FormatKind,
    intake::Intake,
    lane::LaneKey,
    mailbox::mailbox,
    rejection::{Reason, Rejection},
    row::{Row, Value},
    sink::{Adapted, Encoder, Group, Target, TargetId, Wish, WriteError},
    watchdog::Watchdog,
};

const BATCH_ROWS: usize = 2;

/// A column that takes numbers of so many digits.
#[derive(Default)]
struct Digits(Mutex<usize>);

impl Digits {
    fn get(&self) -> usize {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, digits: usize) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = digits;
    }
}

/// The column as it was at one time.
struct Number {
    digits: usize,
    column: Arc<Digits>,
}

impl Target for Number {
    fn id(&self) -> TargetId {
        TargetId(self.digits)
    }

    fn selectors(&self) -> Vec<Selector> {
        vec!["v".into()]
    }

    fn may_refuse(&self) -> bool {
        true
    }

    fn encoder(&self, _selectors: &[Selector]) -> Result<Box<dyn Encoder>, Error> {
        Ok(Box::new(NumberEncoder { digits: self.digits }))
    }

    /// Takes the wish of whoever knows the column as it is, at its word.
    fn adapt(&self, wish: &Wish, _go_on: &mut dyn FnMut() -> bool) -> Result<Adapted, WriteError> {
        if let Wish::Wider { sql_type, .. } = wish
            && self.digits == self.column.get()
        {
            self.column.set(sql_type.parse().unwrap());
        }
        let column = Arc::clone(&self.column);
        Ok(Adapted::To(Arc::new(Self { digits: column.get(), column })))
    }
}

struct NumberEncoder {
    digits: usize,
}

impl Encoder for NumberEncoder {
    fn encode(
        &mut self,
        _record: &Record<'_>,
        row: &Row<'_>,
        _layout: crate::batch::Layout,
        out: &mut Vec<u8>,
    ) -> Result<(), Rejection> {
        match row.get(0) {
            Value::Number(digits) if digits.len() <= self.digits => {
                out.extend_from_slice(digits);
                out.push(b' ');
                Ok(())
            }
            other => Err(Rejection::record(Reason::OutOfRange, format!("{other:?}"))),
        }
    }

    fn wish(&self, row: &Row<'_>, _rejection: &Rejection) -> Option<Wish> {
        let Value::Number(digits) = row.get(0) else { return None };
        let (from, sql_type) = (self.digits.to_string(), digits.len().to_string());
        Some(Wish::Wider { column: "v".to_owned(), from, sql_type })
    }
}

/// A lane for each position, into the same column of one digit.
fn partition(positions: &[i64]) -> (Partition, crossbeam_channel::Receiver<Flushed>, Arc<Digits>) {
    let column = Arc::new(Digits(Mutex::new(1)));
    let (sender, acknowledgements) = mailbox();
    let (queue_sender, queue) = crossbeam_channel::bounded(8);
    let group = Arc::new(Group { name: "g".to_owned(), cluster_id: "c".to_owned() });
    let memory = Arc::new(Memory::new(64 << 20, 1 << 20));
    let feed = |(index, position): (usize, &i64)| {
        let key =
            LaneKey { topic: Arc::from("t"), partition: 0, target: Arc::from(index.to_string()) };
        let (group, sender) = (Arc::clone(&group), sender.clone());
        let lane = Arc::new(Lane::new(key, group, None, index, *position, sender));
        let target = Arc::new(Number { digits: 1, column: Arc::clone(&column) });
        let intake = Intake::new(target.as_ref(), None, &target.selectors()).unwrap();
        let (queue, hold) = (queue_sender.clone(), memory.hold());
        LaneFeed::new(lane, target, intake, queue, false, Breaker::new(100), hold)
    };
    let partition = Partition::new(PartitionParts {
        selectors: vec!["v".into()],
        decoder: Decoder::new(&FormatKind::Json, &["v".into()], 1000),
        lanes: positions.iter().enumerate().map(feed).collect(),
        acknowledgements,
        stop: Arc::default(),
        shutdown: Shutdown::default(),
        memory: Arc::clone(&memory),
        spares: Arc::new(Spares::new(&memory)),
        policy: BatchPolicy {
            rows: BATCH_ROWS,
            bytes: 1 << 20,
            age: Some(Duration::from_secs(60)),
        },
        clock: StageClock::default(),
        source_bytes: Arc::default(),
    });
    (partition, queue, column)
}

fn push(partition: &mut Partition, offset: i64, value: &str, heart: &Heart) {
    let value = Some(value.as_bytes());
    let (topic, timestamp_ms) = ("t", None);
    let record =
        Record { topic, partition: 0, offset, timestamp_ms, key: None, value, headers: None };
    partition.push(&record, heart);
}

fn settle(flushed: Flushed, outcome: Outcome) {
    let lane = Arc::clone(&flushed.lane);
    lane.settle(flushed.batch, outcome);
}

fn text(batch: &Batch) -> String {
    String::from_utf8(batch.segments[0].bytes.clone()).unwrap()
}

/// Runs `body` with the heart of a watched thread.
fn on_a_thread(body: impl FnOnce(&Heart) + Send + 'static) {
    Watchdog::new(Shutdown::default()).spawn("test", body).unwrap().join().unwrap();
}

#[test]
fn a_lane_gets_its_own_record_after_others_were_encoded_anew_for_the_lane_before() {
    let (mut partition, queue, _column) = partition(&[0, 1]);
    on_a_thread(move |heart| {
        for offset in 0..3 {
            push(&mut partition, offset, &format!("{{\"v\":{offset}}}"), heart);
        }
        settle(queue.try_recv().unwrap(), Outcome::Durable);
        settle(queue.try_recv().unwrap(), Outcome::Stale);
        // The batch of the first lane is full with it; the other's comes back before that one leaves.
        push(&mut partition, 3, "{\"note\":1,\"v\":3}", heart);
        assert_eq!(text(&partition.lanes[1].open), "3 ");
        let again: Vec<_> = queue.try_iter().map(|flushed| text(&flushed.batch)).collect();
        assert_eq!(again, ["1 2 ", "2 3 "]);
    });
}

#[test]
fn a_wish_is_not_put_to_a_target_that_has_changed_since_it_was_made() {
    let (mut partition, queue, column) = partition(&[0]);
    on_a_thread(move |heart| {
        push(&mut partition, 0, "{\"v\":1}", heart);
        push(&mut partition, 1, "{\"v\":2}", heart);
        push(&mut partition, 2, "{\"v\":3}", heart);
        let others = Arc::clone(&column);
        let writer = std::thread::spawn(move || {
            let first = queue.recv().unwrap();
            // Another partition has needed five digits.
            others.set(5);
            settle(first, Outcome::Stale);
            let again = queue.recv().unwrap();
            let written = text(&again.batch);
            settle(again, Outcome::Durable);
            (written, queue)
        });
        // Two digits are more than one, and fewer than five.
        push(&mut partition, 3, "{\"v\":44}", heart);
        assert_eq!(column.get(), 5);
        assert_eq!(text(&partition.lanes[0].open), "44 ");
        let (written, queue) = writer.join().unwrap();
        assert_eq!(written, "1 2 ");
        assert_eq!(text(&queue.recv().unwrap().batch), "3 ");
    });
}
