use std::io::Write as _;

use proptest::prelude::*;

use super::*;

const TRANSACTIONAL: i16 = 0b1_0000;
const CONTROL: i16 = 0b10_0000;

/// A record to be written; its offset is its place in the batch.
#[derive(Clone, Default)]
struct Sent<'a> {
    offset_delta: i64,
    timestamp_delta: i64,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: Vec<(&'a str, Option<&'a [u8]>)>,
}

/// A batch to be written.
struct Written {
    base_offset: i64,
    attributes: i16,
    producer_id: i64,
    last_delta: i32,
}

impl Default for Written {
    fn default() -> Self {
        Self { base_offset: 0, attributes: 0, producer_id: -1, last_delta: 0 }
    }
}

fn varint(bytes: &mut Vec<u8>, value: i64) {
    let mut raw = ((value << 1) ^ (value >> 63)) as u64;
    while raw >= 0x80 {
        bytes.push(raw as u8 | 0x80);
        raw >>= 7;
    }
    bytes.push(raw as u8);
}

fn block(bytes: &mut Vec<u8>, block: Option<&[u8]>) {
    varint(bytes, block.map_or(-1, |block| block.len() as i64));
    bytes.extend_from_slice(block.unwrap_or_default());
}

fn records(sent: &[Sent<'_>]) -> Vec<u8> {
    let mut all = Vec::new();
    for sent in sent {
        let mut record = vec![0];
        varint(&mut record, sent.timestamp_delta);
        varint(&mut record, sent.offset_delta);
        block(&mut record, sent.key);
        block(&mut record, sent.value);
        varint(&mut record, sent.headers.len() as i64);
        for (name, value) in &sent.headers {
            block(&mut record, Some(name.as_bytes()));
            block(&mut record, *value);
        }
        block(&mut all, Some(&record));
    }
    all
}

/// As a broker sends it; `payload` are the records, compressed if the attributes say so.
fn batch_of(written: &Written, count: usize, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&written.base_offset.to_be_bytes());
    bytes.extend_from_slice(&((HEADER - LENGTH_END + payload.len()) as i32).to_be_bytes());
    bytes.extend_from_slice(&7i32.to_be_bytes());
    bytes.push(MAGIC);
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&written.attributes.to_be_bytes());
    bytes.extend_from_slice(&written.last_delta.to_be_bytes());
    bytes.extend_from_slice(&1000i64.to_be_bytes());
    bytes.extend_from_slice(&2000i64.to_be_bytes());
    bytes.extend_from_slice(&written.producer_id.to_be_bytes());
    bytes.extend_from_slice(&[0; 6]);
    bytes.extend_from_slice(&(count as i32).to_be_bytes());
    assert_eq!(bytes.len(), HEADER);
    bytes.extend_from_slice(payload);
    bytes
}

fn batch(written: Written, sent: &[Sent<'_>]) -> Vec<u8> {
    let last_delta = sent.last().map_or(written.last_delta, |sent| sent.offset_delta as i32);
    batch_of(&Written { last_delta, ..written }, sent.len(), &records(sent))
}

/// `count` records with nothing but their offset as the value.
pub(in super::super) fn plain(
    base_offset: i64,
    attributes: i16,
    producer_id: i64,
    count: usize,
) -> Vec<u8> {
    let values: Vec<String> = (0..count).map(|n| (base_offset + n as i64).to_string()).collect();
    let sent = |(n, value): (usize, &String)| Sent {
        offset_delta: n as i64,
        value: Some(Box::leak(value.clone().into_boxed_str()).as_bytes()),
        ..Sent::default()
    };
    let sent: Vec<Sent<'_>> = values.iter().enumerate().map(sent).collect();
    batch(Written { base_offset, attributes, producer_id, ..Written::default() }, &sent)
}

/// The mark that ends a transaction.
fn mark(offset: i64, producer_id: i64, is_commit: bool) -> Vec<u8> {
    let key = [0, 0, 0, u8::from(is_commit)];
    let sent = Sent { key: Some(&key), value: Some(b"\0\0\0\0\0\0"), ..Sent::default() };
    let attributes = TRANSACTIONAL | CONTROL;
    batch(Written { base_offset: offset, attributes, producer_id, ..Written::default() }, &[sent])
}

fn cursor(bytes: Vec<u8>, from: i64, aborted: &[(i64, i64)]) -> Cursor {
    let aborted =
        aborted.iter().map(|&(first_offset, producer_id)| Aborted { first_offset, producer_id });
    let mut cursor = Cursor::at(from);
    let summary = summarize(&bytes).unwrap();
    cursor.turn_to(Fetched {
        length: summary.bytes,
        bytes,
        from,
        records: summary.records,
        aborted: aborted.collect(),
    });
    cursor
}

fn offsets(cursor: &mut Cursor) -> Vec<i64> {
    let mut offsets = Vec::new();
    while let Some(message) = cursor.next() {
        offsets.push(message.unwrap().record("t", 0).offset);
    }
    offsets
}

#[test]
fn a_record_comes_with_all_its_parts() {
    let sent = [
        Sent {
            timestamp_delta: 5,
            key: Some(b"k"),
            value: Some(b"v"),
            headers: vec![("a", Some(b"1")), ("b", None)],
            ..Sent::default()
        },
        Sent { offset_delta: 3, timestamp_delta: -1001, value: Some(b""), ..Sent::default() },
    ];
    let bytes = batch(Written { base_offset: 40, ..Written::default() }, &sent);
    let mut cursor = cursor(bytes, 40, &[]);
    let first = cursor.next().unwrap().unwrap();
    let record = first.record("t", 2);
    assert_eq!((record.topic, record.partition, record.offset), ("t", 2, 40));
    assert_eq!((record.timestamp_ms, record.key), (Some(1005), Some(&b"k"[..])));
    assert_eq!(record.value, Some(&b"v"[..]));
    let mut headers = Vec::new();
    record.headers.unwrap().for_each(&mut |name, value| {
        headers.push((name.to_owned(), value.map(<[u8]>::to_vec)));
    });
    assert_eq!(headers, [("a".to_owned(), Some(b"1".to_vec())), ("b".to_owned(), None)]);
    assert_eq!(cursor.position(), 41);
    let second = cursor.next().unwrap().unwrap();
    let record = second.record("t", 2);
    assert_eq!((record.offset, record.timestamp_ms, record.key), (43, None, None));
    assert_eq!(record.value, Some(&b""[..]), "empty is not null");
    assert!(cursor.next().is_none());
    assert_eq!(cursor.position(), 44);
}

#[test]
fn a_tombstone_has_no_value() {
    let sent = [Sent { key: Some(b"k"), ..Sent::default() }];
    let mut cursor = cursor(batch(Written::default(), &sent), 0, &[]);
    assert_eq!(cursor.next().unwrap().unwrap().record("t", 0).value, None);
}

#[test]
fn the_brokers_time_counts_for_the_whole_batch() {
    let sent = [Sent { timestamp_delta: 5, ..Sent::default() }];
    let bytes = batch(Written { attributes: 0b1000, ..Written::default() }, &sent);
    let mut cursor = cursor(bytes, 0, &[]);
    assert_eq!(cursor.next().unwrap().unwrap().record("t", 0).timestamp_ms, Some(2000));
}

#[test]
fn what_lies_before_the_offset_is_not_given() {
    let bytes = [plain(10, 0, -1, 5), plain(15, 0, -1, 2)].concat();
    assert_eq!(offsets(&mut cursor(bytes, 13, &[])), [13, 14, 15, 16]);
}

#[test]
fn the_end_of_a_response_may_be_cut_anywhere() {
    let (first, second) = (plain(0, 0, -1, 3), plain(3, 0, -1, 3));
    for cut in 0..second.len() {
        let bytes = [&first[..], &second[..cut]].concat();
        let summary = summarize(&bytes).unwrap();
        assert_eq!((summary.bytes, summary.end, summary.records), (first.len(), Some(3), 3));
    }
    let whole = summarize(&[first, second].concat()).unwrap();
    assert_eq!((whole.end, whole.records, whole.leader_epoch), (Some(6), 6, 7));
}

#[test]
fn a_batch_that_compaction_has_left_empty_moves_the_position() {
    let empty = batch_of(&Written { base_offset: 5, last_delta: 4, ..Written::default() }, 0, &[]);
    let mut cursor = cursor(empty, 5, &[]);
    assert!(cursor.next().is_none());
    assert_eq!(cursor.position(), 10);
}

#[test]
fn what_aborted_transactions_wrote_is_passed_over() {
    // Producer 1 aborts, then commits; producer 2 commits in between; producer 3 has no transaction.
    let bytes = [
        plain(0, TRANSACTIONAL, 1, 2),
        plain(2, TRANSACTIONAL, 2, 2),
        plain(4, 0, 3, 1),
        mark(5, 1, false),
        plain(6, TRANSACTIONAL, 1, 1),
        mark(7, 2, true),
        mark(8, 1, true),
    ]
    .concat();
    let mut read = cursor(bytes.clone(), 0, &[(0, 1)]);
    assert_eq!(offsets(&mut read), [2, 3, 4, 6]);
    assert_eq!(read.position(), 9, "past the marks");
    // Where all is read, the broker names none.
    assert_eq!(offsets(&mut cursor(bytes, 0, &[])), [0, 1, 2, 3, 4, 6]);
}

#[test]
fn a_later_transaction_of_the_same_producer_may_be_aborted_too() {
    let bytes = [
        plain(0, TRANSACTIONAL, 1, 1),
        mark(1, 1, false),
        plain(2, TRANSACTIONAL, 1, 1),
        mark(3, 1, true),
        plain(4, TRANSACTIONAL, 1, 1),
        mark(5, 1, false),
    ]
    .concat();
    let mut read = cursor(bytes, 0, &[(0, 1), (4, 1)]);
    assert_eq!(offsets(&mut read), [2]);
    assert_eq!(read.position(), 6);
}

/// What was written before the first batch of the response belongs to a transaction that ends in it.
#[test]
fn a_transaction_may_have_begun_long_before() {
    let bytes = [plain(100, TRANSACTIONAL, 1, 2), mark(102, 1, false)].concat();
    assert!(offsets(&mut cursor(bytes, 100, &[(7, 1)])).is_empty());
}

#[test]
fn each_compression_gives_the_same_records() {
    let values: Vec<String> =
        (0..5000).map(|n| format!("{{\"order\":{n},\"note\":\"again and again\"}}")).collect();
    let sent = |(n, value)| {
        let value: &String = value;
        Sent { offset_delta: n as i64, value: Some(value.as_bytes()), ..Sent::default() }
    };
    let sent: Vec<Sent<'_>> = values.iter().enumerate().map(sent).collect();
    let payload = records(&sent);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&payload).unwrap();
    let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
    lz4.write_all(&payload).unwrap();
    let mut xerial = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
    for chunk in payload.chunks(32 << 10) {
        let packed = snap::raw::Encoder::new().compress_vec(chunk).unwrap();
        xerial.extend_from_slice(&(packed.len() as u32).to_be_bytes());
        xerial.extend_from_slice(&packed);
    }
    let packed = [
        (1, gzip.finish().unwrap()),
        (2, snap::raw::Encoder::new().compress_vec(&payload).unwrap()),
        (2, xerial),
        (3, lz4.finish().unwrap()),
        (4, zstd::encode_all(&payload[..], 3).unwrap()),
        (4, zstd::bulk::compress(&payload, 3).unwrap()),
    ];
    // One cursor for all, as its decompressor is kept.
    let mut cursor = Cursor::at(0);
    for (attributes, packed) in packed {
        let last_delta = sent.len() as i32 - 1;
        let written = Written { attributes, last_delta, ..Written::default() };
        let bytes = batch_of(&written, sent.len(), &packed);
        cursor.turn_to(Fetched { length: bytes.len(), bytes, ..Fetched::default() });
        for value in &values {
            let message = cursor.next().unwrap().unwrap();
            assert_eq!(message.record("t", 0).value, Some(value.as_bytes()));
        }
        assert!(cursor.next().is_none());
        for cut in [1, packed.len() / 2] {
            let bytes = batch_of(&written, sent.len(), &packed[..cut]);
            cursor.turn_to(Fetched { length: bytes.len(), bytes, ..Fetched::default() });
            let torn = std::iter::from_fn(|| cursor.next().map(|next| next.map(drop)));
            assert!(torn.take(6000).any(|next| next.is_err()), "codec {attributes}, {cut} bytes");
        }
    }
}

#[test]
fn what_no_broker_of_today_writes_is_named() {
    let mut old = plain(0, 0, -1, 1);
    old[16] = 1;
    assert_eq!(summarize(&old), Err(Unreadable::Unknown));
    old[16] = 9;
    assert_eq!(summarize(&old), Err(Unreadable::Corrupt));
    let unknown = plain(0, 7, -1, 1);
    let read = cursor(unknown, 0, &[]).next().unwrap().map(|_| ());
    assert_eq!(read, Err(Unreadable::Unknown));
}

#[test]
fn a_torn_record_is_told_once() {
    let mut bytes = plain(0, 0, -1, 2);
    // The first record's length.
    bytes[HEADER] = 0x7e;
    let mut cursor = cursor(bytes, 0, &[]);
    assert_eq!(cursor.next().unwrap().map(|_| ()), Err(Unreadable::Corrupt));
    assert!(cursor.next().is_none());
    assert_eq!(cursor.position(), 0, "nothing was passed over");
}

proptest! {
    /// Whatever comes, reading ends, and no offset is given twice or out of the batch's own.
    #[test]
    fn any_bytes_are_read_to_an_end(
        counts in prop::collection::vec(0..4usize, 1..4),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let mut bytes = Vec::new();
        let mut offset = 0;
        for count in counts {
            bytes.extend(plain(offset, 0, -1, count));
            offset += count.max(1) as i64;
        }
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let Ok(summary) = summarize(&bytes) else { return Ok(()) };
        prop_assert!(summary.bytes <= bytes.len());
        let mut cursor = Cursor::at(0);
        cursor.turn_to(Fetched { length: summary.bytes, bytes, ..Fetched::default() });
        let mut steps = 0;
        while let Some(next) = cursor.next() {
            let is_over = next.is_err();
            steps += 1;
            prop_assert!(steps <= 1000);
            if is_over {
                prop_assert!(cursor.next().is_none());
                break;
            }
        }
    }
}
