use super::*;
use crate::headers;

const HEADER: (&str, Option<&[u8]>) = ("trace", Some(b"abc"));

fn record(offset: i64, value: &[u8]) -> Record<'_> {
    Record {
        topic: "t",
        partition: 0,
        offset,
        timestamp_ms: Some(1000 + offset / 2),
        key: Some(b"k"),
        value: Some(value),
        headers: Some(&HEADER),
    }
}

fn push(batch: &mut Batch, record: &Record<'_>, layout: u64) {
    let origin = batch.keep_original(record);
    let segment = batch.segment(Layout(layout));
    segment.bytes.extend_from_slice(record.value.unwrap());
    segment.origins.push(origin);
    segment.rows += 1;
    batch.cover(record, Instant::now);
}

#[test]
fn rows_that_are_too_late_stay_rows_and_can_be_taken_back() {
    let mut batch = Batch::new(0);
    for (n, layout) in [(0, 1), (1, 1), (2, 2), (3, 1)] {
        let segment = batch.segment(Layout(layout));
        segment.bytes.extend_from_slice(&[n as u8; 2]);
        segment.origins.push(n);
        segment.rows += 1;
    }
    batch.set_late(0, &[]);
    assert!(batch.late.is_empty());
    batch.set_late(0, &[(0, 0..2), (2, 4..6)]);
    let [late] = batch.late.as_slice() else { panic!("{:?}", batch.late) };
    assert_eq!((late.layout, late.rows, late.bytes.as_slice()), (Layout(1), 2, &[0, 0, 3, 3][..]));
    assert_eq!((batch.rows(), batch.segments[0].bytes.as_slice()), (4, &[1, 1][..]));
    batch.take_late_back();
    assert_eq!((batch.rows(), batch.late.len()), (4, 0));
    assert_eq!(batch.segments[0].bytes, [1, 1, 0, 0, 3, 3]);
    assert_eq!(batch.segments[0].origins, [1, 0, 3]);
}

#[test]
fn a_batch_covers_gaps_up_to_the_last_delivered_offset() {
    let mut batch = Batch::new(10);
    push(&mut batch, &record(12, b"a"), 0);
    push(&mut batch, &record(17, b"b"), 0);
    assert_eq!((batch.begin, batch.end, batch.records, batch.rows()), (10, 18, 2, 2));
}

#[test]
fn rows_close_a_batch_before_bytes_do_and_the_other_way_round() {
    let mut batch = Batch::new(0);
    push(&mut batch, &record(0, b"abc"), 0);
    let policy = |rows, bytes| BatchPolicy { rows, bytes, age: None };
    assert_eq!(batch.is_full(&policy(2, 1000)), None);
    assert_eq!(batch.is_full(&policy(1, 1000)), Some(Trigger::Rows));
    assert_eq!(batch.is_full(&policy(2, 3)), Some(Trigger::Bytes));
}

#[test]
fn a_refused_row_leaves_with_its_own_record_and_no_other() {
    let mut batch = Batch::new(0);
    for (offset, value) in [(0, b"aa"), (1, b"bb"), (2, b"cc")] {
        push(&mut batch, &record(offset, value), 0);
    }
    batch.refuse(0, 1, 2..4, "23505", "duplicate");
    assert_eq!(batch.segments[0].bytes, b"aacc");
    assert_eq!((batch.rows(), batch.records), (2, 3));
    let letter = &batch.dead_letters[0];
    assert_eq!(letter.offset, 1);
    assert_eq!(letter.key.as_deref(), Some(&b"k"[..]));
    assert_eq!(letter.value.as_deref(), Some(&b"bb"[..]));
    assert_eq!(letter.sqlstate.as_deref(), Some("23505"));
    let headers = headers::to_json(letter.original().headers).unwrap();
    assert_eq!(headers, serde_json::json!([{"name": "trace", "value": "abc"}]));
    assert_eq!(batch.originals().map(|o| o.offset).collect::<Vec<_>>(), [0, 1, 2]);
    // The rows behind it still point at their own records.
    batch.refuse(0, 1, 2..4, "23505", "duplicate");
    assert_eq!(batch.dead_letters[1].offset, 2);
}

#[test]
fn rows_that_are_set_aside_leave_the_others_with_their_own_records() {
    let mut batch = Batch::new(0);
    for (offset, value) in [(0, b"aa"), (1, b"bb"), (2, b"cc"), (3, b"dd"), (4, b"ee")] {
        push(&mut batch, &record(offset, value), 0);
    }
    let rejection = Rejection::record(Reason::NoPartition, "late");
    let aside = |row: usize| (row, row * 2..row * 2 + 2, rejection.clone());
    batch.set_aside(0, vec![aside(0), aside(2), aside(3)]);
    assert_eq!((batch.segments[0].bytes.as_slice(), batch.rows()), (&b"bbee"[..], 2));
    let offsets: Vec<i64> = batch.dead_letters.iter().map(|letter| letter.offset).collect();
    assert_eq!(offsets, [0, 2, 3]);
    assert_eq!(batch.dead_letters[0].sqlstate, None);
    let kept = batch.take_back();
    assert_eq!(kept.originals().map(|o| o.offset).collect::<Vec<_>>(), [1, 4]);
    assert_eq!((batch.rows(), batch.encoded_bytes(), batch.dead_letters.len()), (0, 0, 3));
}

#[test]
fn layouts_get_segments_of_their_own_and_reuse_starts_empty() {
    let mut batch = Batch::new(0);
    push(&mut batch, &record(0, b"a"), 0);
    push(&mut batch, &record(1, b"b"), 5);
    push(&mut batch, &record(2, b"c"), 0);
    assert_eq!(batch.segments.len(), 2);
    assert_eq!(batch.segments[0].rows, 2);
    batch.reset(3);
    assert!(batch.is_empty());
    assert_eq!((batch.begin, batch.end, batch.rows(), batch.held_bytes()), (3, 3, 0, 0));
    push(&mut batch, &record(3, b"d"), 5);
    assert_eq!(batch.segment(Layout(5)).bytes, b"d");
}

#[test]
fn timestamps_are_counted_in_runs() {
    let mut batch = Batch::new(0);
    for offset in 0..6 {
        push(&mut batch, &record(offset, b"x"), 0);
    }
    assert_eq!(batch.timestamps_ms, [(1000, 2), (1001, 2), (1002, 2)]);
}
