//! `on_unknown_field`, `overflow`, `on_out_of_range` and `max_added_columns`: what becomes of fields and
//! values for which the table has no place.

use std::collections::BTreeMap;

use super::{
    feed::ColumnFeed,
    reader::{Entry, Table},
    table_name::is_identifier,
};

const DEFAULT_MAX_ADDED_COLUMNS: usize = 100;
/// Postgres' own bound of the columns of a table (MaxHeapAttributeNumber).
const COLUMNS_MAX: usize = 1600;

/// What becomes of fields and values for which the table has no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Growth {
    /// Default: `"ignore"`.
    pub on_unknown_field: OnUnknownField,
    /// Default: `"dead_letter"`.
    pub on_out_of_range: OnOutOfRange,
    /// Columns that one process may add to the table. 1 to 1600; default: 100.
    pub max_added_columns: usize,
}

impl Default for Growth {
    fn default() -> Self {
        Self {
            on_unknown_field: OnUnknownField::default(),
            on_out_of_range: OnOutOfRange::default(),
            max_added_columns: DEFAULT_MAX_ADDED_COLUMNS,
        }
    }
}

impl Growth {
    /// Whether the table may be altered.
    pub fn alters(&self) -> bool {
        self.on_unknown_field == OnUnknownField::AddColumn
            || self.on_out_of_range == OnOutOfRange::Widen
    }
}

/// What becomes of a field that no column takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnUnknownField {
    /// `"ignore"`: it is left out.
    #[default]
    Ignore,
    /// `"overflow"`: it goes into the object in the column that `overflow` names.
    Overflow,
    /// `"add_column"`: the table gets a column for it.
    AddColumn,
    /// `"dead_letter"`: the record does not become a row.
    DeadLetter,
}

/// What becomes of a value that does not fit in its column, but would in a wider one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnOutOfRange {
    /// `"dead_letter"`: the record does not become a row.
    #[default]
    DeadLetter,
    /// `"widen"`: the column gets a type that holds it and all that is there.
    Widen,
}

const ON_UNKNOWN_FIELD: [(&str, OnUnknownField); 4] = [
    ("ignore", OnUnknownField::Ignore),
    ("overflow", OnUnknownField::Overflow),
    ("add_column", OnUnknownField::AddColumn),
    ("dead_letter", OnUnknownField::DeadLetter),
];

const ON_OUT_OF_RANGE: [(&str, OnOutOfRange); 2] =
    [("dead_letter", OnOutOfRange::DeadLetter), ("widen", OnOutOfRange::Widen)];

/// The keys, for a target that must not have them.
pub(super) fn keys<'a>(table: &mut Table<'a>) -> [Option<Entry<'a>>; 4] {
    ["on_unknown_field", "overflow", "on_out_of_range", "max_added_columns"]
        .map(|key| table.take(key))
}

/// Reads the keys; the overflow is one of `columns`, fed with the rest of the record.
pub(super) fn read(table: &mut Table<'_>, columns: &mut BTreeMap<String, ColumnFeed>) -> Growth {
    let [unknown, overflow, out_of_range, max_added] = keys(table);
    let mut growth = Growth::default();
    if let Some(choice) = unknown.as_ref().and_then(|entry| entry.choice(&ON_UNKNOWN_FIELD)) {
        growth.on_unknown_field = choice;
    }
    if let Some(choice) = out_of_range.and_then(|entry| entry.choice(&ON_OUT_OF_RANGE)) {
        growth.on_out_of_range = choice;
    }
    let overflows = growth.on_unknown_field == OnUnknownField::Overflow;
    match (&overflow, &unknown) {
        (Some(entry), _) if overflows => read_overflow(entry, columns),
        (Some(entry), _) => {
            entry.fail("only on_unknown_field = \"overflow\" has this key; remove it");
        }
        (None, Some(unknown)) if overflows => {
            unknown.fail("`overflow` must name the column that takes the unknown fields");
        }
        _ => {}
    }
    if let Some(entry) = max_added {
        if growth.on_unknown_field == OnUnknownField::AddColumn {
            growth.max_added_columns =
                entry.integer(1..=COLUMNS_MAX).unwrap_or(DEFAULT_MAX_ADDED_COLUMNS);
        } else {
            entry.fail("only on_unknown_field = \"add_column\" has this key; remove it");
        }
    }
    growth
}

fn read_overflow(entry: &Entry<'_>, columns: &mut BTreeMap<String, ColumnFeed>) {
    let name = entry
        .parsed("the name of a jsonb column", |text| is_identifier(text).then(|| text.to_owned()));
    let Some(name) = name else { return };
    match columns.get(&name) {
        None | Some(ColumnFeed::Rest) => drop(columns.insert(name, ColumnFeed::Rest)),
        Some(_) => entry.fail(format!("columns.{name} feeds this column with something else")),
    }
}
