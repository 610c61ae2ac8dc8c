//! What a sink's database tells: the server, its settings, its connections, and the bookkeeping.

mod access;
mod settings;

use std::time::{Duration, Instant, SystemTime};

pub(in crate::cli::check) use self::{
    access::{bookkeeping, connections},
    settings::{settings, standby},
};
use super::findings::{Finding, Subject};
use crate::{
    config::PostgresSink as Config,
    error::{Error, ErrorKind},
    sink::postgres::PostgresSink,
};

/// The oldest that the tests know, as server_version_num.
const VERSION_MIN: i32 = 150_000;
/// Questions of which the median is the round trip.
const ROUND_TRIPS: usize = 5;
/// Beyond this, latency is wrong and rows may look as if they came from the future.
const CLOCK_MAX: Duration = Duration::from_secs(1);
/// A batch costs several of them.
const ROUND_TRIP_MAX: Duration = Duration::from_millis(5);

/// A sink's database.
pub(super) struct Database<'a> {
    pub(super) name: &'a str,
    pub(super) config: &'a Config,
    pub(super) sink: &'a PostgresSink,
    /// Whether some target of it is at-least-once.
    pub(super) at_least_once: bool,
}

impl Database<'_> {
    pub(super) fn subject(&self) -> Subject {
        Subject::new("postgres", format!("sink {}", self.name))
    }
}

/// Who answers, how soon, and what its clock says; the error is that it does not.
pub(super) fn server(database: &Database<'_>) -> Result<Vec<Finding>, Finding> {
    let subject = database.subject();
    let asked = database.sink.inspect(async |client| {
        let sql = "SELECT current_setting('server_version'), current_setting('server_version_num')::int, \
                   current_user::text, extract(epoch FROM clock_timestamp())::float8";
        client.batch_execute("SELECT 1").await?;
        let before = SystemTime::now();
        let row = client.query_one(sql, &[]).await?;
        let between = before + before.elapsed().unwrap_or_default() / 2;
        let mut times = Vec::new();
        for _ in 0..ROUND_TRIPS {
            let since = Instant::now();
            client.batch_execute("SELECT 1").await?;
            times.push(since.elapsed());
        }
        times.sort_unstable();
        Ok((row, between, times[ROUND_TRIPS / 2]))
    });
    let (row, between, trip) = asked.map_err(|error| unreachable(&subject, &error))?;
    let (version, number, user): (String, i32, String) = (row.get(0), row.get(1), row.get(2));
    let shown = version.split(' ').next().unwrap_or_default();
    let mut findings = vec![subject.ok(format!(
        "Postgres {shown} at {}, role {user}, an answer in {:.1} ms",
        database.config.masked_url(),
        trip.as_secs_f64() * 1e3
    ))];
    if number < VERSION_MIN {
        let text = format!("Postgres {shown} is older than 15, with which tidegate is tested");
        findings.push(subject.warn(text, "upgrade it"));
    }
    if trip > ROUND_TRIP_MAX {
        findings.push(subject.hint(
            format!(
                "an answer takes {:.0} ms, and a transaction waits for about four",
                trip.as_secs_f64() * 1e3
            ),
            "run tidegate near the database, or raise batch.rows and writers",
        ));
    }
    let now = between.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let ahead = row.get::<_, f64>(3) - now.as_secs_f64();
    if ahead.abs() > CLOCK_MAX.as_secs_f64() {
        let (by, where_to) = (ahead.abs(), if ahead > 0.0 { "ahead of" } else { "behind" });
        findings.push(subject.warn(
            format!("its clock is {by:.1} s {where_to} this machine's: times in the two cannot be compared"),
            "let both be set by NTP",
        ));
    }
    Ok(findings)
}

/// An answer of the driver's own (tokio_postgres, connect.rs), for target_session_attrs.
const READ_ONLY: &str = "database does not allow writes";

fn unreachable(subject: &Subject, error: &Error) -> Finding {
    // It was prepared in another session.
    if error.message.contains("prepared statement") {
        return pooled(subject);
    }
    if error.message.contains(READ_ONLY) {
        return subject.fail(
            error.kind,
            format!("{}: a standby, or default_transaction_read_only is on", error.message),
            "let the url name the primary; SHOW default_transaction_read_only tells of the setting, which \
             may be one of the role or of the database",
        );
    }
    let advice = match error.kind {
        ErrorKind::Permission => {
            "are user and password of the url right, and does pg_hba.conf let it in?"
        }
        ErrorKind::Unavailable => "is the url right, and is Postgres up?",
        _ => "is the database of the url there?",
    };
    subject.fail(error.kind, error.message.clone(), advice)
}

/// A probe that could not be made is a failure by itself.
fn asked<T>(
    subject: &Subject,
    answer: Result<T, Error>,
    judge: impl FnOnce(T) -> Vec<Finding>,
) -> Vec<Finding> {
    answer.map_or_else(|error| vec![subject.error(&error)], judge)
}

/// Whether there is a pooler between that gives each transaction another session: what a session has
/// made, its settings and its staging tables, would be gone. The error is that there is one.
pub(super) fn pooler(database: &Database<'_>) -> Result<(), Finding> {
    // If it cannot be asked, there are no two connections: that is said of the connections.
    match database.sink.session_changes() {
        Ok(true) => Err(pooled(&database.subject())),
        Ok(false) | Err(_) => Ok(()),
    }
}

fn pooled(subject: &Subject) -> Finding {
    subject.fail(
        ErrorKind::Config,
        "a pooler gives each transaction another session (pool_mode = transaction), and tidegate's \
         settings and staging tables are of the session",
        "connect to Postgres itself, or set pool_mode = session for this database or user",
    )
}
