//! What frames bytes: kept records, encoded rows, the answers of Postgres.

use tidegate::{
    batch::Batch,
    record::Record,
    sink::postgres::{
        encode,
        sqlstate::{classify, copy_line},
    },
};

use crate::Try;

pub(crate) fn sqlstate() -> Try {
    Box::new(|input| {
        let text = String::from_utf8_lossy(input);
        classify(&text);
        if let Some(line) = copy_line(&text) {
            assert!(text.contains(&line.to_string()), "no such number: {line}");
        }
    })
}

/// Reads any bytes without a fault, and gives back what was kept.
pub(crate) fn original() -> Try {
    Box::new(|input| {
        let mut batch = Batch::new(0);
        batch.originals.extend_from_slice(input);
        let read: usize =
            batch.originals().map(|original| size(original.key, original.value)).sum();
        assert!(read <= input.len());

        let at = input.first().map_or(0, |byte| usize::from(*byte)).min(input.len());
        let (key, value) = input.split_at(at);
        let kept =
            [(Some(key), Some(value)), (None, Some(input)), (Some(input), None), (None, None)];
        let mut batch = Batch::new(0);
        for (offset, (key, value)) in kept.into_iter().enumerate() {
            let timestamp_ms = (offset % 2 == 0).then_some(offset as i64);
            let offset = offset as i64;
            let (topic, partition, headers) = ("t", 0, None);
            batch.keep_original(&Record {
                topic,
                partition,
                offset,
                timestamp_ms,
                key,
                value,
                headers,
            });
        }
        let read: Vec<_> =
            batch.originals().map(|o| (o.offset, o.timestamp_ms, o.key, o.value)).collect();
        let expected: Vec<_> = kept
            .into_iter()
            .enumerate()
            .map(|(index, (key, value))| {
                (index as i64, (index % 2 == 0).then_some(index as i64), key, value)
            })
            .collect();
        assert_eq!(read, expected);
    })
}

fn size(key: Option<&[u8]>, value: Option<&[u8]>) -> usize {
    key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len)
}

/// Rows stand one behind the other, and inside.
pub(crate) fn rows() -> Try {
    Box::new(|input| {
        let mut end = 0;
        for row in encode::rows(input) {
            assert_eq!(row.start, end, "a gap");
            assert!(row.end >= row.start + 2 && row.end <= input.len());
            end = row.end;
        }
    })
}
