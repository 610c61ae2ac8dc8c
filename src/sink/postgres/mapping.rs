//! Which value of a record feeds which column; made once for each version of a table.

use std::collections::BTreeMap;

use super::{
    catalog::{Table, nearest},
    column::{Column, Feed},
};
use crate::{config::ColumnFeed, error::Error, selector::Selector};

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
    /// Names a column that is configured but not there, or that has a type without an encoder.
    pub fn new(table: &Table, configured: &BTreeMap<String, ColumnFeed>) -> Result<Self, Error> {
        let shown = table.display();
        check_names(table, configured)?;
        let mut mapping = Self { columns: Vec::new(), selectors: Vec::new() };
        for column in &table.columns {
            let (feed, epoch_unit) = match configured.get(&column.name) {
                Some(ColumnFeed::Skip) => continue,
                Some(ColumnFeed::Metadata(metadata)) => (Feed::Metadata(*metadata), None),
                Some(ColumnFeed::Field { name, epoch }) => {
                    (mapping.select(Selector::Field(name.clone())), *epoch)
                }
                None => (mapping.select(Selector::Field(column.name.clone())), None),
            };
            let Some(column_type) = column.column_type else {
                return Err(Error::config(format!(
                    "column {} of {shown} has type {}, which has no encoder yet; leave it out with \
                     columns.{} = {{ skip = true }}",
                    column.name, column.type_name, column.name
                )));
            };
            mapping.columns.push(Column {
                name: column.name.clone(),
                column_type,
                not_null: column.not_null,
                has_default: column.has_default,
                epoch_unit,
                feed,
            });
        }
        if mapping.columns.is_empty() {
            return Err(Error::config(format!("table {shown} has no column to write")));
        }
        Ok(mapping)
    }

    fn select(&mut self, selector: Selector) -> Feed {
        let known = self.selectors.iter().position(|known| *known == selector);
        Feed::Field(known.unwrap_or_else(|| {
            self.selectors.push(selector);
            self.selectors.len() - 1
        }))
    }
}

/// Names a configured column that the table does not have.
fn check_names(table: &Table, configured: &BTreeMap<String, ColumnFeed>) -> Result<(), Error> {
    let known: Vec<&str> = table.columns.iter().map(|c| c.name.as_str()).collect();
    let Some(name) = configured.keys().find(|name| !known.contains(&name.as_str())) else {
        return Ok(());
    };
    let hint = nearest(name, &known).map_or_else(
        || format!("; it has {}", known.join(", ")),
        |near| format!("; did you mean `{near}`?"),
    );
    Err(Error::config(format!("table {} has no column `{name}`{hint}", table.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::postgres::{catalog::CatalogColumn, column::ColumnType};

    #[test]
    fn a_column_that_is_not_there_gets_the_likely_one() {
        let column = |name: &str| CatalogColumn {
            name: name.to_owned(),
            type_name: "text".to_owned(),
            column_type: Some(ColumnType::Text { max_chars: None }),
            not_null: false,
            has_default: false,
        };
        let table = Table {
            oid: 0,
            schema: "public".to_owned(),
            name: "orders".to_owned(),
            columns: vec![column("customer_id"), column("note")],
        };
        let configured = BTreeMap::from([("custmer_id".to_owned(), ColumnFeed::Skip)]);
        let error = Mapping::new(&table, &configured).unwrap_err();
        assert_eq!(
            error.message,
            "table public.orders has no column `custmer_id`; did you mean `customer_id`?"
        );
    }
}
