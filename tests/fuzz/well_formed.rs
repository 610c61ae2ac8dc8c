//! What the `*recv` functions of Postgres read.

use std::sync::Arc;

use serde_json::value::RawValue;
use tidegate::sink::postgres::column::{ArrayType, ColumnType};

/// Postgres would read it: the lengths and contents that the `*recv` functions want.
pub(crate) fn assert_well_formed(column_type: &ColumnType, field: &[u8]) {
    let fixed = match column_type {
        ColumnType::Bool | ColumnType::Char => Some(1),
        ColumnType::Int2 => Some(2),
        ColumnType::Int4 | ColumnType::Oid | ColumnType::Float4 | ColumnType::Date => Some(4),
        ColumnType::Macaddr => Some(6),
        ColumnType::Int8
        | ColumnType::Float8
        | ColumnType::Money { .. }
        | ColumnType::Timestamp
        | ColumnType::Timestamptz
        | ColumnType::Time
        | ColumnType::Macaddr8 => Some(8),
        ColumnType::Timetz => Some(12),
        ColumnType::Uuid | ColumnType::Interval | ColumnType::Point => Some(16),
        _ => None,
    };
    assert_eq!(field.len(), fixed.unwrap_or(field.len()), "{column_type:?}");
    match column_type {
        ColumnType::Numeric { .. } => assert_numeric(field),
        ColumnType::Text { max_chars } => {
            let text = std::str::from_utf8(field).expect("UTF-8");
            assert!(!text.contains('\0'));
            assert!(max_chars.is_none_or(|most| text.chars().count() <= most as usize));
        }
        ColumnType::Name | ColumnType::Xml | ColumnType::Unknown(_) => {
            assert!(!std::str::from_utf8(field).expect("UTF-8").contains('\0'));
        }
        ColumnType::Enum(mood) => {
            assert!(mood.labels.iter().any(|label| label.as_bytes() == field));
        }
        ColumnType::Json => {
            serde_json::from_slice::<&RawValue>(field).expect("JSON");
        }
        ColumnType::Jsonb => {
            let json = field.strip_prefix(b"\x01").expect("the version");
            serde_json::from_slice::<&RawValue>(json).expect("JSON");
        }
        ColumnType::Bit { .. } | ColumnType::Varbit { .. } => {
            let (bits, rest) = take_u32(field);
            assert_eq!(rest.len(), (bits as usize).div_ceil(8));
        }
        ColumnType::Inet | ColumnType::Cidr => {
            assert!(matches!((field.len(), field[0], field[3]), (8, 2, 4) | (20, 3, 16)));
        }
        ColumnType::Array(array) => assert_array(array, field),
        ColumnType::Composite(composite) => {
            let (count, mut rest) = take_u32(field);
            assert_eq!(count as usize, composite.attributes.len());
            for attribute in &composite.attributes {
                let (oid, after) = take_u32(rest);
                assert_eq!(oid, attribute.oid);
                rest = assert_part(&attribute.column_type, after);
            }
            assert!(rest.is_empty());
        }
        ColumnType::Range(bound) => {
            let (flags, mut rest) = field.split_first().expect("flags");
            let bounds = [0x09, 0x11].map(|without| flags & without == 0);
            for _ in bounds.into_iter().filter(|is_there| *is_there) {
                rest = assert_part(bound, rest);
            }
            assert!(rest.is_empty());
        }
        ColumnType::Multirange(bound) => {
            let (count, mut rest) = take_u32(field);
            for _ in 0..count {
                rest = assert_part(&ColumnType::Range(Arc::clone(bound)), rest);
            }
            assert!(rest.is_empty());
        }
        _ => {}
    }
}

fn take_u32(bytes: &[u8]) -> (u32, &[u8]) {
    let (number, rest) = bytes.split_first_chunk::<4>().expect("a number");
    (u32::from_be_bytes(*number), rest)
}

/// The field that `bytes` begin with is as its type wants it; gives what follows.
fn assert_part<'a>(column_type: &ColumnType, bytes: &'a [u8]) -> &'a [u8] {
    let (length, rest) = take_u32(bytes);
    if length == u32::MAX {
        return rest;
    }
    let (field, rest) = rest.split_at(length as usize);
    assert_well_formed(column_type, field);
    rest
}

/// As many elements as the dimensions say.
fn assert_array(array: &ArrayType, field: &[u8]) {
    let (dimensions, rest) = take_u32(field);
    let (has_nulls, rest) = take_u32(rest);
    let (oid, mut rest) = take_u32(rest);
    assert!(dimensions <= 6 && has_nulls <= 1);
    assert_eq!(oid, array.oid);
    let mut count = u32::from(dimensions > 0);
    for _ in 0..dimensions {
        let (size, after) = take_u32(rest);
        let (first, after) = take_u32(after);
        assert_eq!(first, 1);
        (count, rest) = (count * size, after);
    }
    for _ in 0..count {
        rest = assert_part(&array.element, rest);
    }
    assert!(rest.is_empty() && (count > 0 || dimensions == 0));
}

fn assert_numeric(field: &[u8]) {
    let words: Vec<u16> =
        field.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
    let [count, _weight, sign, scale] = words[..4] else { panic!("too short") };
    let digits = &words[4..];
    assert_eq!(digits.len(), usize::from(count));
    assert!(digits.iter().all(|digit| *digit < 10_000));
    assert!(digits.first() != Some(&0) && digits.last() != Some(&0), "not stripped");
    assert!([0, 0x4000, 0xc000, 0xd000, 0xf000].contains(&sign), "{sign:#x}");
    assert!(scale <= 16_383);
}
