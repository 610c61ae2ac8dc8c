//! Whether the first record of a route becomes a row: it is decoded, encoded and copied into a temporary
//! table, in a transaction that is rolled back.

use super::findings::{Finding, Subject};
use crate::{
    cli::plan,
    config::{Config, Route, Target},
    error::ErrorKind,
    sink::postgres::{PostgresSink, preview::Shown},
};

/// A route with its first records, if there are some.
pub(super) fn first_record(
    sink: &PostgresSink,
    route: &Route,
    target: &Target,
    records: &[plan::Kept],
) -> Vec<Finding> {
    let subject = Subject::new("records", format!("routes.{} to {}", route.name, target.sink));
    let planned = match plan::plan(sink, route, target, records, 1) {
        Ok(planned) => planned,
        Err(error) => {
            let advice = match error.kind {
                ErrorKind::Permission => {
                    "a temporary table takes TEMPORARY on the database; `run` may not need it"
                }
                ErrorKind::Unavailable => "`run` would wait for it before its first row",
                _ => "`tidegate plan` shows more",
            };
            return vec![subject.warn(format!("a record could not be tried: {error}"), advice)];
        }
    };
    let Some((place, shown)) = planned.rows.first() else { return Vec::new() };
    vec![match shown {
        Shown::Row(_) => {
            subject.ok(format!("{place} becomes a row, and a temporary table took it"))
        }
        Shown::Delete => subject.ok(format!("{place} deletes the row of its key")),
        Shown::Unwanted => subject.ok(format!("{place} is passed over")),
        Shown::DeadLetter(rejection) => subject.warn(
            format!(
                "{place} would become a dead letter ({}): {rejection}",
                rejection.reason.as_str()
            ),
            "`tidegate plan` shows the first records and what feeds which column",
        ),
    }]
}

/// The first record of the route, if there is one soon.
pub(super) fn read(config: &Config, route: &Route) -> Vec<plan::Kept> {
    plan::read(config, route, 1).unwrap_or_default()
}
