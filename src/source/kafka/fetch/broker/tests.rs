//! What answers do, told as facts: what a real broker cannot be made to say is among them.

use super::{
    super::{Fetcher, records::tests::plain, settings::Settings},
    *,
};

/// One partition that broker 1 leads, asked for from offset 10.
struct Fixture {
    fetcher: Fetcher,
    feed: super::super::Feed,
    asked: HashMap<Key, (u64, i64)>,
}

fn fixture() -> Fixture {
    fixture_with(Duration::ZERO)
}

fn fixture_with(doubt_max: Duration) -> Fixture {
    let settings = Settings { doubt_max, ..Settings::plain(1 << 20) };
    let fetcher = Fetcher(Arc::new(Shared::new("shop", settings)));
    let feed = fetcher.open(&Arc::from("t"), 0, 10);
    let mut state = lock(&fetcher.0.state);
    let (number, slot) = state.slots.iter_mut().next().unwrap();
    slot.leader = Leader::Broker(1);
    let asked = HashMap::from([((Arc::from("t"), 0), (*number, 10))]);
    drop(state);
    Fixture { fetcher, feed, asked }
}

impl Fixture {
    /// What `broker` answers.
    fn answer(&self, broker: i32, error: i16, diverging: Option<i64>, bytes: Vec<u8>) {
        let mut arrivals = Arrivals { shared: &self.fetcher.0, broker, asked: self.asked.clone() };
        let last_stable = 13;
        let facts =
            Facts { topic: "t", partition: 0, error, high_watermark: 99, last_stable, diverging };
        let fetched = Fetched { length: bytes.len(), bytes, ..Fetched::default() };
        arrivals.partition(&facts, fetched);
    }

    /// The offsets that its thread reads, and what ends it.
    fn read(&mut self) -> (Vec<i64>, Option<(RDKafkaErrorCode, i64)>) {
        let (mut offsets, mut fault) = (Vec::new(), None);
        self.feed.read("t", Duration::ZERO, |record| {
            match record {
                Ok(record) => offsets.push(record.offset),
                Err(error) => fault = Some(error),
            }
            true
        });
        (offsets, fault)
    }

    fn slot<T>(&self, look: impl Fn(&plan::Slot) -> T) -> T {
        lock(&self.fetcher.0.state).slots.values().map(look).next().unwrap()
    }
}

#[test]
fn records_go_to_their_thread_and_the_next_are_asked_for() {
    let mut fixture = fixture();
    fixture.answer(1, code::NONE, None, plain(8, 0, -1, 5));
    assert_eq!(fixture.slot(|slot| (slot.offset, slot.end)), (13, 13));
    assert!(fixture.fetcher.0.held_bytes.load(Relaxed) > 0);
    assert_eq!(fixture.read(), (vec![10, 11, 12], None));
    assert_eq!(fixture.read(), (vec![], None));
    assert_eq!(fixture.feed.position(), 13);
    assert_eq!(fixture.fetcher.0.held_bytes.load(Relaxed), 0, "it is given back");
    assert_eq!(fixture.fetcher.0.held_records.load(Relaxed), 0);
}

#[test]
fn an_end_is_told_once_and_again_behind_the_next_records() {
    let mut fixture = fixture();
    fixture.answer(1, code::NONE, None, Vec::new());
    assert_eq!(fixture.read(), (vec![], None), "there is more up to 13");
    fixture.answer(1, code::NONE, None, plain(10, 0, -1, 3));
    fixture.asked = HashMap::from([((Arc::from("t"), 0), (0, 13))]);
    fixture.answer(1, code::NONE, None, Vec::new());
    assert_eq!(fixture.read(), (vec![10, 11, 12], Some((RDKafkaErrorCode::PartitionEOF, 13))));
    fixture.answer(1, code::NONE, None, Vec::new());
    assert_eq!(fixture.read(), (vec![], None));
    fixture.answer(1, code::NONE, None, plain(13, 0, -1, 1));
    fixture.asked = HashMap::from([((Arc::from("t"), 0), (0, 14))]);
    fixture.answer(1, code::NONE, None, Vec::new());
    assert_eq!(fixture.read(), (vec![13], Some((RDKafkaErrorCode::PartitionEOF, 14))));
}

/// While a broker was silent, another one has become the leader, and has answered.
#[test]
fn an_answer_that_comes_too_late_is_thrown_away() {
    let mut fixture = fixture();
    fixture.answer(2, code::NONE, None, plain(10, 0, -1, 5));
    assert_eq!(fixture.read(), (vec![], None), "it does not lead");
    fixture.answer(1, code::NONE, None, plain(10, 0, -1, 2));
    fixture.answer(1, code::NONE, None, plain(10, 0, -1, 2));
    assert_eq!(fixture.read(), (vec![10, 11], None), "once");
    assert_eq!(fixture.slot(|slot| slot.offset), 12);
}

#[test]
fn what_comes_for_a_thread_that_has_left_is_given_back() {
    let Fixture { fetcher, feed, asked } = fixture();
    let slot_of = |fetcher: &Fetcher| lock(&fetcher.0.state).slots.len();
    assert_eq!(slot_of(&fetcher), 1);
    let inbox = Arc::clone(&lock(&fetcher.0.state).slots[&0].inbox);
    drop(feed);
    assert_eq!(slot_of(&fetcher), 0);
    let bytes = plain(10, 0, -1, 2);
    fetcher.0.hand_over(&inbox, Fetched { length: bytes.len(), bytes, ..Fetched::default() });
    assert_eq!(fetcher.0.held_bytes.load(Relaxed), 0);
    drop(asked);
}

/// A transaction that is open holds up what is behind it, and no other partition (see `plan`).
#[test]
fn what_may_not_be_read_yet_is_no_reason_to_expect_records() {
    let fixture = fixture();
    fixture.answer(1, code::NONE, None, plain(10, 0, -1, 3));
    assert_eq!(fixture.slot(|slot| (slot.offset, slot.end)), (13, 13), "not 99");
}

#[test]
fn another_history_that_lacks_nothing_of_what_was_read_is_no_loss() {
    let mut fixture = fixture();
    fixture.answer(1, code::NONE, Some(10), Vec::new());
    assert_eq!(fixture.slot(|slot| (slot.is_over, slot.leader_epoch)), (false, -1));
    assert_eq!(fixture.read(), (vec![], None));
}

/// A broker that has led before may not have heard yet that it does not any more.
#[test]
fn an_offset_that_is_not_there_must_be_said_not_to_be_there_for_a_while() {
    let mut fixture = fixture_with(Duration::from_secs(600));
    fixture.answer(1, code::OFFSET_OUT_OF_RANGE, None, Vec::new());
    assert_eq!(fixture.slot(|slot| (slot.leader, slot.is_over)), (Leader::Unknown, false));
    assert_eq!(fixture.read(), (vec![], None));
    lock(&fixture.fetcher.0.state).slots.get_mut(&0).unwrap().leader = Leader::Broker(1);
    fixture.answer(1, code::NONE, None, plain(10, 0, -1, 3));
    assert_eq!(fixture.slot(|slot| slot.doubted_since), None);
}

#[test]
fn a_partition_that_went_elsewhere_is_looked_for() {
    for code in [3, 5, 6, 9, 74, 76] {
        let mut fixture = fixture();
        fixture.answer(1, code, None, Vec::new());
        assert_eq!(fixture.slot(|slot| (slot.leader, slot.is_over)), (Leader::Unknown, false));
        assert!(fixture.slot(|slot| slot.retry_at.is_some()), "not at once");
        assert_eq!(fixture.read(), (vec![], None));
    }
}

#[test]
fn what_cannot_be_read_on_is_told_with_its_offset_and_not_asked_for_again() {
    let mut torn = plain(10, 0, -1, 1);
    torn[16] = 9;
    let cases = [
        (code::OFFSET_OUT_OF_RANGE, None, Vec::new(), RDKafkaErrorCode::OffsetOutOfRange),
        (
            code::TOPIC_AUTHORIZATION_FAILED,
            None,
            Vec::new(),
            RDKafkaErrorCode::TopicAuthorizationFailed,
        ),
        (code::NONE, Some(7), Vec::new(), RDKafkaErrorCode::LogTruncation),
        (code::NONE, None, torn, RDKafkaErrorCode::BadMessage),
    ];
    for (error, diverging, bytes, expected) in cases {
        let mut fixture = fixture();
        fixture.answer(1, error, diverging, bytes);
        assert_eq!(fixture.read(), (vec![], Some((expected, 10))));
        assert!(fixture.slot(|slot| slot.is_over));
    }
}

/// What is behind a record that cannot be read may be good; it is not for us to pass the bad one over.
#[test]
fn nothing_is_given_behind_a_fault() {
    let mut fixture = fixture();
    let mut torn = plain(10, 0, -1, 2);
    // The length of the first record.
    torn[61] = 0x7e;
    fixture.answer(1, code::NONE, None, torn);
    fixture.asked = HashMap::from([((Arc::from("t"), 0), (0, 12))]);
    fixture.answer(1, code::NONE, None, plain(12, 0, -1, 2));
    assert_eq!(fixture.read(), (vec![], Some((RDKafkaErrorCode::BadMessage, 10))));
    assert_eq!(fixture.read(), (vec![], None));
    assert_eq!(fixture.feed.position(), 10);
}

#[test]
fn a_thread_that_waits_is_woken_for_its_orders() {
    let mut fixture = fixture();
    let fetcher = fixture.fetcher.clone();
    // Also where the order comes before the wait.
    fetcher.wake();
    let begun = Instant::now();
    fixture.feed.read("t", Duration::from_secs(600), |_| true);
    assert!(begun.elapsed() < Duration::from_secs(60));
}
