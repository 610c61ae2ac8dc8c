//! A blocking connection to Postgres, for what tests ask: a number, or rows as text.

use std::{fmt, sync::Arc, time::Duration};

use tokio_postgres::{NoTls, SimpleQueryMessage};

use crate::{Error, Result, runtime};

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const QUERY_LIMIT: Duration = Duration::from_secs(300);

pub struct Client {
    client: Arc<tokio_postgres::Client>,
}

impl Client {
    /// Connects to a `postgres://` URL without TLS.
    pub fn connect(url: &str) -> Result<Self> {
        let action = "connect";
        let owned = url.to_owned();
        let connected = runtime::wait_for(action, CONNECT_LIMIT, async move {
            tokio_postgres::connect(&owned, NoTls).await
        })?;
        let (client, connection) =
            connected.map_err(|source| Error::Postgres { action: action.into(), source })?;
        runtime::spawn(async move {
            // The query that meets a broken connection reports it.
            connection.await.ok();
        })?;
        Ok(Self { client: Arc::new(client) })
    }

    /// Runs one or more statements; gives the rows that the last one affected.
    pub fn execute(&self, sql: &str) -> Result<u64> {
        let affected = self.run(sql)?.into_iter().filter_map(|message| match message {
            SimpleQueryMessage::CommandComplete(rows) => Some(rows),
            _ => None,
        });
        Ok(affected.last().unwrap_or(0))
    }

    /// Every row as text, as psql would print it; NULL is `None`.
    pub fn query_text(&self, sql: &str) -> Result<Vec<Vec<Option<String>>>> {
        let rows = self.run(sql)?.into_iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect())
            }
            _ => None,
        });
        Ok(rows.collect())
    }

    /// The only column of the only row, an integer.
    pub fn query_one_i64(&self, sql: &str) -> Result<i64> {
        let rows = self.query_text(sql)?;
        let number = match rows.as_slice() {
            [row] => match row.as_slice() {
                [Some(text)] => text.parse().ok(),
                _ => None,
            },
            _ => None,
        };
        number.ok_or_else(|| Error::NotOneInteger { sql: sql.into(), got: format!("{rows:?}") })
    }

    fn run(&self, sql: &str) -> Result<Vec<SimpleQueryMessage>> {
        let (client, query) = (Arc::clone(&self.client), sql.to_owned());
        runtime::wait_for(sql, QUERY_LIMIT, async move { client.simple_query(&query).await })?
            .map_err(|source| Error::Postgres { action: format!("'{sql}'"), source })
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}
