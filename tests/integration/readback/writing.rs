//! Values as producers write them, as JSON.

use super::dice::Dice;

pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

pub(super) fn boolean(dice: &mut Dice) -> String {
    dice.pick(&[
        "true",
        "false",
        "\"true\"",
        "\"false\"",
        "\"t\"",
        "\"f\"",
        "\"yes\"",
        "\"no\"",
        "\"on\"",
        "\"1\"",
        "\"TRUE\"",
        "\" true\"",
        "1",
        "0",
        "\"\"",
        "\"maybe\"",
        "[]",
    ])
    .to_owned()
}

/// A whole number in the grammar of JSON.
pub(super) fn whole(dice: &mut Dice, most_digits: usize) -> String {
    let digits = 1 + dice.below(most_digits);
    let text = dice.digits(digits);
    let text = text.trim_start_matches('0');
    if text.is_empty() { "0".to_owned() } else { text.to_owned() }
}

const BOUNDS: [i128; 8] =
    [0, 1 << 7, 1 << 15, 1 << 31, 1 << 63, 10_000, 99_999_999, 999_999_999_999_999_999];

/// A number near to where something begins or ends.
fn at_a_bound(dice: &mut Dice) -> String {
    let bound = BOUNDS[dice.below(BOUNDS.len())];
    let near = bound + dice.below(5) as i128 - 2;
    (if dice.once_in(2) { near } else { -near }).to_string()
}

/// What stands in the place of a number, too.
const NO_NUMBERS: [&str; 14] = [
    "NaN",
    "nan",
    "Infinity",
    "-Infinity",
    "-infinity",
    "inf",
    "+Infinity",
    " 1",
    "1 ",
    "0x10",
    "",
    "1,000",
    "1_000",
    "one",
];

/// The text of a number as JSON has it, or as a string, or hardly one.
fn number_with(dice: &mut Dice, integer: String, fraction: usize, exponent: usize) -> String {
    let mut text = integer;
    if fraction > 0 && dice.once_in(2) {
        let digits = 1 + dice.below(fraction);
        text = format!("{text}.{}", dice.digits(digits));
    }
    if exponent > 0 && dice.once_in(4) {
        let sign = dice.pick(&["", "+", "-"]);
        text = format!("{text}{}{sign}{}", dice.pick(&["e", "E"]), dice.below(exponent));
    }
    if !text.starts_with('-') && dice.once_in(4) {
        text = format!("-{text}");
    }
    match dice.below(16) {
        0 => quoted(dice.pick(&NO_NUMBERS)),
        1 => quoted(&format!("{}{text}", dice.pick(&["+", "00", "-"]))),
        2 => quoted(&format!("{}.{}", dice.pick(&["", "5", "-"]), dice.pick(&["", "5", "050"]))),
        3 | 4 => quoted(&text),
        _ => text,
    }
}

pub(super) fn integer(dice: &mut Dice) -> String {
    let integer = match dice.below(3) {
        0 => at_a_bound(dice),
        1 => whole(dice, 5),
        _ => whole(dice, 20),
    };
    let fraction = if dice.once_in(10) { 3 } else { 0 };
    number_with(dice, integer, fraction, 5)
}

pub(super) fn float(dice: &mut Dice) -> String {
    let integer = match dice.below(3) {
        0 => at_a_bound(dice),
        1 => "0".to_owned(),
        _ => whole(dice, 25),
    };
    let exponent = if dice.once_in(2) { 400 } else { 40 };
    number_with(dice, integer, 25, exponent)
}

pub(super) fn numeric(dice: &mut Dice) -> String {
    let integer = match dice.below(4) {
        0 => at_a_bound(dice),
        1 => "0".to_owned(),
        2 => dice.pick(&["9999999999", "999", "99949", "99950", "99", "9"]).to_owned(),
        _ => whole(dice, 45),
    };
    let exponent = if dice.once_in(8) { 18_000 } else { 12 };
    number_with(dice, integer, 30, exponent)
}

/// Mostly of the size of money.
pub(super) fn money(dice: &mut Dice) -> String {
    if dice.once_in(4) {
        return numeric(dice);
    }
    let integer = match dice.below(4) {
        0 => dice.pick(&["9999999999", "0", "99949", "99950", "999"]).to_owned(),
        _ => whole(dice, 7),
    };
    number_with(dice, integer, 6, 3)
}

fn day(dice: &mut Dice) -> String {
    let year = match dice.below(20) {
        0 => dice.below(10_000),
        1 => dice.below(300_000),
        2 => dice.below(6_000_000),
        _ => 1900 + dice.below(200),
    };
    let (month, day) = match dice.below(20) {
        0 => (dice.below(15), dice.below(34)),
        1 => (2, 28 + dice.below(3)),
        _ => (1 + dice.below(12), 1 + dice.below(31)),
    };
    format!("{year:04}-{month:02}-{day:02}")
}

pub(super) const NO_TIMES: [&str; 12] = [
    "infinity",
    "-infinity",
    "Infinity",
    "20260131",
    "Jan 31 2026",
    "2026-1-31",
    "31.01.2026",
    " 2026-01-31",
    "",
    "soon",
    "2026-01-31 AD",
    "epoch",
];

/// Zones as tidegate does not read them.
pub(super) const NO_ZONES: [&str; 3] = ["UTC", " Z", "+5"];

/// No base64 that any bytes would be written as.
pub(super) const NO_BASE64: [&str; 7] = ["QQ=", "QQ=A", "QR==", "AAB=", "A", "A===", "AA==AA=="];

pub(super) fn date(dice: &mut Dice) -> String {
    match dice.below(12) {
        0 => quoted(dice.pick(&NO_TIMES)),
        1 => timestamp(dice),
        2 => quoted(&format!("{} BC", day(dice))),
        _ => quoted(&day(dice)),
    }
}

pub(super) fn timestamp(dice: &mut Dice) -> String {
    if dice.once_in(15) {
        return quoted(dice.pick(&NO_TIMES));
    }
    let (hour, minute, second) = match dice.below(12) {
        0 => (dice.below(26), dice.below(62), dice.below(62)),
        1 => (23 + dice.below(2), 59 * dice.below(2), 59 + dice.below(2)),
        _ => (dice.below(24), dice.below(60), dice.below(60)),
    };
    let fraction = match dice.below(8) {
        0 => String::new(),
        1 => format!(".{}5", dice.digits(6)),
        2 => format!(".99999{}", dice.digits(3)),
        3 => {
            let count = 7 + dice.below(12);
            format!(".{}", dice.digits(count))
        }
        _ => {
            let count = 1 + dice.below(6);
            format!(".{}", dice.digits(count))
        }
    };
    let seconds = if dice.once_in(10) { String::new() } else { format!(":{second:02}{fraction}") };
    let zone = match dice.below(8) {
        0 => String::new(),
        1 | 2 => "Z".to_owned(),
        3 => dice.pick(&["z", "+00", "-00:00", "+24:00", "+05:60"]).to_owned(),
        4 if dice.once_in(4) => dice.pick(&NO_ZONES).to_owned(),
        _ => {
            let hours = if dice.once_in(8) { dice.below(24) } else { dice.below(15) };
            let (sign, colon) = (dice.pick(&["+", "-"]), dice.pick(&[":", ""]));
            let minutes = dice.pick(&["00", "30", "45"]);
            let behind = format!("{colon}{minutes}");
            format!("{sign}{hours:02}{}", if dice.once_in(4) { "" } else { &behind })
        }
    };
    let between = dice.pick(&["T", "T", "T", "t", " "]);
    if dice.once_in(30) {
        return quoted(&day(dice));
    }
    quoted(&format!("{}{between}{hour:02}:{minute:02}{seconds}{zone}", day(dice)))
}

pub(super) fn epoch(dice: &mut Dice) -> String {
    let integer = match dice.below(4) {
        0 => at_a_bound(dice),
        _ => whole(dice, 14),
    };
    number_with(dice, integer, 12, 3)
}

pub(super) fn uuid(dice: &mut Dice) -> String {
    let hex: String = dice.bytes(16).iter().map(|byte| format!("{byte:02x}")).collect();
    let parted = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-");
    let text = match dice.below(10) {
        0 => hex,
        1 => parted.to_uppercase(),
        2 => format!("{{{parted}}}"),
        3 => hex
            .as_bytes()
            .chunks(4)
            .map(|c| String::from_utf8_lossy(c))
            .collect::<Vec<_>>()
            .join("-"),
        4 => parted[1..].to_owned(),
        5 => format!("{parted}0"),
        6 => parted.replace('-', "_"),
        _ => parted,
    };
    quoted(&text)
}

pub(super) fn bytea(dice: &mut Dice) -> String {
    let count = dice.below(20);
    let bytes = dice.bytes(count);
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let text = match dice.below(12) {
        0 => format!("\\x{hex}0"),
        1 => format!("\\x{hex}zz"),
        2 => format!("\\x{}", hex.to_uppercase()),
        3 | 4 => format!("\\x{hex}"),
        5 => base64(&bytes).replace('+', "-").replace('/', "_"),
        6 => base64(&bytes).trim_end_matches('=').to_owned(),
        7 => format!("{}!", base64(&bytes)),
        8 => dice.pick(&["QQ==", "AAA=", "=", ""]).to_owned(),
        9 => dice.pick(&NO_BASE64).to_owned(),
        _ => base64(&bytes),
    };
    quoted(&text)
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let letter = char::from(LETTERS[(bits >> (18 - 6 * place) & 63) as usize]);
            text.push(if place <= chunk.len() { letter } else { '=' });
        }
    }
    text
}

/// The inside of a JSON string.
fn characters(dice: &mut Dice, most: usize) -> String {
    const PIECES: [&str; 24] = [
        "a",
        "Z",
        "0",
        " ",
        "'",
        "é",
        "ご",
        "🎁",
        "\u{7f}",
        "\u{2028}",
        "\\n",
        "\\t",
        "\\\"",
        "\\\\",
        "\\/",
        "\\b",
        "\\u00e9",
        "\\ud83c\\udf81",
        "\\u0001",
        "\\u2028",
        ",",
        "{",
        "\u{e000}",
        "\\uFFFF",
    ];
    let count = dice.below(most + 1);
    let mut text: String = (0..count).map(|_| dice.pick(&PIECES)).collect();
    if dice.once_in(25) {
        text.push_str(dice.pick(&["\\u0000", "\\ud800", "\\udc00x", "\\ud83c\\u0041"]));
    }
    if dice.once_in(6) {
        text.push_str(dice.pick(&[" ", "  "]));
    }
    text
}

pub(super) fn text(dice: &mut Dice) -> String {
    match dice.below(8) {
        0 => numeric(dice),
        1 => document(dice),
        _ => format!("\"{}\"", characters(dice, 30)),
    }
}

pub(super) fn short_text(dice: &mut Dice) -> String {
    format!("\"{}\"", characters(dice, 6))
}

pub(super) fn document(dice: &mut Dice) -> String {
    nested(dice, 4)
}

fn nested(dice: &mut Dice, depth: usize) -> String {
    let space = dice.pick(&["", "", " ", "\n\t"]);
    match dice.below(if depth == 0 { 5 } else { 8 }) {
        0 => dice.pick(&["null", "true", "false"]).to_owned(),
        1 | 2 => {
            let integer = whole(dice, 20);
            number_with(dice, integer, 12, 40)
        }
        3 | 4 => format!("\"{}\"", characters(dice, 8)),
        5 | 6 => {
            let count = dice.below(4);
            let items: Vec<String> = (0..count)
                .map(|_| {
                    let key = dice.pick(&["a", "b", "é", "\\u0061", "a b", ""]);
                    format!("{space}\"{key}\"{space}:{space}{}{space}", nested(dice, depth - 1))
                })
                .collect();
            format!("{{{}}}", items.join(","))
        }
        _ => {
            let count = dice.below(4);
            let items: Vec<String> = (0..count).map(|_| nested(dice, depth - 1)).collect();
            format!("[{space}{}{space}]", items.join(&format!(",{space}")))
        }
    }
}
