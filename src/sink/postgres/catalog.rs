//! The table as the catalog shows it: the table is the schema.

use deadpool_postgres::Object;

use super::{column::ColumnType, sqlstate::PgError};
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
    /// Its columns in order, generated ones left out.
    pub columns: Vec<CatalogColumn>,
}

/// The types of some columns of a table, as one text to compare.
pub const TYPES_SQL: &str = "\
    SELECT string_agg(format('%s:%s:%s', attname, atttypid, atttypmod), ',' ORDER BY attnum) \
    FROM pg_attribute WHERE attrelid = $1 AND attname = ANY($2) AND NOT attisdropped";

/// How many of some columns there are, and their types as above.
pub const STATE_SQL: &str = "\
    SELECT count(*), string_agg(format('%s:%s:%s', attname, atttypid, atttypmod), ',' ORDER BY attnum) \
    FROM pg_attribute WHERE attrelid = $1 AND attname = ANY($2) AND NOT attisdropped";

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
    /// `None` if there is no binary encoder for it.
    pub column_type: Option<ColumnType>,
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

/// Domains are followed down to their base type: the type modifier and NOT NULL may stand on any
/// level.
const COLUMNS_SQL: &str = "\
    WITH RECURSIVE base AS ( \
        SELECT a.attnum, a.attname::text AS name, format_type(a.atttypid, a.atttypmod) AS shown, \
               a.attnotnull AS not_null, a.atthasdef OR a.attidentity <> '' AS has_default, \
               a.atttypid AS type, a.atttypmod AS typmod \
        FROM pg_attribute a \
        WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' \
      UNION ALL \
        SELECT b.attnum, b.name, b.shown, b.not_null OR t.typnotnull, \
               b.has_default OR t.typdefault IS NOT NULL, t.typbasetype, \
               CASE WHEN b.typmod >= 0 THEN b.typmod ELSE t.typtypmod END \
        FROM base b JOIN pg_type t ON t.oid = b.type WHERE t.typtype = 'd' \
    ) \
    SELECT b.name, b.shown, bool_or(b.not_null), bool_or(b.has_default), \
           (array_agg(t.typname::text) FILTER (WHERE t.typtype <> 'd'))[1], \
           (array_agg(b.typmod) FILTER (WHERE t.typtype <> 'd'))[1], \
           (array_agg(t.typnamespace = 'pg_catalog'::regnamespace) FILTER (WHERE t.typtype <> 'd'))[1] \
    FROM base b JOIN pg_type t ON t.oid = b.type GROUP BY b.attnum, b.name, b.shown ORDER BY b.attnum";

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
    let Some(row) = client.query_opt(TABLE_SQL, &[&quoted]).await.map_err(failed)? else {
        return Ok(None);
    };
    let oid: u32 = row.get(0);
    let (schema, name): (String, String) = (row.get(1), row.get(2));
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
    let rows = client.query(COLUMNS_SQL, &[&oid]).await.map_err(failed)?;
    let columns = rows
        .iter()
        .map(|row| CatalogColumn {
            name: row.get(0),
            type_name: row.get(1),
            not_null: row.get(2),
            has_default: row.get(3),
            column_type: column_type(row.get(4), row.get(5), row.get(6)),
        })
        .collect();
    Ok(Some(Ok(Table { oid, schema, name, columns })))
}

fn column_type(name: &str, typmod: i32, built_in: bool) -> Option<ColumnType> {
    // Type modifiers count 4 bytes of header (VARHDRSZ).
    let modifier = (typmod >= 4).then_some(typmod - 4);
    if !built_in {
        return None;
    }
    Some(match name {
        "bool" => ColumnType::Bool,
        "int2" => ColumnType::Int2,
        "int4" => ColumnType::Int4,
        "int8" => ColumnType::Int8,
        "float4" => ColumnType::Float4,
        "float8" => ColumnType::Float8,
        // numeric.c: precision in the upper half, the scale in the lower 11 bits, signed.
        "numeric" => ColumnType::Numeric {
            limits: modifier
                .map(|m| (((m >> 16) & 0xffff) as u16, (((m & 0x7ff) ^ 1024) - 1024) as i16)),
        },
        "text" => ColumnType::Text { max_chars: None },
        "varchar" | "bpchar" => ColumnType::Text { max_chars: modifier.map(|m| m as u32) },
        "uuid" => ColumnType::Uuid,
        "date" => ColumnType::Date,
        "timestamp" => ColumnType::Timestamp,
        "timestamptz" => ColumnType::Timestamptz,
        "json" => ColumnType::Json,
        "jsonb" => ColumnType::Jsonb,
        "bytea" => ColumnType::Bytea,
        _ => return None,
    })
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

    #[test]
    fn type_modifiers_are_read_as_postgres_writes_them() {
        // atttypmod of numeric(12,2), varchar(20), numeric(5,-2) as Postgres 15 shows them.
        assert_eq!(
            column_type("numeric", 786438, true),
            Some(ColumnType::Numeric { limits: Some((12, 2)) })
        );
        assert_eq!(
            column_type("varchar", 24, true),
            Some(ColumnType::Text { max_chars: Some(20) })
        );
        assert_eq!(
            column_type("numeric", 329730, true),
            Some(ColumnType::Numeric { limits: Some((5, -2)) })
        );
        assert_eq!(column_type("numeric", -1, true), Some(ColumnType::Numeric { limits: None }));
        assert_eq!(column_type("bool", -1, false), None);
    }
}
