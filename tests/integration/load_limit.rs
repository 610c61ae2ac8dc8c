//! `loadgen --find-limit`, against a table that takes so many rows a second and no more.

use std::{sync::atomic::AtomicBool, time::Duration};

use loadgen::{Clock, FindLimit, Load, Profile};

use crate::support::{Tidegate, World, load_of};

/// The only writer sleeps 4 ms a row, and so does less than 250 rows a second.
const SLOW: &str = "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql \
    AS 'BEGIN PERFORM pg_sleep(0.004); RETURN NEW; END'; \
    CREATE TRIGGER dawdle BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION dawdle()";
const AT_MOST: f64 = 250.0;

fn search(world: &World, tidegate: &mut Tidegate) -> FindLimit {
    FindLimit {
        load: Load {
            properties: vec![("linger.ms".to_owned(), "5".to_owned())],
            ..load_of(world, Profile { clock: Clock::Now, ..Profile::default() })
        },
        status: vec![tidegate.address()],
        start: 200.0,
        hold: Duration::from_secs(2),
        show: false,
    }
}

#[test]
fn the_limit_of_a_slow_table_is_found_and_its_bottleneck_named() {
    let world = World::new("load_limit", 1);
    world.sql.execute(SLOW).unwrap();
    world.sql.execute("CREATE UNIQUE INDEX ON orders (order_id)").unwrap();
    // How long a disk takes is not the point.
    world.sql.execute("ALTER DATABASE load_limit SET synchronous_commit = off").unwrap();
    let sets = ["batch.rows=10", "sinks.serving.writers=1"];
    let mut tidegate = world.run_orders(&sets);
    let report = search(&world, &mut tidegate).run(&AtomicBool::new(false)).unwrap();
    assert!(report.error.is_none(), "{:?}\n{report}", report.error);
    let json = report.json();
    let found = json["sustained_per_s"].as_f64().unwrap_or_else(|| panic!("{json:#}"));
    assert!((AT_MOST / 5.0..AT_MOST).contains(&found), "{json:#}");
    let exceeded = json["exceeded_per_s"].as_f64().unwrap();
    assert!(exceeded > found && json["limited_by_loadgen"] == false, "{json:#}");
    // The rows are held up where they are copied.
    let named = format!("{} {}", json["bottleneck"]["stage"], json["bottleneck"]["name"]);
    assert!(named.to_lowercase().contains("copy"), "{json:#}");
    for step in json["steps"].as_array().unwrap() {
        assert!(step["p99_ms"].as_f64() >= step["p50_ms"].as_f64(), "{json:#}");
        assert!(step["rows_per_s"].as_f64().unwrap() < AT_MOST * 1.2, "{json:#}");
    }
    // What was too much was waited for, and no order came twice.
    let counts = tidegate.assert_conservation();
    assert_eq!((counts.consumed, counts.dead_lettered), (counts.written, 0));
    assert_eq!(world.count_orders() as u64, counts.written);
    let svg = report.svg();
    assert!(svg.contains(&format!("limit {}<", loadgen::grouped(found.round() as u64))), "{svg}");
    assert_eq!(svg.matches("<path d=\"M").count(), svg.matches("/>").count() - 1, "{svg}");
    tidegate.stop();
}

#[test]
fn a_search_that_is_stopped_tells_what_it_knows() {
    let world = World::new("load_limit_stopped", 1);
    let mut tidegate = world.run_orders(&[]);
    let search = search(&world, &mut tidegate);
    let report = search.run(&AtomicBool::new(true)).unwrap();
    assert!(report.interrupted && report.error.is_none(), "{report}");
    assert!(report.to_string().contains("so far"), "{report}");
    tidegate.stop();
}
