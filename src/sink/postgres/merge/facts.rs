//! What a merge has to know of its table and its role.

use deadpool_postgres::Object;

use super::{DELETED, Deletes, ORDER};
use crate::{
    error::{Error, ErrorKind},
    sink::postgres::{
        catalog::{Table, quote_identifier},
        column::Column,
        sqlstate::PgError,
    },
};

/// The columns of each unique index that ON CONFLICT can infer, the primary key's first. Not those
/// that are partial, of expressions or deferrable, nor such as hold texts for equal which the column
/// does not (a nondeterministic collation of their own).
const KEYS_SQL: &str = "\
    SELECT array_agg(a.attname::text ORDER BY k.n), i.indisprimary \
    FROM pg_index i CROSS JOIN LATERAL unnest(i.indkey, i.indcollation) WITH ORDINALITY k(attnum, collation_oid, n) \
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum \
    LEFT JOIN pg_collation c ON c.oid = k.collation_oid AND k.collation_oid <> a.attcollation \
    WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid AND i.indimmediate \
      AND i.indpred IS NULL AND i.indexprs IS NULL AND k.n <= i.indnkeyatts \
    GROUP BY i.indexrelid, i.indisprimary HAVING bool_and(coalesce(c.collisdeterministic, true)) \
    ORDER BY i.indisprimary DESC, i.indexrelid";

/// Each column with its base type, collation and default, as SQL. Domains are followed down, so that
/// what they forbid is found where the row is written; the default may stand on any level.
const COLUMNS_SQL: &str = "\
    WITH RECURSIVE base AS ( \
        SELECT a.attnum, a.attname::text AS name, a.atttypid AS type, a.atttypmod AS typmod, \
               a.attcollation AS collation_oid, \
               CASE WHEN a.attidentity <> '' THEN format('nextval(%L::regclass)', \
                   pg_get_serial_sequence(a.attrelid::regclass::text, a.attname)) \
               ELSE pg_get_expr(d.adbin, d.adrelid) END AS value \
        FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
        WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' \
      UNION ALL \
        SELECT b.attnum, b.name, t.typbasetype, \
               CASE WHEN b.typmod >= 0 THEN b.typmod ELSE t.typtypmod END, b.collation_oid, \
               coalesce(b.value, pg_get_expr(t.typdefaultbin, 0)) \
        FROM base b JOIN pg_type t ON t.oid = b.type WHERE t.typtype = 'd' \
    ) \
    SELECT b.name, format_type(b.type, b.typmod) \
               || CASE WHEN c.oid IS NULL THEN '' ELSE format(' COLLATE %I.%I', n.nspname, c.collname) END, \
           b.value, b.type, coalesce(own.collisdeterministic, true) \
    FROM base b JOIN pg_type t ON t.oid = b.type AND t.typtype <> 'd' \
    LEFT JOIN pg_collation c ON c.oid = b.collation_oid AND b.collation_oid <> t.typcollation \
    LEFT JOIN pg_namespace n ON n.oid = c.collnamespace \
    LEFT JOIN pg_collation own ON own.oid = b.collation_oid ORDER BY b.attnum";

const PRIVILEGES_SQL: &str = "\
    SELECT has_any_column_privilege($1::oid, 'SELECT'), has_any_column_privilege($1::oid, 'UPDATE'), \
           has_table_privilege($1::oid, 'DELETE'), \
           has_database_privilege(current_database(), 'TEMP'), \
           current_user::text, current_database()::text";

const BOOL_OID: u32 = 16;
/// Types of which two values are equal only if their bytes are, as the encoder writes them: bool, bytea,
/// bigint, smallint, integer, text, varchar, date, timestamp, timestamptz, uuid. Not numeric, char(n),
/// the floating ones (0 is -0), nor any that the user has made.
const CANONICAL_OIDS: [u32; 11] = [16, 17, 20, 21, 23, 25, 1043, 1082, 1114, 1184, 2950];
const TIMESTAMP_OIDS: [u32; 2] = [1114, 1184];

/// What a merge has to know of its table and its role.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(super) keys: Vec<Key>,
    pub(super) columns: Vec<StageColumn>,
    pub(super) privileges: Privileges,
}

/// The columns of a unique index.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) columns: Vec<String>,
    pub(super) is_primary: bool,
}

/// A column as the staging table has it.
#[derive(Clone, Debug)]
pub(super) struct StageColumn {
    pub(super) name: String,
    pub(super) type_sql: String,
    pub(super) default: Option<String>,
    pub(super) type_oid: u32,
    /// Whether texts are equal only if their bytes are.
    pub(super) is_deterministic: bool,
}

/// What the role may do, beside inserting.
#[derive(Clone, Debug)]
pub(super) struct Privileges {
    pub(super) select: bool,
    pub(super) update: bool,
    pub(super) delete: bool,
    pub(super) temporary: bool,
    pub(super) role: String,
    pub(super) database: String,
}

impl Facts {
    /// Reads them.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub(crate) async fn read(client: &Object, table: u32) -> Result<Self, PgError> {
        let failed = |error: tokio_postgres::Error| PgError::from_driver(&error);
        let keys = client.query(KEYS_SQL, &[&table]).await.map_err(failed)?;
        let columns = client.query(COLUMNS_SQL, &[&table]).await.map_err(failed)?;
        let row = client.query_one(PRIVILEGES_SQL, &[&table]).await.map_err(failed)?;
        Ok(Self {
            keys: keys
                .iter()
                .map(|row| Key { columns: row.get(0), is_primary: row.get(1) })
                .collect(),
            columns: columns
                .iter()
                .map(|row| StageColumn {
                    name: row.get(0),
                    type_sql: row.get(1),
                    default: row.get(2),
                    type_oid: row.get(3),
                    is_deterministic: row.get(4),
                })
                .collect(),
            privileges: Privileges {
                select: row.get(0),
                update: row.get(1),
                delete: row.get(2),
                temporary: row.get(3),
                role: row.get(4),
                database: row.get(5),
            },
        })
    }

    /// The key's columns, in the order of their unique index: the same for every instance.
    pub(super) fn key(&self, table: &Table, wanted: &[String]) -> Result<Vec<String>, Error> {
        let shown = table.display();
        let found = match wanted {
            [] => self.keys.iter().find(|key| key.is_primary),
            wanted => self.keys.iter().find(|key| {
                key.columns.len() == wanted.len()
                    && key.columns.iter().all(|column| wanted.contains(column))
            }),
        };
        if let Some(key) = found {
            return Ok(key.columns.clone());
        }
        if wanted.is_empty() {
            return Err(Error::config(format!(
                "table {shown} has no primary key; name the columns that tell its rows apart, as in \
                 key = [\"id\"], and give them a unique index"
            )));
        }
        for column in wanted {
            self.column(table, column)?;
        }
        let columns: Vec<String> = wanted.iter().map(|name| quote_identifier(name)).collect();
        Err(Error::config(format!(
            "table {shown} has no unique index on just ({columns}), or one that is partial or \
             deferrable; run CREATE UNIQUE INDEX CONCURRENTLY ON {} ({columns})",
            table.quoted(),
            columns = columns.join(", ")
        )))
    }

    /// Whether the column that marks a deleted row is a flag; else it is a point in time.
    pub(super) fn is_flag(&self, table: &Table, name: &str) -> Result<bool, Error> {
        let column = self.column(table, name)?;
        if column.type_oid == BOOL_OID {
            return Ok(true);
        }
        if TIMESTAMP_OIDS.contains(&column.type_oid) {
            return Ok(false);
        }
        Err(Error::config(format!(
            "column {name} of {} has type {}; soft_delete takes a timestamptz, a timestamp or a boolean",
            table.display(),
            column.type_sql
        )))
    }

    /// Whether two values of these columns are equal only if their bytes are.
    pub(super) fn is_canonical(&self, names: &[String]) -> bool {
        let is_canonical = |column: &StageColumn| {
            CANONICAL_OIDS.contains(&column.type_oid) && column.is_deterministic
        };
        let column = |name: &String| self.columns.iter().find(|column| column.name == *name);
        names.iter().all(|name| column(name).is_some_and(is_canonical))
    }

    fn column(&self, table: &Table, name: &str) -> Result<&StageColumn, Error> {
        self.columns.iter().find(|column| column.name == name).ok_or_else(|| {
            let known: Vec<&str> = self.columns.iter().map(|c| c.name.as_str()).collect();
            let shown = table.display();
            Error::config(format!(
                "table {shown} has no column `{name}`; it has {}",
                known.join(", ")
            ))
        })
    }

    /// Refuses what Postgres would refuse with the first row.
    pub(super) fn check_privileges(&self, table: &Table, removes: bool) -> Result<(), Error> {
        let Privileges { select, update, delete, temporary, role, database } = &self.privileges;
        let (role, on) = (quote_identifier(role), format!("ON {}", table.quoted()));
        let on_database = format!("ON DATABASE {}", quote_identifier(database));
        let needs = [
            (*select, "SELECT", &on),
            (*update, "UPDATE", &on),
            (*delete || !removes, "DELETE", &on),
            (*temporary, "TEMPORARY", &on_database),
        ];
        match needs.into_iter().find(|(is_there, ..)| !is_there) {
            None => Ok(()),
            Some((_, right, on)) => Err(Error::new(
                ErrorKind::Permission,
                format!("a merge needs the right; run GRANT {right} {on} TO {role}"),
            )),
        }
    }

    /// Refuses what Postgres would refuse when the staging table is made.
    pub(super) fn check_staging(&self) -> Result<(), Error> {
        let Privileges { temporary, role, database, .. } = &self.privileges;
        if *temporary {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Permission,
            format!(
                "a column without an encoder needs a temporary table; run GRANT TEMPORARY ON DATABASE {} \
                 TO {}",
                quote_identifier(database),
                quote_identifier(role)
            ),
        ))
    }

    /// The staging table: without constraints, and with the table's defaults for what a record lacks.
    /// It is emptied by each COMMIT, and never by writing to the catalog.
    ///
    /// A column whose type has no encoder is a text there, and cast on its way to the table.
    pub(super) fn stage_sql(&self, stage: &str, columns: &[Column], deletes: &Deletes) -> String {
        let mark = match deletes {
            Deletes::Mark { column, is_flag } => Some((column.as_str(), *is_flag)),
            Deletes::No | Deletes::Remove => None,
        };
        let mut definitions: Vec<String> = Vec::new();
        for column in &self.columns {
            let name = column.name.as_str();
            let fed = columns.iter().find(|fed| fed.name == name);
            let is_text = fed.is_some_and(|fed| !fed.column_type.has_encoder());
            let default = match mark {
                // What is not deleted is not marked.
                Some((mark, is_flag)) if mark == name => is_flag.then_some("false"),
                _ if fed.is_some() => column.default.as_deref(),
                _ => continue,
            };
            let (type_sql, cast) =
                if is_text { ("text", "::text") } else { (column.type_sql.as_str(), "") };
            let default =
                default.map_or_else(String::new, |value| format!(" DEFAULT ({value}){cast}"));
            definitions.push(format!("{} {type_sql}{default}", quote_identifier(name)));
        }
        definitions.push(format!("{DELETED} boolean NOT NULL DEFAULT false"));
        definitions.push(format!("{ORDER} bigint NOT NULL"));
        let definitions = definitions.join(", ");
        format!(
            "DROP TABLE IF EXISTS {stage}; CREATE TEMPORARY TABLE {name} ({definitions}) \
             ON COMMIT DELETE ROWS",
            name = stage.trim_start_matches("pg_temp.")
        )
    }
}
