//! Which value of a record feeds which column; made once for each version of a table.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::tz::TimeZone;

use super::{
    catalog::{CatalogColumn, Table, nearest},
    column::{Column, ColumnType, Feed, Reading},
    encode,
};
use crate::{
    config::{ColumnFeed, Constant, Matching, OnUnknownField, Target},
    error::Error,
    selector::{Selector, spell},
};

/// The columns to write, and what they ask of a record.
#[derive(Clone, Debug)]
pub struct Mapping {
    /// The columns, in the table's order.
    pub columns: Vec<Column>,
    /// What they are fed from, in the order of [`Feed::Field`].
    pub selectors: Vec<Selector>,
}

impl Mapping {
    /// Decides what feeds each column, by the target's `columns` and else by name.
    ///
    /// # Errors
    /// Names a column that is configured but not there, or that cannot be fed so.
    pub fn new(table: &Table, target: &Target) -> Result<Self, Error> {
        let configured = &target.columns;
        let shown = table.display();
        check_names(table, configured)?;
        if target.matching == Matching::Loose {
            check_spellings(table, configured)?;
        }
        let mut mapping = Self { columns: Vec::new(), selectors: Vec::new() };
        for column in &table.columns {
            let mut reading = Reading { on_nul: target.on_nul, ..Reading::default() };
            let (feed, constant) = match configured.get(&column.name) {
                Some(ColumnFeed::Skip) => continue,
                Some(ColumnFeed::Metadata(metadata)) => (Feed::Metadata(*metadata), None),
                Some(ColumnFeed::Value { selector, epoch, zone, default }) => {
                    check_zone(table, column, zone.as_ref())?;
                    (reading.epoch_unit, reading.zone) = (*epoch, zone.clone());
                    (mapping.select(selector.clone()), default.as_ref())
                }
                Some(ColumnFeed::Constant(constant)) => (Feed::Constant, Some(constant)),
                Some(ColumnFeed::Rest) => {
                    check_rest(table, column)?;
                    let except = Arc::new(known_fields(table, configured));
                    (mapping.select(Selector::Rest { except }), None)
                }
                None => {
                    let name = column.name.clone();
                    let selector = match target.matching {
                        Matching::Exact => Selector::Field(name),
                        Matching::Loose => Selector::Spelling(name),
                    };
                    (mapping.select(selector), None)
                }
            };
            let mut column = Column {
                name: column.name.clone(),
                column_type: column.column_type.clone(),
                not_null: column.not_null,
                has_default: column.has_default,
                reading,
                feed,
                fallback: None,
            };
            if let Some(constant) = constant {
                column.fallback = Some(encode_constant(&shown, &column, constant)?);
                column.has_default = false;
            }
            mapping.columns.push(column);
        }
        if mapping.columns.is_empty() {
            return Err(Error::config(format!("table {shown} has no column to write")));
        }
        Ok(mapping)
    }

    /// The columns whose values Postgres reads from a text, as their types have no encoder: names and
    /// types, as people read them. `None` if there are none.
    pub fn read_by_postgres(&self) -> Option<String> {
        let shown = |column: &Column| match &column.column_type {
            ColumnType::Unknown(name) => Some(format!("{} ({name})", column.name)),
            _ => None,
        };
        let shown: Vec<String> = self.columns.iter().filter_map(shown).collect();
        (!shown.is_empty()).then(|| shown.join(", "))
    }

    /// Asks for the fields that no column takes, for a target that does not ignore them.
    pub fn unknown(table: &Table, target: &Target) -> Option<Selector> {
        match target.growth.on_unknown_field {
            OnUnknownField::Ignore | OnUnknownField::Overflow => None,
            OnUnknownField::AddColumn | OnUnknownField::DeadLetter => {
                let except = Arc::new(known_fields(table, &target.columns));
                Some(Selector::Rest { except })
            }
        }
    }

    fn select(&mut self, selector: Selector) -> Feed {
        let known = self.selectors.iter().position(|known| *known == selector);
        Feed::Field(known.unwrap_or_else(|| {
            self.selectors.push(selector);
            self.selectors.len() - 1
        }))
    }
}

/// Names two columns that one field would feed, whatever it is spelt like.
fn check_spellings(table: &Table, configured: &BTreeMap<String, ColumnFeed>) -> Result<(), Error> {
    let mut spelt = BTreeMap::new();
    let own = table.columns.iter().filter(|column| !configured.contains_key(&column.name));
    for column in own {
        let mut spelling = Vec::new();
        spell(column.name.as_bytes(), &mut spelling);
        if let Some(other) = spelt.insert(spelling, &column.name) {
            return Err(Error::config(format!(
                "table {}: with match = \"loose\", the columns {other} and {} have the same name; say \
                 what feeds one of them under `columns`",
                table.display(),
                column.name
            )));
        }
    }
    Ok(())
}

/// What stands in a row for `constant`.
fn encode_constant(table: &str, column: &Column, constant: &Constant) -> Result<Arc<[u8]>, Error> {
    let mut bytes = Vec::new();
    match encode::constant(column, constant.value(), &mut bytes) {
        Ok(()) => Ok(bytes.into()),
        Err(rejection) => Err(Error::config(format!(
            "columns.{} of {table}: {}; give another constant or default",
            column.name, rejection.message
        ))),
    }
}

/// Only an instant can be read from a clock.
fn check_zone(table: &Table, column: &CatalogColumn, zone: Option<&TimeZone>) -> Result<(), Error> {
    if zone.is_none() || column.column_type.has_instants() {
        return Ok(());
    }
    Err(Error::config(format!(
        "column {} of {} has type {}: only a timestamp with time zone is read from a clock; remove \
         columns.{}.zone",
        column.name,
        table.display(),
        column.type_name,
        column.name
    )))
}

/// The rest of a record is an object.
fn check_rest(table: &Table, column: &CatalogColumn) -> Result<(), Error> {
    use ColumnType::{Json, Jsonb, Text};
    if matches!(column.column_type, Json | Jsonb | Text { .. }) {
        return Ok(());
    }
    Err(Error::config(format!(
        "column {} of {} has type {}, which cannot hold the rest of a record; it takes jsonb, json or text",
        column.name,
        table.display(),
        column.type_name
    )))
}

/// The top-level fields that are not in the rest: those that feed a column, and those whose column
/// is left out on purpose.
fn known_fields(table: &Table, configured: &BTreeMap<String, ColumnFeed>) -> BTreeSet<String> {
    let by_name = table.columns.iter().map(|column| &column.name);
    let own = by_name.filter(|name| match configured.get(*name) {
        None | Some(ColumnFeed::Skip) => true,
        Some(_) => false,
    });
    let fed = configured.values().filter_map(|feed| match feed {
        ColumnFeed::Value { selector, .. } => selector.head(),
        _ => None,
    });
    // Only those that Postgres alone fills need be asked for: else their fields are lost unseen.
    let is_skipped = |name: &&String| configured.get(*name) == Some(&ColumnFeed::Skip);
    let generated = table.generated.keys().filter(is_skipped);
    own.chain(generated).map(String::as_str).chain(fed).map(str::to_owned).collect()
}

/// Names a configured column that the table does not have, or that Postgres alone fills.
fn check_names(table: &Table, configured: &BTreeMap<String, ColumnFeed>) -> Result<(), Error> {
    let known: Vec<&str> = table.columns.iter().map(|c| c.name.as_str()).collect();
    let is_unknown = |(name, feed): &(&String, &ColumnFeed)| {
        let is_left_out = table.generated.contains_key(*name) && **feed == ColumnFeed::Skip;
        !known.contains(&name.as_str()) && !is_left_out
    };
    let Some((name, _)) = configured.iter().find(is_unknown) else { return Ok(()) };
    if let Some(declared) = table.generated.get(name) {
        return Err(Error::config(format!(
            "column {name} of {} is {declared}: Postgres alone fills it; remove columns.{name}, or \
             declare it GENERATED BY DEFAULT",
            table.display()
        )));
    }
    let hint = nearest(name, &known).map_or_else(
        || format!("; it has {}", known.join(", ")),
        |near| format!("; did you mean `{near}`?"),
    );
    Err(Error::config(format!("table {} has no column `{name}`{hint}", table.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(columns: &[(&str, ColumnType)]) -> Table {
        let column = |(name, column_type): &(&str, ColumnType)| CatalogColumn {
            name: (*name).to_owned(),
            type_name: "shown".to_owned(),
            column_type: column_type.clone(),
            not_null: false,
            has_default: true,
        };
        Table {
            oid: 0,
            schema: "public".to_owned(),
            name: "orders".to_owned(),
            columns: columns.iter().map(column).collect(),
            generated: BTreeMap::from([("seq".to_owned(), "GENERATED ALWAYS AS IDENTITY")]),
        }
    }

    fn value(selector: Selector, default: Option<Constant>) -> ColumnFeed {
        ColumnFeed::Value { selector, epoch: None, zone: None, default }
    }

    fn map(table: &Table, configured: &[(&str, ColumnFeed)]) -> Result<Mapping, Error> {
        let configured = configured.iter().map(|(name, feed)| ((*name).to_owned(), feed.clone()));
        let target = Target { columns: configured.collect(), ..Target::example() };
        Mapping::new(table, &target)
    }

    const TEXT: ColumnType = ColumnType::Text { max_chars: None };

    #[test]
    fn a_column_that_is_not_there_gets_the_likely_one() {
        let table = table(&[("customer_id", TEXT), ("note", TEXT)]);
        let error = map(&table, &[("custmer_id", ColumnFeed::Skip)]).unwrap_err();
        assert_eq!(
            error.message,
            "table public.orders has no column `custmer_id`; did you mean `customer_id`?"
        );
    }

    #[test]
    fn a_column_that_postgres_fills_is_left_out_and_cannot_be_fed() {
        let table = table(&[("note", TEXT)]);
        assert_eq!(map(&table, &[("seq", ColumnFeed::Skip)]).unwrap().columns.len(), 1);
        let error = map(&table, &[("seq", value("seq".into(), None))]).unwrap_err();
        assert!(error.message.contains("is GENERATED ALWAYS AS IDENTITY: Postgres"), "{error}");
    }

    #[test]
    fn the_field_of_a_generated_column_is_known_only_where_that_is_left_out() {
        let table = table(&[("id", TEXT)]);
        let known = |configured| known_fields(&table, &configured).into_iter().collect::<Vec<_>>();
        assert_eq!(known(BTreeMap::new()), ["id"]);
        let skipped = BTreeMap::from([("seq".to_owned(), ColumnFeed::Skip)]);
        assert_eq!(known(skipped), ["id", "seq"]);
    }

    #[test]
    fn a_zone_is_for_instants_alone() {
        let zone = Some(TimeZone::get("Europe/Berlin").unwrap());
        let feed = ColumnFeed::Value {
            selector: "at".into(),
            epoch: None,
            zone: zone.clone(),
            default: None,
        };
        let bound = Arc::new(ColumnType::Timestamptz);
        for column_type in [ColumnType::Timestamptz, ColumnType::Range(bound)] {
            let mapping = map(&table(&[("at", column_type)]), &[("at", feed.clone())]).unwrap();
            assert_eq!(mapping.columns[0].reading.zone, zone);
        }
        let error = map(&table(&[("at", ColumnType::Timestamp)]), &[("at", feed)]).unwrap_err();
        assert!(error.message.contains("remove columns.at.zone"), "{error}");
    }

    #[test]
    fn a_constant_is_encoded_once_and_stands_in_for_the_columns_default() {
        let table = table(&[("version", ColumnType::Int4), ("status", TEXT), ("id", TEXT)]);
        let constant = ColumnFeed::Constant(Constant::Number("7".to_owned()));
        let default = value("state".into(), Some(Constant::Text("new".to_owned())));
        let mapping = map(&table, &[("version", constant), ("status", default)]).unwrap();
        let [version, status, id] = mapping.columns.as_slice() else { panic!("three columns") };
        assert_eq!((version.feed, version.has_default), (Feed::Constant, false));
        assert_eq!(version.fallback.as_deref(), Some(&[0, 0, 0, 4, 0, 0, 0, 7][..]));
        assert_eq!((status.feed, status.has_default), (Feed::Field(0), false));
        assert_eq!(status.fallback.as_deref(), Some(&b"\0\0\0\x03new"[..]));
        assert_eq!((id.fallback.as_deref(), id.has_default), (None, true));
        assert_eq!(mapping.selectors, ["state".into(), "id".into()]);
    }

    #[test]
    fn a_constant_that_does_not_fit_is_refused_at_once() {
        let table = table(&[("version", ColumnType::Int2)]);
        let constant = ColumnFeed::Constant(Constant::Number("70000".to_owned()));
        let error = map(&table, &[("version", constant)]).unwrap_err();
        assert!(error.message.starts_with("columns.version of public.orders: `70000`"), "{error}");
    }

    #[test]
    fn two_columns_that_are_spelt_alike_cannot_be_told_apart_loosely() {
        let table = table(&[("user_id", TEXT), ("note", TEXT), ("userId", TEXT)]);
        let loose = Target { matching: Matching::Loose, ..Target::example() };
        let error = Mapping::new(&table, &loose).unwrap_err();
        assert!(error.message.contains("the columns user_id and userId"), "{error}");
        let columns = BTreeMap::from([("userId".to_owned(), ColumnFeed::Skip)]);
        let mapping = Mapping::new(&table, &Target { columns, ..loose }).unwrap();
        assert_eq!(mapping.selectors[0], Selector::Spelling("user_id".to_owned()));
    }

    #[test]
    fn the_rest_is_what_feeds_no_column_and_is_not_left_out() {
        let columns = [("id", TEXT), ("total", TEXT), ("note", TEXT), ("extra", ColumnType::Jsonb)];
        let pointer = Selector::Pointer(crate::selector::Pointer::parse("/prices/total").unwrap());
        let configured = [
            ("total", value(pointer, None)),
            ("note", ColumnFeed::Skip),
            ("extra", ColumnFeed::Rest),
        ];
        let mapping = map(&table(&columns), &configured).unwrap();
        let Some(Selector::Rest { except }) = mapping.selectors.last() else {
            panic!("{:?}", mapping.selectors)
        };
        assert_eq!(except.iter().collect::<Vec<_>>(), ["id", "note", "prices"]);
        let error = map(&table(&[("n", ColumnType::Int4)]), &[("n", ColumnFeed::Rest)]);
        assert!(error.unwrap_err().message.contains("cannot hold the rest of a record"));
    }
}
