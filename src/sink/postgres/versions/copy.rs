//! A table like another one.

use deadpool_postgres::Transaction;
use tokio_postgres::Row;

use super::{Version, failed};
use crate::{
    error::Error,
    sink::postgres::{
        catalog::{Table, quote_identifier},
        sqlstate::PgError,
    },
};

const TABLE_SQL: &str = "\
    SELECT c.relkind = 'p' OR EXISTS (SELECT FROM pg_inherits WHERE inhrelid = $1 OR inhparent = $1), \
           array_to_string(c.reloptions, ', '), t.spcname::text, \
           ARRAY(SELECT tgname::text FROM pg_trigger JOIN pg_proc p ON p.oid = tgfoid \
               WHERE tgrelid = $1 AND NOT tgisinternal AND p.pronamespace <> 'tidegate'::regnamespace), \
           to_regclass($2) IS NOT NULL \
    FROM pg_class c LEFT JOIN pg_tablespace t ON t.oid = c.reltablespace WHERE c.oid = $1";

/// Each index with the constraint that it is of, and what stands behind the table's name in the
/// statement that makes it: names need not be taken out of a text.
const INDEXES_SQL: &str = "\
    SELECT ic.relname::text, i.indexrelid, i.indisunique, con.contype = 'x', \
           pg_get_constraintdef(con.oid), \
           substr(def, strpos(def, format(' USING %I (', am.amname))) \
    FROM pg_index i JOIN pg_class ic ON ic.oid = i.indexrelid JOIN pg_am am ON am.oid = ic.relam \
    CROSS JOIN LATERAL pg_get_indexdef(i.indexrelid) AS def \
    LEFT JOIN pg_constraint con ON con.conindid = i.indexrelid AND con.conrelid = i.indrelid \
        AND con.contype IN ('p', 'u', 'x') \
    WHERE i.indrelid = $1 AND i.indisvalid AND NOT EXISTS ( \
        SELECT FROM tidegate.replays WHERE replay_id = $2 AND index_names ? ic.relname::text) \
    ORDER BY ic.relname";

const NAMED_SQL: &str = "UPDATE tidegate.replays \
    SET index_names = index_names || jsonb_build_object($2::text, $3::text) WHERE replay_id = $1";

/// Which indexes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Those that decide which rows get in: a row that they refuse is a dead letter.
    Deciding,
    All,
}

/// Makes the version's table, without indexes. The error says why it cannot be.
pub(super) async fn table(
    transaction: &Transaction<'_>,
    live: &Table,
    version: &Version,
) -> Result<Option<Error>, PgError> {
    let name = version.quoted(&version.name);
    let row = transaction.query_one(TABLE_SQL, &[&live.oid, &name]).await.map_err(failed)?;
    let live_name = live.display();
    if row.get(0) {
        return Ok(Some(Error::config(format!(
            "{live_name} is partitioned or inherits, and no version of it can be made"
        ))));
    }
    if row.get(4) {
        return Ok(Some(Error::config(format!(
            "there is a table {name} already, which no replay has made; choose another name"
        ))));
    }
    let triggers: Vec<String> = row.get(3);
    if !triggers.is_empty() {
        tracing::warn!(
            "the triggers of {live_name} ({}) do not run for rows that are replayed",
            triggers.join(", ")
        );
    }
    let options: Option<String> = row.get(1);
    let options = options.map_or_else(String::new, |options| format!(" WITH ({options})"));
    let space: Option<String> = row.get(2);
    let space =
        space.map_or_else(String::new, |name| format!(" TABLESPACE {}", quote_identifier(&name)));
    let live = live.quoted();
    let sql = format!(
        "CREATE TABLE {name} (LIKE {live} INCLUDING ALL EXCLUDING INDEXES){options}{space}"
    );
    transaction.batch_execute(&sql).await.map_err(failed)?;
    Ok(None)
}

/// Makes the indexes of the live table that the version's table `name` does not have; gives how many. Their names are
/// noted, as they are exchanged with those of the live table when the tables are.
pub(super) async fn indexes(
    transaction: &Transaction<'_>,
    live_oid: u32,
    version: &Version,
    name: &str,
    kind: Kind,
) -> Result<usize, PgError> {
    let rows = transaction.query(INDEXES_SQL, &[&live_oid, &version.id]).await.map_err(failed)?;
    let decides = |row: &&Row| row.get(2) || row.get::<_, Option<bool>>(3) == Some(true);
    let wanted = rows.iter().filter(|row| kind == Kind::All || decides(row));
    let mut made = 0;
    for row in wanted {
        let (live_name, live_oid): (String, u32) = (row.get(0), row.get(1));
        let own = format!("tidegate_{}_{live_oid}", version.id);
        let (table, quoted) = (version.quoted(name), quote_identifier(&own));
        let (constraint, rest): (Option<String>, String) = (row.get(4), row.get(5));
        let sql = match constraint {
            Some(definition) => format!("ALTER TABLE {table} ADD CONSTRAINT {quoted} {definition}"),
            None => {
                let unique = if row.get(2) { "UNIQUE " } else { "" };
                format!("CREATE {unique}INDEX {quoted} ON {table}{rest}")
            }
        };
        tracing::info!("making {own} as {live_name}");
        transaction.batch_execute(&sql).await.map_err(failed)?;
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
            [&version.id, &live_name, &own];
        transaction.execute(NAMED_SQL, &parameters).await.map_err(failed)?;
        made += 1;
    }
    Ok(made)
}
