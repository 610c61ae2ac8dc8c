//! The table as the catalog shows it: the table is the schema.

use std::collections::BTreeMap;

use deadpool_postgres::Object;

use super::{column::ColumnType, sqlstate::PgError, type_tree::TypeTree};
use crate::{
    config::TableName,
    error::{Error, ErrorKind},
};

/// What the catalog tells of one table.
#[derive(Clone, Debug)]
pub struct Table {
    /// Its number in the catalog.
    pub oid: u32,
    /// Schema, unquoted.
    pub schema: String,
    /// Name, unquoted.
    pub name: String,
    /// Its columns in order, without those that Postgres alone fills.
    pub columns: Vec<CatalogColumn>,
    /// The columns that Postgres alone fills, by name, and how they are declared.
    pub generated: BTreeMap<String, &'static str>,
}

/// The types of some columns of a table, as one text to compare.
pub const TYPES_SQL: &str = "\
    SELECT string_agg(format('%s:%s:%s', attname, atttypid, atttypmod), ',' ORDER BY attnum) \
    FROM pg_attribute WHERE attrelid = $1 AND attname = ANY($2) AND NOT attisdropped";

/// As above, of the table that has the name $1 now: rows are copied by name, and another table may have
/// taken it.
pub const NAMED_TYPES_SQL: &str = "\
    SELECT string_agg(format('%s:%s:%s', attname, atttypid, atttypmod), ',' ORDER BY attnum) \
    FROM pg_attribute WHERE attrelid = to_regclass($1) AND attname = ANY($2) AND NOT attisdropped";

/// How many of some columns there are, and their types as above.
pub const STATE_SQL: &str = "\
    SELECT count(*), string_agg(format('%s:%s:%s', attname, atttypid, atttypmod), ',' ORDER BY attnum) \
    FROM pg_attribute WHERE attrelid = to_regclass($1) AND attname = ANY($2) AND NOT attisdropped";

/// Reads the types of `columns` now.
///
/// # Errors
/// When Postgres cannot be asked.
pub async fn types(client: &Object, oid: u32, columns: &[&str]) -> Result<String, PgError> {
    let row = client.query_one(TYPES_SQL, &[&oid, &columns]).await;
    let row = row.map_err(|error| PgError::from_driver(&error))?;
    Ok(row.get::<_, Option<String>>(0).unwrap_or_default())
}

/// One column, before anything is fed into it.
#[derive(Clone, Debug)]
pub struct CatalogColumn {
    /// Name, unquoted.
    pub name: String,
    /// The type as SQL shows it.
    pub type_name: String,
    /// Its type; a domain counts as its base type.
    pub column_type: ColumnType,
    /// Whether NULL is refused.
    pub not_null: bool,
    /// Whether it has a default or an identity.
    pub has_default: bool,
}

impl Table {
    /// `"schema"."name"`
    pub fn quoted(&self) -> String {
        format!("{}.{}", quote_identifier(&self.schema), quote_identifier(&self.name))
    }

    /// Its name as a configuration would have it.
    pub fn config_name(&self) -> TableName {
        TableName { schema: Some(self.schema.clone()), name: self.name.clone() }
    }

    /// `schema.name`, for people.
    pub fn display(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    /// Whether it has the columns that `other` has, with their types.
    pub fn has_columns_of(&self, other: &Self) -> bool {
        let columns = |table: &Self| {
            let shown = table.columns.iter().map(|c| (c.name.clone(), c.type_name.clone()));
            shown.collect::<Vec<_>>()
        };
        columns(self) == columns(other) && self.generated == other.generated
    }

    /// Adds a column, as [`COLUMNS_SQL`] tells of it.
    fn add(&mut self, row: &tokio_postgres::Row, tree: &TypeTree) {
        let (name, type_name): (String, String) = (row.get(0), row.get(1));
        if row.get(7) {
            self.generated.insert(name, "GENERATED ALWAYS AS (...) STORED");
            return;
        }
        // COPY would take values for it, and the sequence would know nothing of them.
        if row.get(8) {
            self.generated.insert(name, "GENERATED ALWAYS AS IDENTITY");
            return;
        }
        let oid = row.get(4);
        let column_type = tree.column_type((oid, row.get(5), row.get(6)));
        let (not_null, has_default) = tree.domain(oid);
        self.columns.push(CatalogColumn {
            column_type: column_type
                .unwrap_or_else(|| ColumnType::Unknown(type_name.as_str().into())),
            name,
            type_name,
            not_null: row.get::<_, bool>(2) || not_null,
            has_default: row.get::<_, bool>(3) || has_default,
        });
    }
}

/// An identifier as SQL wants it.
pub fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A table's name as configured, quoted.
pub fn quoted_name(table: &TableName) -> String {
    match &table.schema {
        Some(schema) => {
            format!("{}.{}", quote_identifier(schema), quote_identifier(&table.name))
        }
        None => quote_identifier(&table.name),
    }
}

const TABLE_SQL: &str = "\
    SELECT c.oid, n.nspname::text, c.relname::text, c.relkind::text, c.relpersistence::text, \
           c.relrowsecurity AND row_security_active(c.oid), has_table_privilege(c.oid, 'INSERT'), \
           current_user::text \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass($1)";

const COLUMNS_SQL: &str = "\
    SELECT attname::text, format_type(atttypid, atttypmod), attnotnull, \
           atthasdef OR attidentity <> '', atttypid, atttypmod, attndims::int, \
           attgenerated <> '', attidentity = 'a' \
    FROM pg_attribute WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped ORDER BY attnum";

/// Reads a table; `None` if there is none of that name. The second result says why it cannot be
/// written, for a table that exists.
///
/// # Errors
/// When Postgres cannot be asked.
pub async fn read(
    client: &Object,
    name: &TableName,
) -> Result<Option<Result<Table, Error>>, PgError> {
    let failed = |error: tokio_postgres::Error| PgError::from_driver(&error);
    let quoted = quoted_name(name);
    let (row, schema, name) = loop {
        let Some(row) = client.query_opt(TABLE_SQL, &[&quoted]).await.map_err(failed)? else {
            return Ok(None);
        };
        let (schema, found): (String, String) = (row.get(1), row.get(2));
        // to_regclass looks into a cache, the rest into the statement's snapshot: while a swap renames tables, the
        // one that has just gone may be found by its former name.
        if found == name.name {
            break (row, schema, found);
        }
    };
    let oid: u32 = row.get(0);
    let shown = format!("{schema}.{name}");
    let (kind, persistence): (String, String) = (row.get(3), row.get(4));
    let problem = if !matches!(kind.as_str(), "r" | "p") {
        Some(Error::config(format!("{shown} is not a table; rows can only be copied into a table")))
    } else if persistence == "u" {
        Some(Error::config(format!(
            "{shown} is UNLOGGED: a crash empties it and the checkpoint would not know; run \
             ALTER TABLE {quoted} SET LOGGED"
        )))
    } else if row.get::<_, bool>(5) {
        Some(Error::config(format!(
            "{shown} has row-level security for this role, which COPY does not support; use a role \
             with BYPASSRLS"
        )))
    } else if !row.get::<_, bool>(6) {
        let user: String = row.get(7);
        Some(Error::new(
            ErrorKind::Permission,
            format!(
                "role {user} may not insert into {shown}; run GRANT INSERT ON {quoted} TO {}",
                quote_identifier(&user)
            ),
        ))
    } else {
        None
    };
    if let Some(problem) = problem {
        return Ok(Some(Err(problem)));
    }
    let tree = TypeTree::read(client, oid).await?;
    let mut table = Table { oid, schema, name, columns: Vec::new(), generated: BTreeMap::new() };
    for row in client.query(COLUMNS_SQL, &[&oid]).await.map_err(failed)? {
        table.add(&row, &tree);
    }
    Ok(Some(Ok(table)))
}

/// The known name that is most like `name`, if one is like it.
pub fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|candidate| (strsim::jaro_winkler(name, candidate), *candidate))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_quoted_whatever_they_hold() {
        assert_eq!(quote_identifier("a\"; DROP TABLE b; --"), "\"a\"\"; DROP TABLE b; --\"");
    }
}
