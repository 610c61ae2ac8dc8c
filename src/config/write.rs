//! `write`: how rows meet rows that are there, and what a tombstone does.

use super::{
    reader::{Entry, Table},
    table_name::is_identifier,
};

/// How rows meet rows that are there, and what a tombstone does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Write {
    /// Default: `"append"`.
    pub mode: WriteMode,
    /// The columns that tell one row from another. Upsert and mirror only; empty: the table's
    /// primary key.
    pub key: Vec<String>,
    /// The column that tells which of two rows of a key is newer. Upsert and mirror only; default:
    /// the one that comes later is.
    pub version: Option<String>,
    /// The column that marks a row as deleted, in place of its removal. Mirror only; default: none.
    pub soft_delete: Option<String>,
    /// What becomes of a record that deletes. Append and upsert only.
    pub on_tombstone: OnTombstone,
}

/// How rows meet rows that are there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WriteMode {
    /// `"append"`: every record is a new row.
    #[default]
    Append,
    /// `"upsert"`: a record takes the place of the row that has its key.
    Upsert,
    /// `"mirror"`: as upsert, and a tombstone removes the row that has its key.
    Mirror,
}

/// What becomes of a record that deletes, where rows are not deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnTombstone {
    /// `"dead_letter"`
    #[default]
    DeadLetter,
    /// `"ignore"`: it is passed over, and counted as filtered.
    Ignore,
}

const MODES: [(&str, WriteMode); 3] =
    [("append", WriteMode::Append), ("upsert", WriteMode::Upsert), ("mirror", WriteMode::Mirror)];

const ON_TOMBSTONE: [(&str, OnTombstone); 2] =
    [("dead_letter", OnTombstone::DeadLetter), ("ignore", OnTombstone::Ignore)];

/// The keys beside `write` that say more of it.
pub(super) const KEYS: [&str; 4] = ["key", "version", "soft_delete", "on_tombstone"];

const COLUMN_EXPECTED: &str = "the name of a column";

/// Reads `write` and what belongs to it.
pub(super) fn read(table: &mut Table<'_>) -> Write {
    let mode = read_mode(table, &MODES);
    let [key, version, soft_delete, on_tombstone] = KEYS.map(|key| table.take(key));
    // What is wrong with the mode is noted; nothing else can be said of the keys that need one.
    let is = |modes: &[WriteMode]| mode.is_none_or(|mode| modes.contains(&mode));
    for entry in [&key, &version].into_iter().flatten() {
        if !is(&[WriteMode::Upsert, WriteMode::Mirror]) {
            entry.fail("only `write = \"upsert\"` and `\"mirror\"` have this key; remove it");
        }
    }
    if let Some(entry) = soft_delete.as_ref().filter(|_| !is(&[WriteMode::Mirror])) {
        entry.fail("only `write = \"mirror\"` deletes; remove it");
    }
    if let Some(entry) =
        on_tombstone.as_ref().filter(|_| !is(&[WriteMode::Append, WriteMode::Upsert]))
    {
        entry.fail("with `write = \"mirror\"` a tombstone deletes; remove it");
    }
    let column = |entry: Entry<'_>| entry.parsed(COLUMN_EXPECTED, column_name);
    Write {
        mode: mode.unwrap_or_default(),
        key: key.map(|entry| read_key(&entry)).unwrap_or_default(),
        version: version.and_then(column),
        soft_delete: soft_delete.and_then(column),
        on_tombstone: on_tombstone.and_then(|e| e.choice(&ON_TOMBSTONE)).unwrap_or_default(),
    }
}

/// Reads `write` for a sink that has no rows to meet.
pub(super) fn read_append(table: &mut Table<'_>) {
    read_mode(table, &MODES[..1]);
    for entry in KEYS.map(|key| table.take(key)).into_iter().flatten() {
        entry.fail("only a postgres sink has this key; remove it");
    }
}

fn read_mode(table: &mut Table<'_>, modes: &[(&'static str, WriteMode)]) -> Option<WriteMode> {
    match table.take("write") {
        Some(entry) => entry.choice(modes),
        None => Some(WriteMode::Append),
    }
}

fn read_key(entry: &Entry<'_>) -> Vec<String> {
    let mut key: Vec<String> = Vec::new();
    let items = entry.items("a list of columns such as [\"order_id\"]");
    if items.is_empty() && matches!(&entry.node.value, super::node::Value::Array(_)) {
        entry.fail("expected at least one column; without this key, the primary key counts");
    }
    for item in items {
        let Some(name) = item.parsed(COLUMN_EXPECTED, column_name) else { continue };
        if key.contains(&name) {
            item.fail(format!("`{name}` is in the list already; remove it"));
        }
        key.push(name);
    }
    key
}

fn column_name(text: &str) -> Option<String> {
    is_identifier(text).then(|| text.to_owned())
}
