//! Whether rows flow: the checkpoints move in the transactions of the rows.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use stack::Client;

use crate::{error::Error, instance::GROUP, servers::Servers, wait::within};

/// Next offset by partition.
pub(crate) type Positions = BTreeMap<i32, i64>;

/// The checkpoints of now, by a connection that lasts as long as its server.
pub(crate) struct Flow<'a> {
    servers: &'a Servers,
    client: Option<Client>,
}

impl<'a> Flow<'a> {
    pub(crate) fn new(servers: &'a Servers) -> Self {
        Self { servers, client: None }
    }

    pub(crate) fn positions(&mut self) -> Result<Positions, Error> {
        let client = match self.client.take() {
            Some(client) => client,
            None => self.servers.primary().client()?,
        };
        let positions = positions(&client)?;
        // One that met an error is not kept.
        self.client = Some(client);
        Ok(positions)
    }

    /// Waits until each of so many partitions has moved on from where it stands now; gives the time
    /// since `cleared`.
    pub(crate) fn await_all(
        &mut self,
        partitions: u32,
        cleared: Instant,
        limit: Duration,
    ) -> Result<Duration, Error> {
        let what = "rows flow in every partition";
        let before = within(limit, what, || self.positions().map_err(|error| error.to_string()))?;
        within(limit.saturating_sub(cleared.elapsed()), what, || {
            let now = self.positions().map_err(|error| error.to_string())?;
            let moved = now.iter().filter(|(partition, next)| before.get(partition) < Some(next));
            match moved.count() {
                moved if moved >= partitions as usize => Ok(cleared.elapsed()),
                moved => Err(format!("{moved} of {partitions}; from {before:?} to {now:?}")),
            }
        })
    }
}

fn positions(client: &Client) -> Result<Positions, Error> {
    let sql = format!(
        "SELECT partition, next_offset FROM tidegate.checkpoints WHERE consumer_group = '{GROUP}'"
    );
    let rows = client.query_text(&sql)?;
    let parsed = rows.iter().map(|row| match row.as_slice() {
        [Some(partition), Some(next)] => Some((partition.parse().ok()?, next.parse().ok()?)),
        _ => None,
    });
    parsed
        .collect::<Option<Positions>>()
        .ok_or_else(|| Error::Answer { sql: sql.clone(), got: format!("{rows:?}") })
}
