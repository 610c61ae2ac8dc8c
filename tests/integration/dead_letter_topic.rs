//! Dead letters in a Kafka topic: acknowledged before the offset moves, whatever the topic does.

use std::{collections::BTreeMap, time::Duration};

use rdkafka::{
    mocking::MockCluster,
    producer::DefaultProducerContext,
    types::{RDKafkaApiKey, RDKafkaRespErr},
};

use crate::support::{
    Chance, Message, Received, Tidegate, World, committed, eventually, grid, kafka, orders_profile,
    produce, read_topic, start_load,
};

fn config(world: &World, topic: &str) -> String {
    let table = "table = \"orders\"\n";
    let with_topic = format!("{table}dead_letters = {{ topic = \"{topic}\" }}\n");
    world.orders_config().replace(table, &with_topic)
}

fn good(n: usize) -> Message {
    Message::json(&format!(r#"{{"order_id":{n},"amount":{n}}}"#))
}

/// Topic and offset of the letters, with their number.
fn offsets(letters: &[Received]) -> BTreeMap<(i32, i64), usize> {
    let mut counts = BTreeMap::new();
    for letter in letters {
        let number = |name: &str| letter.header(name).parse::<i64>().unwrap();
        let place = (number("tidegate.partition") as i32, number("tidegate.offset"));
        *counts.entry(place).or_default() += 1;
    }
    counts
}

fn await_next_offset(world: &World, expected: i64) {
    let sql = "SELECT coalesce(sum(next_offset), 0) FROM tidegate.checkpoints";
    eventually("the checkpoint", || match world.sql.query_one_i64(sql) {
        Ok(next) if next == expected => Ok(()),
        other => Err(format!("{other:?} of {expected}")),
    });
}

#[test]
fn a_letter_is_the_record_untouched_with_position_and_reason_behind_its_headers() {
    let world = World::new("dead-untouched", 1);
    world.sql.execute("ALTER TABLE orders ADD CONSTRAINT small CHECK (amount < 100)").unwrap();
    kafka().create_topic("dead-untouched-dead", 2, &[]).unwrap();
    let headers: Vec<(&'static str, Option<Vec<u8>>)> = vec![
        ("trace", Some(b"abc".to_vec())),
        ("raw", Some(vec![0, 255])),
        ("none", None),
        ("trace", Some(b"again".to_vec())),
    ];
    let bad = |value: Option<&[u8]>| Message {
        key: Some(b"the key".to_vec()),
        value: value.map(<[u8]>::to_vec),
        timestamp_ms: Some(1_767_225_600_123),
        headers: headers.clone(),
        ..Message::default()
    };
    let refused = br#"{"order_id":3,"amount":100}"#;
    let values: [Option<&[u8]>; 4] =
        [Some(b"\xff\0 not JSON"), None, Some(br#"{"order_id":1,"amount":"x"}"#), Some(refused)];
    produce(&world, &[good(0)]);
    produce(&world, &values.map(bad));
    produce(&world, &[good(5)]);
    let mut tidegate = world.run(&config(&world, "dead-untouched-dead"), &[]);
    await_next_offset(&world, 6);
    let counts = tidegate.assert_conservation();
    assert_eq!((counts.written, counts.dead_lettered), (2, 4));
    tidegate.stop();

    let mut letters = read_topic(&world.brokers, "dead-untouched-dead", 2);
    letters.sort_by_key(|letter| letter.header("tidegate.offset"));
    let facts: Vec<Vec<String>> = letters
        .iter()
        .map(|letter| {
            let names = ["offset", "reason", "column", "sqlstate"];
            names.map(|name| letter.header(&format!("tidegate.{name}"))).to_vec()
        })
        .collect();
    let expected = [
        ["1", "malformed", "-", "-"],
        ["2", "tombstone", "-", "-"],
        ["3", "invalid_text", "amount", "-"],
        ["4", "refused", "-", "23514"],
    ];
    assert_eq!(facts, grid(&expected));
    for (letter, value) in letters.iter().zip(values) {
        assert_eq!(letter.key.as_deref(), Some(&b"the key"[..]));
        assert_eq!(letter.value.as_deref(), value);
        let own: Vec<_> =
            headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        assert_eq!(letter.headers[..4], own);
        assert_eq!(letter.header("tidegate.topic"), world.name);
        assert_eq!(letter.header("tidegate.target"), "serving.public.orders");
        assert_eq!(letter.header("tidegate.group"), world.name);
        assert_eq!(letter.header("tidegate.timestamp"), "1767225600123");
        assert!(!letter.header("tidegate.message").is_empty());
    }
    assert_eq!(world.number("SELECT count(*) FROM tidegate.dead_letters"), 0);
}

#[test]
fn a_topic_that_is_deleted_holds_the_offset_until_it_is_there_again() {
    let world = World::new("dead-deleted", 1);
    let dead = "dead-deleted-dead";
    kafka().create_topic(dead, 1, &[]).unwrap();
    let mut tidegate = world.run(&config(&world, dead), &[]);
    produce(&world, &[good(0), Message::json("one")]);
    await_next_offset(&world, 2);
    assert_eq!(offsets(&read_topic(&world.brokers, dead, 1)).len(), 1);

    kafka().delete_topic(dead).unwrap();
    produce(&world, &[good(2), Message::json("two"), good(4)]);
    eventually("an outage that names the topic", || {
        let (code, body) = tidegate.get("/readyz");
        let named = format!("dead-letter topic {dead}: it is not there");
        if code == 503 && body.contains(&named) { Ok(()) } else { Err(body) }
    });
    let held = "SELECT next_offset FROM tidegate.checkpoints";
    assert!(world.number(held) <= 3, "it has passed a letter that is nowhere");
    assert!(committed(&world, 1)[&0] <= Some(3));
    // Whoever waits for the topic keeps no transaction open.
    let open = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                AND state LIKE 'idle in transaction%'";
    assert_eq!(world.number(open), 0);

    kafka().create_topic(dead, 1, &[]).unwrap();
    await_next_offset(&world, 5);
    tidegate.await_ready();
    let letters = read_topic(&world.brokers, dead, 1);
    assert_eq!(offsets(&letters), BTreeMap::from([((0, 3), 1)]));
    assert_eq!(letters[0].value.as_deref(), Some(&b"two"[..]));
    tidegate.assert_conservation();
    tidegate.stop();
    assert_eq!(world.count_orders(), 3);
}

#[test]
fn a_record_that_the_topic_does_not_take_goes_to_the_table_and_its_neighbours_to_the_topic() {
    let world = World::new("dead-large", 1);
    let dead = "dead-large-dead";
    kafka().create_topic(dead, 1, &[("max.message.bytes", "2000")]).unwrap();
    // Together they are more than the topic takes in one batch of messages.
    let mut messages: Vec<Message> = (0..40).map(|n| Message::json(&format!("bad {n}"))).collect();
    messages[20] = Message::json(&"x".repeat(5000));
    produce(&world, &messages);
    let mut tidegate = world.run(&config(&world, dead), &[]);
    await_next_offset(&world, 40);
    assert_eq!(tidegate.assert_conservation().dead_lettered, 40);
    let exit = tidegate.stop();
    assert!(exit.log.contains("it goes to tidegate.dead_letters"), "{}", exit.log);
    let letters = offsets(&read_topic(&world.brokers, dead, 1));
    assert_eq!(letters.len(), 39);
    assert!(letters.values().all(|count| *count == 1), "{letters:?}");
    let stored = world.rows("SELECT \"offset\", length(value) FROM tidegate.dead_letters");
    assert_eq!(stored, grid(&[["20", "5000"]]));
}

#[test]
fn a_user_who_may_not_write_the_topic_is_told_so_and_nothing_is_passed() {
    // The broker of the tests lets everybody do everything. The mock does not tell the ids of topics,
    // which exactly-once asks for; the letters go the same way in both modes.
    let cluster: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1).unwrap();
    let mut world = World::new("dead-right", 1);
    world.brokers = cluster.bootstrap_servers();
    cluster.create_topic(&world.name, 1, 1).unwrap();
    cluster.create_topic("dead-right-dead", 1, 1).unwrap();
    produce(&world, &[good(0), Message::json("bad"), good(2)]);
    let refusals = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED; 3];
    cluster.request_errors(RDKafkaApiKey::Produce, &refusals);
    let sets = [
        "sources.shop.properties.session.timeout.ms=30000",
        "routes[0].to[0].delivery=at-least-once",
    ];
    let mut tidegate = world.run(&config(&world, "dead-right-dead"), &sets);
    tidegate.await_log("dead-letter topic dead-right-dead: this user may not write to it");
    // The fourth try is not refused.
    eventually("the commit", || match committed(&world, 1)[&0] {
        Some(3) => Ok(()),
        found => Err(format!("{found:?}")),
    });
    assert!(!tidegate.log().contains("CONFWARN"), "{}", tidegate.log());
    tidegate.stop();
    let letters = read_topic(&world.brokers, "dead-right-dead", 1);
    assert_eq!(offsets(&letters), BTreeMap::from([((0, 1), 1)]));
    assert_eq!(world.count_orders(), 2);
}

#[test]
fn a_topic_that_is_not_there_is_found_before_a_record_is_read() {
    let world = World::new("dead-missing", 1);
    world.write_config(&config(&world, "dead-misspelt"));
    kafka().create_topic("dead-misspelled", 1, &[]).unwrap();
    for command in ["check", "run"] {
        let exit =
            Tidegate::spawn(world.folder.path(), &[command], std::process::Stdio::null()).wait();
        let said = format!("{}{}", exit.stdout, exit.log);
        assert_eq!(exit.code, Some(78), "{said}");
        let named = "dead letters: source shop: the cluster at";
        for text in [named, "no topic `dead-misspelt`", "Did you mean `dead-misspelled`?"] {
            assert!(said.contains(text), "'{text}' is not in {said}");
        }
    }
    assert_eq!(world.number("SELECT count(*) FROM pg_namespace WHERE nspname = 'tidegate'"), 0);
}

#[test]
fn a_kill_may_double_a_letter_in_the_topic_and_loses_none() {
    let world = World::new("dead-killed", 2);
    let dead = "dead-killed-dead";
    kafka().create_topic(dead, 1, &[]).unwrap();
    let mut chance = Chance::new();
    let profile = loadgen::Profile { poison: 0.05, ..orders_profile(chance.seed) };
    let running = start_load(&world, profile, 4_000.0);
    let config = config(&world, dead);
    for _ in 0..6 {
        let mut tidegate = world.run(&config, &[]);
        tidegate.await_partitions(2);
        chance.pass_up_to(Duration::from_millis(600));
        tidegate.kill();
    }
    let ledger = running.finish();
    let tidegate = world.run(&config, &[]);
    world.await_checkpoints(&ledger, "serving.public.orders");
    tidegate.stop();
    let letters = offsets(&read_topic(&world.brokers, dead, 1));
    let dead_letters = ledger.totals.poison_total + ledger.totals.tombstones;
    assert_eq!(letters.len() as u64, dead_letters, "seed {}", chance.seed);
    assert_eq!(world.count_orders(), ledger.totals.orders as i64, "seed {}", chance.seed);
    let distinct = "SELECT count(DISTINCT (kafka_partition, kafka_offset)) FROM orders";
    assert_eq!(world.number(distinct), ledger.totals.orders as i64);
}
