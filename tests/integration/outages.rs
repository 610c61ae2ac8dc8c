//! Postgres answers, and refuses: each reason for which it takes no rows for a while is told,
//! waited out and left behind, without a dead letter.

use std::time::{Duration, Instant};

use stack::{Client, Postgres, PostgresOptions, StopMode};

use crate::support::{
    RunningLoad, Tidegate, World, eventually, eventually_within, fragile_postgres, load,
    orders_profile, postgres, start_load,
};

const RATE: f64 = 3_000.0;
const SEED: u64 = 12;
const TARGET: &str = "serving.public.orders";
/// The default memory budget, and what the process itself may take besides.
const RSS_MAX_MIB: u64 = 128 + 64;
/// How long an outage lasts once it is noticed.
const OUTAGE: Duration = Duration::from_secs(2);
const RESUME_MAX: Duration = Duration::from_secs(5);

const TERMINATE: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
    WHERE datname = current_database() AND application_name = 'tidegate'";

/// Orders on their way through one process, which sees no rebalance.
struct Flow {
    tidegate: Tidegate,
    load: RunningLoad,
    world: World,
}

impl Flow {
    fn start(world: World, config: &str, sets: &[&str]) -> Self {
        let load = start_load(&world, orders_profile(SEED), RATE);
        let mut tidegate = world.run(config, sets);
        world.await_more_orders_than(0);
        tidegate.await_ready();
        Self { tidegate, load, world }
    }

    /// Waits until the outage is told by its SQLSTATE, and lets it last.
    fn last(&mut self, sqlstate: &str) {
        self.tidegate.await_degraded(&format!("SQLSTATE {sqlstate}"));
        self.tidegate.watch_memory(OUTAGE, RSS_MAX_MIB);
        let retries = self.retries(sqlstate);
        assert!(retries > 0.0, "{retries}");
    }

    fn retries(&mut self, sqlstate: &str) -> f64 {
        let label = format!("sqlstate=\"{sqlstate}\"");
        self.tidegate.metric_with("tidegate_write_retries_total", &label)
    }

    /// The outage has just ended: rows come again, soon.
    fn resume(&mut self) {
        let before = self.world.count_orders();
        eventually_within(RESUME_MAX, "new orders", || {
            let count = self.world.count_orders();
            if count > before { Ok(()) } else { Err(format!("still {count}")) }
        });
        self.tidegate.await_ready();
    }

    /// Everything arrived once, and nothing was read twice.
    fn finish(mut self) {
        let ledger = self.load.finish();
        self.world.await_checkpoints(&ledger, TARGET);
        let counts = self.tidegate.assert_conservation();
        assert_eq!(counts.consumed, ledger.produced, "records were read twice");
        self.tidegate.stop();
        self.world.assert_exact(&ledger, SEED);
    }
}

/// The configuration, for a role of the test's own that may do what docs/configuration.md asks for.
fn config_of_role(world: &World, role: &str) -> String {
    let database = &world.name;
    let grants = format!(
        "CREATE ROLE \"{role}\" LOGIN PASSWORD 'first'; \
         GRANT CREATE ON DATABASE \"{database}\" TO \"{role}\"; \
         GRANT INSERT ON orders TO \"{role}\""
    );
    world.sql.execute(&grants).unwrap();
    let config = world.orders_config();
    let replaced = config.replace("//tidegate:tidegate@", &format!("//{role}:first@"));
    assert_ne!(replaced, config);
    replaced
}

#[test]
fn too_many_connections_are_waited_out() {
    let world = World::new("outage-connections", 4);
    // A superuser is exempt from the limit.
    let config = config_of_role(&world, "crowded");
    let mut flow = Flow::start(world, &config, &[]);
    flow.world.sql.execute("ALTER ROLE crowded CONNECTION LIMIT 0").unwrap();
    flow.world.sql.execute(TERMINATE).unwrap();
    flow.last("53300");
    flow.world.sql.execute("ALTER ROLE crowded CONNECTION LIMIT -1").unwrap();
    flow.resume();
    flow.finish();
}

/// A whole server that takes no writes; dropping it ends that.
struct ReadOnly<'a>(&'a Postgres);

impl<'a> ReadOnly<'a> {
    fn begin(postgres: &'a Postgres) -> Self {
        let client = postgres.client().unwrap();
        client.execute("ALTER SYSTEM SET default_transaction_read_only = on").unwrap();
        client.execute("SELECT pg_reload_conf()").unwrap();
        Self(postgres)
    }
}

impl Drop for ReadOnly<'_> {
    fn drop(&mut self) {
        let client = self.0.client().unwrap();
        client.execute("ALTER SYSTEM RESET default_transaction_read_only").unwrap();
        client.execute("SELECT pg_reload_conf()").unwrap();
    }
}

/// Open sessions find it out by a statement, new ones are turned away by the client.
#[test]
fn a_server_that_becomes_read_only_is_waited_out() {
    let postgres = fragile_postgres();
    let world = World::on_fragile(&postgres, "outage-read-only", 4);
    let config = world.orders_config();
    let mut flow = Flow::start(world, &config, &[]);
    let read_only = ReadOnly::begin(&postgres);
    flow.tidegate.await_degraded("sink serving is away");
    flow.tidegate.watch_memory(OUTAGE, RSS_MAX_MIB);
    assert!(flow.retries("25006") > 0.0);
    drop(read_only);
    flow.resume();
    flow.finish();
}

/// Holds a lock for longer than `lock_timeout`, 5 s.
fn hold(name: &str, lock: &str) {
    let world = World::new(name, 4);
    let config = world.orders_config();
    let mut flow = Flow::start(world, &config, &[]);
    let holder = Client::connect(&flow.world.url).unwrap();
    holder.execute(&format!("BEGIN; {lock}")).unwrap();
    // Connections that know no statement yet tell the reason as well.
    flow.world.sql.execute(TERMINATE).unwrap();
    flow.last("55P03");
    holder.execute("ROLLBACK").unwrap();
    flow.resume();
    flow.finish();
}

#[test]
fn a_long_lock_on_the_table_is_waited_out() {
    hold("outage-lock-table", "LOCK TABLE orders IN ACCESS EXCLUSIVE MODE");
}

#[test]
fn a_long_lock_on_the_checkpoints_is_waited_out() {
    hold("outage-lock-checkpoints", "SELECT FROM tidegate.checkpoints FOR UPDATE");
}

/// The other side takes the two locks of a transaction in the opposite order.
#[test]
fn a_transaction_that_is_the_victim_of_a_deadlock_is_written_again() {
    let world = World::new("outage-deadlock", 4);
    let config = world.orders_config();
    let mut flow = Flow::start(world, &config, &[]);
    let adversary = Client::connect(&flow.world.url).unwrap();
    // Whoever looks for a deadlock first is its victim: not the adversary.
    adversary.execute("SET deadlock_timeout = '1h'").unwrap();
    eventually("a deadlock", || {
        adversary.execute("BEGIN; SELECT FROM tidegate.checkpoints FOR UPDATE").unwrap();
        flow.world.await_waiting("%tidegate.checkpoints%");
        adversary.execute("LOCK TABLE orders IN SHARE MODE").unwrap();
        adversary.execute("ROLLBACK").unwrap();
        let label = "sqlstate=\"40P01\"";
        match flow.tidegate.metric_with("tidegate_write_retries_total", label) {
            0.0 => Err("none yet".to_owned()),
            _ => Ok(()),
        }
    });
    flow.resume();
    flow.finish();
}

/// A trigger says what Postgres itself says of transactions that have one snapshot.
#[test]
fn a_transaction_that_cannot_be_serialised_is_written_again() {
    let world = World::new("outage-serialisation", 4);
    let config = world.orders_config();
    let mut flow = Flow::start(world, &config, &[]);
    flow.world
        .sql
        .execute(
            "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
               RAISE SQLSTATE '40001' USING MESSAGE = 'could not serialize access'; END $$; \
             CREATE TRIGGER fail BEFORE INSERT ON orders EXECUTE FUNCTION fail()",
        )
        .unwrap();
    flow.last("40001");
    flow.world.sql.execute("DROP TRIGGER fail ON orders").unwrap();
    flow.resume();
    flow.finish();
}

/// Rows that Postgres refuses are looked for by transactions that fail, while others fail because
/// the connection does: neither is taken for the other.
#[test]
fn no_row_is_blamed_for_a_connection_that_ends_while_rows_at_fault_are_looked_for() {
    let world = World::new("outage-refused", 4);
    world.sql.execute("ALTER TABLE orders ADD CHECK (order_id % 199 <> 0)").unwrap();
    let config = world.orders_config();
    let Flow { mut tidegate, load, world } = Flow::start(world, &config, &[]);
    let mut terminated = 0;
    while terminated < 40 {
        terminated += world.number(&format!("SELECT count(*) FROM ({TERMINATE}) AS t"));
        std::thread::sleep(Duration::from_millis(50));
    }
    let ledger = load.finish();
    world.await_checkpoints(&ledger, TARGET);
    // A lane that was read again for its first refused row counts from there on.
    assert!(tidegate.assert_conservation().consumed <= ledger.produced, "records were read twice");
    for lost in ["tidegate_fenced_total", "tidegate_sink_regressed_total"] {
        assert_eq!(tidegate.metric(lost), 0.0, "{lost}: records were read twice");
    }
    tidegate.stop();
    let refused = "SELECT count(*) FROM tidegate.dead_letters WHERE reason = 'refused'";
    let (rows, refused) = (world.count_orders(), world.number(refused));
    assert!(refused > 0);
    assert_eq!(rows + refused, ledger.totals.orders as i64);
    let wrongly = "SELECT count(*) FROM tidegate.dead_letters WHERE reason = 'refused' \
                   AND (convert_from(value, 'UTF8')::json ->> 'order_id')::bigint % 199 <> 0";
    assert_eq!(world.number(wrongly), 0, "dead letters that are not at fault");
    let distinct = "SELECT count(DISTINCT (kafka_partition, kafka_offset)) FROM orders";
    assert_eq!(world.number(distinct), rows, "rows that are there twice");
}

/// Each byte that comes would begin a deadline for the next one anew: the deadline is for the
/// transaction.
#[test]
fn a_server_that_answers_a_byte_a_second_is_given_up() {
    let world = World::new("outage-trickle", 4);
    let (proxy, config) = world.behind_proxy(&world.orders_config());
    let mut flow = Flow::start(world, &config, &[]);
    // Transactions that wait in their COPY: more than thirty bytes of the answer are still to come. One
    // that waits for no more than the answer to COMMIT would get it in time, and the next one would
    // be the first to be given up.
    let holder = Client::connect(&flow.world.url).unwrap();
    holder.execute("BEGIN; LOCK TABLE orders IN ACCESS EXCLUSIVE MODE").unwrap();
    flow.world.await_waiting("COPY %");
    proxy.throttle(1);
    holder.execute("ROLLBACK").unwrap();
    let since = Instant::now();
    flow.tidegate.await_degraded("no answer within 30 s");
    assert!(since.elapsed() < Duration::from_secs(35), "{:?}", since.elapsed());
    proxy.pass().unwrap();
    flow.resume();
    flow.finish();
}

#[test]
fn a_password_that_is_refused_while_it_runs_ends_it_and_a_restart_with_the_new_one_goes_on() {
    let world = World::new("outage-password", 4);
    let config = config_of_role(&world, "renamed");
    let Flow { tidegate, load, world } = Flow::start(world, &config, &[]);
    world.sql.execute("ALTER ROLE renamed PASSWORD 'second'").unwrap();
    world.sql.execute(TERMINATE).unwrap();
    let exit = tidegate.wait();
    assert_eq!(exit.code, Some(77), "{}", exit.log);
    assert!(exit.log.contains("28P01"), "{}", exit.log);
    let config = config.replace("//renamed:first@", "//renamed:second@");
    let mut tidegate = world.run(&config, &[]);
    let ledger = load.finish();
    world.await_checkpoints(&ledger, TARGET);
    tidegate.assert_conservation();
    tidegate.stop();
    world.assert_exact(&ledger, SEED);
}

/// A backlog that is many times the budget stands before a database that has stopped.
#[test]
fn a_stall_of_the_database_under_a_large_backlog_stays_within_the_memory_budget() {
    let world = World::new("outage-memory", 8);
    let (proxy, config) = world.behind_proxy(&world.orders_config());
    let profile = loadgen::Profile { size_bytes: Some(2_000), ..orders_profile(SEED) };
    let ledger = load(&world, profile, 120_000);
    let mut tidegate = world.run(&config, &["memory.budget=32MiB", "batch.rows=20000"]);
    world.await_more_orders_than(0);
    proxy.stall();
    tidegate.watch_memory(Duration::from_secs(20), 32 + 64);
    let (durable, produced) = (world.count_orders(), ledger.totals.orders as i64);
    assert!(durable < produced / 2, "{durable} of {produced} were written before the stall");
    proxy.pass().unwrap();
    world.await_checkpoints(&ledger, TARGET);
    tidegate.watch_memory(Duration::ZERO, 32 + 64);
    let counts = tidegate.assert_conservation();
    assert_eq!(counts.consumed, ledger.produced, "records were read twice");
    tidegate.stop();
    world.assert_exact(&ledger, SEED);
}

#[test]
fn a_full_disk_is_waited_out() {
    let disk = match postgres().create_tablespace("small", 64 << 20) {
        Err(error @ stack::Error::NotMounted { .. }) if !nix::unistd::geteuid().is_root() => {
            eprintln!("NOT TESTED, as only root may mount: {error}");
            return;
        }
        mounted => mounted.unwrap(),
    };
    let world = World::new("outage-disk", 4);
    world.sql.execute("ALTER TABLE orders SET TABLESPACE small").unwrap();
    let config = world.orders_config();
    let mut flow = Flow::start(world, &config, &[]);
    disk.fill().unwrap();
    flow.last("53100");
    disk.free().unwrap();
    flow.resume();
    flow.finish();
}

/// The url names both servers. The standby is synchronous: it has everything that was answered.
#[test]
fn a_fail_over_to_the_other_host_of_the_url_is_waited_out() {
    let settings = vec![("shared_buffers".to_owned(), "32MB".to_owned())];
    let primary = Postgres::start(PostgresOptions { settings, data_dir: None }).unwrap();
    let standby = primary.start_standby(None).unwrap();
    let synchronous = "ALTER SYSTEM SET synchronous_standby_names = '*'";
    primary.execute(synchronous).unwrap();
    primary.execute("SELECT pg_reload_conf()").unwrap();
    let world = World::on_fragile(&primary, "outage-fail-over", 4);
    let (one, other) = (primary.port(), standby.port());
    let both = format!("127.0.0.1:{one},127.0.0.1:{other}/");
    let config = world.orders_config().replace(&format!("127.0.0.1:{one}/"), &both);
    assert!(config.contains(&both));
    let mut flow = Flow::start(world, &config, &[]);

    primary.stop(StopMode::Immediate).unwrap();
    flow.tidegate.await_degraded("sink serving is away");
    // One host is gone, and the other takes no writes yet.
    flow.tidegate.watch_memory(OUTAGE, RSS_MAX_MIB);
    standby.promote().unwrap();
    flow.world.url = standby.url_of(&flow.world.name);
    flow.world.reconnect();
    flow.resume();
    flow.finish();
}

/// Nobody waits for the questions beside the data path: the claim's, and the audit's.
#[test]
fn sigterm_ends_in_time_while_the_database_stalls() {
    let world = World::new("outage-stall-sigterm", 4);
    let (proxy, config) = world.behind_proxy(&world.orders_config());
    let mut flow = Flow::start(world, &config, &["shutdown.drain=1s"]);
    proxy.stall();
    // The audit asks every 5 s, and would wait for 10 s.
    flow.tidegate.watch_memory(Duration::from_secs(6), RSS_MAX_MIB);
    let exit = flow.tidegate.terminate();
    assert_eq!(exit.code, Some(0), "{}", exit.log);
    assert!(exit.took < Duration::from_secs(1 + 10), "{:?}\n{}", exit.took, exit.log);
}
