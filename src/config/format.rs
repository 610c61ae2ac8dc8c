//! `format`: how the payloads of a route are read.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    Ends,
    error::suggestion,
    reader::{Entry, Table},
};
use crate::registry::Registry;

/// How a payload is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum FormatKind {
    /// `"json"`: one object.
    #[default]
    Json,
    /// `"debezium"`: change events in JSON.
    Debezium,
    /// `{ kind = "avro", registry = "main" }`, in a registry's frame.
    Avro(Arc<Registry>),
    /// `{ kind = "protobuf", registry = "main" }`, in a registry's frame.
    Protobuf(Arc<Registry>),
    /// `{ kind = "csv", fields = [...] }`: one line.
    Csv(CsvOptions),
    /// `"raw"`: bytes without a structure.
    Raw,
}

/// How a line of CSV is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CsvOptions {
    /// The names of the cells, in order. Required.
    pub fields: Vec<String>,
    /// What stands between the cells. Default: `","`.
    pub delimiter: u8,
    /// What stands around a cell that holds a delimiter. Default: `"\""`.
    pub quote: u8,
    /// The cell, without quotes, that is NULL. Default: an empty one.
    pub null: String,
    /// Whether a line may have fewer cells than fields, or more. Default: `false`.
    pub ragged: bool,
}

#[derive(Clone, Copy)]
enum Kind {
    Json,
    Debezium,
    Avro,
    Protobuf,
    Csv,
    Raw,
}

const KINDS: [(&str, Kind); 6] = [
    ("json", Kind::Json),
    ("debezium", Kind::Debezium),
    ("avro", Kind::Avro),
    ("protobuf", Kind::Protobuf),
    ("csv", Kind::Csv),
    ("raw", Kind::Raw),
];

/// Reads a name, or a table with a kind and its options.
pub(super) fn read(entry: Entry<'_>, ends: &Ends) -> Option<FormatKind> {
    if entry.node.entries().is_none() {
        return match entry.choice(&KINDS)? {
            Kind::Json => Some(FormatKind::Json),
            Kind::Debezium => Some(FormatKind::Debezium),
            Kind::Raw => Some(FormatKind::Raw),
            Kind::Avro => only_registry(&entry, ends).map(FormatKind::Avro),
            Kind::Protobuf => only_registry(&entry, ends).map(FormatKind::Protobuf),
            Kind::Csv => {
                entry.fail(
                    "csv needs the names of its cells: { kind = \"csv\", fields = [\"id\", \"name\"] }",
                );
                None
            }
        };
    }
    let whole = entry.clone();
    let mut table = entry.table()?;
    let kind = table
        .require_kind("one of `json`, `debezium`, `avro`, `protobuf`, `csv`, `raw`")?
        .choice(&KINDS)?;
    let format = match kind {
        Kind::Json => Some(FormatKind::Json),
        Kind::Debezium => Some(FormatKind::Debezium),
        Kind::Raw => Some(FormatKind::Raw),
        Kind::Avro => registry(&mut table, &whole, ends).map(FormatKind::Avro),
        Kind::Protobuf => registry(&mut table, &whole, ends).map(FormatKind::Protobuf),
        Kind::Csv => read_csv(&mut table).map(FormatKind::Csv),
    };
    table.finish();
    format
}

fn registry(table: &mut Table<'_>, whole: &Entry<'_>, ends: &Ends) -> Option<Arc<Registry>> {
    match table.take("registry") {
        Some(entry) => named_registry(&entry, ends),
        None => only_registry(whole, ends),
    }
}

fn named_registry(entry: &Entry<'_>, ends: &Ends) -> Option<Arc<Registry>> {
    let name = entry.text("the name of a registry")?;
    if let Some(registry) = ends.registries.get(&name) {
        ends.used_registries.borrow_mut().insert(name);
        return registry.clone();
    }
    let names: Vec<&str> = ends.registries.keys().map(String::as_str).collect();
    let (found, suggestion) = (entry.node.describe(), suggestion(&name, "registry", &names));
    entry.fail(format!("no registry is named {found}{suggestion}"));
    None
}

/// The registry of a configuration that has just one.
fn only_registry(entry: &Entry<'_>, ends: &Ends) -> Option<Arc<Registry>> {
    let mut registries = ends.registries.iter();
    match (registries.next(), registries.next()) {
        (Some((name, registry)), None) => {
            ends.used_registries.borrow_mut().insert(name.clone());
            registry.clone()
        }
        (None, _) => {
            entry
                .fail("schemas come from a registry, and there is none; add a [registries.<name>]");
            None
        }
        _ => {
            entry.fail(
                "there are several registries; name one: { kind = \"...\", registry = \"...\" }",
            );
            None
        }
    }
}

fn read_csv(table: &mut Table<'_>) -> Option<CsvOptions> {
    let expected = "a list of names such as [\"id\", \"name\"]";
    let fields = table.require("fields", expected).and_then(|entry| read_fields(&entry, expected));
    let delimiter = read_byte(table, "delimiter", b',');
    let quote = read_byte(table, "quote", b'"');
    let null = table.take("null").map_or(Some(String::new()), |entry| {
        entry.parsed("the text of a cell that is NULL", |text| Some(text.to_owned()))
    });
    let ragged = table.take("ragged").map_or(Some(false), |entry| entry.boolean());
    if delimiter.is_some() && delimiter == quote {
        table.fail("quote", "expected another character than the delimiter");
        return None;
    }
    Some(CsvOptions {
        fields: fields?,
        delimiter: delimiter?,
        quote: quote?,
        null: null?,
        ragged: ragged?,
    })
}

fn read_fields(entry: &Entry<'_>, expected: &str) -> Option<Vec<String>> {
    let items = entry.items(expected);
    let mut names = BTreeSet::new();
    let mut fields = Vec::new();
    for item in &items {
        let name = item.text("the name of a cell")?;
        if !names.insert(name.clone()) {
            item.fail("another cell has this name, too; rename one");
            return None;
        }
        fields.push(name);
    }
    if fields.is_empty() {
        entry.expected(expected);
        return None;
    }
    Some(fields)
}

/// One character of ASCII, but for those that end a line.
fn read_byte(table: &mut Table<'_>, key: &'static str, default: u8) -> Option<u8> {
    let Some(entry) = table.take(key) else { return Some(default) };
    entry.parsed("one character of ASCII", |text| match text.as_bytes() {
        [byte] if byte.is_ascii() && !matches!(byte, b'\r' | b'\n') => Some(*byte),
        _ => None,
    })
}
