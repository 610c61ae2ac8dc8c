//! Checkpoints: the next offset of each lane, kept beside the rows and moved in their transaction.

use deadpool_postgres::Object;
use tokio_postgres::{Row, types::ToSql};

use super::{
    ddl,
    sqlstate::{Fault, PgError},
};
use crate::{
    lane::{Claim, LaneKey},
    sink::{Claimant, Claimed, Found, Rank, Standing, TopicIds},
};

/// Only claims count up the epoch, and only the holder of the newest may move `next_offset` (see
/// `flush.rs`): a process that wakes up after its partitions went elsewhere matches no row. One that
/// wakes up before it has claimed them is in an earlier generation of the group than its heir. The
/// epoch is a time as well as a count: a database that went back before a claim must not give out the
/// same one again, while the transaction of its holder is still on the way. The second half of the answer is of the lanes that were not claimed: in READ COMMITTED the UPDATE looks
/// at a row that it had to wait for once more, as it is then. A claimant whose mapping was replaced by
/// that of a replay would write rows that the table should not have any more: it gets nothing.
const CLAIM_SQL: &str = "\
    WITH k AS (SELECT * FROM unnest($6::text[], $7::int4[], $8::text[], $9::text[]) \
        AS k(topic, partition, target, topic_id)), \
    claimed AS ( \
        UPDATE tidegate.checkpoints c \
        SET epoch = greatest(c.epoch + 1, \
                (extract(epoch FROM clock_timestamp()) * 1000000)::bigint), \
            generation = $4, owner = $3, updated_at = now(), \
            topic_id = coalesce(c.topic_id, k.topic_id), mapping = $10 FROM k \
        WHERE c.consumer_group = $1 AND c.cluster_id = $2 \
          AND c.topic = k.topic AND c.partition = k.partition AND c.target = k.target \
          AND ($5 OR c.generation <= $4 OR (c.generation <= $4) IS NULL) \
          AND c.replaced IS DISTINCT FROM $10 \
        RETURNING c.topic, c.partition, c.target, c.checkpoint_id, c.epoch, c.next_offset, \
            c.topic_id, false) \
    SELECT * FROM claimed \
    UNION ALL \
    SELECT topic, partition, target, NULL, NULL, NULL, NULL, coalesce(c.replaced = $10, false) \
    FROM tidegate.checkpoints c JOIN k USING (topic, partition, target) \
    WHERE c.consumer_group = $1 AND c.cluster_id = $2 \
      AND (topic, partition, target) NOT IN (SELECT topic, partition, target FROM claimed)";

/// Two instances may both find no row; the one that comes second claims what the first has made, by
/// the same rule.
const CREATE_SQL: &str = "\
    WITH k AS (SELECT * FROM unnest($6::text[], $7::int4[], $8::text[], $9::text[], $10::int8[]) \
        AS k(topic, partition, target, topic_id, next_offset)) \
    INSERT INTO tidegate.checkpoints AS c (consumer_group, cluster_id, owner, generation, \
        topic, partition, target, topic_id, next_offset, epoch, mapping) \
    SELECT $1, $2, $3, $4, topic, partition, target, topic_id, next_offset, \
        (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, $11 FROM k \
    ON CONFLICT (consumer_group, cluster_id, topic, partition, target) DO UPDATE \
        SET epoch = greatest(c.epoch + 1, excluded.epoch), generation = $4, \
            owner = excluded.owner, updated_at = now(), \
            topic_id = coalesce(c.topic_id, excluded.topic_id), mapping = excluded.mapping \
        WHERE ($5 OR c.generation <= $4 OR (c.generation <= $4) IS NULL) \
          AND c.replaced IS DISTINCT FROM $11 \
    RETURNING c.topic, c.partition, c.target, c.checkpoint_id, c.epoch, c.next_offset, \
        c.topic_id";

const READ_SQL: &str = "\
    SELECT checkpoint_id, next_offset, epoch FROM tidegate.checkpoints WHERE checkpoint_id = ANY($1)";

/// Whether all tables are there, with the columns that earlier builds did not know of.
const IS_CURRENT_SQL: &str = "\
    SELECT to_regclass('tidegate.rollup_touched') IS NOT NULL AND NOT EXISTS ( \
        SELECT FROM unnest($1::text[], $2::text[]) AS added(name, attname) WHERE NOT EXISTS ( \
            SELECT FROM pg_attribute a WHERE a.attrelid = to_regclass(added.name) \
            AND a.attname = added.attname AND NOT a.attisdropped))";

/// Who claims, beside his group: of these, only the mapping is compared.
#[derive(Clone, Copy)]
pub(super) struct Identity<'a> {
    /// For people.
    pub(super) owner: &'a str,
    /// What makes rows of records.
    pub(super) mapping: &'a str,
}

/// Makes the schema with its tables, where they are missing.
///
/// # Errors
/// When Postgres cannot be asked or refuses.
pub(super) async fn ensure_schema(client: &mut Object) -> Result<(), PgError> {
    let failed = |error: tokio_postgres::Error| PgError::from_driver(&error);
    let (tables, columns): (Vec<&str>, Vec<&str>) = ddl::added_columns().unzip();
    let current = client.query_one(IS_CURRENT_SQL, &[&tables, &columns]).await;
    if current.map_err(failed)?.get(0) {
        return Ok(());
    }
    let transaction = client.transaction().await.map_err(failed)?;
    // IF NOT EXISTS alone does not serialise two instances that start at once: both may find
    // nothing, and the second fails on the catalog's unique index.
    transaction.batch_execute(ddl::LOCK_SQL).await.map_err(failed)?;
    transaction.batch_execute(ddl::SCHEMA_SQL).await.map_err(failed)?;
    transaction.commit().await.map_err(failed)
}

/// Claims existing checkpoints.
///
/// # Errors
/// When Postgres cannot be asked or refuses.
pub(super) async fn claim(
    client: &Object,
    claimant: Claimant<'_>,
    identity: Identity<'_>,
    lanes: &[LaneKey],
) -> Result<Vec<Found>, PgError> {
    let keys = Keys::new(lanes.iter(), claimant.topic_ids);
    let mut parameters = keys.parameters().to_vec();
    parameters.push(&identity.mapping);
    let rows = ask(client, CLAIM_SQL, claimant, identity, &parameters).await?;
    if let Some(row) = rows.iter().find(|row| row.get(7)) {
        return Err(replaced(row.get(2)));
    }
    Ok(lanes.iter().map(|lane| find(&rows, lane)).collect())
}

/// Makes checkpoints at the given offsets, and claims them.
///
/// # Errors
/// When Postgres cannot be asked or refuses.
pub(super) async fn create(
    client: &Object,
    claimant: Claimant<'_>,
    identity: Identity<'_>,
    lanes: &[(LaneKey, i64)],
) -> Result<Vec<Found>, PgError> {
    let keys = Keys::new(lanes.iter().map(|(lane, _)| lane), claimant.topic_ids);
    let offsets: Vec<i64> = lanes.iter().map(|(_, offset)| *offset).collect();
    let mut parameters = keys.parameters().to_vec();
    parameters.push(&offsets);
    parameters.push(&identity.mapping);
    let rows = ask(client, CREATE_SQL, claimant, identity, &parameters).await?;
    // A row that is there, and was not to be claimed, is not returned.
    let outranked = |found| if found == Found::Missing { Found::Outranked } else { found };
    Ok(lanes.iter().map(|(lane, _)| outranked(find(&rows, lane))).collect())
}

/// Where checkpoints stand.
///
/// # Errors
/// When Postgres cannot be asked or refuses.
pub(super) async fn read(
    client: &Object,
    claims: &[Claim],
) -> Result<Vec<Option<Standing>>, PgError> {
    let ids: Vec<i64> = claims.iter().map(|claim| claim.checkpoint_id).collect();
    let rows = client.query(READ_SQL, &[&ids]).await;
    let rows = rows.map_err(|error| PgError::from_driver(&error))?;
    Ok(ids.iter().map(|id| standing(&rows, *id)).collect())
}

/// What `(checkpoint_id, next_offset, epoch)` rows say of one checkpoint.
pub(super) fn standing(rows: &[Row], checkpoint_id: i64) -> Option<Standing> {
    let row = rows.iter().find(|row| row.get::<_, i64>(0) == checkpoint_id)?;
    Some(Standing { next_offset: row.get(1), epoch: row.get(2) })
}

async fn ask(
    client: &Object,
    sql: &str,
    claimant: Claimant<'_>,
    identity: Identity<'_>,
    keys: &[&(dyn ToSql + Sync)],
) -> Result<Vec<Row>, PgError> {
    let Claimant { group, rank, .. } = claimant;
    let (generation, is_confirmed) = match rank {
        Rank::Latest => (None, true),
        Rank::Generation(generation) => (Some(generation), false),
        Rank::Confirmed(generation) => (Some(generation), true),
    };
    let mut parameters: Vec<&(dyn ToSql + Sync)> =
        vec![&group.name, &group.cluster_id, &identity.owner, &generation, &is_confirmed];
    parameters.extend(keys);
    client.query(sql, &parameters).await.map_err(|error| PgError::from_driver(&error))
}

/// The answer to a claimant who does not know that the table has become another one.
fn replaced(target: &str) -> PgError {
    PgError {
        fault: Fault::Config,
        code: "replaced".to_owned(),
        message: format!(
            "the table of {target} was replaced by a replay with another mapping: deploy the new \
             configuration. To write with this one all the same: UPDATE tidegate.checkpoints SET \
             replaced = NULL WHERE target = '{target}'"
        ),
        copy_line: None,
    }
}

/// The names of lanes as arrays for `unnest`.
struct Keys<'a> {
    topics: Vec<&'a str>,
    partitions: Vec<i32>,
    targets: Vec<&'a str>,
    topic_ids: Vec<Option<&'a str>>,
}

impl<'a> Keys<'a> {
    fn new(lanes: impl Iterator<Item = &'a LaneKey> + Clone, topic_ids: &'a TopicIds) -> Self {
        let topic_id = |lane: &LaneKey| topic_ids.get(&lane.topic).map(String::as_str);
        Self {
            topic_ids: lanes.clone().map(topic_id).collect(),
            topics: lanes.clone().map(|lane| &*lane.topic).collect(),
            partitions: lanes.clone().map(|lane| lane.partition).collect(),
            targets: lanes.map(|lane| &*lane.target).collect(),
        }
    }

    fn parameters(&self) -> [&(dyn ToSql + Sync); 4] {
        [&self.topics, &self.partitions, &self.targets, &self.topic_ids]
    }
}

fn find(rows: &[Row], lane: &LaneKey) -> Found {
    let of_lane = |row: &&Row| {
        row.get::<_, &str>(0) == &*lane.topic
            && row.get::<_, i32>(1) == lane.partition
            && row.get::<_, &str>(2) == &*lane.target
    };
    let Some(row) = rows.iter().find(of_lane) else { return Found::Missing };
    match row.get::<_, Option<i64>>(3) {
        Some(checkpoint_id) => {
            let claim = Claim { checkpoint_id, epoch: row.get(4) };
            Found::Claimed(Claimed { next_offset: row.get(5), claim, topic_id: row.get(6) })
        }
        None => Found::Outranked,
    }
}
