//! Each bottleneck is caused for real, and must be the one that is named: in `/status` and in the metric.

use std::time::{Duration, Instant};

use serde_json::Value;
use stack::{Client, Kafka, Proxy};

use crate::support::{
    RunningLoad, Tidegate, World, eventually, fragile_kafka, load, orders_profile, start_load,
};

/// More than what any of the causes lets through, and less than what comes through without one.
const RATE: f64 = 1_000.0;
const SEED: u64 = 88;
const PARTITIONS: i32 = 3;

/// A load on its way through one writer, with a proxy at each end.
struct Bench {
    tidegate: Tidegate,
    postgres: Proxy,
    world: World,
    _load: RunningLoad,
}

impl Bench {
    fn start(kafka: &Kafka) -> Self {
        let world = World::on_brokers(kafka, "verdicts", PARTITIONS);
        let direct = format!("brokers = \"{}\"", world.brokers);
        let proxied = format!("brokers = \"{}\"", kafka.proxied_bootstrap_servers());
        let config = world.orders_config().replace(&direct, &proxied);
        assert!(config.contains(&proxied), "{config}");
        let (postgres, config) = world.behind_proxy(&config);
        let load = start_load(&world, orders_profile(SEED), RATE);
        // Less memory makes smaller answers of the brokers, which a throttled connection has soon.
        let sets = ["sinks.serving.writers=1", "memory.budget=16MiB"];
        let mut tidegate = world.run(&config, &sets);
        tidegate.await_partitions(i64::from(PARTITIONS));
        eventually("a flow", || {
            let status = tidegate.status();
            let rows = status["rates"]["rows_per_s"].as_f64().unwrap();
            let is_seen = status["interval_seconds"].as_f64().unwrap() > 2.0;
            if is_seen && rows > RATE / 2.0 { Ok(()) } else { Err(status["rates"].to_string()) }
        });
        let mut bench = Self { tidegate, postgres, world, _load: load };
        bench.expect("none");
        bench
    }

    /// Waits until the stage is named, and gives `/status`.
    fn expect(&mut self, stage: &str) -> Value {
        expect(&mut self.tidegate, stage)
    }

    fn execute(&self, sql: &str) {
        self.world.sql.execute(sql).unwrap();
    }

    /// A trigger for each row that takes its time, at an event as `BEFORE INSERT`.
    fn slow_down(&self, table: &str, event: &str, seconds: f64) {
        let (constraint, deferred) = match event.starts_with("AFTER") {
            true => ("CONSTRAINT", "DEFERRABLE INITIALLY DEFERRED"),
            false => ("", ""),
        };
        self.execute(&format!(
            "CREATE OR REPLACE FUNCTION public.dawdle() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN PERFORM pg_sleep({seconds}); RETURN NEW; END $$; \
             CREATE {constraint} TRIGGER dawdle {event} ON {table} {deferred} \
             FOR EACH ROW EXECUTE FUNCTION public.dawdle()"
        ));
    }

    fn speed_up(&self, table: &str) {
        self.execute(&format!("DROP TRIGGER dawdle ON {table}"));
    }

    fn lock(&self) -> Client {
        let holder = self.world.lock("orders");
        holder.execute("SET application_name = 'the holder'").unwrap();
        holder
    }
}

fn expect(tidegate: &mut Tidegate, stage: &str) -> Value {
    let since = Instant::now();
    let status = eventually(&format!("the verdict {stage}"), || {
        let status = tidegate.status();
        let verdict = &status["verdict"];
        if verdict["stage"] == stage { Ok(status) } else { Err(verdict.to_string()) }
    });
    let verdict = &status["verdict"];
    eprintln!("{stage} after {:.1} s: {}", since.elapsed().as_secs_f64(), verdict["evidence"]);
    let advice = verdict["advice"].as_str().unwrap();
    assert!(advice.ends_with('.'), "{verdict}");
    assert!(verdict["since_seconds"].as_f64().unwrap() < 60.0, "{verdict}");
    status
}

/// The metric names one stage, and may have gone on since the status was asked for.
fn assert_one_is_named(tidegate: &mut Tidegate, stage: &str) {
    eventually(&format!("the metric for {stage}"), || {
        let named = tidegate.metric_with("tidegate_bottleneck", &format!("stage=\"{stage}\""));
        assert_eq!(tidegate.metric("tidegate_bottleneck"), 1.0, "one is named");
        if named == 1.0 { Ok(()) } else { Err("another".to_owned()) }
    });
}

#[test]
fn what_holds_the_records_back_is_named() {
    let kafka = fragile_kafka();
    let mut bench = Bench::start(&kafka);
    assert_one_is_named(&mut bench.tidegate, "none");

    for broker in kafka.brokers() {
        kafka.proxy(broker.id() as usize).throttle(30_000);
    }
    bench.expect("kafka");
    assert_one_is_named(&mut bench.tidegate, "kafka");
    for broker in kafka.brokers() {
        kafka.proxy(broker.id() as usize).pass().unwrap();
    }

    // Each round trip takes its time, and one writer has one on its way.
    bench.postgres.delay(Duration::from_millis(200));
    bench.expect("writers");
    assert_one_is_named(&mut bench.tidegate, "writers");
    bench.postgres.pass().unwrap();

    bench.postgres.throttle(30_000);
    bench.expect("network");
    assert_one_is_named(&mut bench.tidegate, "network");
    bench.postgres.pass().unwrap();

    bench.slow_down("orders", "BEFORE INSERT", 0.003);
    bench.expect("copy");
    assert_one_is_named(&mut bench.tidegate, "copy");
    bench.speed_up("orders");

    bench.slow_down("tidegate.checkpoints", "BEFORE UPDATE", 1.0);
    bench.expect("checkpoint");
    assert_one_is_named(&mut bench.tidegate, "checkpoint");
    bench.speed_up("tidegate.checkpoints");

    // What is deferred is done at COMMIT, which takes as long as if the disk did. (`commit_delay` would do, but
    // for a tenth of a second at most.)
    bench.slow_down("tidegate.checkpoints", "AFTER UPDATE", 1.0);
    bench.expect("commit");
    assert_one_is_named(&mut bench.tidegate, "commit");
    bench.speed_up("tidegate.checkpoints");

    let holder = bench.lock();
    let status = eventually("a verdict that names the holder", || {
        let status = expect(&mut bench.tidegate, "lock");
        let evidence = status["verdict"]["evidence"].as_str().unwrap().to_owned();
        if evidence.contains("held by pid") { Ok(status) } else { Err(evidence) }
    });
    let evidence = status["verdict"]["evidence"].as_str().unwrap();
    assert!(evidence.contains("the holder"), "{evidence}");
    assert_one_is_named(&mut bench.tidegate, "lock");
    drop(holder);

    bench.postgres.refuse().unwrap();
    bench.postgres.cut();
    let status = bench.expect("sink_away");
    assert_one_is_named(&mut bench.tidegate, "sink_away");
    assert_eq!(status["state"], "degraded");
    let errors = status["errors"].as_array().unwrap();
    assert!(errors.iter().any(|error| error["where"] == "sink serving"), "{errors:?}");
    bench.postgres.pass().unwrap();
    bench.tidegate.await_ready();
    bench.tidegate.stop();
}

/// Nothing but decoding: the rows are thrown away.
#[test]
fn decoding_that_takes_long_is_named() {
    let world = World::bare("verdict-decode", 2);
    load(&world, orders_profile(SEED), 100_000);
    // A filter that compares each record a thousand times.
    let numbers: Vec<String> = (0..1000).map(|number| number.to_string()).collect();
    let filter = format!("[{}].all(n, n != amount || n < 0)", numbers.join(", "));
    let config = format!(
        "{}[sinks.nowhere]\nkind = \"null\"\n{}where = \"{filter}\"\n",
        world.source_config(""),
        world.route_config("\"nowhere\"\n"),
    );
    let mut tidegate = world.run(&config, &[]);
    expect(&mut tidegate, "decode");
    assert_one_is_named(&mut tidegate, "decode");
    tidegate.stop();
}
