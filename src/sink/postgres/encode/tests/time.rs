use jiff::{Timestamp, civil};

use super::*;

const UNIX_EPOCH_US: i64 = 946_684_800_000_000;

fn encode_with(
    column_type: ColumnType,
    unit: EpochUnit,
    value: &str,
) -> Result<Vec<u8>, Rejection> {
    encode_in(
        Column {
            reading: Reading { epoch_unit: Some(unit), ..Reading::default() },
            ..column(column_type)
        },
        value,
    )
}

fn us(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap().as_microsecond() - UNIX_EPOCH_US
}

#[track_caller]
fn same_instant(text: &str, reference: &str) {
    let expected = us(reference).to_be_bytes();
    assert_eq!(
        encode(ColumnType::Timestamptz, &format!("\"{text}\"")).unwrap(),
        expected,
        "{text}"
    );
    assert_eq!(encode(ColumnType::Timestamp, &format!("\"{text}\"")).unwrap(), expected, "{text}");
}

#[test]
fn instants_are_read_in_their_usual_forms() {
    let reference = "2026-01-02T03:04:05.678Z";
    for text in [
        "2026-01-02T03:04:05.678Z",
        "2026-01-02t03:04:05.678z",
        "2026-01-02 03:04:05.678000Z",
        "2026-01-02T05:04:05.678+02",
        "2026-01-02T05:34:05.678+0230",
        "2026-01-01T23:34:05.678-03:30",
        "2026-01-02T03:04:05.6779995Z",
        "2026-01-02T03:04:05.678000499999Z",
        "2026-01-02T03:04:05.678000499999999999999999Z",
        // In the middle, to the even microsecond.
        "2026-01-02T03:04:05.6780005Z",
    ] {
        same_instant(text, reference);
    }
    same_instant("2026-01-02T03:04Z", "2026-01-02T03:04:00Z");
    same_instant("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z");
    same_instant("9999-12-30T21:59:59.999999Z", "9999-12-30T21:59:59.999999Z");
    same_instant("2024-02-29T00:00:00Z", "2024-02-29T00:00:00Z");
}

#[test]
fn second_60_and_hour_24_are_what_follows_as_in_postgres() {
    same_instant("2026-12-31T23:59:60Z", "2027-01-01T00:00:00Z");
    same_instant("2026-12-31T22:59:60.5Z", "2026-12-31T23:00:00.5Z");
    same_instant("2026-12-31T24:00:00Z", "2027-01-01T00:00:00Z");
    same_instant("2026-12-31T23:59:59.9999995Z", "2027-01-01T00:00:00Z");
    for text in [
        "24:00:01",
        "23:59:60.5",
        "24:00:00.000001",
        "24:01:00",
        "25:00:00",
        "00:60:00",
        "00:00:61",
    ] {
        let text = format!("\"2026-12-31T{text}Z\"");
        refused(ColumnType::Timestamptz, &text, Reason::InvalidText, "no such time of day");
    }
}

#[test]
fn a_zone_is_needed_where_the_instant_depends_on_it() {
    let local = "\"2026-01-02T03:04:05\"";
    refused(ColumnType::Timestamptz, local, Reason::InvalidText, "has no time zone");
    refused(ColumnType::Timestamptz, "\"2026-01-02\"", Reason::InvalidText, "has no time zone");
    let expected = us("2026-01-02T03:04:05Z").to_be_bytes();
    assert_eq!(encode(ColumnType::Timestamp, local).unwrap(), expected);
    let midnight = us("2026-01-02T00:00:00Z").to_be_bytes();
    assert_eq!(encode(ColumnType::Timestamp, "\"2026-01-02\"").unwrap(), midnight);
}

#[test]
fn what_is_no_time_is_refused() {
    for text in [
        "",
        "now",
        "2026",
        "2026-1-2T03:04:05Z",
        "2026-01-02T3:04:05Z",
        "2026-01-02X03:04:05Z",
        "2026-01-02T03:04:05.Z",
        "2026-01-02T03:04:05,5Z",
        "2026-01-02T03:04:05 Z",
        "2026-01-02T03:04:05+1",
        "2026-01-02T03:04:05+01:0",
        "2026-01-02T03:04:05Zz",
        "-2026-01-02T03:04:05Z",
        "20260102T030405Z",
        "+2026-01-02T03:04:05Z",
        "２026-01-02T03:04:05Z",
    ] {
        let text = format!("\"{text}\"");
        refused(ColumnType::Timestamptz, &text, Reason::InvalidText, "expected a timestamp");
    }
    for (day, problem) in [
        ("2026-13-01", "no such month"),
        ("2026-00-01", "no such month"),
        ("2026-02-29", "no such day"),
        ("1900-02-29", "no such day"),
        ("2026-04-31", "no such day"),
        ("2026-01-00", "no such day"),
        ("0000-01-01", "no year 0"),
    ] {
        refused(ColumnType::Date, &format!("\"{day}\""), Reason::InvalidText, problem);
        let midnight = format!("\"{day}T00:00:00Z\"");
        refused(ColumnType::Timestamptz, &midnight, Reason::InvalidText, problem);
    }
    let zone = "\"2026-01-02T03:04:05+24:00\"";
    refused(ColumnType::Timestamptz, zone, Reason::InvalidText, "time zone offset");
}

#[test]
fn the_ranges_are_those_of_postgres() {
    let last = encode(ColumnType::Timestamp, "\"294276-12-31T23:59:59.999999\"").unwrap();
    assert_eq!(last, 9_223_371_331_199_999_999_i64.to_be_bytes());
    for text in
        ["294276-12-31T23:59:59.9999999Z", "294277-01-01T00:00:00Z", "9999999-12-31T23:59:59Z"]
    {
        refused(ColumnType::Timestamptz, &format!("\"{text}\""), Reason::OutOfRange, "294276");
    }
    assert_eq!(
        encode(ColumnType::Date, "\"5874897-12-31\"").unwrap(),
        2_145_031_948_i32.to_be_bytes()
    );
    refused(ColumnType::Date, "\"5874898-01-01\"", Reason::OutOfRange, "5874897");
}

#[test]
fn infinity_is_a_time() {
    for column_type in [ColumnType::Timestamp, ColumnType::Timestamptz] {
        assert_eq!(encode(&column_type, "\"infinity\"").unwrap(), i64::MAX.to_be_bytes());
        assert_eq!(encode(&column_type, "\"-Infinity\"").unwrap(), i64::MIN.to_be_bytes());
    }
    assert_eq!(encode(ColumnType::Date, "\"infinity\"").unwrap(), i32::MAX.to_be_bytes());
    assert_eq!(encode(ColumnType::Date, "\"-infinity\"").unwrap(), i32::MIN.to_be_bytes());
    refused(ColumnType::Date, "\"nan\"", Reason::InvalidText, "expected a date");
}

#[test]
fn a_date_is_a_day_without_a_time() {
    assert_eq!(encode(ColumnType::Date, "\"2000-01-01\"").unwrap(), 0_i32.to_be_bytes());
    assert_eq!(encode(ColumnType::Date, "\"1999-12-31\"").unwrap(), (-1_i32).to_be_bytes());
    let text = "\"2026-01-02T00:00:00Z\"";
    refused(ColumnType::Date, text, Reason::InvalidText, "expected a date like 2026-01-31");
}

#[test]
fn years_before_christ_are_read_as_postgres_writes_them() {
    for (text, days) in [
        ("0001-12-31 BC", -730_120_i32),
        ("0001-02-29 BC", -730_426),
        ("4714-11-24 BC", -2_451_545),
    ] {
        let text = format!("\"{text}\"");
        assert_eq!(encode(ColumnType::Date, &text).unwrap(), days.to_be_bytes(), "{text}");
    }
    let us = -730_120 * 86_400_000_000_i64 + 3_600_000_000;
    let text = "\"0001-12-31T03:00:00+02:00 BC\"";
    assert_eq!(encode(ColumnType::Timestamptz, text).unwrap(), us.to_be_bytes());
    let text = "\"0001-12-31 01:00:00 BC\"";
    assert_eq!(encode(ColumnType::Timestamp, text).unwrap(), us.to_be_bytes());
    refused(ColumnType::Date, "\"4714-11-23 BC\"", Reason::OutOfRange, "4713 BC");
    refused(ColumnType::Date, "\"0000-01-01 BC\"", Reason::InvalidText, "no year 0");
    refused(ColumnType::Date, "\"0002-02-29 BC\"", Reason::InvalidText, "no such day");
    refused(ColumnType::Date, "\"0001-12-31 bc\"", Reason::InvalidText, "expected a date");
}

#[test]
fn a_number_is_a_time_only_in_a_declared_unit() {
    for column_type in [ColumnType::Date, ColumnType::Timestamp, ColumnType::Timestamptz] {
        refused(column_type, "1767323045678", Reason::WrongType, "declare epoch = \"ms\"");
    }
    let expected = us("2026-01-02T03:04:05.678Z").to_be_bytes();
    for (unit, value) in [
        (EpochUnit::S, "1767323045.678"),
        (EpochUnit::S, "1.767323045678e9"),
        (EpochUnit::Ms, "1767323045678"),
        (EpochUnit::Ms, "\"1767323045678\""),
        (EpochUnit::Us, "1767323045678000"),
        (EpochUnit::Us, "1767323045677999.5"),
        (EpochUnit::Ns, "1767323045678000499"),
        (EpochUnit::Ns, "1767323045677999500"),
        (EpochUnit::Ms, "\"2026-01-02T03:04:05.678Z\""),
    ] {
        let field = encode_with(ColumnType::Timestamptz, unit, value).unwrap();
        assert_eq!(field, expected, "{value} {unit:?}");
    }
    let days = encode_with(ColumnType::Date, EpochUnit::Ms, "-1").unwrap();
    assert_eq!(days, (-10_958_i32).to_be_bytes());
    // Half up: -1.5 µs is -1 µs, as 23:59:59.9999985 is 23:59:59.999999.
    let field = encode_with(ColumnType::Timestamp, EpochUnit::Ns, "-1500").unwrap();
    assert_eq!(field, (-UNIX_EPOCH_US - 1).to_be_bytes());
    for value in ["1e30", "1e999999999", "9223372036854775807"] {
        let rejection = encode_with(ColumnType::Timestamptz, EpochUnit::S, value).unwrap_err();
        assert_eq!(rejection.reason, Reason::OutOfRange, "{value}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    #[test]
    fn instants_mean_what_jiff_reads(
        ns in -62_000_000_000_000_000_000_i128..250_000_000_000_000_000_000,
        precision in 0_u8..=9,
        offset in -15 * 60 + 1..15_i32 * 60,
        separator in prop::sample::select(&["T", "t", " "][..]),
    ) {
        let instant = Timestamp::from_nanosecond(ns).unwrap();
        let zone = jiff::tz::Offset::from_seconds(offset * 60).unwrap();
        let local = zone.to_datetime(instant);
        let sign = if offset < 0 { '-' } else { '+' };
        let zone = format!("{sign}{:02}:{:02}", offset.abs() / 60, offset.abs() % 60);
        let text = match precision {
            0 => format!("{local:.0}{zone}"),
            _ => format!("{local:.*}{zone}", usize::from(precision)),
        };
        let ours = encode(ColumnType::Timestamptz, &format!("\"{}\"", text.replace('T', separator)));
        let theirs = text.parse::<Timestamp>().unwrap();
        // The fraction by way of a double, and to the even microsecond in the middle, as Postgres reads it.
        let (second, ns) = (theirs.as_nanosecond().div_euclid(1_000_000_000), theirs.as_nanosecond());
        let fraction = ns.rem_euclid(1_000_000_000) as f64 / 1e9;
        let us = (fraction * 1_000_000.0).round_ties_even() as i64;
        let us = second as i64 * 1_000_000 + us - UNIX_EPOCH_US;
        prop_assert_eq!(ours.unwrap(), us.to_be_bytes(), "{}", text);
    }

    #[test]
    fn dates_are_refused_when_jiff_refuses_them(year in 1_i16..=9999, month in 0_i8..14, day in 0_i8..33) {
        let theirs = civil::Date::new(year, month, day).ok().map(|date| {
            let days = (date - civil::date(2000, 1, 1)).get_days();
            days.to_be_bytes().to_vec()
        });
        let ours = encode(ColumnType::Date, &format!("\"{year:04}-{month:02}-{day:02}\""));
        prop_assert_eq!(ours.ok(), theirs);
    }

    #[test]
    fn epochs_are_exact(ms in -62_000_000_000_000_i64..250_000_000_000_000) {
        let expected = (ms * 1_000 - UNIX_EPOCH_US).to_be_bytes();
        for (unit, value) in [
            (EpochUnit::Ms, ms.to_string()),
            (EpochUnit::S, format!("{ms}e-3")),
            (EpochUnit::Us, format!("{ms}000")),
            (EpochUnit::Ns, format!("{ms}000000.0")),
        ] {
            prop_assert_eq!(encode_with(ColumnType::Timestamp, unit, &value).unwrap(), expected);
        }
    }
}
