//! How a table would change for a sample, record by record: an empty copy of it does.

use deadpool_postgres::Object;

use super::{Intake, PostgresSink, Show, asked, failed, place};
use crate::{
    batch::Batch,
    config::TableName,
    error::Error,
    selector::Selector,
    sink::{
        Wish,
        postgres::{
            catalog::{self, Table, quote_identifier},
            ddl,
            sqlstate::PgError,
            table::PgTarget,
        },
    },
};

/// The schema of a session's temporary tables, by the name that it has for the session itself.
const TEMPORARY: &str = "pg_temp";

/// The statements, each with the record that it is for.
pub(super) type Changes = Vec<(String, String)>;

/// The table that people know, where a temporary one was read in its place.
pub(super) fn under_its_name(table: Table, name: &TableName) -> Table {
    let schema = name.schema.clone().unwrap_or_else(|| "public".to_owned());
    Table { schema, name: name.name.clone(), ..table }
}

impl PostgresSink {
    /// The target as the records would make it.
    pub(super) async fn grow(
        &self,
        client: &Object,
        mut opened: PgTarget,
        decode: &mut impl FnMut(&[Selector], &mut Show<'_>),
    ) -> Result<Result<(PgTarget, Changes), Error>, PgError> {
        let mut changes = Changes::new();
        let mut from = 0;
        let copy =
            TableName { schema: Some(TEMPORARY.to_owned()), name: opened.table.config_name().name };
        loop {
            let (number, place, wish) = match next_wish(&opened, from, decode) {
                Ok(Some(found)) => found,
                Ok(None) => return Ok(Ok((opened, changes))),
                Err(error) => return Ok(Err(error)),
            };
            // It may have another wish.
            from = number;
            if opened.lineage.rehearse(&opened.table, &wish).is_err() {
                from += 1;
                continue;
            }
            if changes.is_empty() {
                make_copy(client, &opened.table).await?;
            }
            let temporary = Table { schema: TEMPORARY.to_owned(), ..Table::clone(&opened.table) };
            let Some(sql) = statement(&temporary, &wish) else {
                from += 1;
                continue;
            };
            client.batch_execute("SAVEPOINT change").await.map_err(failed)?;
            if let Err(error) = client.batch_execute(&sql).await.map_err(failed) {
                client.batch_execute("ROLLBACK TO SAVEPOINT change").await.map_err(failed)?;
                opened.note(&wish, &error);
                from += 1;
                continue;
            }
            changes.extend(statement(&opened.table, &wish).map(|sql| (sql, place)));
            let table = match catalog::read(client, &copy).await? {
                None => return Ok(Err(Error::software("the copy of the table is gone"))),
                Some(Err(error)) => return Ok(Err(error)),
                Some(Ok(table)) => under_its_name(table, &opened.table.config_name()),
            };
            opened = match self.open_seen(client, table, &opened.lineage).await? {
                Ok(opened) => opened,
                Err(error) => return Ok(Err(error)),
            };
        }
    }
}

/// What the first record from number `from` on wishes that is not refused.
fn next_wish(
    opened: &PgTarget,
    from: usize,
    decode: &mut impl FnMut(&[Selector], &mut Show<'_>),
) -> Result<Option<(usize, String, Wish)>, Error> {
    let asked = asked(opened);
    let mut intake = Intake::new(opened, opened.lineage.target.filter.as_ref(), &asked)?;
    let (mut number, mut found) = (0, None);
    decode(&asked, &mut |record, row| {
        if number >= from
            && let Some(wish) = intake.offer(&mut Batch::new(record.offset), record, row)
            && opened.object(&wish).is_none()
        {
            found = Some((number, place(record), wish));
        }
        number += 1;
        found.is_none()
    });
    Ok(found)
}

/// A table with the columns, the defaults and the unique indexes of `table`, and none of its rows. One
/// that is missing was made as a temporary one anyway.
async fn make_copy(client: &Object, table: &Table) -> Result<(), PgError> {
    let sql = format!(
        "CREATE TEMP TABLE IF NOT EXISTS {} (LIKE {} INCLUDING DEFAULTS INCLUDING GENERATED \
         INCLUDING IDENTITY INCLUDING INDEXES) ON COMMIT DROP",
        quote_identifier(&table.name),
        table.quoted()
    );
    client.batch_execute(&sql).await.map_err(failed)
}

fn statement(table: &Table, wish: &Wish) -> Option<String> {
    match wish {
        Wish::Present => None,
        Wish::Columns(columns) => Some(ddl::add_columns(table, columns)),
        Wish::Wider { column, sql_type, .. } => Some(ddl::widen(table, column, sql_type)),
    }
}
