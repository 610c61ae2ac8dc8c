//! A table as it is now, with all that a target has to know of it.

use deadpool_postgres::Object;

use super::{
    catalog::{self, Table},
    mapping::Mapping,
    merge::{Facts, Merge},
    sqlstate::PgError,
};
use crate::{
    config::{TableName, Target, WriteMode},
    error::Error,
};

/// The catalog is read in one snapshot: a type that changed between two questions would be taken for
/// the type that the encoder was made for.
const BEGIN_SQL: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// A table as it was at one moment.
pub(super) struct Seen {
    pub(super) table: Table,
    pub(super) mapping: Mapping,
    /// How rows get into it, if they are not copied into it.
    pub(super) merge: Option<Merge>,
    /// The types of the columns that are written.
    pub(super) types: String,
}

/// Looks at the table of a target; `None` if there is none of that name. The inner error says why it
/// cannot be written as the target wants it.
pub(super) async fn look(
    client: &Object,
    name: &TableName,
    target: &Target,
) -> Result<Option<Result<Seen, Error>>, PgError> {
    let failed = |error: tokio_postgres::Error| PgError::from_driver(&error);
    client.batch_execute(BEGIN_SQL).await.map_err(failed)?;
    let seen = match catalog::read(client, name).await? {
        None => None,
        Some(Err(error)) => Some(Err(error)),
        Some(Ok(table)) => Some(see(client, table, target).await?),
    };
    client.batch_execute("COMMIT").await.map_err(failed)?;
    Ok(seen)
}

/// What there is to know of a table beside its columns.
pub(super) async fn see(
    client: &Object,
    table: Table,
    target: &Target,
) -> Result<Result<Seen, Error>, PgError> {
    let mut mapping = match Mapping::new(&table, target) {
        Ok(mapping) => mapping,
        Err(error) => return Ok(Err(error)),
    };
    let mut merge = None;
    let appends = target.write.mode == WriteMode::Append;
    if !appends || mapping.read_by_postgres().is_some() {
        let facts = Facts::read(client, table.oid).await?;
        let made = match appends {
            true => Merge::append(&table, &facts, &mapping.columns),
            false => Merge::new(&table, &target.write, &facts, &mut mapping.columns),
        };
        match made {
            Ok(made) => merge = Some(made),
            Err(error) => return Ok(Err(error)),
        }
    }
    let names: Vec<&str> = mapping.columns.iter().map(|column| column.name.as_str()).collect();
    let types = catalog::types(client, table.oid, &names).await?;
    Ok(Ok(Seen { table, mapping, merge, types }))
}
