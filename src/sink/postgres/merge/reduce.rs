//! Of the rows of a write set that have one key, only the last needs to be sent.
//!
//! Keys are compared by their bytes, which may tell keys apart that Postgres holds for one (`1.0` and
//! `1.00`): those it tells itself. Superseded rows are left out and not removed: should the last one
//! be refused, the one before it is the last.

use std::{
    collections::{HashMap, hash_map::Entry},
    ops::Range,
};

use super::order;
use crate::{batch::Batch, sink::postgres::encode::rows};

/// A row of a write set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    batch: usize,
    segment: usize,
    start: usize,
    end: usize,
}

/// The rows that later ones stand for, in order.
#[derive(Debug, Default)]
pub(crate) struct Superseded(Vec<Place>);

impl Superseded {
    /// Finds them. The first `key_fields` fields of each row are its key.
    pub(crate) fn find<'a>(
        batches: impl Iterator<Item = &'a Batch> + Clone,
        key_fields: usize,
    ) -> Self {
        let count: u64 = batches.clone().map(Batch::rows).sum();
        let mut last: HashMap<&[u8], (i64, Place)> = HashMap::with_capacity(count as usize);
        let mut superseded = Vec::new();
        for (batch, rows_of) in batches.enumerate() {
            for (segment, rows_of) in rows_of.segments.iter().enumerate() {
                for Range { start, end } in rows(&rows_of.bytes) {
                    let Some(row) = rows_of.bytes.get(start..end) else { break };
                    let place = Place { batch, segment, start, end };
                    let newer = (order(row), place);
                    match last.entry(key_of(row, key_fields)) {
                        Entry::Occupied(mut known) if known.get().0 <= newer.0 => {
                            superseded.push(known.insert(newer).1);
                        }
                        Entry::Occupied(_) => superseded.push(newer.1),
                        Entry::Vacant(free) => drop(free.insert(newer)),
                    }
                }
            }
        }
        superseded.sort_unstable();
        Self(superseded)
    }

    /// How many there are in a batch of the set.
    pub(crate) fn in_batch(&self, batch: usize) -> u64 {
        self.0.iter().filter(|place| place.batch == batch).count() as u64
    }

    /// What is left of a segment of so many bytes, and the number of rows that are left out.
    pub(crate) fn rest_of(
        &self,
        batch: usize,
        segment: usize,
        length: usize,
    ) -> (Vec<Range<usize>>, u64) {
        let from = self.0.partition_point(|place| (place.batch, place.segment) < (batch, segment));
        let here = self.0.iter().skip(from);
        let here = here.take_while(|place| (place.batch, place.segment) == (batch, segment));
        let (mut rest, mut count, mut next) = (Vec::new(), 0, 0);
        for place in here {
            if place.start > next {
                rest.push(next..place.start);
            }
            next = place.end;
            count += 1;
        }
        if next < length {
            rest.push(next..length);
        }
        (rest, count)
    }
}

/// The bytes of the first fields of a row, lengths included.
fn key_of(row: &[u8], fields: usize) -> &[u8] {
    let mut rest = row.get(2..).unwrap_or_default();
    let key = rest;
    for _ in 0..fields {
        let Some((length, after)) = rest.split_first_chunk() else { break };
        let length = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0);
        rest = after.get(length..).unwrap_or_default();
    }
    key.get(..key.len() - rest.len()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::batch::Layout;

    /// A row of a key of two fields, and behind them the record's place.
    fn row(key: (u8, Option<u8>), padding: usize, order: i64) -> Vec<u8> {
        let mut row = vec![0, 4, 0, 0, 0, 1, key.0];
        match key.1 {
            Some(byte) => row.extend([0, 0, 0, 2, byte, byte]),
            None => row.extend([255; 4]),
        }
        row.extend((padding as u32).to_be_bytes());
        row.extend(std::iter::repeat_n(7, padding));
        row.extend([0, 0, 0, 8]);
        row.extend(order.to_be_bytes());
        row
    }

    proptest! {
        #[test]
        fn the_last_row_of_each_key_is_left_and_no_other(
            batches in prop::collection::vec(
                prop::collection::vec((0u8..4, prop::option::of(0u8..3), 0u64..3, 0usize..5), 0..30),
                1..4,
            ),
        ) {
            let mut expected = BTreeMap::new();
            let mut set = Vec::new();
            for (number, rows) in batches.iter().enumerate() {
                let mut batch = Batch::new(0);
                for (offset, (a, b, layout, padding)) in rows.iter().enumerate() {
                    let order = (offset * batches.len() + number) as i64;
                    let row = row((*a, *b), *padding, order);
                    let segment = batch.segment(Layout(*layout));
                    segment.bytes.extend(&row);
                    segment.rows += 1;
                    let last: &mut (i64, Vec<u8>) = expected.entry((*a, *b)).or_default();
                    if last.1.is_empty() || last.0 < order {
                        *last = (order, row);
                    }
                }
                set.push(batch);
            }
            let superseded = Superseded::find(set.iter(), 2);
            let mut found = Vec::new();
            for (b, batch) in set.iter().enumerate() {
                let mut left_out = 0;
                for (s, segment) in batch.segments.iter().enumerate() {
                    let (rest, count) = superseded.rest_of(b, s, segment.bytes.len());
                    left_out += count;
                    for range in rest {
                        let bytes = &segment.bytes[range];
                        found.extend(rows(bytes).map(|row| bytes[row].to_vec()));
                    }
                }
                prop_assert_eq!(left_out, superseded.in_batch(b));
            }
            let mut expected: Vec<Vec<u8>> = expected.into_values().map(|(_, row)| row).collect();
            expected.sort();
            found.sort();
            prop_assert_eq!(found, expected);
        }
    }
}
