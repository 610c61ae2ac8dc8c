//! Checkpoints: the next offset of each lane, kept beside the rows and moved in their transaction.

use deadpool_postgres::Object;
use tokio_postgres::{Row, types::ToSql};

use super::{ddl, sqlstate::PgError};
use crate::{
    lane::{Claim, LaneKey},
    sink::{Claimed, Group},
};

/// Only claims count up the epoch, and only the holder of the newest may move `next_offset` (see
/// `flush.rs`): a process that wakes up after its partitions went elsewhere matches no row.
const CLAIM_SQL: &str = "\
    UPDATE tidegate.checkpoints c \
    SET epoch = c.epoch + 1, owner = $3, updated_at = now() \
    FROM unnest($4::text[], $5::int4[], $6::text[]) AS k(topic, partition, target) \
    WHERE c.consumer_group = $1 AND c.cluster_id = $2 \
      AND c.topic = k.topic AND c.partition = k.partition AND c.target = k.target \
    RETURNING c.topic, c.partition, c.target, c.checkpoint_id, c.epoch, c.next_offset";

/// Two instances may both find no row; the one that comes second claims what the first has made.
const CREATE_SQL: &str = "\
    INSERT INTO tidegate.checkpoints AS c \
        (consumer_group, cluster_id, owner, topic, partition, target, next_offset, epoch) \
    SELECT $1, $2, $3, k.topic, k.partition, k.target, k.next_offset, 1 \
    FROM unnest($4::text[], $5::int4[], $6::text[], $7::int8[]) \
        AS k(topic, partition, target, next_offset) \
    ON CONFLICT (consumer_group, cluster_id, topic, partition, target) DO UPDATE \
        SET epoch = c.epoch + 1, owner = excluded.owner, updated_at = now() \
    RETURNING c.topic, c.partition, c.target, c.checkpoint_id, c.epoch, c.next_offset";

/// Makes the schema, the checkpoints and the dead letters, where they are missing.
///
/// # Errors
/// When Postgres cannot be asked or refuses.
pub(super) async fn ensure_schema(client: &mut Object) -> Result<(), PgError> {
    let failed = |error: tokio_postgres::Error| PgError::from_driver(&error);
    let exists = "SELECT to_regclass('tidegate.checkpoints') IS NOT NULL \
                  AND to_regclass('tidegate.dead_letters') IS NOT NULL";
    if client.query_one(exists, &[]).await.map_err(failed)?.get(0) {
        return Ok(());
    }
    let transaction = client.transaction().await.map_err(failed)?;
    // IF NOT EXISTS alone does not serialise two instances that start at once: both may find
    // nothing, and the second fails on the catalog's unique index.
    transaction.batch_execute(ddl::LOCK_SQL).await.map_err(failed)?;
    transaction.batch_execute(ddl::SCHEMA_SQL).await.map_err(failed)?;
    transaction.commit().await.map_err(failed)
}

/// Claims existing checkpoints; `None` for a lane that has none.
///
/// # Errors
/// When Postgres cannot be asked or refuses.
pub(super) async fn claim(
    client: &Object,
    group: &Group,
    owner: &str,
    lanes: &[LaneKey],
) -> Result<Vec<Option<Claimed>>, PgError> {
    let keys = Keys::new(lanes.iter());
    let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&group.name, &group.cluster_id, &owner];
    parameters.extend(keys.parameters());
    let rows = client.query(CLAIM_SQL, &parameters).await;
    let rows = rows.map_err(|error| PgError::from_driver(&error))?;
    Ok(lanes.iter().map(|lane| find(&rows, lane)).collect())
}

/// Makes checkpoints at the given offsets, and claims them.
///
/// # Errors
/// When Postgres cannot be asked or refuses.
pub(super) async fn create(
    client: &Object,
    group: &Group,
    owner: &str,
    lanes: &[(LaneKey, i64)],
) -> Result<Vec<Claimed>, PgError> {
    let keys = Keys::new(lanes.iter().map(|(lane, _)| lane));
    let offsets: Vec<i64> = lanes.iter().map(|(_, offset)| *offset).collect();
    let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&group.name, &group.cluster_id, &owner];
    parameters.extend(keys.parameters());
    parameters.push(&offsets);
    let rows = client.query(CREATE_SQL, &parameters).await;
    let rows = rows.map_err(|error| PgError::from_driver(&error))?;
    lanes
        .iter()
        .map(|(lane, _)| {
            find(&rows, lane)
                .ok_or_else(|| PgError::outage("XX000", "a checkpoint was not returned"))
        })
        .collect()
}

/// The names of lanes as arrays for `unnest`.
struct Keys<'a> {
    topics: Vec<&'a str>,
    partitions: Vec<i32>,
    targets: Vec<&'a str>,
}

impl<'a> Keys<'a> {
    fn new(lanes: impl Iterator<Item = &'a LaneKey> + Clone) -> Self {
        Self {
            topics: lanes.clone().map(|lane| &*lane.topic).collect(),
            partitions: lanes.clone().map(|lane| lane.partition).collect(),
            targets: lanes.map(|lane| &*lane.target).collect(),
        }
    }

    fn parameters(&self) -> [&(dyn ToSql + Sync); 3] {
        [&self.topics, &self.partitions, &self.targets]
    }
}

fn find(rows: &[Row], lane: &LaneKey) -> Option<Claimed> {
    let row = rows.iter().find(|row| {
        row.get::<_, &str>(0) == &*lane.topic
            && row.get::<_, i32>(1) == lane.partition
            && row.get::<_, &str>(2) == &*lane.target
    })?;
    let claim = Claim { checkpoint_id: row.get(3), epoch: row.get(4) };
    Some(Claimed { next_offset: row.get(5), claim })
}
