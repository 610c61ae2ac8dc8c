//! The records as a consumer sees them, without Kafka.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, HashMap};

use loadgen::{
    Counts, Fields, HotPartition, Key, Ledger, Orders, Profile, Record, Renderer, dry_run,
};
use serde_json::Value;

const FIELDS: [&str; 9] = [
    "order_id",
    "customer_id",
    "status",
    "amount",
    "currency",
    "item_count",
    "express",
    "created_at",
    "note",
];

struct Produced {
    partition: u32,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
}

fn produce(profile: &Profile, count: usize) -> Vec<Produced> {
    let (mut orders, mut renderer) = (Orders::new(profile), Renderer::new(profile));
    let mut record = Record::default();
    let mut produce_one = || {
        let event = orders.plan();
        renderer.render(&event, &mut record);
        let key = record.key().map(<[u8]>::to_vec);
        Produced { partition: event.partition, key, value: record.value().map(<[u8]>::to_vec) }
    };
    (0..count).map(|_| produce_one()).collect()
}

fn ledger(profile: &Profile, count: u64) -> Ledger {
    dry_run::write(profile, "orders", count, &mut Vec::new()).unwrap().ledger
}

/// The value as a row, if it can become one: the checks of a table with the natural types.
fn row(value: &[u8]) -> Option<Value> {
    let row: Value = serde_json::from_slice(value).ok()?;
    let order = row.as_object()?;
    let is_text = |field: &str| order.get(field).is_some_and(Value::is_string);
    let note = &row["note"];
    let fits = row["order_id"].as_i64().is_some()
        && row["customer_id"].as_i64().is_some()
        && row["amount"].as_f64().is_some()
        && row["item_count"].as_i64().is_some_and(|n| i32::try_from(n).is_ok())
        && row["express"].is_boolean()
        && ["status", "currency", "created_at"].iter().all(|field| is_text(field))
        && (note.is_null() || note.as_str().is_some_and(|text| !text.contains('\0')));
    fits.then_some(row)
}

/// The digits of `amount` as they stand in the record, so that no f64 takes part in the sum.
fn amount_cents(value: &[u8]) -> i128 {
    let text = std::str::from_utf8(value).unwrap();
    let amount = text.split_once("\"amount\":").unwrap().1.split_once(',').unwrap().0;
    amount.replace('.', "").parse().unwrap()
}

fn mixed() -> Profile {
    Profile { updates: 0.2, deletes: 0.05, poison: 0.03, late: 0.1, ..Profile::default() }
}

fn share_of(part: u64, all: u64) -> f64 {
    part as f64 / all as f64
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_does_not() {
    let bytes = |profile: &Profile| {
        let mut out = Vec::new();
        let ledger = dry_run::write(profile, "orders", 20_000, &mut out).unwrap().ledger;
        (out, ledger)
    };
    let first = bytes(&mixed());
    assert!(first == bytes(&mixed()));
    assert!(first.0 != bytes(&Profile { seed: 2, ..mixed() }).0);
}

#[test]
fn the_first_records_of_a_seed_never_change() {
    let records = produce(&Profile::default(), 2);
    let text = |i: usize| String::from_utf8(records[i].value.clone().unwrap()).unwrap();
    assert_eq!(
        text(0),
        r#"{"order_id":0,"customer_id":175035,"status":"removed","amount":140.71,"currency":"VND","item_count":4,"express":false,"created_at":"2026-01-01T00:00:00.000Z","note":""}"#
    );
    assert_eq!(
        text(1),
        r#"{"order_id":1,"customer_id":76496,"status":"removed","amount":767.13,"currency":"EUR","item_count":9,"express":false,"created_at":"2026-01-01T00:00:00.001Z","note":"leave at the front door, please"}"#
    );
}

#[test]
fn every_record_that_is_not_poison_is_an_order_with_the_nine_fields_in_order() {
    let profile = Profile { updates: 0.3, late: 0.1, ..Profile::default() };
    for record in produce(&profile, 20_000) {
        let value = record.value.unwrap();
        let row = row(&value).unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&value)));
        assert_eq!(row.as_object().unwrap().len(), FIELDS.len());
        let text = String::from_utf8(value).unwrap();
        let places: Vec<usize> =
            FIELDS.iter().map(|field| text.find(&format!("\"{field}\":")).unwrap()).collect();
        assert!(places.is_sorted(), "{text}");
        let statuses = ["created", "paid", "shipped", "delivered", "removed"];
        assert!(statuses.contains(&row["status"].as_str().unwrap()));
        let created_at = row["created_at"].as_str().unwrap();
        assert_eq!(format!("{:.3}", created_at.parse::<jiff::Timestamp>().unwrap()), created_at);
    }
}

#[test]
fn records_have_about_190_bytes_and_notes_of_every_sort() {
    let records = produce(&Profile::default(), 100_000);
    let sizes: usize = records.iter().map(|record| record.value.as_ref().unwrap().len()).sum();
    let average = sizes as f64 / records.len() as f64;
    assert!((180.0..200.0).contains(&average), "{average}");
    let all = records.iter().flat_map(|record| record.value.clone().unwrap()).collect();
    let all = String::from_utf8(all).unwrap();
    for sort in
        ["\"note\":null", "\"note\":\"\"", "✨", r"\u00e9", r#"\""#, r"\\", r"\n", r"\ud83c"]
    {
        assert!(all.contains(sort), "{sort}");
    }
}

#[test]
fn size_pads_records_to_that_many_bytes() {
    let profile = Profile { size_bytes: Some(1000), ..Profile::default() };
    for record in produce(&profile, 5_000) {
        let value = record.value.unwrap();
        assert!(value.len() == 1000 && row(&value).is_some(), "{}", value.len());
    }
}

#[test]
fn poison_never_becomes_a_row_and_every_kind_takes_its_turn() {
    let profile = Profile { poison: 1.0, ..Profile::default() };
    for record in produce(&profile, 6_000) {
        let value = record.value.unwrap();
        assert!(row(&value).is_none(), "{}", String::from_utf8_lossy(&value));
    }
    let totals = ledger(&profile, 6_000).totals;
    assert_eq!((totals.orders, totals.poison_total, totals.poison.len()), (0, 6_000, 6));
    assert!(totals.poison.values().all(|&count| count == 1_000), "{:?}", totals.poison);
}

#[test]
fn shares_are_as_asked() {
    let totals = ledger(&mixed(), 200_000).totals;
    let updates = totals.orders - totals.distinct_order_ids;
    let close = |part: u64, all: u64, share: f64| {
        let got = share_of(part, all);
        assert!((got - share).abs() < 0.005, "{got} is not {share}");
    };
    close(updates, totals.produced, 0.2);
    close(totals.tombstones, totals.produced, 0.05);
    close(totals.poison_total, totals.produced, 0.03);
    close(totals.late, totals.distinct_order_ids, 0.1);
}

#[test]
fn late_orders_lie_in_the_past_by_at_most_the_given_time() {
    let created_ms = |late: f64| -> Vec<i64> {
        let profile = Profile { late, late_by_ms: 60_000, ..Profile::default() };
        let instant = |record: Produced| {
            let row = row(&record.value.unwrap()).unwrap();
            let created_at: jiff::Timestamp = row["created_at"].as_str().unwrap().parse().unwrap();
            created_at.as_millisecond()
        };
        produce(&profile, 10_000).into_iter().map(instant).collect()
    };
    let (on_time, mixed) = (created_ms(0.0), created_ms(0.2));
    assert!(on_time.is_sorted());
    let behind: Vec<i64> = on_time.iter().zip(&mixed).map(|(there, here)| there - here).collect();
    assert!(behind.iter().all(|ms| (0..=60_000).contains(ms)));
    let late = behind.iter().filter(|&&ms| ms > 0).count() as u64;
    assert!((share_of(late, 10_000) - 0.2).abs() < 0.02, "{late}");
}

/// What a checker would compute from the records of one partition.
#[derive(Default)]
struct Replayed {
    produced: u64,
    orders: u64,
    poison: u64,
    tombstones: u64,
    cents: i128,
    ids: HashMap<i64, i128>,
    live: HashMap<i64, i128>,
}

impl Replayed {
    fn add(&mut self, record: &Produced) {
        self.produced += 1;
        let Some(value) = &record.value else {
            let key = std::str::from_utf8(record.key.as_ref().unwrap()).unwrap();
            assert!(self.live.remove(&key.parse().unwrap()).is_some(), "no order {key} to delete");
            self.tombstones += 1;
            return;
        };
        let Some(row) = row(value) else {
            self.poison += 1;
            return;
        };
        let (id, cents) = (row["order_id"].as_i64().unwrap(), amount_cents(value));
        assert!(
            !self.ids.contains_key(&id) || self.live.contains_key(&id),
            "order {id} changed after its deletion"
        );
        self.orders += 1;
        self.cents += cents;
        self.ids.insert(id, cents);
        self.live.insert(id, cents);
    }
}

#[test]
fn the_ledger_is_what_a_replay_of_each_partition_gives() {
    for key in [Key::Customer, Key::Order, Key::None] {
        let profile = Profile { key, window: 500, start_id: 1_000_000, ..mixed() };
        let mut replayed: BTreeMap<u32, Replayed> = BTreeMap::new();
        for record in produce(&profile, 50_000) {
            replayed.entry(record.partition).or_default().add(&record);
        }
        let ledger = ledger(&profile, 50_000);
        assert_eq!((ledger.produced, ledger.partitions.len()), (50_000, replayed.len()));
        for (entry, (partition, replayed)) in ledger.partitions.iter().zip(&replayed) {
            let tally = &entry.tally;
            assert_eq!(entry.partition, *partition as i32);
            assert_eq!((entry.first_offset, entry.next_offset), (0, replayed.produced as i64));
            assert_eq!(tally.orders, replayed.orders);
            assert_eq!(tally.distinct_order_ids, replayed.ids.len() as u64);
            assert_eq!(tally.live_order_ids, replayed.live.len() as u64);
            assert_eq!(
                (tally.tombstones, tally.poison_total),
                (replayed.tombstones, replayed.poison)
            );
            assert_eq!(tally.amount_sum.0, replayed.cents);
            assert_eq!(tally.distinct_amount_sum.0, replayed.ids.values().sum::<i128>());
            assert_eq!(tally.live_amount_sum.0, replayed.live.values().sum::<i128>());
        }
    }
}

#[test]
fn without_updates_every_order_id_is_distinct_and_they_are_sequential() {
    let ids: Vec<i64> = produce(&Profile { start_id: 40, ..Profile::default() }, 1_000)
        .iter()
        .map(|record| row(record.value.as_ref().unwrap()).unwrap()["order_id"].as_i64().unwrap())
        .collect();
    assert!(ids.iter().copied().eq(40..1_040));
    let totals = ledger(&Profile::default(), 1_000).totals;
    assert_eq!((totals.orders, totals.distinct_order_ids), (1_000, 1_000));
}

#[test]
fn a_key_stays_in_its_partition_also_when_one_is_hot() {
    let hot_partition = Some(HotPartition { partition: 3, share: 0.6 });
    for key in [Key::Customer, Key::Order] {
        let profile = Profile { key, customers: 5_000, hot_partition, ..Profile::default() };
        let (mut places, mut hot) = (HashMap::new(), 0);
        for record in produce(&profile, 50_000) {
            hot += u64::from(record.partition == 3);
            let key = record.key.unwrap();
            assert_eq!(*places.entry(key).or_insert(record.partition), record.partition);
        }
        assert!((share_of(hot, 50_000) - 0.6).abs() < 0.03, "{hot}");
    }
}

#[test]
fn keys_are_the_field_that_was_asked_for() {
    for (key, field) in [(Key::Customer, "customer_id"), (Key::Order, "order_id")] {
        for record in produce(&Profile { key, ..Profile::default() }, 1_000) {
            let row = row(&record.value.unwrap()).unwrap();
            assert_eq!(row[field].to_string().into_bytes(), record.key.unwrap());
        }
    }
    let profile = Profile { key: Key::None, ..Profile::default() };
    let records = produce(&profile, 800);
    assert!(records.iter().all(|record| record.key.is_none()));
    assert!((0..8).all(|p| records.iter().filter(|record| record.partition == p).count() == 100));
}

#[test]
fn skew_gives_a_few_customers_most_orders() {
    let top_share = |key_skew: f64| {
        let mut orders: HashMap<Vec<u8>, u64> = HashMap::new();
        for record in produce(&Profile { key_skew, ..Profile::default() }, 50_000) {
            *orders.entry(record.key.unwrap()).or_default() += 1;
        }
        let mut counts: Vec<u64> = orders.into_values().collect();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        share_of(counts.iter().take(100).sum(), 50_000)
    };
    let (even, skewed) = (top_share(0.0), top_share(1.1));
    assert!(even < 0.01 && skewed > 0.4, "{even} {skewed}");
}

#[test]
fn a_thread_that_skips_the_partitions_of_others_renders_its_own_alike() {
    let profile = mixed();
    let whole = produce(&profile, 10_000);
    let (mut orders, mut renderer) = (Orders::new(&profile), Renderer::new(&profile));
    let (mut record, mut counts) = (Record::default(), Counts::default());
    for expected in &whole {
        let event = orders.plan();
        assert_eq!(event.partition, expected.partition);
        if event.partition != 5 {
            continue;
        }
        counts.add(&event, profile.seed);
        renderer.render(&event, &mut record);
        assert_eq!(record.value(), expected.value.as_deref());
        assert_eq!(record.key(), expected.key.as_deref());
    }
    assert_eq!(counts.tally(), ledger(&profile, 10_000).partitions[5].tally);
}

#[test]
fn shuffled_fields_are_those_of_the_order_in_any_order() {
    let shuffled = Profile { fields: Fields::Shuffled, ..mixed() };
    let mut begun_by: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
    for (plain, shuffled) in produce(&mixed(), 5_000).into_iter().zip(produce(&shuffled, 5_000)) {
        assert_eq!((&plain.key, plain.partition), (&shuffled.key, shuffled.partition));
        let (Some(plain), Some(shuffled)) = (plain.value, shuffled.value) else { continue };
        let Some(row) = row(&plain) else { continue };
        assert_eq!(serde_json::from_slice::<Value>(&shuffled).unwrap(), row);
        assert_eq!(shuffled.len(), plain.len());
        *begun_by.entry(shuffled[..6].to_vec()).or_default() += 1;
    }
    assert_eq!(begun_by.len(), FIELDS.len(), "{begun_by:?}");
    assert!(begun_by.values().all(|count| *count > 100), "{begun_by:?}");
}

#[test]
fn wide_records_have_40_fields_and_the_nine_of_the_order_first() {
    let wide = Profile { fields: Fields::Wide, ..Profile::default() };
    for (plain, wide) in produce(&Profile::default(), 1_000).into_iter().zip(produce(&wide, 1_000))
    {
        let (plain, wide) = (plain.value.unwrap(), wide.value.unwrap());
        assert_eq!(wide[..plain.len() - 1], plain[..plain.len() - 1]);
        let row: Value = serde_json::from_slice(&wide).unwrap();
        assert_eq!(row.as_object().unwrap().len(), 40);
        let (products, items) = (row["product_ids"].as_array(), row["items"].as_array());
        assert_eq!(products.unwrap().len(), items.unwrap().len());
    }
}
