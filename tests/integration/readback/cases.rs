//! The columns: how their values are written, how Postgres reads them, and where the two differ.

use serde_json::Value;
use tidegate::sink::postgres::column::EpochUnit;

use super::{dice::Dice, writing};

/// One type of column.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) sql_type: &'static str,
    pub(super) unit: Option<EpochUnit>,
    pub(super) make: fn(&mut Dice) -> String,
    /// Has Postgres read the text `j` into `x`.
    pub(super) reads: &'static str,
    /// The type of `x`.
    pub(super) shown_type: &'static str,
    /// What of the column `v` is compared with `x`.
    pub(super) shows: &'static str,
    /// Why only tidegate takes a text; `None` if nothing explains it.
    pub(super) only_ours: fn(&str) -> Option<&'static str>,
    /// Why only Postgres takes a text; tidegate's message is given.
    pub(super) only_theirs: fn(&str, &str) -> Option<&'static str>,
}

impl Case {
    /// Whether the column holds JSON as it stands.
    pub(super) fn is_document(&self) -> bool {
        matches!(self.sql_type, "json" | "jsonb")
    }
}

/// A value's text: the characters of a string, and of everything else its JSON.
pub(super) fn text_of(json: &str) -> String {
    match serde_json::from_str(json) {
        Ok(Value::String(text)) => text,
        _ => json.to_owned(),
    }
}

/// As [`text_of`], where Postgres can be given it at all.
pub(super) fn storable(json: &str) -> Option<String> {
    if json.starts_with('"') && serde_json::from_str::<String>(json).is_err() {
        return None;
    }
    Some(text_of(json)).filter(|text| !text.contains('\0'))
}

fn nothing(_: &str) -> Option<&'static str> {
    None
}

fn nothing_more(_: &str, _: &str) -> Option<&'static str> {
    None
}

fn has_space(text: &str) -> bool {
    text.trim() != text
}

fn words(text: &str, _: &str) -> Option<&'static str> {
    (!["true", "t", "false", "f"].contains(&text)).then_some("other words for true and false")
}

pub(super) fn odd_numbers(text: &str, message: &str) -> Option<&'static str> {
    let word = text.to_lowercase();
    if has_space(text) {
        Some("spaces around a number")
    } else if ["inf", "+infinity"].contains(&word.as_str()) {
        Some("other words for infinity")
    } else if word.starts_with("0x") {
        Some("hexadecimal numbers")
    } else if message.contains("16383 after the point") {
        Some("a number that its column's scale would make 0, with more digits than numeric has")
    } else {
        None
    }
}

pub(super) fn cut_spaces(text: &str, message: &str) -> Option<&'static str> {
    let only_spaces = text.ends_with(' ') && message.contains("characters, varchar");
    only_spaces.then_some("spaces that Postgres would cut off")
}

fn odd_uuids(text: &str, _: &str) -> Option<&'static str> {
    (text.matches('-').count() == 7).then_some("a uuid with other hyphens")
}

pub(super) fn odd_dates(text: &str, _: &str) -> Option<&'static str> {
    if text.contains(':') {
        Some("the day of a time")
    } else {
        writing::NO_TIMES.contains(&text).then_some("a date in another form")
    }
}

pub(super) fn odd_times(text: &str, message: &str) -> Option<&'static str> {
    if message.contains("has no time zone") {
        Some("a time without its zone")
    } else if writing::NO_TIMES.contains(&text) {
        Some("a time in another form")
    } else if writing::NO_ZONES.iter().any(|zone| text.ends_with(zone)) {
        Some("a zone in another form")
    } else {
        None
    }
}

fn odd_epochs(text: &str, message: &str) -> Option<&'static str> {
    if message.contains("timestamp holds 4713 BC") || message.contains("is beyond every") {
        Some("an instant beyond timestamptz")
    } else {
        odd_numbers(text, message)
    }
}

fn infinite_epochs(text: &str) -> Option<&'static str> {
    text.to_lowercase().ends_with("infinity").then_some("an infinity beside the numbers")
}

pub(super) fn far_zones(text: &str) -> Option<&'static str> {
    let sign = text.rfind(['+', '-'])?;
    let hours: u32 = text.get(sign + 1..sign + 3)?.parse().ok()?;
    (16..24).contains(&hours).then_some("a zone of 16 hours or more")
}

fn odd_bytes(text: &str, _: &str) -> Option<&'static str> {
    writing::NO_BASE64.contains(&text).then_some("base64 with bits left over, or padded oddly")
}

const WHOLE: &str =
    "IF j::numeric <> trunc(j::numeric) THEN RAISE 'fraction'; END IF; x := j::numeric";
const INSTANT: &str = "x := CASE WHEN j ~ ':.*([zZ]|[+-][0-9][0-9](:?[0-9][0-9])?)$' \
     THEN (j::timestamptz AT TIME ZONE 'UTC')::text ELSE j END";
const BYTES: &str = "x := CASE WHEN j LIKE '\\\\x%' THEN j::bytea ELSE \
     decode(rpad(translate(j, '-_', '+/'), (length(j) + 3) / 4 * 4, '='), 'base64') END";
const MICROSECONDS: &str =
    "CASE WHEN isfinite(v) THEN (extract(epoch FROM v) * 1000000)::bigint END";

pub(super) const fn case(name: &'static str, make: fn(&mut Dice) -> String) -> Case {
    Case {
        name,
        sql_type: name,
        unit: None,
        make,
        reads: "x := j",
        shown_type: name,
        shows: "v",
        only_ours: nothing,
        only_theirs: nothing_more,
    }
}

const fn integer(name: &'static str) -> Case {
    Case { reads: WHOLE, only_theirs: odd_numbers, ..case(name, writing::integer) }
}

const fn number(name: &'static str, make: fn(&mut Dice) -> String) -> Case {
    Case { only_theirs: odd_numbers, ..case(name, make) }
}

const fn time(name: &'static str, reads: &'static str) -> Case {
    Case { reads, only_ours: far_zones, only_theirs: odd_times, ..case(name, writing::timestamp) }
}

const fn epoch(name: &'static str, unit: EpochUnit, reads: &'static str) -> Case {
    Case {
        sql_type: "timestamptz",
        unit: Some(unit),
        reads,
        shown_type: "bigint",
        shows: MICROSECONDS,
        only_ours: infinite_epochs,
        only_theirs: odd_epochs,
        ..case(name, writing::epoch)
    }
}

pub(super) const CASES: [Case; 25] = [
    Case { only_theirs: words, ..case("boolean", writing::boolean) },
    integer("smallint"),
    integer("integer"),
    integer("bigint"),
    number("real", writing::float),
    number("double precision", writing::float),
    number("numeric", writing::numeric),
    number("numeric(12,2)", writing::money),
    number("numeric(5,-2)", writing::money),
    number("numeric(3,5)", writing::float),
    case("text", writing::text),
    Case { only_theirs: cut_spaces, ..case("varchar(5)", writing::short_text) },
    Case { only_theirs: cut_spaces, ..case("char(4)", writing::short_text) },
    Case { only_theirs: odd_uuids, ..case("uuid", writing::uuid) },
    Case { only_theirs: odd_dates, ..case("date", writing::date) },
    time("timestamp", INSTANT),
    time("timestamp(3)", INSTANT),
    time("timestamptz", "x := j"),
    time("timestamptz(0)", "x := j"),
    epoch("epoch s", EpochUnit::S, "x := floor(j::numeric * 1000000 + 0.5)"),
    epoch("epoch ms", EpochUnit::Ms, "x := floor(j::numeric * 1000 + 0.5)"),
    epoch("epoch ns", EpochUnit::Ns, "x := floor(j::numeric / 1000 + 0.5)"),
    case("json", writing::document),
    case("jsonb", writing::document),
    Case { reads: BYTES, only_theirs: odd_bytes, ..case("bytea", writing::bytea) },
];
