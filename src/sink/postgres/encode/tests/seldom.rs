use super::*;

/// Encodes each text, as a JSON string, into the bytes.
#[track_caller]
fn becomes(column_type: &ColumnType, cases: &[(&str, &[u8])]) {
    for (text, bytes) in cases {
        let json = serde_json::Value::from(*text).to_string();
        assert_eq!(encode(column_type, &json).as_deref(), Ok(*bytes), "{text}");
    }
}

#[track_caller]
fn all_refused(column_type: &ColumnType, texts: &[&str], reason: Reason) {
    for text in texts {
        let json = serde_json::Value::from(*text).to_string();
        refused(column_type, &json, reason, "");
    }
}

#[test]
fn an_oid_is_unsigned() {
    assert_eq!(encode(ColumnType::Oid, "4294967295"), Ok(vec![0xff; 4]));
    refused(ColumnType::Oid, "4294967296", Reason::OutOfRange, "expected 0 to 4294967295 (oid)");
    refused(ColumnType::Oid, "-1", Reason::OutOfRange, "(oid)");
}

#[test]
fn money_is_rounded_away_from_zero_to_the_digits_of_its_currency() {
    for (digits, text, value) in [
        (2, "12.5", 1250_i64),
        (2, "0.005", 1),
        (2, "-0.005", -1),
        (2, "\"-12.344\"", -1234),
        (0, "1.5", 2),
        (3, "1", 1000),
        (2, "-92233720368547758.08", i64::MIN),
        (2, "-92233720368547758.075", i64::MIN),
        (2, "92233720368547758.07", i64::MAX),
    ] {
        let bytes = value.to_be_bytes().to_vec();
        assert_eq!(encode(ColumnType::Money { digits }, text), Ok(bytes), "{text}");
    }
    let cents = ColumnType::Money { digits: 2 };
    refused(&cents, "92233720368547758.08", Reason::OutOfRange, "numeric would hold it");
    refused(&cents, "-92233720368547758.085", Reason::OutOfRange, "numeric would hold it");
    refused(&cents, "\"$1\"", Reason::InvalidText, "without a currency");
}

#[test]
fn names_and_single_bytes_are_not_cut() {
    let name = "n".repeat(63);
    assert_eq!(encode(ColumnType::Name, &format!("\"{name}\"")), Ok(name.into_bytes()));
    let long = format!("\"{}é\"", "n".repeat(62));
    refused(ColumnType::Name, &long, Reason::OutOfRange, "has 64 bytes, name holds 63");
    becomes(&ColumnType::Char, &[("a", b"a"), ("", b"\0")]);
    all_refused(&ColumnType::Char, &["ab", "é"], Reason::OutOfRange);
}

#[test]
fn xml_that_declares_another_encoding_than_it_has_is_refused() {
    let utf8 = "<?xml version=\"1.0\" encoding='utf-8' ?><a/>";
    becomes(&ColumnType::Xml, &[("<a>é</a>", "<a>é</a>".as_bytes()), (utf8, utf8.as_bytes())]);
    let latin = r#""<?xml version='1.0' encoding='latin1'?><a/>""#;
    refused(ColumnType::Xml, latin, Reason::InvalidText, "declares an encoding");
    refused(ColumnType::Xml, "[1]", Reason::WrongType, "expected a string (xml)");
}

#[test]
fn times_of_day_have_no_zone_or_need_one() {
    let us = 45_045_500_000_i64.to_be_bytes();
    becomes(
        &ColumnType::Time,
        &[("12:30:45.5", &us), ("24:00:00", &86_400_000_000_i64.to_be_bytes())],
    );
    refused(ColumnType::Time, "\"12:00:00+02\"", Reason::InvalidText, "has a zone");
    refused(ColumnType::Time, "1", Reason::WrongType, "declare epoch");
    let zoned = [&us[..], &(-7_200_i32).to_be_bytes()].concat();
    becomes(&ColumnType::Timetz, &[("12:30:45.5+02:00", &zoned)]);
    refused(ColumnType::Timetz, "\"12:00:00\"", Reason::InvalidText, "has no time zone");
    refused(ColumnType::Timetz, "\"12:00:00+16\"", Reason::InvalidText, "no such time zone");
    let in_ms = Column {
        reading: Reading { epoch_unit: Some(EpochUnit::Ms), ..Reading::default() },
        ..column(ColumnType::Time)
    };
    assert_eq!(encode_in(in_ms.clone(), "45045500"), Ok(us.to_vec()));
    let rejection = encode_in(in_ms, "86400001").unwrap_err();
    assert_eq!(rejection.reason, Reason::OutOfRange);
}

fn interval(months: i32, days: i32, us: i64) -> Vec<u8> {
    [&us.to_be_bytes()[..], &days.to_be_bytes(), &months.to_be_bytes()].concat()
}

#[test]
fn intervals_are_read_in_both_notations() {
    for (text, expected) in [
        ("P1Y2M3W4DT5H6M7.5S", interval(14, 25, 18_367_500_000)),
        ("PT-0.000001S", interval(0, 0, -1)),
        ("-P1DT1S", interval(0, -1, -1_000_000)),
        ("1 year 2 mons -3 days +04:05:06", interval(14, -3, 14_706_000_000)),
        ("@ 1 hour 5 mins ago", interval(0, 0, -3_900_000_000)),
        ("-04:05", interval(0, 0, -14_700_000_000)),
        ("1h 30m", interval(0, 0, 5_400_000_000)),
        ("1.5 SECONDS 2 ms", interval(0, 0, 1_502_000)),
        ("-178000000 years", interval(-2_136_000_000, 0, 0)),
    ] {
        assert_eq!(encode(ColumnType::Interval, &format!("\"{text}\"")), Ok(expected), "{text}");
    }
    let texts = [
        "",
        "P",
        "PT",
        "P1",
        "P1H",
        "PT1D",
        "1.5 days",
        "P0.5Y",
        "5",
        "1 day 1 day",
        "04:05:06 1 hour",
        "1:60:00",
        "1 fortnight",
        " 1 day",
        "1 day ",
        "ago",
        "--1 day",
        "--04:05",
        "+-04:05",
        "1 dayago",
    ];
    all_refused(&ColumnType::Interval, &texts, Reason::InvalidText);
    let texts = ["P178956971Y", "2147483648 days", "9223372036854775808 us", "3000000000 hours"];
    all_refused(&ColumnType::Interval, &texts, Reason::OutOfRange);
    refused(ColumnType::Interval, "5", Reason::WrongType, "declare epoch");
}

#[test]
fn addresses_keep_their_masks() {
    becomes(
        &ColumnType::Inet,
        &[
            ("10.1.2.3", &[2, 32, 0, 4, 10, 1, 2, 3]),
            ("10.1.2.3/24", &[2, 24, 0, 4, 10, 1, 2, 3]),
            ("::1/0", &[3, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
        ],
    );
    becomes(
        &ColumnType::Cidr,
        &[("10.1.2.0/24", &[2, 24, 1, 4, 10, 1, 2, 0]), ("0.0.0.0/0", &[2, 0, 1, 4, 0, 0, 0, 0])],
    );
    refused(ColumnType::Cidr, "\"10.1.2.3/24\"", Reason::InvalidText, "inet would hold it");
    let texts = ["10.1", "10.1.2.3/33", "10.1.2.3/", "::1/129", "::1/+1", "x", "fe80::1%eth0"];
    all_refused(&ColumnType::Inet, &texts, Reason::InvalidText);
}

#[test]
fn hardware_addresses_are_read_in_the_groups_that_postgres_knows() {
    let six: &[u8] = &[8, 0, 0x2b, 1, 2, 3];
    for text in [
        "08:00:2b:01:02:03",
        "08-00-2B-01-02-03",
        "0800.2b01.0203",
        "0800-2b01-0203",
        "08002b:010203",
        "08002b-010203",
        "08002b010203",
    ] {
        becomes(&ColumnType::Macaddr, &[(text, six)]);
        becomes(&ColumnType::Macaddr8, &[(text, &[8, 0, 0x2b, 0xff, 0xfe, 1, 2, 3])]);
    }
    becomes(&ColumnType::Macaddr8, &[("08002b:0102030405", &[8, 0, 0x2b, 1, 2, 3, 4, 5])]);
    becomes(&ColumnType::Macaddr8, &[("08:00:2b:01:02:03:04:05", &[8, 0, 0x2b, 1, 2, 3, 4, 5])]);
    let texts = ["", "08:00:2b:01:02", "08:00:2b:01:02:03:04", "08:00-2b:01:02:03", "8:0:2b:1:2:3"];
    all_refused(&ColumnType::Macaddr, &texts, Reason::InvalidText);
    all_refused(&ColumnType::Macaddr, &["08:00:2b:01:02:03:04:05"], Reason::InvalidText);
}

#[test]
fn bits_are_counted_not_filled_or_cut() {
    let three = ColumnType::Bit { bits: Some(3) };
    becomes(&three, &[("101", &[0, 0, 0, 3, 0b1010_0000]), ("b011", &[0, 0, 0, 3, 0b0110_0000])]);
    all_refused(&three, &["10", "1010"], Reason::OutOfRange);
    all_refused(&three, &["102", "1 1"], Reason::InvalidText);
    refused(&three, "101", Reason::WrongType, "0 and 1");
    refused(&three, "true", Reason::OutOfRange, "has 1 bits, not 3");
    assert_eq!(encode(ColumnType::Bit { bits: Some(1) }, "true"), Ok(vec![0, 0, 0, 1, 0x80]));
    let nine = ColumnType::Varbit { max_bits: Some(9) };
    becomes(&nine, &[("", &[0, 0, 0, 0]), ("x1f", &[0, 0, 0, 8, 0x1f])]);
    becomes(&nine, &[("111111111", &[0, 0, 0, 9, 0xff, 0x80])]);
    all_refused(&nine, &["x1ff", "1111111111"], Reason::OutOfRange);
}

#[test]
fn a_label_that_the_enum_does_not_have_gets_the_likely_one() {
    let labels = ["happy", "sad"].map(str::to_owned).to_vec();
    let mood = ColumnType::Enum(Arc::new(EnumType { name: "mood".to_owned(), labels }));
    becomes(&mood, &[("happy", b"happy")]);
    refused(&mood, "\"hapy\"", Reason::InvalidText, "did you mean `happy`?");
    refused(&mood, "\"SAD\"", Reason::InvalidText, "`SAD`: is no label of mood");
    refused(&mood, "true", Reason::WrongType, "expected a string (mood)");
}

#[test]
fn a_type_without_an_encoder_gets_the_text_for_postgres_to_read() {
    let geometry = ColumnType::Unknown("geometry".into());
    for (json, text) in [
        ("\"POINT(1 2)\"", "POINT(1 2)"),
        ("1.50", "1.50"),
        ("true", "true"),
        (r#"{"a":[]}"#, r#"{"a":[]}"#),
    ] {
        assert_eq!(encode(&geometry, json), Ok(text.as_bytes().to_vec()));
    }
    assert!(!geometry.has_encoder());
}

#[test]
fn a_time_without_a_zone_is_read_from_the_clock_that_is_declared() {
    let zone = jiff::tz::TimeZone::get("Europe/Berlin").unwrap();
    let berlin = Column {
        reading: Reading { zone: Some(zone), ..Reading::default() },
        ..column(ColumnType::Timestamptz)
    };
    for (local, utc) in [
        ("2026-01-31T12:00:00", "2026-01-31T11:00:00Z"),
        ("2026-07-01 12:00", "2026-07-01T10:00:00Z"),
        ("2026-07-01", "2026-06-30T22:00:00Z"),
        ("2026-03-29T03:00:00", "2026-03-29T01:00:00Z"),
        ("2026-12-31T24:00:00", "2026-12-31T23:00:00Z"),
        ("2026-07-01T12:00:00+07:00", "2026-07-01T05:00:00Z"),
    ] {
        let local = encode_in(berlin.clone(), &format!("\"{local}\"")).unwrap();
        assert_eq!(local, encode(ColumnType::Timestamptz, &format!("\"{utc}\"")).unwrap(), "{utc}");
    }
    for (local, part) in [
        ("2026-03-29T02:30:00", "never showed that"),
        ("2026-10-25T02:30:00", "showed that twice"),
        ("10000-01-01T00:00:00", "years up to 9999"),
        ("9999999-01-01T00:00:00", "years up to 9999"),
    ] {
        let rejection = encode_in(berlin.clone(), &format!("\"{local}\"")).unwrap_err();
        assert!(rejection.message.contains(part), "{rejection}");
    }
}
