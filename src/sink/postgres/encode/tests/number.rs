use super::*;

const BARE: ColumnType = ColumnType::Numeric { limits: None };

fn limited(precision: u16, scale: i16) -> ColumnType {
    ColumnType::Numeric { limits: Some((precision, scale)) }
}

#[test]
fn integers_come_straight_from_their_text() {
    for (text, value) in [
        ("0", 0),
        ("-0", 0),
        ("9007199254740993", 9_007_199_254_740_993),
        ("9223372036854775807", i64::MAX),
        ("-9223372036854775808", i64::MIN),
        ("1.0", 1),
        ("1e3", 1000),
        ("12.50e1", 125),
        ("1000e-3", 1),
        ("-0.0e-5", 0),
        ("0e999999999999999999999", 0),
        ("\"7\"", 7),
        ("\"-7\"", -7),
        ("\"+7\"", 7),
        ("\"007\"", 7),
        ("\"0000000000000000000000007\"", 7),
        ("\"1.0\"", 1),
    ] {
        assert_eq!(encode(ColumnType::Int8, text), Ok(value.to_be_bytes().to_vec()), "{text}");
    }
    assert_eq!(encode(ColumnType::Int4, "-2147483648"), Ok(i32::MIN.to_be_bytes().to_vec()));
    assert_eq!(encode(ColumnType::Int2, "32767"), Ok(i16::MAX.to_be_bytes().to_vec()));
}

#[test]
fn what_is_no_integer_of_the_column_is_refused() {
    for (column_type, text) in [
        (ColumnType::Int2, "32768"),
        (ColumnType::Int2, "-32769"),
        (ColumnType::Int4, "2147483648"),
        (ColumnType::Int8, "9223372036854775808"),
        (ColumnType::Int8, "-9223372036854775809"),
        (ColumnType::Int8, "1e19"),
        (ColumnType::Int8, "1e999999999999999999999"),
        (ColumnType::Int8, "\"99999999999999999999\""),
    ] {
        refused(column_type, text, Reason::OutOfRange, "expected -");
    }
    for text in ["1.5", "1e-1", "1e-999999999999999999999", "123456789012345678901.5", "\"0.5\""] {
        refused(ColumnType::Int8, text, Reason::WrongType, "has a fraction");
    }
    for text in
        ["\"\"", "\"x\"", "\" 1\"", "\"1 \"", "\"1,000\"", "\"0x10\"", "\"-\"", "\"1e\"", "\".\""]
    {
        refused(ColumnType::Int8, text, Reason::InvalidText, "does not read as an integer");
    }
    refused(ColumnType::Int8, "true", Reason::WrongType, "expected an integer");
}

#[test]
fn floats_are_the_nearest_ones() {
    for (text, value) in [
        ("0.1", 0.1_f64),
        ("-0.0", -0.0),
        ("1e308", 1e308),
        ("5e-324", 5e-324),
        ("0e-999999", 0.0),
        ("123456789012345678901234567890", 1.234_567_890_123_456_8e29),
        ("\"Infinity\"", f64::INFINITY),
        ("\"-Infinity\"", f64::NEG_INFINITY),
        ("\"2.5\"", 2.5),
    ] {
        assert_eq!(encode(ColumnType::Float8, text), Ok(value.to_be_bytes().to_vec()), "{text}");
    }
    let nan = encode(ColumnType::Float8, "\"NaN\"").unwrap();
    assert!(f64::from_be_bytes(nan.try_into().unwrap()).is_nan());
    // By way of f64 this would be rounded twice, to 1.0.
    let text = "1.000000059604644775390625000001";
    assert_eq!(encode(ColumnType::Float4, text), Ok(1.000_000_1_f32.to_be_bytes().to_vec()));
}

#[test]
fn floats_that_become_infinite_or_vanish_are_refused() {
    for text in ["1e309", "-1e309", "1e-400", "\"1e309\""] {
        refused(ColumnType::Float8, text, Reason::OutOfRange, "numeric would hold it");
    }
    refused(ColumnType::Float4, "1e39", Reason::OutOfRange, "(real)");
    refused(ColumnType::Float4, "1e-60", Reason::OutOfRange, "(real)");
    for text in ["\"inf\"", "\"\"", "\"1.5.5\"", "\"+Infinity\"", "\"0x1p3\""] {
        refused(ColumnType::Float8, text, Reason::InvalidText, "does not read as a number");
    }
}

/// The text of a numeric field, as `numeric_out` writes it.
fn numeric_text(field: &[u8]) -> String {
    let words: Vec<i32> =
        field.chunks(2).map(|pair| i32::from(i16::from_be_bytes([pair[0], pair[1]]))).collect();
    let [count, weight, sign, scale] = words[..4] else { panic!("too short: {field:?}") };
    let digits = &words[4..];
    assert_eq!(digits.len(), count as usize);
    assert_ne!(digits.first(), Some(&0), "a leading zero");
    assert_ne!(digits.last(), Some(&0), "a trailing zero");
    let digit = |at: i32| {
        let index = usize::try_from(weight - at).ok();
        index.and_then(|index| digits.get(index)).copied().unwrap_or(0)
    };
    let integer: String = (0..=weight.max(0)).rev().map(|at| format!("{:04}", digit(at))).collect();
    let integer = integer.trim_start_matches('0');
    let fraction: String = (1..=scale / 4 + 1).map(|at| format!("{:04}", digit(-at))).collect();
    let (fraction, hidden) = fraction.split_at(scale as usize);
    assert!(hidden.bytes().all(|digit| digit == b'0'), "digits beyond the scale");
    let point = if scale > 0 { "." } else { "" };
    let sign = if sign == 0x4000 { "-" } else { "" };
    format!("{sign}{}{point}{fraction}", if integer.is_empty() { "0" } else { integer })
}

/// What `text` means, written without an exponent and with the decimals that it implies.
fn plain(text: &str) -> String {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let exponent: i64 = exponent.parse().unwrap();
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(mantissa) => ("-", mantissa),
        None => ("", mantissa),
    };
    let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits = format!("{integer}{fraction}");
    let mut point = integer.len() as i64 + exponent;
    while point < 1 {
        digits.insert(0, '0');
        point += 1;
    }
    while (digits.len() as i64) < point {
        digits.push('0');
    }
    let (integer, fraction) = digits.split_at(point as usize);
    let integer = match integer.trim_start_matches('0') {
        "" => "0",
        integer => integer,
    };
    let sign = if digits.bytes().all(|digit| digit == b'0') { "" } else { sign };
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{sign}{integer}{point}{fraction}")
}

#[test]
fn numerics_keep_every_digit_and_the_written_scale() {
    for (value, text) in [
        ("0", "0"),
        ("-0.00", "0.00"),
        ("1.50", "1.50"),
        ("-1234567.0089", "-1234567.0089"),
        ("10000", "10000"),
        ("0.0001", "0.0001"),
        ("0.00001", "0.00001"),
        ("1e3", "1000"),
        ("1.5e-3", "0.0015"),
        ("1.50e1", "15.0"),
        ("\"12.30\"", "12.30"),
        ("\".5\"", "0.5"),
        ("\"5.\"", "5"),
    ] {
        assert_eq!(numeric_text(&encode(BARE, value).unwrap()), text, "{value}");
    }
    let field = encode(BARE, "1e131071").unwrap();
    assert_eq!(field.len(), 10, "zeros are not written");
    assert_eq!(numeric_text(&field), format!("1{}", "0".repeat(131_071)));
    assert_eq!(numeric_text(&encode(BARE, "1e-16383").unwrap()).len(), 16_385);
}

#[test]
fn numerics_that_are_no_numbers_are_told_by_their_sign() {
    for (value, sign) in [("\"NaN\"", 0xc0), ("\"Infinity\"", 0xd0), ("\"-Infinity\"", 0xf0)] {
        assert_eq!(encode(BARE, value), Ok(vec![0, 0, 0, 0, sign, 0, 0, 0]), "{value}");
    }
    assert!(encode(limited(5, 2), "\"NaN\"").is_ok());
    refused(limited(5, 2), "\"Infinity\"", Reason::OutOfRange, "numeric(5,2)");
    refused(BARE, "\"1e\"", Reason::InvalidText, "does not read as a number");
    refused(BARE, "\"\"", Reason::InvalidText, "does not read as a number");
}

#[test]
fn numerics_beyond_the_limits_are_refused_without_being_built() {
    for value in ["1e131072", "1e999999", "1e-16384", "1e99999999999999999999", "0e-99999"] {
        refused(BARE, value, Reason::OutOfRange, "131072 digits before and 16383 after");
    }
}

#[test]
fn precision_is_checked_after_the_rounding_that_postgres_will_do() {
    for (value, precision, scale, fits) in [
        ("999.99", 5, 2, true),
        ("999.994", 5, 2, true),
        ("999.995", 5, 2, false),
        ("-999.995", 5, 2, false),
        ("1000", 5, 2, false),
        ("0.001", 5, 2, true),
        ("99999", 3, -2, true),
        ("99949.99", 3, -2, true),
        ("99950", 3, -2, false),
        ("0.00999", 3, 5, true),
        ("0.009994", 3, 5, true),
        ("0.009995", 3, 5, false),
        ("0.01", 3, 5, false),
        ("0", 3, 5, true),
        ("0.4", 1, 0, true),
        ("9.5", 1, 0, false),
        ("9.4999999", 1, 0, true),
    ] {
        // 99999 rounds to 100000, which has a digit too many.
        let fits = fits && value != "99999";
        let result = encode(limited(precision, scale), value);
        assert_eq!(result.is_ok(), fits, "{value} in numeric({precision},{scale})");
        if let Err(rejection) = result {
            assert_eq!(rejection.reason, Reason::OutOfRange);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    #[test]
    fn numerics_mean_what_their_text_means(
        text in r"-?(0{0,8}[0-9]{1,4}){1,5}(\.(0{0,8}[0-9]{0,4}){1,5})?([eE][-+]?[0-9]{1,2})?",
    ) {
        let field = encode(BARE, &format!("\"{text}\"")).unwrap();
        prop_assert_eq!(numeric_text(&field), plain(&text));
    }

    #[test]
    fn integers_mean_what_std_reads(value in any::<i64>(), shift in 0_u32..63) {
        let value = value >> shift;
        let bytes = value.to_be_bytes();
        prop_assert_eq!(encode(ColumnType::Int8, &value.to_string()).unwrap(), bytes);
        prop_assert_eq!(encode(ColumnType::Int8, &format!("{value}.00")).unwrap(), bytes);
        let int4 = encode(ColumnType::Int4, &value.to_string());
        prop_assert_eq!(int4.ok(), i32::try_from(value).ok().map(|v| v.to_be_bytes().to_vec()));
        let int2 = encode(ColumnType::Int2, &value.to_string());
        prop_assert_eq!(int2.ok(), i16::try_from(value).ok().map(|v| v.to_be_bytes().to_vec()));
    }

    #[test]
    fn floats_come_back(value in any::<f64>(), small in any::<f32>()) {
        prop_assume!(value.is_finite() && small.is_finite());
        prop_assert_eq!(encode(ColumnType::Float8, &format!("{value:e}")).unwrap(), value.to_be_bytes());
        prop_assert_eq!(encode(ColumnType::Float4, &format!("{small:e}")).unwrap(), small.to_be_bytes());
    }
}
