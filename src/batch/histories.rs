//! What a batch goes through, in any order, beside a list of its records.

use proptest::prelude::*;

use super::*;

/// What has become of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    Row(Layout),
    Rejected,
    Refused,
}

#[derive(Clone, Debug)]
enum Step {
    Take { layout: u64, gap: i64, key: Option<Vec<u8>>, value: Option<Vec<u8>> },
    Reject { gap: i64, value: Option<Vec<u8>> },
    Refuse { which: usize },
    Reset { gap: i64 },
}

fn step() -> impl Strategy<Value = Step> {
    let bytes = || prop::option::of(prop::collection::vec(any::<u8>(), 0..6));
    prop_oneof![
        8 => (0u64..7, 0i64..3, bytes(), bytes())
            .prop_map(|(layout, gap, key, value)| Step::Take { layout, gap, key, value }),
        2 => (0i64..3, bytes()).prop_map(|(gap, value)| Step::Reject { gap, value }),
        3 => any::<usize>().prop_map(|which| Step::Refuse { which }),
        1 => (0i64..3).prop_map(|gap| Step::Reset { gap }),
    ]
}

/// The naive batch: every record with its bytes and its fate.
#[derive(Clone, Debug)]
struct Kept {
    offset: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    fate: Fate,
}

impl Kept {
    fn record(&self) -> Record<'_> {
        Record {
            topic: "t",
            partition: 0,
            offset: self.offset,
            timestamp_ms: (self.offset % 3 != 0).then_some(self.offset),
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: None,
        }
    }

    /// The row that the encoder would write: its offset tells whose it is.
    fn row(&self) -> [u8; 8] {
        self.offset.to_be_bytes()
    }
}

fn take(batch: &mut Batch, kept: &Kept, layout: Layout) {
    let origin = batch.keep_original(&kept.record());
    let segment = batch.segment(layout);
    segment.bytes.extend_from_slice(&kept.row());
    segment.origins.push(origin);
    segment.rows += 1;
    batch.cover(&kept.record(), Instant::now);
}

/// Takes the row out that is number `which` of all, as the sink would.
fn refuse(batch: &mut Batch, model: &mut [Kept], which: usize) {
    let total = batch.rows() as usize;
    if total == 0 {
        return;
    }
    let (mut segment, mut row) = (0, which % total);
    while row >= batch.segments[segment].rows as usize {
        row -= batch.segments[segment].rows as usize;
        segment += 1;
    }
    let range = row * 8..row * 8 + 8;
    let bytes: [u8; 8] = batch.segments[segment].bytes[range.clone()].try_into().unwrap();
    let offset = i64::from_be_bytes(bytes);
    batch.refuse(segment, row, range, "23505", "duplicate");
    let kept = model.iter_mut().find(|kept| kept.offset == offset).unwrap();
    assert!(matches!(kept.fate, Fate::Row(_)), "refused twice");
    kept.fate = Fate::Refused;
    let letter = batch.dead_letters.last().unwrap();
    let found = (letter.offset, &letter.key, &letter.value, letter.timestamp_ms);
    assert_eq!(found, (offset, &kept.key, &kept.value, kept.record().timestamp_ms));
}

fn assert_same(batch: &Batch, model: &[Kept], begin: i64) {
    let end = model.last().map_or(begin, |kept| kept.offset + 1);
    assert_eq!((batch.begin, batch.end, batch.records), (begin, end, model.len() as u64));
    let count = |is: fn(&Fate) -> bool| model.iter().filter(|kept| is(&kept.fate)).count();
    assert_eq!(batch.rows(), count(|fate| matches!(fate, Fate::Row(_))) as u64);
    assert_eq!(batch.dead_letters.len(), count(|fate| !matches!(fate, Fate::Row(_))));
    for segment in batch.segments.iter().filter(|segment| segment.rows > 0) {
        let mine = model.iter().filter(|kept| kept.fate == Fate::Row(segment.layout));
        let expected: Vec<u8> = mine.flat_map(Kept::row).collect();
        assert_eq!(segment.bytes, expected, "the rows of {:?}, in order", segment.layout);
        assert_eq!(segment.bytes.len(), segment.rows as usize * 8);
        assert_eq!(segment.origins.len(), segment.rows as usize);
    }
    let mut layouts: Vec<Layout> =
        batch.segments.iter().filter(|s| s.rows > 0).map(|s| s.layout).collect();
    layouts.sort_unstable();
    layouts.dedup();
    let segments = batch.segments.iter().filter(|segment| segment.rows > 0).count();
    assert_eq!(layouts.len(), segments, "one COPY a layout");
    let originals: Vec<i64> = batch.originals().map(|original| original.offset).collect();
    let expected: Vec<i64> =
        model.iter().filter(|k| k.fate != Fate::Rejected).map(|k| k.offset).collect();
    assert_eq!(originals, expected);
    let timestamps: u32 = batch.timestamps_ms.iter().map(|(_, count)| count).sum();
    let timed = model.iter().filter(|kept| kept.record().timestamp_ms.is_some()).count();
    assert_eq!(timestamps as usize, timed);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn every_record_is_a_row_or_a_dead_letter_with_its_own_bytes(
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let (mut batch, mut model, mut begin) = (Batch::new(5), Vec::<Kept>::new(), 5);
        for step in steps {
            let next = batch.end;
            match step {
                Step::Take { layout, gap, key, value } => {
                    let layout = Layout(layout);
                    let kept = Kept { offset: next + gap, key, value, fate: Fate::Row(layout) };
                    take(&mut batch, &kept, layout);
                    model.push(kept);
                }
                Step::Reject { gap, value } => {
                    let offset = next + gap;
                    let kept = Kept { offset, key: None, value, fate: Fate::Rejected };
                    // As a lane does: the encoder has chosen a segment before it refuses.
                    batch.segment(Layout(offset as u64 % 9));
                    batch.reject(&kept.record(), Rejection::record(Reason::Malformed, "no"));
                    batch.cover(&kept.record(), Instant::now);
                    model.push(kept);
                }
                Step::Refuse { which } => refuse(&mut batch, &mut model, which),
                Step::Reset { gap } => {
                    begin = next + gap;
                    batch.reset(begin);
                    model.clear();
                }
            }
            assert_same(&batch, &model, begin);
        }
    }
}
