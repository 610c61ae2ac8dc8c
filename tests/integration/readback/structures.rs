//! The columns of types that few tables have, and of types that are made of others.

use super::{
    cases::{Case, case, cut_spaces, far_zones, odd_numbers, odd_times},
    notations, writing,
};

/// The types of a user that the cases have.
pub(super) const TYPES: &str = "\
    CREATE TYPE mood AS ENUM ('sad', 'so-so', 'very happy'); \
    CREATE DOMAIN code AS varchar(4); \
    CREATE TYPE pair AS (n int, label text, list int[]);";

fn cut(_: &str, message: &str) -> Option<&'static str> {
    let is_cut = message.contains("name holds") || message.contains("expected one ASCII");
    is_cut.then_some("a text that would be cut")
}

fn declared(_: &str, message: &str) -> Option<&'static str> {
    message.contains("declares an encoding").then_some("XML in another encoding than it has")
}

fn odd_clocks(text: &str, message: &str) -> Option<&'static str> {
    if message.contains("has a zone") {
        Some("a time with a zone that would be dropped")
    } else {
        odd_times(text, message).or_else(|| {
            let is_dated = text.contains('-') && !text.contains(':');
            is_dated.then_some("a date without a time")
        })
    }
}

fn odd_intervals(text: &str, _: &str) -> Option<&'static str> {
    notations::ODD_INTERVALS.contains(&text).then_some("an interval in another form")
}

fn signed(text: &str) -> Option<&'static str> {
    (text.starts_with('P') && text.contains('+')).then_some("a plus sign in ISO 8601")
}

fn empty_arrays(text: &str) -> Option<&'static str> {
    let is_empty = text.chars().all(|letter| "[]{}, ".contains(letter));
    is_empty.then_some("an array of empty arrays")
}

fn unknown_attributes(text: &str, message: &str) -> Option<&'static str> {
    if message.contains("no attribute of this name") {
        Some("an attribute that is not there")
    } else {
        (message.contains("attributes, found") && text.starts_with('['))
            .then_some("a list of another length")
    }
}

/// JSON arrays in the place of Postgres' braces.
const BRACES: &str = "x := translate(j, '[]', '{}')";

/// Ranges as text, as an object, or as a list.
macro_rules! range {
    ($name:literal, $bound:literal, $make:expr) => {
        Case {
            reads: concat!(
                "x := CASE WHEN j LIKE '{%' THEN ",
                $name,
                "((j::jsonb->>'lower')::",
                $bound,
                ", (j::jsonb->>'upper')::",
                $bound,
                ", j::jsonb->>'bounds') WHEN j LIKE '[ %' THEN ",
                $name,
                "((j::jsonb->>0)::",
                $bound,
                ", (j::jsonb->>1)::",
                $bound,
                ") ELSE j::",
                $name,
                " END"
            ),
            ..case($name, $make)
        }
    };
}

/// A number of 64 bits can become an oid.
const WHOLE_OID: &str =
    "IF j::numeric <> trunc(j::numeric) THEN RAISE 'fraction'; END IF; x := j::numeric::bigint";
const POINT: &str = "x := CASE WHEN j LIKE '[%' THEN '(' || btrim(j, '[]') || ')' ELSE j END";
const MULTIRANGE: &str = "x := CASE WHEN j LIKE '[\"%' OR j = '[]' THEN '{' || array_to_string( \
     ARRAY(SELECT jsonb_array_elements_text(j::jsonb)), ',') || '}' ELSE j END";
const DOCUMENTS: &str =
    "x := CASE WHEN j IS NOT NULL THEN ARRAY(SELECT jsonb_array_elements(j::jsonb)) END";
const PAIR: &str = "x := CASE WHEN j LIKE '{%' THEN jsonb_populate_record(NULL::pair, j::jsonb) \
     WHEN j LIKE '[%' THEN ROW((j::jsonb->>0)::int, j::jsonb->>1, \
         translate(j::jsonb->>2, '[]', '{}')::int[])::pair ELSE j::pair END";

pub(super) const CASES: [Case; 33] = [
    Case { reads: WHOLE_OID, only_theirs: odd_numbers, ..case("oid", notations::oid) },
    Case { reads: "x := j::numeric", only_theirs: odd_numbers, ..case("money", writing::money) },
    Case { only_theirs: cut, ..case("name", notations::name) },
    Case { only_theirs: cut, ..case("\"char\"", notations::one_char) },
    Case { only_theirs: declared, ..case("xml", notations::xml) },
    Case { only_theirs: odd_clocks, ..case("time", notations::clock) },
    Case { only_theirs: odd_clocks, ..case("time(2)", notations::clock) },
    Case { only_ours: far_zones, only_theirs: odd_clocks, ..case("timetz", notations::clock) },
    Case { only_ours: signed, only_theirs: odd_intervals, ..case("interval", notations::interval) },
    Case {
        only_ours: signed,
        only_theirs: odd_intervals,
        ..case("interval(1)", notations::interval)
    },
    case("inet", notations::address),
    case("cidr", notations::address),
    case("macaddr", notations::hardware),
    case("macaddr8", notations::hardware),
    case("bit(5)", notations::bits),
    case("bit varying(7)", notations::bits),
    Case { reads: POINT, ..case("point", notations::point) },
    range!("int4range", "int", notations::number_range),
    range!("int8range", "bigint", notations::number_range),
    range!("numrange", "numeric", notations::number_range),
    range!("daterange", "date", notations::date_range),
    range!("tsrange", "timestamp", notations::date_range),
    range!("tstzrange", "timestamptz", notations::instant_range),
    Case { reads: MULTIRANGE, ..case("int4multirange", notations::multirange) },
    Case { reads: BRACES, only_ours: empty_arrays, ..case("int[]", notations::integers) },
    Case { reads: BRACES, only_ours: empty_arrays, ..case("numeric(6,2)[]", notations::numerics) },
    Case { reads: BRACES, only_ours: empty_arrays, ..case("timestamptz[]", notations::instants) },
    Case { reads: BRACES, only_ours: empty_arrays, ..case("text[]", notations::texts) },
    Case { reads: DOCUMENTS, ..case("jsonb[]", notations::documents) },
    case("mood", notations::label),
    Case { reads: BRACES, only_ours: empty_arrays, ..case("mood[]", notations::labels) },
    Case { only_theirs: cut_spaces, ..case("code", writing::short_text) },
    Case { reads: PAIR, only_theirs: unknown_attributes, ..case("pair", notations::pair) },
];
