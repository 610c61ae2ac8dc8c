//! `tidegate check`: every kind of trouble is caused for real, found, and named with the way out; and
//! nothing is changed by looking.

use std::{process::Stdio, time::Duration};

use serde_json::Value;
use stack::{Kafka, KafkaOptions};

use crate::support::{
    Acl, Exit, Message, Tidegate, World, allow, delete_records_before, load, orders_profile,
    postgres, produce, produce_to,
};

/// Runs `check --json`; gives its end and its findings.
fn check(world: &World, config: &str) -> (Exit, Vec<Value>) {
    world.write_config(config);
    let arguments = ["check", "--json"];
    let exit = Tidegate::spawn(world.folder.path(), &arguments, Stdio::null()).wait();
    let findings = serde_json::from_str(&exit.stdout);
    let findings = findings.unwrap_or_else(|error| panic!("{error}: {exit:?}"));
    (exit, findings)
}

/// The finding with this status whose text has all of these words, among what, finding and advice.
fn assert_found(findings: &[Value], status: &str, words: &[&str]) {
    let has_all = |finding: &&Value| {
        let text = finding.to_string().replace("\\\"", "\"");
        finding["status"] == status && words.iter().all(|word| text.contains(word))
    };
    let found = findings.iter().find(has_all);
    assert!(found.is_some(), "no {status} with {words:?} in {findings:#?}");
}

fn failures(findings: &[Value]) -> usize {
    findings.iter().filter(|finding| finding["status"] == "fail").count()
}

/// All that the database has, as far as a look could change it.
fn snapshot(world: &World) -> Vec<Vec<String>> {
    let of_users = "nspname !~ '^pg_' AND nspname <> 'information_schema'";
    let mut all = world.rows(&format!(
        "SELECT c.oid, c.relname, c.relfilenode, c.relnatts, c.relacl, n.nspname FROM pg_class c \
         JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {of_users} ORDER BY 1"
    ));
    all.extend(world.rows(&format!("SELECT * FROM pg_namespace WHERE {of_users} ORDER BY 1")));
    if all.iter().any(|row| row.contains(&"checkpoints".to_owned())) {
        all.extend(world.rows("SELECT * FROM tidegate.checkpoints ORDER BY 1"));
        all.extend(world.rows("SELECT last_value FROM tidegate.checkpoints_checkpoint_id_seq"));
    }
    all.extend(world.rows("SELECT count(*) FROM orders"));
    all
}

#[test]
fn a_sound_world_has_no_failures_and_is_left_as_it_is() {
    let world = World::new("check-sound", 2);
    let ledger = load(&world, orders_profile(5), 200);
    let before = snapshot(&world);
    let (exit, findings) = check(&world, &world.orders_config());
    assert_eq!(exit.code, Some(0), "{findings:#?}");
    assert_eq!(failures(&findings), 0, "{findings:#?}");
    for words in [
        &["source shop", "1 broker (1 127.0.0.1:", "an answer in"][..],
        &["check-sound (2 partitions)"],
        &["group check-sound", "nobody has used it yet"],
        &["sink serving", "Postgres 1", "role tidegate", "tidegate:***@127.0.0.1"],
        &["schema tidegate", "will be made at the start"],
        &["more connections of"],
        &["public.orders, 11 columns fed from"],
        &["@0 becomes a row"],
        &["serving.public.orders", "2 partitions, 200 records behind; 2 have no checkpoint yet"],
    ] {
        assert_found(&findings, "ok", words);
    }
    assert_eq!(snapshot(&world), before);

    // Beside one that runs, too.
    let mut tidegate = world.run_orders(&[]);
    world.await_checkpoints(&ledger, "serving.public.orders");
    let before = snapshot(&world);
    let (exit, findings) = check(&world, &world.orders_config());
    assert_eq!(exit.code, Some(0), "{findings:#?}");
    assert_found(&findings, "ok", &["group check-sound", "Stable, 1 members are tidegate"]);
    assert_found(&findings, "ok", &["serving.public.orders", "2 partitions, 0 records behind"]);
    assert_found(&findings, "ok", &["schema tidegate", "with the rights that it takes"]);
    assert_eq!(snapshot(&world), before);
    assert_eq!(tidegate.rebalances("revoke"), 0.0);
    tidegate.stop();
}

/// A route of the world's topic to one table more.
fn target(sink: &str, table: &str, more: &str) -> String {
    format!("[[routes.to]]\nsink = \"{sink}\"\ntable = \"{table}\"\n{more}\n")
}

#[test]
fn every_trouble_of_a_role_and_of_tables_is_found_at_once() {
    let world = World::new("check-tables", 1);
    produce(&world, &[Message::json(r#"{"order_id":"x"}"#)]);
    world
        .sql
        .execute(
            "DROP ROLE IF EXISTS check_limited, check_reader; \
             CREATE ROLE check_limited LOGIN PASSWORD 'secret' CONNECTION LIMIT 4; \
             ALTER ROLE check_limited SET session_replication_role = replica; \
             ALTER ROLE check_limited SET synchronous_commit = off; \
             CREATE ROLE check_reader LOGIN PASSWORD 'secret'; \
             ALTER ROLE check_reader SET default_transaction_read_only = on; \
             CREATE TABLE owned (order_id bigint); ALTER TABLE owned ENABLE ROW LEVEL SECURITY; \
             GRANT INSERT ON owned TO check_limited; \
             CREATE UNLOGGED TABLE unlogged (order_id bigint); \
             CREATE TABLE parts (order_id bigint, created_at timestamptz) PARTITION BY RANGE (created_at); \
             CREATE TABLE past (LIKE parts) PARTITION BY RANGE (created_at); \
             CREATE TABLE past_2001 PARTITION OF past FOR VALUES FROM ('2001-01-01') TO ('2002-01-01'); \
             CREATE TABLE present (LIKE parts) PARTITION BY RANGE (created_at); \
             CREATE TABLE present_all PARTITION OF present FOR VALUES FROM ('2001-01-01') TO ('2999-01-01'); \
             CREATE TABLE picky (order_id text CONSTRAINT not_x CHECK (order_id <> 'x')); \
             CREATE TABLE busy (order_id bigint PRIMARY KEY REFERENCES busy, customer_id bigint); \
             CREATE INDEX ON busy (customer_id); CREATE INDEX ON busy ((customer_id + 1)); \
             CREATE INDEX ON busy ((customer_id + 2)); CREATE INDEX ON busy ((customer_id + 3)); \
             CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; \
             CREATE TRIGGER slows BEFORE INSERT ON busy FOR EACH ROW EXECUTE FUNCTION nothing(); \
             CREATE RULE passed AS ON INSERT TO busy DO ALSO NOTHING;",
        )
        .unwrap();
    let role = |sink: &str, role: &str| {
        let url = world.url.replace("tidegate:tidegate@", &format!("{role}:secret@"));
        format!("[sinks.{sink}]\nkind = \"postgres\"\nurl = \"{url}\"\nwriters = 2\n")
    };
    let config = [
        world.source_config(""),
        world.sink_config("serving") + &role("limited", "check_limited"),
        role("reader", "check_reader"),
        world.route_config("\"serving\"\ntable = \"unlogged\""),
        target("serving", "parts", ""),
        target("serving", "past", ""),
        target("serving", "present", ""),
        target("serving", "picky", ""),
        target("serving", "busy", "delivery = \"at-least-once\""),
        target("limited", "orders", ""),
        target("limited", "owned", ""),
        target("reader", "orders", ""),
    ]
    .concat();
    let lock = world.lock("busy");
    let (exit, findings) = check(&world, &config);
    drop(lock);
    // The rights on the schema come first.
    assert_eq!(exit.code, Some(77), "{findings:#?}");
    let failed = [
        &["unlogged is UNLOGGED", "SET LOGGED"][..],
        &["public.parts", "there is no partition", "`partitions`"],
        &["schema tidegate", "check_limited", "GRANT CREATE ON DATABASE \"check-tables\""],
        &["may not insert into public.orders", "GRANT INSERT ON"],
        &["public.owned has row-level security", "BYPASSRLS"],
        &["sink reader", "default_transaction_read_only", "primary"],
    ];
    for words in failed {
        assert_found(&findings, "fail", words);
    }
    assert_eq!(failures(&findings), failed.len(), "{findings:#?}");
    for words in [
        &["public.past", "no partition takes a row of now"][..],
        &["sink limited", "the role's connection limit", "writers", "ALTER ROLE \"check_limited\""],
        &["session_replication_role is replica", "RESET"],
        &["public.busy", "rules of the table", "passed"],
        &["public.busy", "at least once into a table with unique indexes", "busy_pkey"],
        &["public.busy", "locked against writers now", "ShareLock"],
        &["would become a dead letter", "order_id", "integer"],
        &["would become a dead letter", "not_x"],
    ] {
        assert_found(&findings, "warn", words);
    }
    for words in [
        &["synchronous_commit is off", "exactly-once"][..],
        &["public.busy", "triggers run", "slows"],
        &["public.busy", "foreign keys", "busy_order_id_fkey"],
        &["public.busy", "5 indexes"],
    ] {
        assert_found(&findings, "hint", words);
    }
    let of_present = |finding: &&Value| finding["what"] == "public.present";
    assert_eq!(findings.iter().find(of_present), None, "its partition takes rows of now");
}

#[test]
fn a_position_that_is_gone_and_a_stranger_in_the_group_are_found() {
    let world = World::new("check-positions", 3);
    let message =
        |partition| Message { partition, ..Message::json(r#"{"order_id":1,"amount":1}"#) };
    produce(&world, &[0, 0, 0, 1, 1, 2].map(message));
    let mut tidegate = world.run_orders(&[]);
    tidegate.await_partitions(3);
    crate::support::eventually("6 orders", || match world.count_orders() {
        6 => Ok(()),
        count => Err(count.to_string()),
    });
    tidegate.stop();
    produce(&world, &[0, 0].map(message));
    delete_records_before(&world, 0, 5);
    world
        .sql
        .execute(
            "UPDATE tidegate.checkpoints SET topic_id = 'another' WHERE partition = 1; \
             UPDATE tidegate.checkpoints SET next_offset = 9 WHERE partition = 2; \
             UPDATE tidegate.checkpoints SET next_offset = 1 WHERE partition = 0",
        )
        .unwrap();
    let (exit, findings) = check(&world, &world.orders_config());
    assert_eq!(exit.code, Some(65), "{findings:#?}");
    for words in [
        &["check-positions[0]", "checkpoint is 1", "everything below 5", "positions"][..],
        &["check-positions[1]", "recreated", "another"],
        &["check-positions[2]", "checkpoint is 9", "beyond the end", "at 1"],
    ] {
        assert_found(&findings, "fail", words);
    }
    assert_eq!(failures(&findings), 3, "{findings:#?}");
    assert_found(&findings, "hint", &["committed offset is ahead of the checkpoint"]);

    world
        .sql
        .execute(
            "UPDATE tidegate.checkpoints SET topic_id = NULL, next_offset = 1 WHERE partition > 0",
        )
        .unwrap();
    let stranger = crate::support::join_group(&world, "somebody");
    let (exit, findings) = check(&world, &world.orders_config());
    drop(stranger);
    assert_eq!(exit.code, Some(65), "{findings:#?}");
    assert_eq!(failures(&findings), 1, "{findings:#?}");
    assert_found(&findings, "warn", &["not tidegate", "somebody at 127.0.0.1", "group of its own"]);
}

#[test]
fn all_that_is_away_is_named_and_soon() {
    let world = World::new("check-away", 1);
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let sink =
        |name: &str, url: &str| format!("[sinks.{name}]\nkind = \"postgres\"\nurl = \"{url}\"\n");
    let config = [
        world.source_config("").replace(&world.brokers, "127.0.0.1:9"),
        sink("stranger", &world.url.replace("tidegate:tidegate@", "tidegate:wrong@")),
        sink("nobody", "postgres://a:b@127.0.0.1:9/x"),
        sink("silent", &format!("postgres://a:b@127.0.0.1:{port}/x")),
        sink("elsewhere", &postgres().url_of("check-nowhere")),
        world.route_config("\"stranger\"\ntable = \"orders\""),
        target("nobody", "orders", ""),
        target("silent", "orders", ""),
        target("elsewhere", "orders", ""),
    ]
    .concat();
    let (exit, findings) = check(&world, &config);
    assert!(exit.took < Duration::from_secs(20), "{:?}", exit.took);
    // The brokers come first.
    assert_eq!(exit.code, Some(69), "{findings:#?}");
    for words in [
        &["source shop", "no broker of 127.0.0.1:9 answers"][..],
        &["sink stranger", "password authentication failed", "28P01", "pg_hba.conf"],
        &["sink nobody", "refused", "is Postgres up?"],
        &["sink silent", "no answer within 5 s"],
        &["sink elsewhere", "check-nowhere", "does not exist"],
    ] {
        assert_found(&findings, "fail", words);
    }
    assert_eq!(failures(&findings), 5, "{findings:#?}");

    // Nobody is asked.
    world.write_config(&config);
    let exit = Tidegate::spawn(world.folder.path(), &["check", "--offline"], Stdio::null()).wait();
    assert_eq!(exit.code, Some(0), "{exit:?}");
    assert!(exit.stdout.starts_with("ok    tidegate.toml  is valid\n"), "{}", exit.stdout);
}

/// A broker that asks for a password, and lets nobody do what no ACL allows, on the listener of its proxy.
fn secured() -> Kafka {
    let settings = [
        (
            "listener.security.protocol.map",
            "CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:SASL_PLAINTEXT",
        ),
        ("sasl.enabled.mechanisms", "PLAIN"),
        (
            "listener.name.proxied.plain.sasl.jaas.config",
            "org.apache.kafka.common.security.plain.PlainLoginModule required user_alice=\"secret\";",
        ),
        ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
        ("super.users", "User:ANONYMOUS"),
    ];
    let settings = settings.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
    let (proxied, heap_mib) = (true, Some(384));
    Kafka::start(KafkaOptions { proxied, heap_mib, settings, ..KafkaOptions::default() }).unwrap()
}

#[test]
fn a_log_in_that_is_refused_and_rights_that_are_missing_are_named() {
    let kafka = secured();
    let world = World::on_brokers(&kafka, "check-rights", 1);
    produce_to(&world.brokers, &world.name, &[Message::json(r#"{"order_id":1,"amount":1}"#)]);
    kafka.create_topic("check-hidden", 1, &[]).unwrap();
    let config = |password: &str| {
        let login = format!(
            "\"security.protocol\" = \"sasl_plaintext\"\n\"sasl.mechanism\" = \"PLAIN\"\n\
             \"sasl.username\" = \"alice\"\n\"sasl.password\" = \"{password}\"\n[sinks.serving]"
        );
        let config = world
            .orders_config()
            .replace("[\"check-rights\"]", "[\"check-rights\", \"check-hidden\"]");
        config
            .replace(&world.brokers, &kafka.proxied_bootstrap_servers())
            .replace("[sinks.serving]", &login)
    };
    let (exit, findings) = check(&world, &config("wrong"));
    assert_eq!(exit.code, Some(77), "{findings:#?}");
    assert_found(
        &findings,
        "fail",
        &["source shop", "refuse the log-in", "sources.shop.properties"],
    );
    assert_eq!(failures(&findings), 1, "{findings:#?}");
    assert!(!exit.stdout.contains("wrong"), "{}", exit.stdout);

    // It may see one topic and the group, and read neither.
    allow(&world.brokers, Acl { user: "alice", topic: Some("check-rights"), right: "DESCRIBE" });
    allow(&world.brokers, Acl { user: "alice", topic: None, right: "DESCRIBE" });
    let (exit, findings) = check(&world, &config("secret"));
    assert_eq!(exit.code, Some(77), "{findings:#?}");
    for words in [
        &["topic check-rights", "no right to Read", "kafka-acls.sh", "--topic check-rights"][..],
        &["may not see check-hidden", "kafka-acls.sh", "--topic check-hidden"],
        &["group check-rights", "no right to Read", "--group check-rights"],
    ] {
        assert_found(&findings, "fail", words);
    }
    assert_eq!(failures(&findings), 3, "{findings:#?}");
    assert_found(&findings, "hint", &["topic check-rights", "retention", "DescribeConfigs"]);

    allow(&world.brokers, Acl { user: "alice", topic: Some("check-rights"), right: "READ" });
    allow(&world.brokers, Acl { user: "alice", topic: None, right: "READ" });
    let config = config("secret").replace(", \"check-hidden\"", "");
    let (exit, findings) = check(&world, &config);
    assert_eq!(exit.code, Some(0), "{findings:#?}");
}
