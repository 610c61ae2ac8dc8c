use super::*;

const NOW_STILL: Duration = Duration::ZERO;

fn slots(count: usize) -> BTreeMap<u64, Slot> {
    let slot = |n: usize| {
        let mut slot = Slot::new(Arc::from("t"), n as i32, 0, Arc::default());
        slot.leader = Leader::Broker(1);
        (n as u64, slot)
    };
    (0..count).map(slot).collect()
}

fn pool(held: usize) -> Pool {
    Pool { bytes_max: 32 << 20, held, still_for: NOW_STILL, is_tight: false }
}

fn asked(plan: &Plan) -> Vec<u64> {
    match plan {
        Plan::Ask { slots, .. } => slots.iter().map(|(number, _)| *number).collect(),
        Plan::Wait(_) => Vec::new(),
    }
}

#[test]
fn a_broker_is_asked_for_what_it_leads() {
    let mut slots = slots(3);
    slots.get_mut(&1).unwrap().leader = Leader::Broker(2);
    slots.get_mut(&2).unwrap().leader = Leader::Unknown;
    let now = Instant::now();
    assert_eq!(asked(&plan(&slots, 1, pool(0), now)), [0]);
    assert_eq!(asked(&plan(&slots, 2, pool(0), now)), [1]);
    assert!(asked(&plan(&slots, 3, pool(0), now)).is_empty());
}

#[test]
fn who_was_given_something_last_is_asked_for_last() {
    let mut slots = slots(3);
    slots.get_mut(&0).unwrap().turn = 9;
    slots.get_mut(&1).unwrap().turn = 2;
    assert_eq!(asked(&plan(&slots, 1, pool(0), Instant::now())), [2, 1, 0]);
}

#[test]
fn who_has_enough_or_has_failed_is_left_out() {
    let mut slots = slots(4);
    slots[&0].inbox.waiting_bytes.store(1 << 20, Relaxed);
    let now = Instant::now();
    slots.get_mut(&1).unwrap().retry_at = Some(now + Duration::from_millis(70));
    slots.get_mut(&2).unwrap().is_over = true;
    assert_eq!(asked(&plan(&slots, 1, pool(0), now)), [3]);
    slots.remove(&3);
    assert_eq!(plan(&slots, 1, pool(0), now), Plan::Wait(Duration::from_millis(70)));
    assert_eq!(asked(&plan(&slots, 1, pool(0), now + Duration::from_millis(70))), [1]);
}

#[test]
fn what_is_asked_for_fits_into_what_is_free() {
    let slots = slots(600);
    for held in [0, 20 << 20, 31 << 20] {
        let Plan::Ask { bytes_max, .. } = plan(&slots, 1, pool(held), Instant::now()) else {
            panic!("there is room beside {held}")
        };
        assert!(held + bytes_max <= 32 << 20);
    }
}

#[test]
fn a_full_pool_waits_for_what_is_given_back() {
    let slots = slots(600);
    assert!(matches!(plan(&slots, 1, pool(32 << 20), Instant::now()), Plan::Wait(_)));
}

/// Else the partitions of one sink that stands still would be the end of all others.
#[test]
fn who_has_nothing_gets_a_little_when_nothing_is_given_back() {
    let slots = slots(3);
    slots[&0].inbox.waiting_bytes.store(16 << 20, Relaxed);
    slots[&1].inbox.reading_bytes.store(16 << 20, Relaxed);
    let still = Pool { still_for: STILL, ..pool(32 << 20) };
    let Plan::Ask { slots: asked, is_tight, .. } = plan(&slots, 1, still, Instant::now()) else {
        panic!("one has nothing")
    };
    assert_eq!((asked, is_tight), (vec![(2, RESERVE)], true));
    // What it gives back does not end that, as long as the others keep what they have.
    let tight = Pool { is_tight, ..pool(32 << 20) };
    assert!(matches!(plan(&slots, 1, tight, Instant::now()), Plan::Ask { is_tight: true, .. }));
    assert!(matches!(plan(&slots, 1, pool(0), Instant::now()), Plan::Ask { is_tight: false, .. }));
}

#[test]
fn a_batch_that_is_larger_than_all_is_fetched_alone() {
    // A broker sends the first batch whole, however little is asked for: nothing held, and a budget
    // below one partition's share, is no reason to wait.
    let tiny = Pool { bytes_max: 1000, ..pool(0) };
    assert_eq!(asked(&plan(&slots(2), 1, tiny, Instant::now())), [0, 1]);
}

#[test]
fn of_hundreds_that_have_more_only_as_many_are_asked_for_as_fit() {
    let mut slots = slots(512);
    for slot in slots.values_mut() {
        slot.end = 1000;
    }
    let few = asked(&plan(&slots, 1, pool(0), Instant::now())).len();
    assert!((16..64).contains(&few), "{few}");
    // Those that may have nothing are asked for besides: else nobody would hear of their next record.
    for number in 0..200 {
        slots.get_mut(&number).unwrap().end = 0;
    }
    assert!(asked(&plan(&slots, 1, pool(0), Instant::now())).len() >= 200 + few);
}

#[test]
fn partitions_go_by_topic_in_the_order_of_the_first() {
    let mut slots = slots(4);
    slots.get_mut(&1).unwrap().topic = Arc::from("u");
    slots.get_mut(&3).unwrap().topic = Arc::from("u");
    let topics = by_topic(&slots, &[(3, 5), (0, 6), (1, 7)]);
    let shown: Vec<(&str, Vec<(i32, i32)>)> = topics
        .iter()
        .map(|(topic, asked)| {
            (&**topic, asked.iter().map(|asked| (asked.partition, asked.bytes_max)).collect())
        })
        .collect();
    assert_eq!(shown, [("u", vec![(3, 5), (1, 7)]), ("t", vec![(0, 6)])]);
}

#[test]
fn one_that_is_not_read_holds_its_share_and_no_more() {
    let slots = slots(6);
    let inbox = &slots[&0].inbox;
    inbox.reading_bytes.store(PARTITION_MAX, Relaxed);
    assert!(asked(&plan(&slots, 1, pool(0), Instant::now())).contains(&0), "one ahead");
    inbox.waiting_bytes.store(PARTITION_MAX, Relaxed);
    let Plan::Ask { slots: asked, others_have_enough, .. } =
        plan(&slots, 1, pool(0), Instant::now())
    else {
        panic!("five have nothing")
    };
    assert!(!asked.iter().any(|(number, _)| *number == 0));
    assert!(others_have_enough, "so the broker must not wait long for the others' records");
}
