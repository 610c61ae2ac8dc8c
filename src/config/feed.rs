//! `columns`: what feeds a column.

use jiff::tz::TimeZone;

use super::{node, reader::Entry};
use crate::{
    row,
    selector::{Pointer, Selector},
    sink::postgres::column::{EpochUnit, Metadata},
};

/// What feeds a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ColumnFeed {
    /// `{ field = "ts", epoch = "ms", default = 0 }`, `{ pointer = "/at", zone = "Europe/Berlin" }`
    Value {
        /// The record's field, or the value inside one.
        selector: Selector,
        /// What a number means in a date or time column: `s`, `ms`, `us` or `ns`. Default: none.
        epoch: Option<EpochUnit>,
        /// Where the clock hung that a `timestamptz` without a zone was read from: a name of the IANA
        /// database. Default: such texts are refused.
        zone: Option<TimeZone>,
        /// What stands in where the record has no value, or null. Default: the column's own default
        /// for no value, NULL for null.
        default: Option<Constant>,
    },
    /// `{ metadata = "offset" }`: a fact about the record.
    Metadata(Metadata),
    /// `{ constant = "web" }`: the same for every record.
    Constant(Constant),
    /// `{ rest = true }`: an object of the fields that feed no column.
    Rest,
    /// `{ skip = true }`: the column is left to its default.
    Skip,
}

/// A value that the configuration gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Constant {
    /// A string.
    Text(String),
    /// The text of a number.
    Number(String),
    /// A boolean.
    Boolean(bool),
}

impl Constant {
    /// As a record would have it.
    pub fn value(&self) -> row::Value<'_> {
        match self {
            Self::Text(text) => row::Value::Plain(text.as_bytes()),
            Self::Number(text) => row::Value::Number(text.as_bytes()),
            Self::Boolean(boolean) => row::Value::Bool(*boolean),
        }
    }
}

const METADATA: [(&str, Metadata); 7] = [
    ("topic", Metadata::Topic),
    ("partition", Metadata::Partition),
    ("offset", Metadata::Offset),
    ("timestamp", Metadata::Timestamp),
    ("key", Metadata::Key),
    ("headers", Metadata::Headers),
    ("payload", Metadata::Payload),
];

const EPOCH_UNITS: [(&str, EpochUnit); 4] =
    [("s", EpochUnit::S), ("ms", EpochUnit::Ms), ("us", EpochUnit::Us), ("ns", EpochUnit::Ns)];

/// The keys that say what a column is fed from; exactly one of them.
const KINDS: [&str; 6] = ["field", "pointer", "metadata", "constant", "rest", "skip"];

pub(super) fn read(column: &str, entry: Entry<'_>) -> Option<ColumnFeed> {
    let whole = entry.clone();
    if entry.node.entries().is_none() {
        entry.expected(
            "a table such as `{ field = \"...\" }`, `{ metadata = \"...\" }` or `{ skip = true }`",
        );
        return None;
    }
    let mut table = entry.table()?;
    let kinds = KINDS.map(|key| table.take(key));
    let (epoch, zone) = (table.take("epoch"), table.take("zone"));
    let default = table.take("default");
    table.finish();
    let [field, pointer, metadata, constant, rest, skip] = kinds.clone();
    let mut given = KINDS.iter().zip(&kinds).filter(|(_, kind)| kind.is_some());
    let (first, second) = (given.next(), given.next());
    if let (Some((one, _)), Some((other, _))) = (first, second) {
        whole.fail(format!("expected only one of `{one}` and `{other}`"));
        return None;
    }
    let is_value = first.is_none() || field.is_some() || pointer.is_some();
    for (key, entry) in [("epoch", &epoch), ("zone", &zone), ("default", &default)] {
        if let Some(entry) = entry.as_ref().filter(|_| !is_value) {
            entry.fail(format!("only a `field` or a `pointer` has `{key}`; remove it"));
        }
    }
    match (metadata, constant, rest, skip) {
        (Some(metadata), ..) => metadata.choice(&METADATA).map(ColumnFeed::Metadata),
        (_, Some(constant), ..) => read_constant(&constant).map(ColumnFeed::Constant),
        (_, _, Some(rest), _) => read_flag(&rest, ColumnFeed::Rest),
        (.., Some(skip)) => read_flag(&skip, ColumnFeed::Skip),
        _ => {
            if first.is_none() && epoch.is_none() && zone.is_none() && default.is_none() {
                whole.fail(format!("expected one of `{}`", KINDS.join("`, `")));
                return None;
            }
            let selector = match (field, pointer) {
                (Some(field), _) => Selector::Field(field.text("the name of a field")?),
                (_, Some(pointer)) => read_pointer(&pointer)?,
                _ => Selector::Field(column.to_owned()),
            };
            let epoch = epoch.and_then(|entry| entry.choice(&EPOCH_UNITS));
            let zone = zone.and_then(|entry| read_zone(&entry));
            let default = default.as_ref().and_then(read_constant);
            Some(ColumnFeed::Value { selector, epoch, zone, default })
        }
    }
}

fn read_zone(entry: &Entry<'_>) -> Option<TimeZone> {
    let expected = "a time zone of the IANA database such as \"Europe/Berlin\"";
    entry.parsed(expected, |text| TimeZone::get(text).ok())
}

fn read_pointer(entry: &Entry<'_>) -> Option<Selector> {
    let expected = "a JSON pointer such as \"/address/city\" (in a name, `~1` stands for a slash and \
                    `~0` for a tilde)";
    entry.parsed(expected, |text| Pointer::parse(text).map(Selector::Pointer))
}

fn read_flag(entry: &Entry<'_>, feed: ColumnFeed) -> Option<ColumnFeed> {
    if entry.boolean()? {
        return Some(feed);
    }
    entry.fail("expected `true`; without it, leave the key out");
    None
}

fn read_constant(entry: &Entry<'_>) -> Option<Constant> {
    match &entry.node.value {
        node::Value::Integer(integer) => Some(Constant::Number(integer.to_string())),
        node::Value::Float(text) if text.ends_with(|c: char| c.is_ascii_digit()) => {
            // TOML allows signs and underscores that JSON does not.
            Some(Constant::Number(text.replace('_', "").trim_start_matches('+').to_owned()))
        }
        node::Value::Boolean(boolean) => Some(Constant::Boolean(*boolean)),
        // `nan` and `inf` are texts in JSON.
        _ => entry.scalar_text("a string, a number or a boolean").map(Constant::Text),
    }
}
