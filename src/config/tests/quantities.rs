use std::time::Duration;

use proptest::prelude::*;

use super::super::quantity::{duration_text, parse_duration, parse_size, size_text};

#[test]
fn sizes_are_numbers_with_a_unit() {
    for (text, bytes) in [
        ("0", Some(0)),
        ("17", Some(17)),
        ("17B", Some(17)),
        ("64KiB", Some(65_536)),
        ("64kib", Some(65_536)),
        ("64KB", Some(64_000)),
        (" 4 MiB ", Some(4 << 20)),
        ("1GB", Some(1_000_000_000)),
        ("1GiB", Some(1 << 30)),
        ("", None),
        ("MiB", None),
        ("-1", None),
        ("1.5MiB", None),
        ("1MiBs", None),
        ("1TiB", None),
        ("18446744073709551615GiB", None),
        ("99999999999999999999", None),
        ("٣MiB", None),
    ] {
        assert_eq!(parse_size(text), bytes, "{text}");
    }
}

#[test]
fn durations_are_numbers_with_a_unit() {
    for (text, ms) in [
        ("100ms", Some(100)),
        ("5s", Some(5_000)),
        ("2m", Some(120_000)),
        ("1h", Some(3_600_000)),
        ("0s", Some(0)),
        ("5", None),
        ("s", None),
        ("", None),
        ("1m30s", None),
        ("-1s", None),
        ("1.5s", None),
        ("5124095576030432h", None),
    ] {
        assert_eq!(parse_duration(text), ms.map(Duration::from_millis), "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_a_quantity_panic(text in ".*") {
        let _: Option<usize> = parse_size(&text);
        let _: Option<Duration> = parse_duration(&text);
    }

    #[test]
    fn no_number_and_unit_makes_a_quantity_panic(number in any::<u128>(), unit in "[a-zA-Zµ ]{0,4}") {
        let text = format!("{number}{unit}");
        let _: Option<usize> = parse_size(&text);
        let _: Option<Duration> = parse_duration(&text);
    }

    #[test]
    fn the_text_of_a_size_reads_as_that_size(bytes in any::<usize>(), shift in 0_u32..40) {
        let bytes = bytes >> shift << (shift / 2);
        prop_assert_eq!(parse_size(&size_text(bytes)), Some(bytes));
    }

    #[test]
    fn the_text_of_a_duration_reads_as_that_duration(ms in 0_u64..1 << 50, factor in 1_u64..4000) {
        let duration = Duration::from_millis(ms / factor * factor);
        prop_assert_eq!(parse_duration(&duration_text(duration)), Some(duration));
    }
}
