//! Settings of the server that hurt, and standbys that commits wait for.

use std::{collections::BTreeMap, time::Duration};

use super::{Database, asked};
use crate::cli::check::findings::{Finding, Subject};

/// How long the client lets a transaction take.
const TRANSACTION_MAX: Duration = Duration::from_secs(30);

/// Settings as tidegate's sessions get them.
pub(in crate::cli::check) fn settings(database: &Database<'_>) -> Vec<Finding> {
    let subject = database.subject();
    let answer = database.sink.inspect(async |client| {
        let sql = "SELECT name, setting, coalesce(unit, '') FROM pg_settings WHERE name = ANY($1)";
        let names: Vec<&str> = RULES.iter().map(|rule| rule.name).collect();
        let rows = client.query(sql, &[&names]).await?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect::<BTreeMap<String, String>>())
    });
    asked(&subject, answer, |settings| judge_settings(&subject, &settings, database.at_least_once))
}

/// A setting that may hurt.
struct Rule {
    name: &'static str,
    hurts: fn(&str, bool) -> bool,
    /// A hint only.
    is_mild: bool,
    why: &'static str,
    advice: &'static str,
}

/// Not those that tidegate sets itself in each session: statement_timeout, lock_timeout,
/// idle_in_transaction_session_timeout, search_path, the isolation.
const RULES: [Rule; 9] = [
    Rule {
        name: "fsync",
        hurts: |value, _| value == "off",
        is_mild: false,
        why: "a crash of its machine may leave the whole database broken",
        advice: "turn it on",
    },
    Rule {
        name: "full_page_writes",
        hurts: |value, _| value == "off",
        is_mild: false,
        why: "a crash of its machine may leave pages broken",
        advice: "turn it on",
    },
    Rule {
        name: "synchronous_commit",
        hurts: |value, at_least_once| value == "off" && !at_least_once,
        is_mild: true,
        why: "fast, and safe in exactly-once: a crash takes rows and positions back together",
        advice: "nothing to do, unless others rely on what they have seen",
    },
    Rule {
        name: "synchronous_commit",
        hurts: |value, at_least_once| value == "off" && at_least_once,
        is_mild: false,
        why: "a crash of Postgres loses the last rows of at-least-once targets, whose position is in Kafka",
        advice: "turn it on for this role, or use delivery = \"exactly-once\"",
    },
    Rule {
        name: "transaction_timeout",
        hurts: |value, _| is_below(value, TRANSACTION_MAX),
        is_mild: false,
        why: "it ends transactions that tidegate would wait for (30 s, longer after a time-out): a slow \
              one is tried again and never succeeds",
        advice: "ALTER ROLE ... SET transaction_timeout = 0",
    },
    Rule {
        name: "idle_session_timeout",
        hurts: |value, _| is_below(value, Duration::from_secs(60)),
        is_mild: true,
        why: "connections of a quiet topic are ended and made anew",
        advice: "ALTER ROLE ... SET idle_session_timeout = 0",
    },
    Rule {
        name: "max_wal_size",
        // In megabytes.
        hurts: |value, _| value.parse::<u64>().is_ok_and(|megabytes| megabytes < 1024),
        is_mild: true,
        why: "below 1 GB a fast load makes a checkpoint every few seconds, and each writes whole pages anew",
        advice: "a few GB",
    },
    Rule {
        name: "autovacuum",
        hurts: |value, _| value == "off",
        is_mild: false,
        why: "tidegate.checkpoints is updated with each batch, and grows for ever without it",
        advice: "turn it on",
    },
    Rule {
        name: "session_replication_role",
        hurts: |value, _| value != "origin",
        is_mild: false,
        why: "triggers and foreign keys do not fire for this role, nor do the rollups' triggers",
        advice: "ALTER ROLE ... RESET session_replication_role",
    },
];

/// Whether a number of milliseconds is a bound (0 is none) below `limit`.
fn is_below(milliseconds: &str, limit: Duration) -> bool {
    milliseconds.parse::<u128>().is_ok_and(|ms| ms > 0 && ms < limit.as_millis())
}

fn judge_settings(
    subject: &Subject,
    settings: &BTreeMap<String, String>,
    at_least_once: bool,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for rule in &RULES {
        let Some(value) = settings.get(rule.name) else { continue };
        if (rule.hurts)(value, at_least_once) {
            let text = format!("{} is {value}: {}", rule.name, rule.why);
            findings.push(match rule.is_mild {
                true => subject.hint(text, rule.advice),
                false => subject.warn(text, rule.advice),
            });
        }
    }
    findings
}

/// Whether a commit waits for a standby, and whether there is one.
pub(in crate::cli::check) fn standby(database: &Database<'_>) -> Vec<Finding> {
    let subject = database.subject();
    let answer = database.sink.inspect(async |client| {
        // Others than superusers and pg_monitor see nulls.
        let sql = "SELECT current_setting('synchronous_standby_names'), \
                          current_setting('synchronous_commit'), \
                          (SELECT count(*) FROM pg_stat_replication), \
                          (SELECT count(sync_state) FROM pg_stat_replication), \
                          (SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum'))";
        client.query_one(sql, &[]).await
    });
    asked(&subject, answer, |row| {
        let (names, commit): (String, String) = (row.get(0), row.get(1));
        let [there, seen, synchronous]: [i64; 3] = [2, 3, 4].map(|column| row.get(column));
        let waits = !names.is_empty() && !matches!(commit.as_str(), "off" | "local");
        if !waits || synchronous > 0 {
            return Vec::new();
        }
        if there > seen {
            let advice = "GRANT pg_monitor to this role to have it looked at";
            let text = format!(
                "commits wait for the standbys {names}; whether they are there is not told"
            );
            return vec![subject.hint(text, advice)];
        }
        vec![subject.warn(
            format!(
                "commits wait for a standby ({names}), and none is there: nothing will be written"
            ),
            "bring the standby back, or empty synchronous_standby_names",
        )]
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::check::findings::Status;

    fn judged(name: &str, value: &str, at_least_once: bool) -> Vec<Status> {
        let settings = BTreeMap::from([(name.to_owned(), value.to_owned())]);
        let findings = judge_settings(&Subject::new("postgres", "x"), &settings, at_least_once);
        findings.into_iter().map(|finding| finding.status).collect()
    }

    #[test]
    fn settings_that_hurt_are_named_and_others_are_not() {
        let cases = [
            ("fsync", "on", vec![]),
            ("fsync", "off", vec![Status::Warn]),
            ("transaction_timeout", "0", vec![]),
            ("transaction_timeout", "29999", vec![Status::Warn]),
            ("transaction_timeout", "30000", vec![]),
            ("idle_session_timeout", "1000", vec![Status::Hint]),
            ("max_wal_size", "1024", vec![]),
            ("max_wal_size", "64", vec![Status::Hint]),
            ("session_replication_role", "replica", vec![Status::Warn]),
        ];
        for (name, value, expected) in cases {
            assert_eq!(judged(name, value, false), expected, "{name} = {value}");
        }
    }

    #[test]
    fn a_commit_that_may_be_lost_hurts_where_the_position_is_elsewhere() {
        assert_eq!(judged("synchronous_commit", "off", false), [Status::Hint]);
        assert_eq!(judged("synchronous_commit", "off", true), [Status::Warn]);
        assert_eq!(judged("synchronous_commit", "local", true), []);
    }
}
