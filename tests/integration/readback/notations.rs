//! Values of types that have notations of their own, as JSON.

use super::{
    dice::Dice,
    writing::{quoted, timestamp, whole},
};

pub(super) fn oid(dice: &mut Dice) -> String {
    match dice.below(6) {
        0 => dice.pick(&["0", "4294967295", "4294967296", "-1", "\"7\"", "1.0", "1.5"]).to_owned(),
        _ => whole(dice, 11),
    }
}

pub(super) fn name(dice: &mut Dice) -> String {
    let length = if dice.once_in(3) { 60 + dice.below(6) } else { dice.below(30) };
    let end = dice.pick(&["", "é", " "]);
    quoted(&format!("{}{end}", "n".repeat(length)))
}

pub(super) fn one_char(dice: &mut Dice) -> String {
    dice.pick(&["\"a\"", "\"\"", "\" \"", "\"ab\"", "\"é\"", "5", "12", "\"\\n\""]).to_owned()
}

pub(super) fn xml(dice: &mut Dice) -> String {
    quoted(dice.pick(&[
        "<a/>",
        "<a b='1'>x &amp; é</a>",
        "plain",
        "<a/><b/>",
        "<?xml version=\"1.0\"?><a/>",
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><a>é</a>",
        "<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><a>é</a>",
    ]))
}

/// A time of day, with some zone or none.
pub(super) fn clock(dice: &mut Dice) -> String {
    let text = timestamp(dice);
    match text.find(['T', 't', ' ']) {
        Some(at) if text.contains(':') => format!("\"{}", &text[at + 1..]),
        _ => text,
    }
}

/// Intervals that Postgres reads and tidegate does not.
pub(super) const ODD_INTERVALS: [&str; 9] =
    ["1.5 days", "P0.5Y", "P1", "PT", "1-2", "5", "1 decade", " 1 day", "P0001-02-03T04:05:06"];

pub(super) fn interval(dice: &mut Dice) -> String {
    let mut number = |most: usize| {
        let digits = 1 + if dice.once_in(12) { dice.below(most + 3) } else { dice.below(2) };
        let sign = dice.pick(&["", "", "", "-", "+"]);
        format!("{sign}{}", whole(dice, digits))
    };
    let numbers = [number(10), number(10), number(10), number(12), number(12), number(5)];
    let [years, months, days, hours, minutes, seconds] = &numbers;
    let count = 1 + dice.below(6);
    let fraction = format!(".{}", dice.digits(count));
    let fraction = if dice.once_in(2) { "" } else { &fraction };
    let (hh, mm, ss) = (dice.below(200), dice.below(61), dice.below(61));
    let clock = format!("{}{hh:02}:{mm:02}:{ss:02}{fraction}", dice.pick(&["", "-", "+"]));
    let text = match dice.below(10) {
        0 => dice.pick(&ODD_INTERVALS).to_owned(),
        1 => dice.pick(&["", "P", "soon", "1 day 1 day", "@ 1 day ago"]).to_owned(),
        2 | 3 => format!("P{years}Y{months}M{days}DT{hours}H{minutes}M{seconds}{fraction}S"),
        4 => format!("P{days}W"),
        5 => format!("PT{seconds}{fraction}S"),
        6 => format!("{years} years {months} mons {days} days {clock}"),
        7 => format!("{hours}h {minutes} minutes {seconds}{fraction} secs"),
        8 => format!("@ {months} month {days} day {hours} hours ago"),
        _ => clock,
    };
    quoted(&text)
}

pub(super) fn address(dice: &mut Dice) -> String {
    let octets: Vec<String> = (0..4).map(|_| dice.below(257).to_string()).collect();
    let words: Vec<String> = (0..8).map(|_| format!("{:x}", dice.below(65_536))).collect();
    let address = match dice.below(6) {
        0 => words.join(":"),
        1 => format!("{}::{}", words[..2].join(":"), words[7]),
        2 => format!("::ffff:{}", octets.join(".")),
        3 => dice.pick(&["10.0.0.0", "192.168.0.0", "::", "2001:db8::", "soon", ""]).to_owned(),
        _ => octets.join("."),
    };
    let most = if dice.once_in(4) { 132 } else { 33 };
    let bits = dice.below(most);
    quoted(&if dice.once_in(2) { format!("{address}/{bits}") } else { address })
}

pub(super) fn hardware(dice: &mut Dice) -> String {
    let count = if dice.once_in(2) { 6 } else { 8 };
    let hex: String = dice.bytes(count).iter().map(|byte| format!("{byte:02x}")).collect();
    let parted = |size: usize, separator: &str| {
        let parts: Vec<&str> = (0..hex.len().div_ceil(size))
            .map(|part| &hex[part * size..hex.len().min((part + 1) * size)])
            .collect();
        parts.join(separator)
    };
    quoted(&match dice.below(8) {
        0 => parted(4, "."),
        1 => parted(6, ":"),
        2 => parted(6, "-"),
        3 => parted(2, "-").to_uppercase(),
        4 => parted(2, ":").replace('a', "g"),
        5 => hex,
        _ => parted(2, ":"),
    })
}

pub(super) fn bits(dice: &mut Dice) -> String {
    let count = if dice.once_in(2) { 5 } else { dice.below(10) };
    let text: String = (0..count).map(|_| dice.pick(&["0", "1"])).collect();
    quoted(&match dice.below(10) {
        0 => format!("{text}2"),
        1 => format!("b{text}"),
        2 => format!("x{:x}", dice.below(32)),
        _ => text,
    })
}

pub(super) fn point(dice: &mut Dice) -> String {
    let mut number =
        || format!("{}{}.{}", dice.pick(&["", "-"]), dice.below(180), dice.below(9_999));
    let (x, y) = (number(), number());
    match dice.below(6) {
        0 => quoted(&format!("({x},{y})")),
        1 => quoted(&format!(" ( {x} , {y} ) ")),
        2 => quoted(&format!("{x},{y}")),
        3 => quoted(dice.pick(&["(1,2", "(1)", "(NaN,Infinity)", "(1,2,3)", "1e999,0"])),
        _ => format!("[{x},{y}]"),
    }
}

/// A range in one of its forms. A list begins with a space, so that it is not taken for a text.
fn range_of(dice: &mut Dice, mut bounds: [String; 2]) -> String {
    let is_bare = bounds[0].starts_with(|c: char| c.is_ascii_digit() || c == '-');
    let json = |text: &str| if is_bare { text.to_owned() } else { quoted(text.trim_matches('"')) };
    let json_bounds = bounds.clone().map(|bound| json(&bound));
    if dice.once_in(6) {
        bounds[dice.below(2)].clear();
    }
    let [lower, upper] = bounds;
    match dice.below(8) {
        0 => format!("[ {},{}]", json_bounds[0], json_bounds[1]),
        1 => format!("[ null,{}]", json_bounds[1]),
        2 => format!(
            "{{\"lower\":{},\"upper\":{},\"bounds\":\"{}\"}}",
            json_bounds[0],
            json_bounds[1],
            dice.pick(&["[)", "[]", "(]", "()"])
        ),
        3 => quoted(dice.pick(&["empty", "EMPTY", "", "[1", "(,)", "[,]", "[1,2,3]", "1,2"])),
        _ => {
            let (open, close) = (dice.pick(&["[", "("]), dice.pick(&["]", ")"]));
            quoted(&format!("{open}{lower},{upper}{close}"))
        }
    }
}

pub(super) fn number_range(dice: &mut Dice) -> String {
    let lower = dice.below(1_000) as i64 - 500;
    let upper = lower + dice.below(50) as i64;
    range_of(dice, [lower.to_string(), upper.to_string()])
}

pub(super) fn date_range(dice: &mut Dice) -> String {
    let mut day = |year| format!("{year}-{:02}-{:02}", 1 + dice.below(12), 1 + dice.below(28));
    let bounds = [day(2025), day(2026)].map(|day| format!("\"{day}\""));
    range_of(dice, bounds)
}

pub(super) fn instant_range(dice: &mut Dice) -> String {
    let mut instant =
        |year| format!("{year}-{:02}-01 0{}:00:00+00", 1 + dice.below(12), dice.below(10));
    let bounds = [instant(2025), instant(2026)].map(|instant| format!("\"{instant}\""));
    range_of(dice, bounds)
}

pub(super) fn multirange(dice: &mut Dice) -> String {
    let count = dice.below(4);
    let ranges: Vec<String> = (0..count)
        .map(|_| {
            let lower = dice.below(100);
            format!("[{lower},{}{}", lower + dice.below(20), dice.pick(&["]", ")"]))
        })
        .collect();
    match dice.below(8) {
        0 => quoted(dice.pick(&["{[1,2)", "[1,2)", "{[1,2),}", "{ empty , [1,2] }", "{}"])),
        1..4 => {
            let items: Vec<String> = ranges.iter().map(|range| quoted(range)).collect();
            format!("[{}]", items.join(","))
        }
        _ => quoted(&format!("{{{}}}", ranges.join(","))),
    }
}

/// An array of up to three dimensions, most of them rectangles, in JSON or as Postgres writes it.
fn array_of(dice: &mut Dice, element: fn(&mut Dice) -> String) -> String {
    let dimensions = if dice.once_in(3) { 1 + dice.below(3) } else { 1 };
    let sizes: Vec<usize> = (0..dimensions).map(|_| dice.below(4)).collect();
    let json = level(dice, &sizes, element);
    if json.contains(['{', '\\']) || !dice.once_in(3) {
        return json;
    }
    let text =
        json.replace('[', "{").replace(']', "}").replace("null", dice.pick(&["NULL", "null"]));
    quoted(&if dice.once_in(4) { text.replace(',', " , ") } else { text })
}

fn level(dice: &mut Dice, sizes: &[usize], element: fn(&mut Dice) -> String) -> String {
    let [size, inner @ ..] = sizes else {
        return if dice.once_in(8) { "null".to_owned() } else { element(dice) };
    };
    let size = if dice.once_in(40) { size + 1 } else { *size };
    let items: Vec<String> = (0..size).map(|_| level(dice, inner, element)).collect();
    format!("[{}]", items.join(dice.pick(&[",", ", "])))
}

pub(super) fn integers(dice: &mut Dice) -> String {
    array_of(dice, |dice| match dice.below(30) {
        0 => "2147483648".to_owned(),
        1 => "\"x\"".to_owned(),
        _ => (dice.below(2_000) as i64 - 1_000).to_string(),
    })
}

pub(super) fn numerics(dice: &mut Dice) -> String {
    array_of(dice, |dice| format!("{}.{}", dice.below(9_999), dice.below(10_000)))
}

pub(super) fn instants(dice: &mut Dice) -> String {
    array_of(dice, |dice| {
        format!("\"2026-{:02}-01T00:00:00+0{}:00\"", 1 + dice.below(12), dice.below(9))
    })
}

pub(super) fn texts(dice: &mut Dice) -> String {
    array_of(dice, |dice| match dice.below(8) {
        0 => dice.pick(&["true", "12.50"]).to_owned(),
        _ => {
            let pieces = ["a", " ", "é", "{", "}", ",", "\\\"", "\\\\", "NULL", "'", "b c"];
            let count = dice.below(5);
            let text: String = (0..count).map(|_| dice.pick(&pieces)).collect();
            format!("\"{text}\"")
        }
    })
}

pub(super) fn label(dice: &mut Dice) -> String {
    dice.pick(&["\"sad\"", "\"so-so\"", "\"very happy\"", "\"Sad\"", "\"\"", "1"]).to_owned()
}

pub(super) fn labels(dice: &mut Dice) -> String {
    array_of(dice, |dice| dice.pick(&["\"sad\"", "\"so-so\"", "\"very happy\""]).to_owned())
}

pub(super) fn documents(dice: &mut Dice) -> String {
    let count = dice.below(4);
    let items: Vec<String> =
        (0..count).map(|_| super::writing::document(dice)).filter(|item| item != "null").collect();
    format!("[{}]", items.join(","))
}

/// A number, a text and a list.
pub(super) fn pair(dice: &mut Dice) -> String {
    let n = dice.below(100);
    let label = dice.pick(&["a", "", "b c", "é,", "(x)"]);
    match dice.below(8) {
        0 => format!("{{\"label\":{},\"n\":{n}}}", quoted(label)),
        1 => format!("{{\"n\":{n},\"list\":[1,2]}}"),
        2 => format!("[{n},{},[]]", quoted(label)),
        3 => format!("[{n},{}]", quoted(label)),
        4 => dice
            .pick(&["{}", "[]", "{\"m\":1}", "{\"n\":\"x\"}", "\"(1)\"", "\"(1,2,3,4)\""])
            .to_owned(),
        _ => {
            let list = dice.pick(&["", "\"{1,2}\"", "{}"]);
            quoted(&format!("({n},\"{label}\",{list})"))
        }
    }
}
