use super::*;

/// Keeps what comes.
#[derive(Default)]
struct Kept {
    partitions: Vec<(String, i32, i16, i64, Option<i64>)>,
    fetched: Vec<Fetched>,
    last_stable: i64,
}

impl Visitor for Kept {
    fn buffer(&mut self) -> Fetched {
        // As one that had a longer use before.
        Fetched { bytes: vec![9; 8], length: 8, ..Fetched::default() }
    }

    fn partition(&mut self, facts: &Facts<'_>, fetched: Fetched) {
        let Facts { topic, partition, error, high_watermark, last_stable, diverging } = *facts;
        self.last_stable = last_stable;
        self.partitions.push((topic.to_owned(), partition, error, high_watermark, diverging));
        self.fetched.push(fetched);
    }
}

/// An answer with two topics; the second one's partition has diverged, where the version can say so.
fn answer(version: i16) -> Vec<u8> {
    let mut writer = Writer { bytes: vec![0; 4], is_flexible: version >= 12 };
    writer.int32(5);
    writer.tags();
    writer.int32(30);
    writer.int16(0);
    writer.int32(0);
    writer.array(2);
    for (topic, records) in [("orders", &b"abc"[..]), ("t", b"")] {
        writer.string(topic);
        writer.array(1);
        writer.int32(4);
        writer.int16(0);
        writer.int64(100);
        writer.int64(90);
        writer.int64(10);
        writer.array(2);
        for (producer, first) in [(7, 60), (8, 50)] {
            writer.int64(producer);
            writer.int64(first);
            writer.tags();
        }
        writer.int32(-1);
        writer.array(records.len());
        writer.bytes.extend_from_slice(records);
        if writer.is_flexible && topic == "t" {
            // Two fields: what diverges, and one that is not known.
            writer.uvarint(2);
            writer.uvarint(0);
            writer.uvarint(13);
            writer.int32(3);
            writer.int64(42);
            writer.tags();
            writer.uvarint(9);
            writer.uvarint(2);
            writer.int16(1);
        } else {
            writer.tags();
        }
        writer.tags();
    }
    writer.tags();
    writer.finish()
}

fn read(bytes: &[u8], version: i16) -> io::Result<(Heading, Kept, usize)> {
    let (mut rest, mut kept) = (bytes, Kept::default());
    let heading = Answer::begin(&mut rest, 5)?.fetch(version, &mut kept)?;
    Ok((heading, kept, rest.len()))
}

#[test]
fn an_answer_is_read_in_each_version_and_no_byte_more() {
    for version in FETCH_VERSIONS {
        let mut bytes = answer(version);
        bytes.extend_from_slice(b"the next one");
        let (heading, kept, rest) = read(&bytes, version).unwrap();
        assert_eq!((heading.throttle_ms, heading.error, rest), (30, 0, 12));
        let diverging = (version >= 12).then_some(42);
        assert_eq!(kept.partitions[0], ("orders".to_owned(), 4, 0, 100, None));
        assert_eq!(kept.partitions[1], ("t".to_owned(), 4, 0, 100, diverging));
        assert_eq!(kept.last_stable, 90);
        let first = &kept.fetched[0];
        assert_eq!(&first.bytes[..first.length], b"abc");
        let begun: Vec<i64> = first.aborted.iter().map(|aborted| aborted.first_offset).collect();
        assert_eq!(begun, [50, 60], "in their order");
        assert_eq!(kept.fetched[1].length, 0);
    }
}

#[test]
fn an_answer_that_is_cut_or_torn_is_an_error() {
    for version in FETCH_VERSIONS {
        let whole = answer(version);
        for cut in 0..whole.len() {
            assert!(read(&whole[..cut], version).is_err(), "{cut} bytes");
        }
        for place in 0..whole.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut torn = whole.clone();
                torn[place] = value;
                // No panic, and no more memory than there are bytes.
                drop(read(&torn, version));
            }
        }
    }
    assert!(read(&answer(12), 12).is_ok());
}

#[test]
fn an_answer_to_another_request_is_refused() {
    let bytes = answer(12);
    let error = Answer::begin(&mut &bytes[..], 6).err().unwrap();
    assert!(error.to_string().contains("another request"));
}

#[test]
fn the_best_version_that_both_speak_is_chosen() {
    let chosen = |low: i16, high: i16| {
        let mut writer = Writer { bytes: vec![0; 4], is_flexible: false };
        writer.int32(0);
        writer.int16(0);
        writer.int32(2);
        for (key, low, high) in [(0, 0, 9), (FETCH, low, high)] {
            [key, low, high].into_iter().for_each(|number| writer.int16(number));
        }
        let bytes = writer.finish();
        Answer::begin(&mut &bytes[..], 0).unwrap().fetch_version().unwrap()
    };
    assert_eq!(
        [chosen(4, 17), chosen(0, 11), chosen(13, 17), chosen(0, 10)],
        [Some(12), Some(11), None, None]
    );
}

/// Byte by byte, as the protocol guide has it.
#[test]
fn a_request_is_as_the_guide_says() {
    let asked = [Asked { partition: 1, offset: 2, leader_epoch: 3, bytes_max: 4 }];
    let request = FetchRequest {
        wait_ms: 50,
        bytes_min: 1,
        bytes_max: 1000,
        is_read_committed: true,
        topics: vec![("t", &asked)],
    };
    let head = |version: u8| [&[0, 1, 0, version, 0, 0, 0, 7, 0, 2, b'm', b'e'][..]].concat();
    let settings = [
        &[0xff; 4][..],
        &50i32.to_be_bytes(),
        &1i32.to_be_bytes(),
        &1000i32.to_be_bytes(),
        &[1, 0, 0, 0, 0],
        &[0xff; 4],
    ]
    .concat();
    let (epochless, offset) = ([&[0, 0, 0, 1][..], &[0xff; 4]].concat(), 2i64.to_be_bytes());
    let flexible = [
        &head(12)[..],
        &[0],
        &settings,
        &[2, 2, b't', 2],
        &epochless,
        &offset,
        &[0, 0, 0, 3],
        &[0xff; 8],
        &[0, 0, 0, 4, 0],
        &[0],
        &[1, 1, 0],
    ]
    .concat();
    let old = [
        &head(11)[..],
        &settings,
        &[0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1],
        &epochless,
        &offset,
        &[0xff; 8],
        &[0, 0, 0, 4],
        &[0, 0, 0, 0, 0, 0],
    ]
    .concat();
    for (version, expected) in [(12, flexible), (11, old)] {
        let bytes = request.encode(version, 7, "me");
        assert_eq!(bytes[..4], (expected.len() as i32).to_be_bytes());
        assert_eq!(bytes[4..], expected, "version {version}");
    }
}
