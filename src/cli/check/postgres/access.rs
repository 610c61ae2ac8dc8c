//! Room for connections, and the rights on the bookkeeping.

use super::{Database, asked};
use crate::{
    cli::check::findings::{Finding, Subject},
    error::ErrorKind,
    sink::postgres::{POOL_EXTRA, catalog::quote_identifier},
};

/// Whether there is room for this instance's connections.
pub(in crate::cli::check) fn connections(database: &Database<'_>) -> Vec<Finding> {
    let subject = database.subject();
    let answer = database.sink.inspect(async |client| {
        let sql = "SELECT current_setting('max_connections')::int8 \
                     - current_setting('superuser_reserved_connections')::int8 \
                     - coalesce(current_setting('reserved_connections', true)::int8, 0), \
                   (SELECT sum(numbackends)::int8 FROM pg_stat_database), \
                   (SELECT rolconnlimit::int8 FROM pg_roles WHERE rolname = current_user), \
                   (SELECT count(*) FROM pg_stat_activity WHERE usename = current_user), \
                   (SELECT datconnlimit::int8 FROM pg_database WHERE datname = current_database()), \
                   (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()), \
                   (SELECT count(*) FROM pg_stat_activity WHERE usename = current_user \
                        AND application_name = 'tidegate'), \
                   current_user::text, current_database()::text";
        client.query_one(sql, &[]).await
    });
    asked(&subject, answer, |row| {
        let [all, used, role, by_role, of_database, in_database, ours]: [i64; 7] =
            std::array::from_fn(|column| row.get(column));
        let (user, name): (String, String) = (row.get(7), row.get(8));
        let (user, name) = (quote_identifier(&user), quote_identifier(&name));
        // Not the one that asks; those of an instance that runs go when it is started again.
        let ours = (ours - 1).max(0);
        let needed = (database.config.writers + POOL_EXTRA) as i64;
        let limits = [
            ("max_connections", Some(all), used, "raise max_connections".to_owned()),
            (
                "the role's connection limit",
                (role >= 0).then_some(role),
                by_role,
                format!("ALTER ROLE {user} CONNECTION LIMIT"),
            ),
            (
                "the database's connection limit",
                (of_database >= 0).then_some(of_database),
                in_database,
                format!("ALTER DATABASE {name} CONNECTION LIMIT"),
            ),
        ];
        let judge = |(what, limit, used, way_out): (&str, Option<i64>, i64, String)| {
            let limit = limit?;
            let room = limit - (used - 1);
            if room + ours < needed {
                return Some(subject.warn(
                    format!(
                        "an instance opens up to {needed} connections ({} writers and {POOL_EXTRA}), and {what} \
                         leaves room for {room}",
                        database.config.writers
                    ),
                    format!("{way_out}, or lower sinks.{}.writers", database.name),
                ));
            }
            None
        };
        let mut findings: Vec<Finding> = limits.into_iter().filter_map(judge).collect();
        if findings.is_empty() {
            let room = all - (used - 1);
            findings.push(subject.ok(format!(
                "room for {room} more connections of {all}; an instance opens up to {needed}"
            )));
        }
        findings
    })
}

/// Each table of the bookkeeping with the rights that it takes.
const BOOKKEEPING: [(&str, &[&str]); 4] = [
    ("checkpoints", &["SELECT", "INSERT", "UPDATE"]),
    ("dead_letters", &["SELECT", "INSERT", "UPDATE"]),
    ("rollups", &["SELECT"]),
    ("rollup_touched", &["INSERT"]),
];

/// The schema `tidegate`: whether it is there, or can be made, and may be written.
pub(in crate::cli::check) fn bookkeeping(database: &Database<'_>) -> Vec<Finding> {
    let subject = Subject::new("postgres", format!("sink {}, schema tidegate", database.name));
    let answer = database.sink.inspect(async |client| {
        let sql = "SELECT n.oid IS NOT NULL, has_database_privilege(current_database(), 'CREATE'), \
                          coalesce(has_schema_privilege(n.oid, 'USAGE'), false), \
                          current_user::text, current_database()::text \
                   FROM (SELECT) AS one LEFT JOIN pg_namespace n ON n.nspname = 'tidegate'";
        let schema = client.query_one(sql, &[]).await?;
        // By the catalog: a name cannot be looked up in a schema without USAGE.
        let mut lacking = Vec::new();
        let mut missing = Vec::new();
        for (table, rights) in BOOKKEEPING {
            let sql = "SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                       WHERE n.nspname = 'tidegate' AND c.relname = $1";
            let Some(row) = client.query_opt(sql, &[&table]).await? else {
                missing.push(table);
                continue;
            };
            let oid: u32 = row.get(0);
            for right in rights {
                let sql = "SELECT has_table_privilege($1::oid, $2)";
                if !client.query_one(sql, &[&oid, right]).await?.get::<_, bool>(0) {
                    lacking.push((table, *right));
                }
            }
        }
        Ok((schema, missing, lacking))
    });
    asked(&subject, answer, |(row, missing, lacking)| {
        let [is_there, may_create, may_use]: [bool; 3] = std::array::from_fn(|c| row.get(c));
        let (role, database): (String, String) = (row.get(3), row.get(4));
        let (role, database) = (quote_identifier(&role), quote_identifier(&database));
        let refused =
            |text: String, advice: String| vec![subject.fail(ErrorKind::Permission, text, advice)];
        if !is_there {
            return match may_create {
                true => vec![subject.ok("is not there yet, and will be made at the start")],
                false => refused(
                    format!("is not there, and role {role} may not make it"),
                    format!("GRANT CREATE ON DATABASE {database} TO {role}"),
                ),
            };
        }
        if !may_use {
            let advice = format!("GRANT USAGE ON SCHEMA tidegate TO {role}");
            return refused(format!("role {role} may not use it"), advice);
        }
        if !lacking.is_empty() {
            let shown: Vec<String> =
                lacking.iter().map(|(table, right)| format!("{right} on {table}")).collect();
            let grants: Vec<String> = lacking
                .iter()
                .map(|(table, right)| format!("GRANT {right} ON tidegate.{table} TO {role}"))
                .collect();
            let text = format!("role {role} lacks {}", shown.join(", "));
            return refused(text, grants.join("; "));
        }
        if !missing.is_empty() && !may_create {
            return refused(
                format!("made by an earlier version: it has no {}", missing.join(", ")),
                "let its owner start this version once".to_owned(),
            );
        }
        vec![subject.ok("is there, with the rights that it takes")]
    })
}
